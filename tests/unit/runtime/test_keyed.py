"""The keyed part as a member: what it restores, replays, saves and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import engine
from tests.unit.runtime.one_flow import DELIVERIES, DIGEST, ENTRIES, SLOT, STATE, OneFlow
from tidings.log.port import OutOfRangeError, Slot
from tidings.records import Origin
from tidings.runtime import keyed, member, rotation
from tidings.runtime.people import HOT

NOTES = "\n  - limit: {at_most: 100, within: 1h}\n  - deliver: {to: push, template: t}\n"
ONCE = "\n  - limit: {at_most: 1, within: 1h}\n  - deliver: {to: push, template: t}\n"
LIMIT = "\n  - {id: %s, limit: {at_most: 100, within: 1h}}"
EARLIEST = "{topic: social.events, key: recipient_id, on_out_of_range: earliest}"


# ── Replay ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("work", [1, 10_000])
def test_a_batch_across_the_committed_offset_is_muted_up_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: int
) -> None:
    monkeypatch.setattr(keyed, "WORK", work)
    flow = OneFlow(tmp_path, NOTES)
    for number in range(4):
        flow.enter("ana", {}, id=f"e{number}")
    flow.pass_time(300)
    assert flow.committed() == 4
    flow.kill()
    flow.log.clear(STATE)  # so that all is replayed
    for number in range(4, 9):
        flow.enter("ana", {}, id=f"e{number}")
    flow.start()
    flow.turn()  # reads all nine
    flow.settle()

    assert flow.members() == [(f"e{number}",) for number in range(9)]


def test_state_is_not_saved_before_what_it_has_seen_is_confirmed(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    flow.enter("ana", {"photo": "p"}, id="e1")
    flow.wait()
    flow.log.stuck = {DELIVERIES, "notif_events"}
    flow.enter("ana", {"photo": "p"}, id="e2")
    flow.pass_time(1_000)
    flow.enter("ana", {"photo": "q"}, id="e3")
    flow.pass_time(1_000)
    flow.kill()
    flow.log.stuck = ()
    flow.start()
    flow.settle()
    flow.pass_time(1_000)

    assert flow.members() == [("e1", "e2"), ("e3",)]


def test_nothing_is_saved_during_a_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = OneFlow(tmp_path, NOTES, save_rate=10_000)
    for _ in range(20):
        flow.enter("ana", {})
        flow.enter("eve", {})
    flow.pass_time(300)
    flow.kill()
    flow.log.clear(STATE)
    monkeypatch.setattr(member, "BATCH", 10)
    flow.start()
    flow.turn()
    opened = 1  # the outbox is opened, and nothing is written beside that
    for position in (10, 20, 30):
        flow.clock.advance(300)
        flow.turn()
        assert flow.task().position.offset == position
        assert not flow.task()._waiting
        assert flow.log.span(Slot(STATE, 0)).end == opened
    flow.turn(3)
    flow.pass_time(300)
    assert flow.log.span(Slot(STATE, 0)).end > opened


@pytest.mark.parametrize(
    ("debt", "busy", "saved"),
    [(10, False, 2), (1_000, False, 1), (10, True, 1)],
    ids=["much to replay", "little", "no time for it"],
)
def test_more_is_spent_on_saving_while_there_is_too_much_to_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debt: int, busy: bool, saved: int
) -> None:
    monkeypatch.setattr(rotation, "DEBT", debt)
    monkeypatch.setattr(keyed, "BATCH", 0 if busy else 1_000)
    flow = OneFlow(tmp_path, NOTES, save_rate=100_000)  # 0.65 s for a bucket
    for number in range(12):
        flow.enter(f"person-{number}", {})
    flow.settle()
    flow.wait(200)
    for number in range(12):
        flow.enter(f"person-{number}", {})
    flow.settle()
    flow.wait()  # what it has encoded is written when its past is confirmed

    written = engine.records(flow.log, STATE)
    assert len([one for one in written if (one.key or b"").isdigit()]) == saved


def test_each_bucket_goes_on_from_its_own_blob(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST, save_rate=10_000)  # saves one of the two buckets
    flow.enter("ana", {"photo": "p"}, id="a1")
    flow.enter("eve", {"photo": "p"}, id="e1")
    flow.wait()
    flow.enter("ana", {"photo": "p"}, id="a2", origin=Origin("repair", 0, 0))
    flow.enter("eve", {"photo": "p"}, id="e2", origin=Origin("repair", 0, 1))
    flow.wait()
    flow.kill()
    flow.start()
    flow.settle()
    assert len({bucket.covered for bucket in flow.task().buckets}) == 2
    flow.pass_time(1_000)

    assert sorted(flow.members()) == [("a1", "a2"), ("e1", "e2")]


def test_what_a_bucket_has_seen_is_passed_over_though_another_needs_it(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST, save_rate=10_000)  # saves one of the two buckets
    flow.raw(b"ana", b"no entry")
    flow.enter("ana", {"photo": "p"})
    flow.wait()
    flow.enter("eve", {"photo": "p"})
    flow.wait()
    flow.kill()
    flow.group.positions.clear()  # nothing is muted
    flow.start()
    flow.settle()

    assert {bucket.seen for bucket in flow.task().buckets} == {0, 2}
    assert flow.reasons() == ["undecodable"]


# ── Ways ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("behind", ["", LIMIT % "second"], ids=["behind the chain", "in it"])
def test_what_a_fan_out_makes_for_one_deliver_are_two_notifications(
    tmp_path: Path, behind: str
) -> None:
    ways = "\n  - fan_out: [{steps: [set: {n: 1}]}, {steps: [set: {n: 2}]}]"
    steps = LIMIT % "first" + ways + behind
    flow = OneFlow(tmp_path, f"{steps}\n  - deliver: {{to: push, template: t}}\n")
    flow.enter("ana", {}, id="e1")
    flow.wait()
    first = {each.notif_id for each in flow.deliveries()}
    flow.kill()
    flow.log.clear(STATE)
    flow.group.positions.clear()  # all of it is done again
    flow.start()
    flow.settle()

    assert len(first) == 2
    assert len(flow.deliveries()) == 4
    assert {each.notif_id for each in flow.deliveries()} == first


def test_entries_of_one_event_that_came_several_ways_are_several_notifications(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path, NOTES)
    for index, way in enumerate(["0.", "1."]):
        flow.enter("ana", {}, id="e1", way=way, origin=Origin("social.events", 0, 0, index))
    flow.wait()

    assert len({each.notif_id for each in flow.deliveries()}) == 2


# ── Coming and going ──────────────────────────────────────────────────────────────────────────


def test_a_partition_is_handed_over_with_nothing_to_replay(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST, buckets=4, save_rate=10_000)
    for person in ("ana", "bob", "eve", "carl", "dora", "finn", "gil", "hugo"):
        flow.enter(person, {"photo": "p"})
    flow.settle()
    for offset in (8, 9):  # the second time all buckets but one are as they were
        flow.stop()
        assert flow.committed() == offset
        flow.start()
        flow.turn()
        assert flow.task().position.offset == offset
        assert {bucket.covered.offset for bucket in flow.task().buckets} == {offset}
        flow.enter("ana", {"photo": "p"})
        flow.settle()
    flow.pass_time(1_000)

    assert sorted(len(members) for members in flow.members()) == [1] * 7 + [3]


def test_a_partition_is_handed_over_between_two_deadlines_of_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    for number in range(6):
        flow.enter(f"person{number}", {"photo": "p"}, id=f"e{number}")
    flow.settle()
    monkeypatch.setattr(keyed, "WORK", 1)
    flow.clock.advance(2_000)
    flow.enter("ana", {"photo": "p"}, id="last")
    flow.turn(4)
    assert (flow.task().position.offset, flow.task().position.turn) == (6, 4)
    flow.stop()
    assert len(flow.members()) == 4
    flow.start()
    flow.settle()
    flow.pass_time(1_000)

    assert sorted(flow.members()) == [*[(f"e{n}",) for n in range(6)], ("last",)]


def test_a_partition_with_a_batch_in_hand_is_handed_over_as_it_was_before(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path, ONCE)
    flow.people.away = True
    flow.enter("ana", {}, id="e1")
    flow.settle()
    flow.stop()
    assert flow.committed() == 0
    flow.people.away = False
    flow.start()
    flow.settle()

    assert [(one.members, one.kind) for one in flow.outcomes()] == [(("e1",), "queued")]


def test_partitions_share_what_a_process_keeps_decoded(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, ONCE, partitions=2)
    flow.turn()
    shares = [flow.task(number).people.most_hot for number in range(2)]
    flow.group.share({SLOT: flow.consumer})  # the other one goes elsewhere
    flow.turn()

    assert (shares, flow.task().people.most_hot) == ([HOT // 2] * 2, HOT)


def test_a_partition_that_is_lost_takes_nothing_along(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, ONCE)
    flow.enter("ana", {}, id="e1")
    flow.turn(4)  # it is out, and not committed
    ends = flow.log.span(Slot(STATE, 0)), flow.committed()
    flow.group.evict(flow.consumer)
    flow.turn()

    assert (flow.log.span(Slot(STATE, 0)), flow.committed()) == ends
    assert not flow.unit._tasks


# ── Logs that have changed under it ───────────────────────────────────────────────────────────


def test_entries_that_the_state_needs_and_that_are_gone_are_an_error(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES, save_rate=10_000)
    for _ in range(5):
        flow.enter("ana", {})
        flow.enter("bob", {})
        flow.pass_time(0)
    flow.kill()
    flow.log.expire(SLOT, 9)
    flow.start()

    with pytest.raises(OutOfRangeError, match=r"entries are gone.*on_out_of_range: earliest"):
        flow.turn()


def test_a_flow_that_was_never_saved_begins_where_the_log_does(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    for number in range(5):
        flow.enter("ana", {}, id=f"e{number}")
    flow.log.expire(SLOT, 3)
    flow.settle()

    assert flow.members() == [("e3",), ("e4",)]


@pytest.mark.parametrize("gone", ["entries", "state too", "positions too"])
def test_a_topic_that_was_made_anew_is_an_error_and_no_silence(tmp_path: Path, gone: str) -> None:
    flow = OneFlow(tmp_path, NOTES)
    for _ in range(5):
        flow.enter("ana", {})
    flow.pass_time(300)
    flow.stop()
    flow.log.clear(ENTRIES)
    if gone == "state too":
        flow.log.clear(STATE)
    elif gone == "positions too":
        flow.group.positions.clear()
    flow.start()

    with pytest.raises(OutOfRangeError, match=r"made anew.*on_out_of_range: earliest"):
        flow.turn()


@pytest.mark.parametrize("state_too", [False, True])
def test_a_topic_that_was_made_anew_is_read_from_its_beginning_where_that_is_wanted(
    tmp_path: Path, state_too: bool
) -> None:
    flow = OneFlow(tmp_path, NOTES, source=EARLIEST)
    for number in range(5):
        flow.enter("ana" if number % 2 else "eve", {}, id=f"old{number}")  # of two buckets
    flow.pass_time(300)
    flow.stop()
    flow.log.clear(ENTRIES)
    if state_too:
        flow.log.clear(STATE)
    for number in range(3):
        flow.enter("ana", {}, id=f"new{number}")
    for _ in range(2):  # of eve there is nothing new, and her state is of the old topic
        flow.start()
        flow.settle()
        flow.pass_time(300)
        flow.stop()

    assert flow.members()[5:] == [("new0",), ("new1",), ("new2",)]
    assert flow.committed() == 3
