"""`tidings check --connect` and `deploy --plan` on Kafka: what they say of brokers and topics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from tests.integration.installation import Installation
from tidings.services.kafka import Kafka
from tidings.services.process import free_port

FLOW = """\
flow: connected
source: {topic: connected.events, key: recipient_id}
steps:
  - digest: {window: 1s}
  - deliver: {to: connected, template: order_update, category: orders}
"""
SETTINGS = """\
log: LOG
claims: sqlite:data/claims.db
people: file:people
categories: {orders: {}}
channels: {connected: device}
templates: templates
"""
OURS = [
    "connected.events",
    "deliveries.connected.normal",
    "tidings.connected",
    "tidings.connected.state",
]


@pytest.fixture
def here(installation: Installation, kafka: Kafka) -> Installation:
    for folder in ("config", "people", "templates/order_update"):
        (installation.folder / folder).mkdir(parents=True)
    (installation.folder / "people/people.jsonl").touch()
    (installation.folder / "shop.yaml").write_text(FLOW)
    text = "--- title\nx\n--- body\ny\n"
    (installation.folder / "templates/order_update/connected.en.j2").write_text(text)
    on(installation, f"kafka:{kafka.bootstrap}")
    return installation


def on(here: Installation, log: str) -> None:
    (here.folder / "config/tidings.yaml").write_text(SETTINGS.replace("LOG", log))


def ran(here: Installation, *arguments: str) -> tuple[int, str]:
    code = here.start(*arguments, str(Path("shop.yaml"))).wait(60)
    return code, here.out()


def problems(here: Installation, *more: str) -> list[tuple[str, str]]:
    """The codes and messages about what is this test's alone: others use the same Kafka."""
    said = json.loads(ran(here, "check", "--connect", "--format", "json", *more)[1])
    return [
        (one["code"], one["message"])
        for one in said["problems"]
        if "connected" in one["message"] or one["code"] == "unreachable"
    ]


@pytest.mark.timeout(180)
def test_missing_topics_then_one_of_the_wrong_width_then_none_is_wrong(
    here: Installation, kafka: Kafka
) -> None:
    [(code, message)] = problems(here)
    assert code == "missing-topic"
    assert [name for name in OURS if f"`{name}`" not in message] == [], message
    _, said = ran(here, "deploy", "--plan")
    assert said.startswith("connected: has no state in the log\n")
    made = [line.split()[1] for line in said.splitlines() if line.startswith("create")]
    assert [name for name in made if "connected" in name] == OURS

    wrong = NewTopic("tidings.connected", num_partitions=3, replication_factor=1)
    kafka.admin.create_topics([wrong])["tidings.connected"].result(timeout=30)
    [*_, (code, message)] = [each for each in problems(here) if each[0] == "wrong-topic"]
    assert (code, message.split(";")[0]) == (
        "wrong-topic",
        "`tidings.connected`: it has 3 partitions and would have 8",
    )
    code_of_plan, said = ran(here, "deploy", "--plan")
    assert code_of_plan == 1
    assert "refuse  tidings.connected  it has 3 partitions and would have 8" in said

    kafka.admin.delete_topics(["tidings.connected"])["tidings.connected"].result(timeout=30)
    assert ran(here, "topics", "apply", "--sources")[0] == 0
    assert problems(here) == []
    code_of_plan, said = ran(here, "deploy", "--plan")
    assert (code_of_plan, said.splitlines()[0]) == (0, "connected: has nothing open")


def test_brokers_that_are_down_are_told_at_the_line_that_names_them(here: Installation) -> None:
    port = free_port()
    on(here, f"kafka:127.0.0.1:{port}")
    [(code, message)] = problems(here, "--timeout", "3")
    assert (code, message) == ("unreachable", "`log`: no answer in 3 s")
    assert "Traceback" not in here.err()
