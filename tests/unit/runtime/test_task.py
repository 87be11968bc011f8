"""A task: entries that are none, time, markers, and the order in which buckets are saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.one_flow import DELIVERIES, NOW, SLOT, OneFlow
from tidings.ports import Suppression
from tidings.records import Entry, Origin, encode
from tidings.runtime import keyed
from tidings.settings import Settings

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
        # it could be read here, and not be written where the stack is deeper
        (
            b"ana",
            entry_of("ana", event=b'{"photo":' + b"[" * 600 + b"]" * 600 + b"}"),
            "undecodable",
        ),
        # state is kept as msgpack, whose numbers have 64 bits
        (b"ana", entry_of("ana").replace(b",1000,", b",1" + b"0" * 30 + b","), "undecodable"),
        (b"ana", entry_of("ana").replace(b",1000,", b",-1,"), "undecodable"),
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


# ── Time ──────────────────────────────────────────────────────────────────────────────────────


def markers(flow: OneFlow) -> int:
    """How many markers there are."""
    span = flow.log.span(SLOT)
    return sum(record.value is None for record in flow.log.between(SLOT, *span))


def test_a_quiet_partition_gets_one_marker_for_a_deadline_and_decides_at_the_deadline(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path)
    flow.enter("ana", {"photo": "p"}, id="e1")
    for _ in range(300):
        flow.clock.advance(10)
        flow.turn()

    (outcome,) = flow.outcomes()
    assert (outcome.at, markers(flow)) == (NOW + 1_000, 1)


def test_the_next_deadline_gets_its_marker_as_soon_as_the_one_before_was_read(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.clock.advance(300)
    flow.enter("ana", {"photo": "q"}, id="e2")
    for _ in range(110):  # till 1,400 ms after the start, 100 after the second deadline
        flow.clock.advance(10)
        flow.turn()

    assert [(one.members, one.at) for one in flow.outcomes()] == [
        (("e1",), NOW + 1_000),
        (("e2",), NOW + 1_300),
    ]


TWO_WINDOWS = """
  - switch:
      cases:
        - name: slow
          when: photo == 'slow'
          steps: [{digest: {by: [photo], window: 1h, keep: last 0}}]
      else:
        - digest: {by: [photo], window: 1s, keep: last 0}
  - deliver: {to: push, template: t}
"""


def test_a_deadline_that_is_far_off_holds_up_no_nearer_one_that_comes_later(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, TWO_WINDOWS)
    flow.enter("ana", {"photo": "slow"}, id="e1")
    flow.enter("ana", {"photo": "quick"}, id="e2")
    flow.settle()
    flow.pass_time(1_000)
    flow.enter("ana", {"photo": "quick"}, id="e3")
    flow.settle()
    opened = flow.clock.now()
    flow.pass_time(1_000)

    assert flow.members() == [("e2",), ("e3",)]
    assert flow.outcomes()[1].at <= opened + 1_000


def test_a_marker_that_did_not_come_back_is_written_again(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.settle()
    flow.clock.advance(1_100)
    flow.turn()
    flow.producer.die()
    flow.pass_time(1_000)

    assert flow.members() == [("e1",)]


@pytest.mark.parametrize("behind", [-500, 500, 5_000])
def test_a_log_whose_clock_is_wrong_is_not_flooded_with_markers(
    tmp_path: Path, behind: int
) -> None:
    flow = OneFlow(tmp_path)
    flow.log.clock = lambda: flow.clock.now() - behind
    for number in range(3):
        flow.enter("ana", {"photo": f"p{number}"}, id=f"e{number}")
        flow.clock.advance(300)
    for _ in range(800):
        flow.clock.advance(10)
        flow.turn()

    opened = NOW - behind
    assert [one.at - opened for one in flow.outcomes()] == [1_000, 1_300, 1_600]
    assert markers(flow) <= 2 * 3 + behind // 1_000


def test_what_a_deadline_lets_go_is_for_the_person_of_its_tenant(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path)
    for tenant in ("default", "acme"):
        flow.enter("ana", {"photo": "p"}, id=f"of-{tenant}", tenant=tenant)
    flow.settle()
    flow.pass_time(1_000)

    told = {(one.tenant, one.recipient_id, one.members) for one in flow.outcomes()}
    assert told == {("default", "ana", ("of-default",)), ("acme", "ana", ("of-acme",))}
    assert {one.tenant for one in flow.deliveries()} == {"default", "acme"}


HELD = """
  - digest: {by: [photo], window: 1s, keep: last 0}
  - hold: {delay: 10s}
  - deliver: {to: push, template: t}
"""


def test_a_far_deadline_set_at_a_nearer_one_holds_up_none_between_them(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, HELD)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.clock.advance(500)
    flow.enter("ana", {"photo": "q"}, id="e2")
    flow.settle()
    flow.pass_time(20_000)

    assert [(one.kind, one.members, one.at - NOW) for one in flow.outcomes()] == [
        ("deferred", ("e1",), 1_000),
        ("deferred", ("e2",), 1_500),
        ("queued", ("e1",), 11_000),
        ("queued", ("e2",), 11_500),
    ]


@pytest.mark.parametrize("late", [999, 1_000, 1_001])
def test_what_comes_at_the_very_deadline_is_too_late(tmp_path: Path, late: int) -> None:
    flow = OneFlow(tmp_path)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.clock.advance(late)
    flow.enter("ana", {"photo": "p"}, id="e2")
    flow.settle()
    flow.pass_time(1_000)

    together = [("e1", "e2")]
    assert flow.members() == (together if late < 1_000 else [("e1",), ("e2",)])


def test_time_never_goes_back(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.log.clock = lambda: NOW - 700  # a broker whose clock is behind leads now
    flow.enter("ana", {"photo": "q"}, id="e2")
    flow.log.clock = flow.clock
    flow.settle()
    flow.pass_time(1_000)

    assert [(one.members, one.at) for one in flow.outcomes()] == [
        (("e1",), NOW + 1_000),
        (("e2",), NOW + 1_000),
    ]


CONSENT = """
  - digest: {by: [photo], window: 1s, keep: last 0}
  - consent: {category: social}
  - deliver: {to: push, template: t}
"""


@pytest.mark.parametrize("work", [1, 300])
@pytest.mark.parametrize(("until", "kind"), [(999, "queued"), (5_000, "suppressed")])
def test_what_is_asked_behind_it_is_asked_as_of_the_logs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: int, until: int, kind: str
) -> None:
    monkeypatch.setattr(keyed, "WORK", work)  # with 1, each deadline is a batch of its own
    flow = OneFlow(tmp_path)
    settings = Settings.model_validate({"categories": {"social": {}}, "state": {"buckets": 2}})
    flow._ground = replace(flow._ground, settings=settings)
    gone = Suppression(channel="push", address="token", reason="gone", until=NOW + until)
    flow._ground.io.suppressions.add("default", gone)
    flow.stop()
    flow.start(CONSENT)
    for photo in ("p", "q"):
        flow.enter("ana", {"photo": photo})
    flow.settle()
    flow.pass_time(1_000)

    assert [one.kind for one in flow.outcomes()] == [kind, kind]


# ── Work ──────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_takes_no_more_entries_than_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "WORK", 3)
    flow = OneFlow(tmp_path)
    flow.settle()
    for _ in range(7):
        flow.enter("ana", {"photo": "p"})
    positions = []
    for _ in range(3):
        flow.turn()
        positions.append(flow.task().position.offset)

    assert positions == [3, 6, 7]


def test_a_deadline_counts_as_two_entries_and_the_entry_behind_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = OneFlow(tmp_path)
    for number in range(5):
        flow.enter(f"person{number}", {"photo": "p"})
    flow.settle()
    monkeypatch.setattr(keyed, "WORK", 4)
    flow.clock.advance(2_000)
    flow.enter("ana", {"photo": "p"})
    places = []
    for _ in range(3):
        flow.turn()
        cells = [cell for bucket in flow.task().buckets for cell in bucket.hot.values()]
        places.append((sum(cell.act_at > 0 for cell in cells), *flow.task().position[::2]))

    # open windows, the last of them ana's; offset, and how often it began with what is before that
    assert places == [(3, 5, 1), (1, 5, 2), (1, 6, 0)]


def test_between_two_deadlines_of_one_record_nothing_is_saved_that_is_not_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = OneFlow(tmp_path)
    for number in range(6):
        flow.enter(f"person{number}", {"photo": "p"}, id=f"e{number}")
    flow.settle()
    monkeypatch.setattr(keyed, "WORK", 1)
    flow.log.stuck = {DELIVERIES, "notif_events"}
    flow.clock.advance(2_000)
    flow.enter("ana", {"photo": "p"}, id="last")
    for _ in range(4):
        flow.turn()
        flow.clock.advance(1_000)  # enough to save all there is
    flow.kill()
    flow.log.stuck = ()
    flow.start()
    flow.settle()
    flow.pass_time(1_000)

    assert sorted(flow.members()) == [*[(f"e{n}",) for n in range(6)], ("last",)]


# ── At rest ───────────────────────────────────────────────────────────────────────────────────


def test_buckets_are_saved_oldest_first_however_short_a_process_lives(tmp_path: Path) -> None:
    people = ["ana", "bob", "eve", "carl", "dora", "finn", "gil", "hugo"]
    flow = OneFlow(tmp_path, buckets=4, save_rate=10_000)  # one save in a life, at this rate
    for _ in range(4):
        for person in people:
            flow.enter(person, {"photo": "p"})
        flow.settle()
        flow.clock.advance(300)
        flow.settle()
        flow.kill()
        flow.start()
        flow.settle()

    assert all(bucket.version for bucket in flow.task().buckets)


def test_a_person_of_whom_nothing_is_open_is_forgotten(tmp_path: Path) -> None:
    flow = OneFlow(
        tmp_path, "\n  - limit: {at_most: 1, within: 10s}\n  - deliver: {to: push, template: t}\n"
    )
    flow.enter("ana", {})
    flow.pass_time(0)
    assert people(flow) == {b"ana"}
    flow.clock.advance(10_000)
    flow.enter("bob", {})
    flow.enter("eve", {})
    flow.settle()
    flow.stop()
    flow.start()
    flow.settle()

    assert people(flow) == {b"bob", b"eve"}


def people(flow: OneFlow) -> set[bytes]:
    """Of whom there is state."""
    return {key for bucket in flow.task().buckets for key in (*bucket.states, *bucket.hot)}


def test_people_beyond_those_in_use_are_put_to_rest_and_lose_nothing(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, save_rate=10_000)
    flow.settle()
    flow.task().people.most_hot = 4
    for number in range(40):
        flow.enter(f"person{number % 20}", {"photo": "p"}, id=f"e{number}")
        flow.turn()
        hot = sum(len(bucket.hot) for bucket in flow.task().buckets)
        assert hot == min(number + 1, 4)
    flow.pass_time(1_000)

    assert sorted(flow.members()) == sorted((f"e{n}", f"e{n + 20}") for n in range(20))
