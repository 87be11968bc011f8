"""A task: entries that are none, time, markers, and the order in which buckets are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.one_flow import OneFlow
from tidings.records import Entry, Origin, encode

KEEPS = """
  - digest: {by: [photo], window: 1s, keep: last 3}
  - deliver: {to: push, template: t}
"""


def entry_of(person: str, number: int = 0, event: bytes = b'{"photo":"p"}') -> bytes:
    """An entry as bytes, its event as it is."""
    entry = Entry(
        recipient_id=person,
        event_id=f"e{number}",
        origin=Origin("social.events", 0, 1_000 + number),
        event={},
    )
    return encode(entry).replace(b'"event":{}', b'"event":' + event)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"ana", b"no entry", "undecodable"),
        (b"ana", b"", "undecodable"),
        (b"ana", entry_of("ana", event=b'{"photo":"\xff"}'), "undecodable"),
        (
            b"ana",
            entry_of("ana", event=b'{"photo":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
            "undecodable",
        ),
        (None, entry_of("ana"), "no_key"),
        (b"\xff", entry_of("ana"), "wrong_key"),
        (b"bob", entry_of("ana"), "wrong_key"),
    ],
)
def test_what_is_no_entry_goes_to_the_dead_letters_and_its_neighbours_go_on(
    tmp_path: Path, key: bytes | None, value: bytes, reason: str
) -> None:
    flow = OneFlow(tmp_path, KEEPS)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.raw(key, value)
    flow.enter("ana", {"photo": "p"}, id="e2")
    flow.settle()
    flow.pass_time(1_000)

    assert flow.members() == [("e1", "e2")]
    assert flow.reasons() == [reason]
    assert (flow.letters()[0].key, flow.letters()[0].value) == (key, value)


def test_a_record_without_a_value_is_a_marker_whatever_its_key(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path)
    flow.raw(b"ana", None)
    flow.pass_time(0)

    assert (flow.outcomes(), flow.letters(), flow.committed()) == ([], [], 1)


@pytest.mark.parametrize(
    "photo", [10**30, -(10**30), 2**64, 0.1, None, ["p", {"q": [1]}], "\x00", "\x1f", "👩‍👩‍👧"]
)
def test_values_of_any_kind_survive_at_rest(tmp_path: Path, photo: Any) -> None:
    flow = OneFlow(tmp_path, KEEPS)
    flow.enter("ana", {"photo": photo}, id="e1")
    flow.settle()
    flow.stop()
    flow.start()
    flow.enter("ana", {"photo": photo}, id="e2")
    flow.settle()
    flow.pass_time(1_000)

    (delivery,) = flow.deliveries()
    assert (delivery.data["photo"], delivery.data["count"]) == (photo, 2)
    assert delivery.data["items"] == [{"photo": photo}, {"photo": photo}]
