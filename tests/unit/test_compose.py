"""docker-compose.yml and Dockerfile name what exists, and run all that is shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
PRIORITIES = {"high", "normal", "low"}


def processes() -> dict[str, tuple[str, str | None]]:
    """The file and the priority that each `tidings run` service runs."""
    found: dict[str, tuple[str, str | None]] = {}
    for name, service in SERVICES.items():
        match service.get("command", "").split():
            case ["run", file]:
                found[name] = (file, None)
            case ["run", file, "--priority", priority]:
                found[name] = (file, priority)
    return found


def shipped(folder: str) -> set[str]:
    files = (CHECKOUT / folder).glob("*.yaml")
    return {f"{folder}/{file.name}" for file in files if not file.name.endswith(".test.yaml")}


def test_every_shipped_flow_and_lane_runs() -> None:
    flows, watches, lanes = map(shipped, ("flows", "flows/watches", "flows/lanes"))
    assert {file for file, _ in processes().values()} == flows | watches | lanes


def test_silent_devices_are_pruned_once_a_day() -> None:
    [command] = [one["command"] for one in SERVICES.values() if "prune" in one.get("command", "")]
    assert command == "devices prune --every 1d"


def test_each_lane_runs_once_for_each_priority() -> None:
    lanes = [run for run in processes().values() if run[0].startswith("flows/lanes/")]
    files = shipped("flows/lanes")
    assert sorted(lanes) == sorted((file, priority) for file in files for priority in PRIORITIES)


@pytest.mark.parametrize("name", processes())
def test_a_process_is_restarted_drained_and_waits_for_its_topics(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "30s"
    assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_what_is_waited_for_exists_and_can_tell_its_health() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            assert name in SERVICES
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]


def test_images_are_pinned_and_named_volumes_declared() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z/]+:(\d[\w.-]*|\$\{TIDINGS_VERSION:-local\})", service["image"])
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]


def test_ports_are_open_to_this_host_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_kafka_is_the_version_that_the_tests_run_against() -> None:
    pom = (CHECKOUT / "tidings/services/kafka/pom.xml").read_text()
    assert f"<kafka.version>{SERVICES['kafka']['image'].split(':')[1]}</kafka.version>" in pom


def test_the_image_runs_tidings_as_nobody_special() -> None:
    last_stage = DOCKERFILE.split("\nFROM ")[-1]
    assert "\nUSER tidings\n" in last_stage
    assert 'ENTRYPOINT ["tidings"]' in last_stage


def test_what_the_image_copies_exists_and_gets_past_dockerignore() -> None:
    let_in = set(re.findall(r"^!(\S+)$", (CHECKOUT / ".dockerignore").read_text(), re.M))
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        copied |= set(line.split()[:-1])
    assert copied == let_in
    assert all((CHECKOUT / name).exists() for name in copied)
