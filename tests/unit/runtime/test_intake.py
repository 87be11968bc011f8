"""The intake: what becomes an entry, what becomes a dead letter, and what a crash repeats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import engine
from tests.engine import outcomes, turn
from tests.unit.runtime.one_intake import PaperIntake
from tidings.log.port import Append, Record
from tidings.operators import split as split_module
from tidings.records import Entry, Outcome, decode_entry, decode_outcome
from tidings.runtime import member

SOURCE, ENTRIES, LETTERS = "social.events", "tidings.social", "notif_dlq.flow"
HEAD = """
flow: social
source: {topic: social.events, key: recipient_id, tenant: "coalesce(tenant, 'default')"}
steps:
"""
TAIL = """
  - digest: {by: [photo], window: 1s, keep: last 0}
  - deliver: {to: push, template: t}
"""


class OneIntake(PaperIntake):
    """The intake of ``social`` with these steps before its digest, turned by hand."""

    def __init__(self, folder: Path, steps: str = "", head: str = HEAD, partitions: int = 1):
        topics = {SOURCE: partitions, ENTRIES: 1, "notif_events": 1, LETTERS: 1}
        super().__init__(folder, head + steps + TAIL, topics)

    def turn(self, times: int = 1, *, pass_ms: int = 100) -> None:
        super().turn(times, pass_ms=pass_ms)

    def settle(self, turns: int = 3) -> None:
        quiet = 0
        while quiet < turns:
            self.clock.advance(100)
            quiet = 0 if turn(self.unit) else quiet + 1

    def records(self) -> Iterator[Record]:
        return engine.records(self.log, ENTRIES)

    def entries(self) -> list[Entry]:
        return [decode_entry(record.value or b"") for record in self.records()]

    def letters(self) -> list[Record]:
        return list(engine.records(self.log, LETTERS))

    def reasons(self) -> list[str]:
        return [dict(one.headers)["tidings-reason"].decode() for one in self.letters()]

    def outcomes(self) -> list[Outcome]:
        return outcomes(self.log)


def event(event_number: int = 1, person: Any = "ana", **more: Any) -> dict[str, Any]:
    return {"event_id": f"e{event_number}", "recipient_id": person, "photo": "p", **more}


def nested(levels: int) -> bytes:
    return b'{"recipient_id":"ana","x":' + b"[" * levels + b"]" * levels + b"}"


# ── What comes in ─────────────────────────────────────────────────────────────────────────────


def test_an_event_becomes_an_entry_under_its_persons_key(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(7, text="hi"))
    it.settle()

    (record,) = it.records()
    (entry,) = it.entries()
    assert record.key == b"ana"
    assert (entry.recipient_id, entry.event_id, entry.event["text"]) == ("ana", "e7", "hi")
    assert str(entry.origin) == "social.events:0:0"


def test_a_cloud_event_is_unwrapped(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    data = {"recipient_id": "ana", "photo": "p"}
    it.emit({"specversion": "1.0", "id": "c1", "type": "like", "data": data})
    it.settle()

    (entry,) = it.entries()
    assert (entry.event_id, entry.event["type"], entry.event["photo"]) == ("c1", "like", "p")


BINARY = (("ce_specversion", b"1.0"), ("ce_id", b"c1"), ("ce_type", b"like"))


@pytest.mark.parametrize(
    ("headers", "data", "expected"),
    [
        (BINARY, {}, ("c1", "like")),
        (BINARY, {"event_id": "own", "type": "own type"}, ("own", "own type")),
        (BINARY[:2], {}, ("c1", None)),
        (BINARY[1:], {}, ("social.events:0:0", None)),
    ],
    ids=["stood in for", "the data's own", "without a type", "no cloud event"],
)
def test_a_cloud_event_in_binary_mode_has_its_id_and_type_in_headers(
    tmp_path: Path,
    headers: tuple[tuple[str, bytes], ...],
    data: dict[str, Any],
    expected: tuple[str, str | None],
) -> None:
    it = OneIntake(tmp_path)
    value = json.dumps({"recipient_id": "ana", "photo": "p", **data}).encode()
    it.log.write(Append(SOURCE, None, value, headers, 0))
    it.settle()

    (entry,) = it.entries()
    assert (entry.event_id, entry.event.get("type")) == expected
    assert entry.event["photo"] == "p"


def test_a_cloud_events_header_that_is_no_text_is_a_dead_letter(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    headers = (("ce_specversion", b"1.0"), ("ce_type", b"\xff"))
    it.log.write(Append(SOURCE, None, b'{"recipient_id": "ana"}', headers, 0))
    it.settle()

    assert it.reasons() == ["undecodable"]


def test_an_event_without_an_id_is_called_by_its_coordinates(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    it.emit({"recipient_id": "ana"}, {"recipient_id": "ana", "event_id": "x" * 5_000})
    it.settle()

    assert [entry.event_id for entry in it.entries()] == ["social.events:0:0", "social.events:0:1"]


def test_a_person_is_the_same_by_number_and_by_text(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(1, 42), event(2, "42"))
    it.settle()

    assert [record.key for record in it.records()] == [b"42", b"42"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[1]",
        b"{",
        b'{"recipient_id":"ana","x":"\xff"}',  # no UTF-8, in a field that nobody reads
        b'{"recipient_id":"ana","x":"\\ud800"}',
        b'{"recipient_id":"ana","x":"\x00"}',
        b'{"recipient_id":"ana","photo":' + b"9" * 5_000 + b"}",
        nested(501),
        nested(100_000),
    ],
)
def test_what_is_no_event_goes_to_the_dead_letters_and_its_neighbours_go_on(
    tmp_path: Path, value: bytes | None
) -> None:
    it = OneIntake(tmp_path, "  - filter: exists(photo)\n")
    it.emit(event(1), value, event(2))
    it.settle()

    assert [entry.event_id for entry in it.entries()] == ["e1", "e2"]
    assert it.reasons() == ["undecodable"]
    assert it.letters()[0].value == value
    assert it.committed() == 3


def test_brackets_in_texts_are_no_nesting(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(1, text='\\"[{' * 1_000), nested(490))
    it.settle()

    assert (len(it.entries()), it.reasons()) == (2, [])


@pytest.mark.parametrize("person", [None, "", True, 1.5, ["ana"], "a\x1fb", "x" * 1_025])
def test_what_can_be_nobodys_id_goes_to_the_dead_letters(tmp_path: Path, person: Any) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(1, person), event(2))
    it.settle()

    assert [entry.event_id for entry in it.entries()] == ["e2"]
    assert it.reasons() == ["no_recipient"]


@pytest.mark.parametrize("tenant", ["", "a\x1fb", 1.5])
def test_what_can_be_no_tenant_goes_to_the_dead_letters(tmp_path: Path, tenant: Any) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(1, tenant=tenant), event(2, tenant="shop"))
    it.settle()

    assert [record.key for record in it.records()] == [b"shop\x1fana"]
    assert it.reasons() == ["no_recipient"]


@pytest.mark.parametrize("person", ["\x00", "ana maria", "анна", "👩‍👩‍👧", "a:b#c", "x" * 1_024])
def test_odd_ids_are_ids(tmp_path: Path, person: str) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(1, person))
    it.settle()

    assert [record.key for record in it.records()] == [person.encode()]


def test_an_event_that_no_topic_takes_goes_to_the_dead_letters(tmp_path: Path) -> None:
    it = OneIntake(tmp_path)
    it.emit(event(1, text="x" * 1_000_000), event(2))
    it.settle()

    assert [entry.event_id for entry in it.entries()] == ["e2"]
    assert it.reasons() == ["too_large"]


# ── Logs that have changed under it ───────────────────────────────────────────────────────────


def test_a_source_that_was_made_anew_is_read_and_committed_from_its_beginning(
    tmp_path: Path,
) -> None:
    earliest = HEAD.replace("key: recipient_id", "key: recipient_id, on_out_of_range: earliest")
    it = OneIntake(tmp_path, head=earliest)
    it.emit(event(1), event(2), event(3))
    it.settle()
    it.kill()
    it.log.clear(SOURCE)
    it.emit(event(4))
    for _ in range(2):
        it.start()
        it.settle()
        it.kill()

    assert [entry.event_id for entry in it.entries()] == ["e1", "e2", "e3", "e4"]
    assert it.committed() == 1


def test_a_partition_of_which_nothing_is_read_is_not_committed(tmp_path: Path) -> None:
    it = OneIntake(tmp_path, partitions=2)
    it.emit(event(1))
    it.settle()
    it.unit.stop()

    assert (it.committed(0), it.committed(1)) == (1, None)


# ── Crashes and repeats ───────────────────────────────────────────────────────────────────────


def test_a_fan_out_above_the_cut_makes_entries_that_know_their_way(tmp_path: Path) -> None:
    it = OneIntake(tmp_path, "  - fan_out: [{steps: [set: {n: 1}]}, {steps: [set: {n: 2}]}]\n")
    it.emit(event(1))
    it.settle()

    assert [(entry.event["n"], entry.way) for entry in it.entries()] == [(1, "0."), (2, "1.")]


STEPS = """
  - filter: photo != 'none'
  - dedupe: {by: [photo, partition], within: 1h}
  - split: followers
  - switch:
      cases:
        - when: photo < 'm'
          steps: [set: {half: "'first'"}]
        - when: photo > 'm'
          steps: [set: {half: "'second'"}, filter: recipient_id != 'bob']
  - fan_out:
      - steps: [set: {way: 1}]
      - when: len(photo) > 2
        steps: [set: {way: 2}]
"""
NAMES = st.sampled_from(["ana", "bob", "eve"])
PHOTOS = st.sampled_from(["a", "bbb", "m", "none", "x", "zzz"])
POSTS = st.lists(
    st.tuples(st.lists(NAMES, max_size=4), PHOTOS, st.integers(0, 1)), min_size=1, max_size=40
)


def played(
    posts: list[tuple[list[str], str, int]], batch: int, kills: frozenset[int], folder: Path
) -> tuple[set[bytes], set[bytes]]:
    """Entries and outcomes of an intake that is killed before these turns.

    A bucket of the keyed part, played beside, counts each entry once, in the order of the stamps.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "BATCH", batch)
        patch.setattr(split_module, "AT_ONCE", 3)
        it = OneIntake(folder, STEPS, partitions=2)
        for number, (followers, photo, partition) in enumerate(posts):
            it.clock.advance(7)
            it.emit(
                {
                    "event_id": f"e{number}",
                    "followers": followers,
                    "photo": photo,
                    "partition": partition,
                },
                partition=partition,
            )
        for turn_ in range(60):
            if turn_ in kills:
                it.kill()
                it.start()
            it.turn()
        it.settle()
    assert it.letters() == []
    marks: dict[int, tuple[int, int]] = {}
    counted = set()
    for record in it.records():
        entry = decode_entry(record.value or b"")
        stamp = (entry.origin.offset, entry.origin.index)
        if stamp > marks.get(entry.origin.partition, (-1, 0)):
            marks[entry.origin.partition] = stamp
            counted.add(record.value or b"")
    assert counted == {record.value for record in it.records()}
    said = {record.value or b"" for record in engine.records(it.log, "notif_events")}
    assert len({decode_outcome(value).outcome_id for value in said}) == len(said)
    return counted, said


@given(posts=POSTS, batch=st.integers(1, 9), kills=st.frozensets(st.integers(1, 20), max_size=4))
@settings(max_examples=25)
def test_the_same_entries_are_written_however_the_source_is_cut(
    posts: list[tuple[list[str], str, int]], batch: int, kills: frozenset[int]
) -> None:
    with TemporaryDirectory() as folder:
        at_once = played(posts, 1_000, frozenset(), Path(folder))
    with TemporaryDirectory() as folder:
        assert played(posts, batch, kills, Path(folder)) == at_once


def test_a_second_try_of_a_record_passes_its_own_claim(tmp_path: Path) -> None:
    it = OneIntake(tmp_path, "  - dedupe: {by: event_id, within: 1h}\n", partitions=2)
    it.emit(event(1))
    it.emit(event(1), partition=1)
    it.log.stuck = {ENTRIES}
    it.settle()
    it.kill()  # both are claimed, and nothing of it is written
    it.log.stuck = ()
    it.start()
    it.settle()

    assert [entry.event_id for entry in it.entries()] == ["e1"]
    assert {one.reason for one in it.outcomes()} == {"duplicate"}
