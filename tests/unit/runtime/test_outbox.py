"""What a flow has decided stays decided, though it is killed and the world changes meanwhile."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests import engine
from tests.engine import PHONE, plan_of
from tests.unit.runtime.one_flow import DELIVERIES, SLOT, STATE, OneFlow
from tests.unit.runtime.world import ENTRIES, TOPICS, World
from tidings.log.port import Record, Slot
from tidings.plan import FlowPlan
from tidings.ports import Address, Person, Profile
from tidings.records import Origin, decode_delivery, decode_entry
from tidings.runtime import keyed, outbox
from tidings.runtime.outbox import OUT, Outbox

EMAIL = "deliveries.email.normal"
PASS = "limit: {at_most: 100, within: 1h}"
STEPS = f"\n  - {PASS}\n  - deliver: {{first_of: [push, email], template: t}}\n"
BY_MAIL = Profile(addresses=(Address(kind="email", value="ana@example.com"),))
NOBODY = Profile()


def flow_of(folder: Path, profile: Profile = PHONE, steps: str = STEPS) -> OneFlow:
    """A flow whose people can be reached like that."""
    flow = OneFlow(folder, steps)
    flow.log.partitions[EMAIL] = 1
    reach(flow, profile)
    return flow


def reach(flow: OneFlow, profile: Profile) -> None:
    """From now on everybody can be reached like that."""
    flow.people.profile = lambda person: profile


def dies(flow: OneFlow, *stuck: str) -> None:
    """An event is decided and the process killed while these topics confirm nothing."""
    flow.log.stuck = set(stuck)
    flow.enter("ana", {}, id="e1")
    flow.settle()
    flow.kill()


def again(flow: OneFlow) -> None:
    """Another process takes over."""
    flow.log.stuck = ()
    flow.start()
    flow.settle()
    flow.wait()


def told(flow: OneFlow) -> list[tuple[str, str, str]]:
    """Each decision once: kind, channel, reason."""
    found = {one.outcome_id: one for one in flow.outcomes()}
    return [(str(one.kind), one.channel, one.reason) for one in found.values()]


def sent(flow: OneFlow) -> list[str]:
    """The channels of what has gone out, repeats included."""
    return [
        decode_delivery(record.value or b"").channel
        for topic in (DELIVERIES, EMAIL)
        for record in engine.records(flow.log, topic)
    ]


QUEUED = ("queued", "push", "")


@pytest.mark.parametrize("stuck", [{"notif_events"}, {DELIVERIES}, {DELIVERIES, "notif_events"}])
def test_who_can_not_be_reached_any_more_was_reached(tmp_path: Path, stuck: set[str]) -> None:
    flow = flow_of(tmp_path)
    dies(flow, *stuck)
    reach(flow, NOBODY)
    again(flow)

    assert told(flow) == [QUEUED]
    assert set(sent(flow)) == {"push"}
    assert flow.committed() == 1


def test_who_has_a_phone_by_now_was_written_to_by_mail(tmp_path: Path) -> None:
    flow = flow_of(tmp_path, BY_MAIL)
    dies(flow, "notif_events")
    assert sent(flow) == ["email"]
    reach(flow, PHONE)
    again(flow)

    assert told(flow) == [("queued", "email", "")]
    assert set(sent(flow)) == {"email"}


def test_who_could_not_be_reached_stays_so_for_the_flow_that_waits(tmp_path: Path) -> None:
    rounds = "escalate: {rounds: [{channel: push}, {channel: email, after: 5m}], until: opened}"
    flow = flow_of(tmp_path, NOBODY, f"\n  - {rounds}\n  - deliver: {{template: t}}\n")
    dies(flow, "notif_events")
    reach(flow, PHONE)
    again(flow)

    first = [one for one in flow.outcomes() if not one.round]
    assert {(str(one.kind), one.reason) for one in first} == {("suppressed", "unreachable")}


def test_what_was_not_written_down_has_not_gone_out_and_is_decided_anew(tmp_path: Path) -> None:
    flow = flow_of(tmp_path)
    dies(flow, STATE)
    assert not sent(flow)
    assert not flow.outcomes()
    reach(flow, NOBODY)
    again(flow)

    assert told(flow) == [("suppressed", "", "unreachable")]


def test_nobody_is_asked_about_what_is_written_down(tmp_path: Path) -> None:
    flow = flow_of(tmp_path)
    dies(flow, "notif_events")
    asked = flow.people.asked
    again(flow)
    assert flow.people.asked == asked

    flow.enter("ana", {}, id="e2")
    flow.settle()
    assert flow.people.asked == asked + 1


def test_a_kill_within_a_replay_changes_nothing(tmp_path: Path) -> None:
    flow = flow_of(tmp_path)
    flow.log.stuck = {"notif_events"}
    for number in range(3):
        flow.enter("ana", {}, id=f"e{number}")
        flow.settle()
    flow.kill()
    for profile in (NOBODY, BY_MAIL):
        reach(flow, profile)
        flow.log.stuck = {"notif_events"}
        flow.start()
        flow.enter("ana", {})
        flow.settle()
        flow.kill()
    again(flow)

    assert sorted(told(flow)) == [
        ("queued", "email", ""),
        *[QUEUED] * 3,
        ("suppressed", "", "unreachable"),
    ]
    assert sorted(set(sent(flow))) == ["email", "push"]


def test_places_are_used_again_when_a_later_envelope_vouches_for_what_was_in_them(
    tmp_path: Path,
) -> None:
    flow = flow_of(tmp_path)
    for _ in range(20):
        flow.enter("ana", {})
        flow.wait()
    keys = {one.key for one in engine.records(flow.log, STATE) if (one.key or b"").startswith(OUT)}
    assert len(keys) <= 3  # an opening, and two that take turns

    flow.kill()
    flow.group.positions[SLOT] = flow.group.positions[SLOT]._replace(offset=5)  # an old commit
    reach(flow, NOBODY)
    again(flow)
    assert set(told(flow)) == {QUEUED}


def test_a_partition_that_is_gone_says_nothing_more(tmp_path: Path) -> None:
    flow = flow_of(tmp_path)
    flow.log.stuck = {STATE}
    flow.enter("ana", {}, id="e1")
    flow.settle()
    flow.group.evict(flow.consumer)
    flow.turn(2)
    flow.log.stuck = ()
    flow.turn(5)

    assert not sent(flow)
    assert not flow.outcomes()


def test_a_process_that_stops_before_its_partition_is_open_lets_it_be(tmp_path: Path) -> None:
    flow = flow_of(tmp_path)
    flow.enter("ana", {}, id="e1")
    flow.kill()
    flow.log.stuck = {STATE}
    flow.start()
    flow.turn(2)  # it is given the partition, and its opening is not confirmed
    flow.unit.stop()
    flow.log.stuck = ()
    flow.turn(3)
    assert flow.unit.drained()
    flow.unit.close()
    assert not sent(flow)

    again(flow)
    assert told(flow) == [QUEUED]


def test_what_the_batches_of_one_reading_come_to_is_written_down_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "WORK", 1)  # entries of a batch
    flow = flow_of(tmp_path)
    for number in range(3):
        flow.enter("ana", {}, id=f"e{number}")
    flow.settle()

    keys = [record.key or b"" for record in engine.records(flow.log, STATE)]
    assert len([key for key in keys if key.startswith(OUT) and key.count(b".") == 2]) == 1
    assert sent(flow) == ["push"] * 3


def test_an_envelope_larger_than_a_record_is_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PIECE", 100)
    flow = flow_of(tmp_path)
    dies(flow, "notif_events")
    reach(flow, NOBODY)
    again(flow)
    assert told(flow) == [QUEUED]


def test_of_an_envelope_that_is_not_whole_nothing_has_gone_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PIECE", 100)
    flow = flow_of(tmp_path)
    flow.log.refuses = lambda one: "no" if (one.key or b"").endswith(b".2") else None
    flow.enter("ana", {}, id="e1")
    flow.settle()
    assert sent(flow) == []
    flow.kill()
    flow.log.refuses = lambda one: None
    reach(flow, NOBODY)
    again(flow)
    assert told(flow) == [("suppressed", "", "unreachable")]


def test_entries_that_were_made_anew_owe_nothing_to_the_old_ones(tmp_path: Path) -> None:
    source = "{topic: social.events, key: recipient_id, on_out_of_range: earliest}"
    flow = OneFlow(
        tmp_path, f"\n  - {PASS}\n  - deliver: {{to: push, template: t}}\n", source=source
    )
    for _ in range(5):
        flow.enter("ana", {})
        flow.wait()
    flow.kill()
    flow.log.clear(ENTRIES)
    for number in range(2):
        flow.enter("ana", {}, id=f"new{number}", origin=Origin("anew", 0, number))
    again(flow)
    flow.kill()
    for number in range(2, 6):
        flow.enter("ana", {}, id=f"new{number}", origin=Origin("anew", 0, number))
    again(flow)

    assert flow.members()[5:] == [(f"new{number}",) for number in range(6)]


def test_a_strange_format_is_refused() -> None:
    box = Outbox(Slot(STATE, 0), "one")
    [sealed] = box.seal([], [], 5, 3)
    value = (sealed.value or b"").replace(b"\x97\x01", b"\x97\x07", 1)
    box.find(Record(STATE, 0, 0, 0, sealed.key, value))
    with pytest.raises(ValueError, match="format 7; expected 1"):
        box.confirmed(0)


# ── At random ─────────────────────────────────────────────────────────────────────────────────


class Fickle(World):
    """People come and go while processes are killed, stopped, frozen and dealt other partitions."""

    topics: ClassVar = {**TOPICS, EMAIL: 1}

    def plan(self) -> FlowPlan:
        plan = plan_of(self.folder, FICKLE)
        assert isinstance(plan, FlowPlan)
        return plan

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        super().__init__(folder, seed, processes=1 + seed % 3)

    def profile(self, person: Person) -> Profile:
        return self.random.choice([PHONE, BY_MAIL, NOBODY])


FICKLE = """
flow: social
source: {topic: social.events, key: recipient_id}
steps:
  - switch:
      cases:
        - name: likes
          when: type == 'like'
          steps:
            - digest: {by: [photo], window: 1s, max_items: 6}
  - consent: {category: social}
  - deliver: {first_of: [push, email], template: t}
"""


@pytest.mark.parametrize("seed", range(20))
def test_each_item_is_decided_once_whatever_happens(tmp_path: Path, seed: int) -> None:
    world = Fickle(tmp_path, seed)
    for _ in range(150):
        world.step()
    world.finish()

    decided: dict[Any, set[Any]] = defaultdict(set)
    for one in engine.outcomes(world.log):
        decided[one.recipient_id, one.members].add((one.kind, one.channel, one.outcome_id))
    assert decided
    assert {key: found for key, found in decided.items() if len(found) > 1} == {}
    assert covered(world) == entered(world)
    went: dict[str, set[str]] = defaultdict(set)
    for topic in (DELIVERIES, EMAIL):
        for record in engine.records(world.log, topic):
            delivery = decode_delivery(record.value or b"")
            went[delivery.notif_id].add(delivery.channel)
    assert {len(channels) for channels in went.values()} == {1}


def covered(world: World) -> list[str]:
    """The events that decisions cover."""
    found = {one.outcome_id: one for one in engine.outcomes(world.log)}
    return sorted(member for one in found.values() for member in one.members)


def entered(world: World) -> list[str]:
    """The events that have come in, those that a dead intake has repeated once."""
    records = engine.records(world.log, ENTRIES)
    entries = [decode_entry(record.value) for record in records if record.value is not None]
    return sorted({entry.event_id for entry in entries})
