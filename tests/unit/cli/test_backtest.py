"""`tidings backtest`: who would have been told more, less or otherwise."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.command import Command
from tidings.ids import notification_id

NOON = 1_782_907_200_000
FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - digest: {window: 30s, keep: last 0}
  - limit: {at_most: 2, within: 1d}
  - deliver: {to: push, template: order_update, category: orders}
"""
PEOPLE = [
    {"recipient_id": name, "addresses": [{"kind": "device", "value": f"phone-{name}"}]}
    for name in ("ana", "bob", "eve")
]
EVENTS = [  # ms after noon, whose, id
    (0, "ana", "a1"),
    (1_000, "bob", "b1"),
    (10_000, "ana", "a2"),
    (45_000, "ana", "a3"),
    (100_000, "bob", "b2"),
    (200_000, "ana", "a4"),
]


@pytest.fixture
def shop(here: Path) -> Path:
    """A flow, its people, and a log of events."""
    (here / "config" / "people").mkdir(parents=True)
    (here / "config" / "people" / "people.jsonl").write_text(lines(PEOPLE))
    (here / "log.jsonl").write_text(lines([event(*each) for each in EVENTS]))
    file = here / "shop.yaml"
    file.write_text(FLOW)
    return file


def event(at: int, person: str, known: str) -> dict[str, Any]:
    value = {"event_id": known, "recipient_id": person}
    return {"topic": "shop.events", "time": NOON + at, "key": person, "value": value}


def lines(values: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(value)}\n" for value in values)


def other(shop: Path, old: str, new: str) -> str:
    """Another version of the flow."""
    file = shop.with_name("other.yaml")
    assert old in FLOW
    file.write_text(FLOW.replace(old, new))
    return str(file)


def outcome(tidings: Command, against: str, *more: str) -> Any:
    said = tidings(
        *("backtest", "shop.yaml", "--against", against, "--log", "log.jsonl"),
        *("--format", "json", *more),
    )
    assert (said.code, said.err) == (0, "")
    return json.loads(said.out)


def test_a_version_against_itself_changes_nothing(tidings: Command, shop: Path) -> None:
    found = outcome(tidings, "shop.yaml")
    assert found["records"] == 6
    assert found["before"] == found["after"]
    assert found["after"]["delivered"] == [{"channel": "push", "category": "orders", "count": 4}]
    assert found["after"]["dropped"] == [{"step": "shop.limit", "reason": "limit", "count": 1}]
    assert found["difference"]["samples"] == []


def test_it_tells_who_gains_who_loses_and_who_is_told_at_another_time(
    tidings: Command, shop: Path
) -> None:
    # Before, windows are of a minute: ana's three are one digest, and the limit is not reached.
    difference = outcome(tidings, other(shop, "30s", "1m"))["difference"]
    counts = {name: value for name, value in difference.items() if name != "samples"}
    assert counts == {
        "gained": 0,
        "lost": 1,
        "shifted": 5,
        "gaining": 0,
        "losing": 1,
        "shifting": 2,
    }
    ana, bob = difference["samples"]
    assert ana["changes"] == [
        {"event": "a1", "before": fate(60_000), "after": fate(30_000)},
        {"event": "a2", "before": fate(60_000), "after": fate(30_000)},
        {"event": "a3", "before": fate(60_000), "after": fate(75_000)},
        {"event": "a4", "before": fate(260_000), "after": None},
    ]
    assert [change["event"] for change in bob["changes"]] == ["b1", "b2"]


def fate(at: int) -> dict[str, Any]:
    return {"at": NOON + at, "channels": ["push"]}


def test_with_what_a_channel_costs_it_tells_what_each_version_costs(
    tidings: Command, shop: Path
) -> None:
    (shop.parent / "config" / "tidings.yaml").write_text(
        "costs: {push: 0.5, sms: 0.07}\ncategories: {orders: {}}\n"
    )
    with_three = other(shop, "at_most: 2", "at_most: 3")
    config = ("--config", "config/tidings.yaml")

    found = outcome(tidings, with_three, *config)
    cheaper = outcome(tidings, with_three, *config, "--cost", "push=0.000001")

    row = {"channel": "push", "category": "orders"}
    assert found["before"]["delivered"] == [{**row, "count": 5, "cost": 2_500_000}]
    assert found["after"]["delivered"] == [{**row, "count": 4, "cost": 2_000_000}]
    assert (found["before"]["cost"], found["after"]["cost"]) == (2_500_000, 2_000_000)
    assert found["difference"]["cost"] == -500_000
    assert (cheaper["before"]["cost"], cheaper["after"]["cost"]) == (5, 4)

    said = tidings(
        *("backtest", "shop.yaml", "--against", with_three, "--log", "log.jsonl", *config)
    )
    told = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "channel category cost before after change" in told
    assert "push orders 2.50 2.00 -0.50" in told
    assert "total 2.50 2.00 -0.50" in told


@pytest.mark.parametrize(
    ("cost", "why"),
    [
        ("pigeon=1", "--cost pigeon=1: there is no channel pigeon; push email sms voice"),
        ("sms", "--cost sms: write what one costs, such as sms=0.012"),
        ("sms=-1", "--cost sms=-1: write what one costs, such as sms=0.012"),
    ],
)
def test_a_cost_that_makes_no_sense_is_refused(
    tidings: Command, shop: Path, cost: str, why: str
) -> None:
    said = tidings(
        *("backtest", "shop.yaml", "--against", "shop.yaml", "--log", "log.jsonl", "--cost", cost)
    )
    assert (said.code, said.err.strip()) == (1, why)


def test_the_same_input_gives_the_same_outcome(tidings: Command, shop: Path) -> None:
    against = other(shop, "30s", "1m")
    assert outcome(tidings, against) == outcome(tidings, against)


def test_only_what_came_between_two_times_is_replayed(tidings: Command, shop: Path) -> None:
    found = outcome(
        tidings,
        "shop.yaml",
        *("--from", "2026-07-01T12:00:01Z", "--to", "2026-07-01T12:01:40Z"),
    )
    assert found["records"] == 3


def test_the_other_version_may_be_a_git_revision(tidings: Command, shop: Path) -> None:
    for command in (
        ["init", "-q"],
        ["add", "shop.yaml"],
        ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=shop.parent, check=True)
    shop.write_text(FLOW.replace("at_most: 2", "at_most: 3"))
    difference = outcome(tidings, "HEAD")["difference"]
    assert (difference["gained"], difference["lost"], difference["shifted"]) == (1, 0, 0)

    said = tidings("backtest", "shop.yaml", "--against", "nowhere", "--log", "log.jsonl")
    assert said.code == 1
    assert said.err.startswith("--against nowhere: no file, and no git revision of shop.yaml: ")


def test_a_topic_of_the_log_is_replayed(tidings: Command, shop: Path) -> None:
    address = f"sqlite:{shop.parent}/log"
    topics = ("topics", "apply", "--sources", "shop.yaml", "--log", address)
    assert tidings(*topics).code == 0
    written = lines([event(*each)["value"] for each in EVENTS]).encode()
    assert tidings("emit", "shop.events", "--log", address, stdin=written).code == 0
    said = tidings(
        *("backtest", "shop.yaml", "--against", "shop.yaml", "--log", address, "--format", "json")
    )
    assert json.loads(said.out)["records"] == 6


def test_an_event_without_an_id_has_that_of_its_place_in_the_log(
    tidings: Command, shop: Path
) -> None:
    value = {"recipient_id": "ana"}
    line = {"topic": "shop.events", "time": NOON, "key": "ana", "value": value}
    places = [{"partition": 3, "offset": 41}, {"partition": 3, "offset": 42}, {}]
    (shop.parent / "log.jsonl").write_text(lines([line | place for place in places]))

    changes = outcome(tidings, other(shop, "30s", "1m"))["difference"]["samples"][0]["changes"]

    known = ["shop.events:0:3", "shop.events:3:41", "shop.events:3:42"]
    assert [change["event"] for change in changes] == known


def test_people_get_a_table_and_samples(tidings: Command, shop: Path) -> None:
    said = tidings(
        *("backtest", "shop.yaml", "--against", other(shop, "30s", "1m"), "--log", "log.jsonl"),
        *("--samples", "1"),
    )
    told = [" ".join(line.split()) for line in said.out.splitlines()]
    assert told[0] == "6 records through both versions"
    assert "push orders 4 4 +0" in told
    assert "shop.limit limit 0 1 +1" in told
    assert "lost: 1 events of 1 people" in told
    assert "a3: 2026-07-01 12:01:00.000 push → 2026-07-01 12:01:15.000 push" in told
    assert "a4: 2026-07-01 12:04:20.000 push → not told" in told
    assert "bob" not in told


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense\n", "log.jsonl:7: no record: "),
        (lines([event(0, "ana", "late")]), "log.jsonl:7: older than the line before it"),
    ],
)
def test_a_line_that_is_no_record_is_named(
    tidings: Command, shop: Path, line: str, why: str
) -> None:
    with (shop.parent / "log.jsonl").open("a") as file:
        file.write(line)
    said = tidings("backtest", "shop.yaml", "--against", "shop.yaml", "--log", "log.jsonl")
    assert said.code == 1
    assert said.err.startswith(why)


ROUNDS = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - escalate: {rounds: [{channel: push}, {channel: push, after: 1m}], MODE}
  - deliver: {template: order_update, category: orders}
"""


@pytest.mark.parametrize(("mode", "sent"), [("until: opened", 12), ("on_failure: failed", 6)])
def test_an_escalation_hears_that_its_rounds_were_sent(
    tidings: Command, shop: Path, mode: str, sent: int
) -> None:
    (shop.with_name("rounds.yaml")).write_text(ROUNDS.replace("MODE", mode))
    found = outcome(tidings, "rounds.yaml")

    assert found["before"]["delivered"] == [
        {"channel": "push", "category": "orders", "count": sent}
    ]
    assert found["before"]["waited_for"] == {"recorded": 0, "assumed": 6}


def told(at: int, person: str, event: str, **more: Any) -> dict[str, Any]:
    """An outcome of the first round of somebody's event, so many ms after noon."""
    value = {
        "outcome_id": f"{event}-{at}",
        "at": NOON + at,
        "recipient_id": person,
        "flow": "shop",
        "step": "shop.deliver",
        "notif_id": notification_id("default", "shop", event, person, "shop.deliver"),
        "channel": "push",
        "members": [event],
        **more,
    }
    return {"topic": "notif_events", "time": NOON + at, "key": person, "value": value}


def test_an_escalation_hears_what_people_did(tidings: Command, shop: Path) -> None:
    (shop.with_name("rounds.yaml")).write_text(ROUNDS.replace("MODE", "until: opened"))
    log = [event(*each) for each in EVENTS] + [
        told(0, "ana", "a1", stage="decision", kind="queued"),
        told(300, "ana", "a1", stage="attempt", kind="sent", send_id="s1"),
        told(30_000, "ana", "a1", stage="receipt", kind="opened", send_id="s1"),
        told(1_000, "bob", "b1", stage="decision", kind="queued"),
        told(1_300, "bob", "b1", stage="attempt", kind="sent", send_id="s2"),
        told(62_000, "bob", "b1", stage="receipt", kind="opened", send_id="s2"),  # too late
    ]
    log.sort(key=lambda line: line["time"])
    (shop.parent / "log.jsonl").write_text(lines(log))

    args = ("backtest", "shop.yaml", "--against", "rounds.yaml", "--log", "log.jsonl")
    said = tidings(*args)
    found = outcome(tidings, "rounds.yaml")

    assert found["records"] == 6
    assert found["before"]["delivered"][0]["count"] == 11
    assert {"step": "shop.escalate", "reason": "engaged", "count": 1} in found["before"]["dropped"]
    assert found["before"]["waited_for"] == {"recorded": 2, "assumed": 4}
    line = "waited for, before: 2 deliveries as recorded, 4 that count as sent at once"
    assert line in said.out.splitlines()
    assert "waited for, after" not in said.out


def test_a_line_of_outcomes_that_is_none_is_named(tidings: Command, shop: Path) -> None:
    (shop.with_name("rounds.yaml")).write_text(ROUNDS.replace("MODE", "until: opened"))
    (shop.parent / "log.jsonl").write_text(
        lines([{"topic": "notif_events", "time": NOON, "value": {"at": NOON}}])
    )
    said = tidings("backtest", "rounds.yaml", "--against", "rounds.yaml", "--log", "log.jsonl")
    assert said.code == 1
    assert said.err.startswith("notif_events:0:1 of the log: no outcome: Object missing required")
