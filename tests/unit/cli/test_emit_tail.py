"""`tidings emit` and `tidings tail`: what goes into a topic comes out of it, seen or hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.command import Command
from tidings.log.address import open_log
from tidings.log.port import Append, TopicSettings
from tidings.topics import ALERTS, EVENTS


@pytest.fixture
def topic(here: Path) -> str:
    """A topic of one partition, so that the order is one."""
    make_topic(here, "shop.events")
    return "shop.events"


def make_topic(here: Path, name: str) -> None:
    open_log(f"sqlite:{here}/data/log").admin().create([TopicSettings(name=name, partitions=1)])


def append(here: Path, *records: Append) -> None:
    producer = open_log(f"sqlite:{here}/data/log").producer()
    producer.append(records, lambda error, receipt: None)
    assert producer.flush(5.0)


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def records(tidings: Command, topic: str, *options: str) -> list[dict[str, Any]]:
    said = tidings("tail", topic, "--json", *options)
    assert (said.code, said.err) == (0, "")
    return [json.loads(line) for line in said.out.splitlines()]


# ── emit ──────────────────────────────────────────────────────────────────────────────────────


def test_a_line_becomes_a_record_keyed_by_its_recipient(tidings: Command, topic: str) -> None:
    said = tidings("emit", topic, stdin=lines({"recipient_id": "ana", "n": 1}))
    assert said == (0, "1 confirmed in shop.events\n", "")
    [record] = records(tidings, topic)
    assert record.pop("time") > 0
    assert record == {
        "topic": "shop.events",
        "partition": 0,
        "offset": 0,
        "key": "ana",
        "headers": {},
        "value": {"recipient_id": "ana", "n": 1},
    }


def test_another_field_can_be_the_key_and_a_line_without_it_has_none(
    tidings: Command, topic: str
) -> None:
    tidings("emit", topic, "--key", "shop", stdin=lines({"shop": 7}, {"other": 1}, {"shop": None}))
    assert [record["key"] for record in records(tidings, topic)] == ["7", None, None]


def test_bad_lines_are_named_and_the_others_sent(here: Path, tidings: Command, topic: str) -> None:
    file = here / "events.jsonl"
    file.write_text('{"n": 1}\nx\n\n[1, 2]\n{"n": 2}\n"text"')
    said = tidings("emit", topic, "--file", str(file))
    assert said.code == 1
    assert said.out == "2 confirmed in shop.events\n"
    assert said.err.splitlines() == [
        f"{file}:2: not JSON: JSON is malformed: invalid character (byte 0)",
        f"{file}:4: an event is a JSON object, this is a list",
        f"{file}:6: an event is a JSON object, this is the text 'text'",
    ]
    assert [record["value"]["n"] for record in records(tidings, topic)] == [1, 2]


def test_of_many_bad_lines_the_first_are_named(tidings: Command, topic: str) -> None:
    said = tidings("emit", topic, stdin=b"x\n" * 30)
    assert said.out == "0 confirmed in shop.events\n"
    assert len(said.err.splitlines()) == 21
    assert said.err.splitlines()[-1] == "and 10 more"


def test_a_line_that_the_topic_does_not_take_is_bad(tidings: Command, topic: str) -> None:
    said = tidings("emit", topic, stdin=lines({"n": 1}, {"long": "x" * 2_000_000}))
    assert (said.code, said.out) == (1, "1 confirmed in shop.events\n")
    assert said.err.startswith("stdin:2: a record of 2,000,0")


def test_a_topic_that_is_not_there_is_not_made(tidings: Command, here: Path) -> None:
    said = tidings("emit", "shop.events", stdin=lines({"n": 1}))
    assert (said.code, said.out) == (1, "0 confirmed in shop.events\n")
    assert "there is no topic shop.events" in said.err
    assert "tidings topics apply" in said.err


def test_a_file_that_is_not_there_is_said(tidings: Command, topic: str) -> None:
    assert tidings("emit", topic, "--file", "nowhere.jsonl") == (
        1,
        "",
        "nowhere.jsonl: No such file or directory\n",
    )


# ── tail ──────────────────────────────────────────────────────────────────────────────────────


def test_addresses_and_codes_are_hidden_and_shown_on_demand(tidings: Command, topic: str) -> None:
    event = {
        "recipient_id": "ana",
        "code": "481516",
        "note": "to ana@example.com or +447700900123",
        "devices": [{"token": "abc", "platform": "ios"}],
    }
    tidings("emit", topic, stdin=lines(event))
    assert [record["value"] for record in records(tidings, topic)] == [
        {
            "recipient_id": "ana",
            "code": "…",
            "note": "to a…@example.com or +…23",
            "devices": [{"token": "…", "platform": "ios"}],
        }
    ]
    assert [record["value"] for record in records(tidings, topic, "--show-all")] == [event]


@pytest.mark.parametrize("ours", [EVENTS, ALERTS])
def test_what_we_say_shows_the_providers_code_and_the_hash_of_the_address(
    tidings: Command, here: Path, ours: str
) -> None:
    make_topic(here, ours)
    append(here, Append(ours, b"ana", b'{"code": "503", "address": "5bbdcf1932c53981"}'))
    assert [record["value"] for record in records(tidings, ours)] == [
        {"code": "503", "address": "5bbdcf1932c53981"}
    ]


def test_bytes_that_are_no_json_are_shown_as_text(tidings: Command, here: Path, topic: str) -> None:
    append(here, Append(topic, None, b"\xff{", (("why", b"\xfe"),)), Append(topic, b"k", None))
    assert [(r["value"], r["headers"]) for r in records(tidings, topic)] == [
        ("\\xff{", {"why": "\\xfe"}),
        (None, {}),
    ]


def test_it_starts_where_it_is_told(tidings: Command, topic: str) -> None:
    tidings("emit", topic, stdin=lines({"n": 0}, {"n": 1}, {"n": 2}))
    shown = {
        start: [record["value"]["n"] for record in records(tidings, topic, "--from", start)]
        for start in ("earliest", "1", "latest")
    }
    assert shown == {"earliest": [0, 1, 2], "1": [1, 2], "latest": []}


def test_partitions_come_in_order_of_time(tidings: Command, here: Path) -> None:
    log = open_log(f"sqlite:{here}/data/log", clock=iter(range(1_000, 2_000)).__next__)
    log.admin().create([TopicSettings(name="two", partitions=2)])
    producer = log.producer()
    for number in range(6):  # a commit, and so a time, each
        producer.append([Append("two", None, b"%d" % number, (), number % 2)], lambda *acked: None)
        assert producer.flush(5.0)
    assert [record["value"] for record in records(tidings, "two")] == [0, 1, 2, 3, 4, 5]


def test_a_start_that_is_none_is_refused(tidings: Command, topic: str) -> None:
    assert tidings("tail", topic, "--from", "tuesday") == (
        1,
        "",
        "--from takes earliest, latest or an offset, not 'tuesday'\n",
    )


def test_a_topic_that_is_misspelt_is_suggested(tidings: Command, topic: str) -> None:
    assert tidings("tail", "shop.event") == (
        1,
        "",
        "there is no topic shop.event: did you mean `shop.events`?\n",
    )


def test_for_the_eye_it_is_two_lines_a_record(tidings: Command, topic: str) -> None:
    tidings("emit", topic, stdin=lines({"recipient_id": "ana", "text": "x" * 200}))
    head, body = tidings("tail", topic).out.splitlines()
    assert head.split()[1:] == ["shop.events:0:0", "ana"]
    assert body == '  {"recipient_id":"ana","text":"' + "x" * 200 + '"}'
