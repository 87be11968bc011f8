"""`tidings run --dry-run`: what is decided and sent is printed, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.command import Command
from tidings.content import content_root

FLOWS = content_root() / "flows"
SOCIAL, OTP, SMS = (str(FLOWS / f"{name}.yaml") for name in ("social", "otp", "lanes/sms"))
CODE = {"request_id": "r1", "type": "otp", "recipient_id": "bob", "code": "481516", "app": "Shop"}
CONFIG = (
    "categories: {codes: {critical: true}, social: {}}\n"
    "channels: {push: device, email: email, sms: phone, voice: phone}\n"
)


@pytest.fixture
def config(here: Path) -> str:
    file = here / "tidings.yaml"
    file.write_text(CONFIG)
    return str(file)


def like(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "type": "like",
        "recipient_id": "bob",
        "actor_id": f"a{number}",
        "actor_name": f"A{number}",
        "photo_id": "p",
        "photo_title": "Sunset",
        "text": "",
        **fields,
    }


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def printed(tidings: Command, *arguments: str, stdin: bytes) -> list[dict[str, Any]]:
    said = tidings("run", *arguments, "-", "--dry-run", "--log-format", "json", stdin=stdin)
    assert (said.code, said.err) == (0, "")
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_window_that_is_open_at_the_end_closes_at_its_time_to_come(
    tidings: Command, config: str
) -> None:
    events = lines(like(1), like(1), like(2), like(3, actor_id="bob"))
    found = printed(tidings, SOCIAL, "--config", config, stdin=events)
    own, twice, told = (
        next(each for each in found if each["step"] == f"social.{step}")
        for step in ("filter", "dedupe", "deliver")
    )
    assert len(found) == 3
    assert (own["dropped"], twice["dropped"], told["delivered"]) == (
        "own_action",
        "duplicate",
        "push",
    )
    assert told["members"] == ["e1", "e2"]
    assert told["at"] - twice["at"] == 30_000


def test_lanes_behind_the_flow_render_and_no_code_or_number_shows(
    tidings: Command, config: str
) -> None:
    delivered, sent = printed(tidings, OTP, SMS, "--config", config, stdin=lines(CODE))
    assert (delivered["delivered"], delivered["to"]) == ("sms", "bob")
    assert delivered["data"]["code"] == "…"
    assert (sent["sent"], sent["to"]) == ("sms", "bob")
    assert sent["parts"] == {"body": "… is your Shop code. Never share it with anyone."}


def test_it_leaves_nothing_behind(here: Path, tidings: Command, config: str) -> None:
    before = files(here)
    printed(tidings, OTP, SMS, "--config", config, stdin=lines(CODE))
    assert files(here) == before


def test_the_second_run_finds_no_claim_of_the_first(tidings: Command, config: str) -> None:
    first, second = (
        [each["step"] for each in printed(tidings, OTP, "--config", config, stdin=lines(CODE))]
        for _ in range(2)
    )
    assert first == second == ["otp.deliver"]


def test_what_is_no_event_is_a_dead_letter(tidings: Command, config: str) -> None:
    [dead] = printed(tidings, OTP, "--config", config, stdin=b"not json\n")
    assert (dead["step"], dead["dead"]) == ("otp.source", "undecodable")


def test_for_the_eye_each_is_a_line_with_what_it_says_below(tidings: Command, config: str) -> None:
    said = tidings("run", OTP, "-", "--dry-run", "--config", config, stdin=lines(CODE))
    head, below = said.out.splitlines()
    assert head.endswith("  otp.deliver  delivered sms  to bob")
    assert json.loads(below)["template"] == "otp_code"


def test_it_is_of_one_flow(tidings: Command, config: str) -> None:
    said = tidings("run", OTP, SOCIAL, "-", "--dry-run", "--config", config)
    assert (said.code, said.err) == (
        1,
        "a dry run is of one flow, and lanes behind it if you like; 2 were given\n",
    )


def test_stdin_is_for_a_dry_run_alone(tidings: Command) -> None:
    said = tidings("run", OTP, "-")
    assert (said.code, said.err) == (
        1,
        "- is for events of a dry run: add --dry-run, or use `tidings emit`\n",
    )


def test_a_source_that_is_not_there_is_said(here: Path, tidings: Command, config: str) -> None:
    said = tidings("run", OTP, "--dry-run", "--config", config)
    assert said.code == 1
    assert "there is no topic otp.events" in said.err
