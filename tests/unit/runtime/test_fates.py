"""A flow of one hop that was killed decides in its replay as it did, though people have changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from tests import engine
from tests.engine import outcomes, turn
from tests.unit.runtime.one_flow import FlakyPeople
from tests.unit.runtime.one_intake import PaperIntake
from tidings.operators import split as split_module
from tidings.ports import Address, Person, Profile
from tidings.records import Delivery, decode_delivery
from tidings.runtime import fates

SOURCE, LETTERS = "orders.events", "notif_dlq.flow"
PHONE = Address(kind="device", value="a phone")
MAILBOX = Address(kind="email", value="ana@example.com")
STEPS = """
  - consent: {category: orders}
  - deliver: {first_of: [push, email], template: t}
"""
SPLIT = """
  - split: {over: people, as: recipient_id}
  - deliver: {first_of: [push, email], template: t}
"""
CATEGORIES: dict[str, Any] = {"orders": {}}


class OneHop(PaperIntake):
    """The flow ``orders`` of these steps, on one partition, turned by hand; everybody has a phone
    until that is said otherwise."""

    def __init__(self, folder: Path, steps: str = STEPS) -> None:
        self.people = FlakyPeople(lambda person: Profile(addresses=(PHONE,)))
        out = ["deliveries.push.normal", "deliveries.email.normal", "notif_events", LETTERS]
        head = f"flow: orders\nsource: {{topic: {SOURCE}, key: recipient_id}}\nsteps:"
        topics = dict.fromkeys([SOURCE, *out], 1)
        ports = {"people": self.people}
        super().__init__(folder, head + steps, topics, ports, categories=CATEGORIES)

    def settle(self, *, passed: int = 0) -> None:
        self.clock.advance(passed)
        for _ in range(5):
            self.clock.advance(300)
            while turn(self.unit):
                pass

    def deliveries(self, channel: str) -> list[Delivery]:
        records = engine.records(self.log, f"deliveries.{channel}.normal")
        return [decode_delivery(record.value or b"") for record in records]

    def said(self) -> set[tuple[str, str, str]]:
        return {(one.kind, one.channel, one.reason) for one in outcomes(self.log)}


def order(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "recipient_id": "ana", "type": "order", **more}


def profile(*addresses: Address, **more: Any) -> Callable[[Person], Profile]:
    return lambda person: Profile(addresses=addresses, **more)


GOES = {("queued", "push", "")}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(profile(), id="nobody can reach them any more"),
        pytest.param(profile(MAILBOX), id="a mailbox in place of the phone"),
        pytest.param(profile(PHONE, categories={"orders": False}), id="they want it no more"),
        pytest.param(profile(PHONE, erased=True), id="erased"),
    ],
)
@pytest.mark.parametrize(
    "stuck",
    [(), ("notif_events",), ("deliveries.push.normal",)],
    ids=["all was written", "the delivery was", "the outcome was"],
)
def test_what_has_gone_out_stays_as_it_was_decided(
    tmp_path: Path, changed: Callable[[Person], Profile], stuck: Collection[str]
) -> None:
    flow = OneHop(tmp_path)
    flow.log.stuck = stuck
    flow.emit(order())
    flow.turn(2)
    flow.kill()
    assert not flow.committed()
    flow.log.stuck = ()

    flow.people.profile = changed
    flow.start()
    flow.settle()

    assert flow.said() == GOES
    assert {one.notif_id for one in flow.deliveries("push")} == {
        one.notif_id for one in outcomes(flow.log)
    }
    assert flow.deliveries("email") == []
    assert flow.committed() == 1


def test_who_was_not_reached_is_not_when_a_phone_comes_meanwhile(tmp_path: Path) -> None:
    flow = OneHop(tmp_path)
    flow.people.profile = profile()
    flow.emit(order())
    flow.turn(2)
    flow.kill()

    flow.people.profile = profile(PHONE)
    flow.start()
    flow.settle()

    assert flow.said() == {("suppressed", "", "unreachable")}
    assert flow.deliveries("push") == []


def test_events_of_one_batch_are_claimed_in_one_call_and_each_keeps_its_own_fate(
    tmp_path: Path,
) -> None:
    flow = OneHop(tmp_path)
    flow.people.profile = lambda person: Profile(
        addresses=(MAILBOX if person.recipient_id == "bob" else PHONE,)
    )
    flow.emit(order(1), order(2, recipient_id="bob"), order(3))
    flow.turn()
    assert flow.claims.asked == 1
    flow.kill()

    flow.people.profile = profile()
    flow.emit(order(4))  # comes into the same batch, and has no fate yet
    flow.start()
    flow.settle()

    assert {one.origin.offset for one in flow.deliveries("push")} == {0, 2}
    assert {one.origin.offset for one in flow.deliveries("email")} == {1}
    unreached = [one for one in outcomes(flow.log) if one.reason == "unreachable"]
    assert [str(one.origin) for one in unreached] == [f"{SOURCE}:0:3"]


def test_while_claims_are_away_nothing_goes_out_and_nothing_is_committed(tmp_path: Path) -> None:
    flow = OneHop(tmp_path)
    flow.claims.away = True
    flow.emit(order())
    flow.settle()
    assert (flow.deliveries("push"), outcomes(flow.log), flow.committed()) == ([], [], None)

    flow.claims.away = False
    flow.settle()

    assert len(flow.deliveries("push")) == 1
    assert flow.committed() == 1


def test_a_fate_is_let_go_some_time_after_its_position_was_committed(tmp_path: Path) -> None:
    flow = OneHop(tmp_path)
    flow.emit(order(1))
    flow.settle()
    assert (flow.committed(), flow.claims.kept()) == (1, 1)

    flow.emit(order(2))
    flow.settle()
    assert flow.claims.kept() == 2  # too early

    flow.settle(passed=fates._CERTAIN_MS)
    flow.emit(order(3))
    flow.settle()
    assert flow.claims.kept() == 1


def test_an_event_in_the_place_of_another_in_a_topic_made_anew_has_a_fate_of_its_own(
    tmp_path: Path,
) -> None:
    flow = OneHop(tmp_path)
    flow.emit(order(1))
    flow.turn(2)
    flow.kill()

    flow.log.clear(SOURCE)
    flow.clock.advance(1_000)
    flow.emit(order(2))
    flow.start()
    flow.settle()

    assert {one.members for one in outcomes(flow.log)} == {("e1",), ("e2",)}


def test_of_a_list_that_is_split_each_person_keeps_theirs(tmp_path: Path) -> None:
    flow = OneHop(tmp_path, SPLIT)
    flow.emit({"event_id": "e1", "people": ["ana", "bob"]})
    flow.turn(2)
    flow.kill()

    flow.people.profile = profile(MAILBOX)
    flow.start()
    flow.settle()

    assert {one.recipient_id for one in flow.deliveries("push")} == {"ana", "bob"}
    assert flow.deliveries("email") == []


def test_what_a_long_list_gives_later_is_decided_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What remains: a person who changes between a kill and the replay may get both."""
    monkeypatch.setattr(split_module, "AT_ONCE", 2)
    flow = OneHop(tmp_path, SPLIT)
    flow.emit({"event_id": "e1", "people": ["ana", "bob", "eve"]})
    flow.turn(3)
    flow.kill()

    flow.people.profile = profile(MAILBOX)
    flow.start()
    flow.settle()

    assert {one.recipient_id for one in flow.deliveries("push")} == {"ana", "bob", "eve"}
    assert {one.recipient_id for one in flow.deliveries("email")} == {"eve"}


def test_a_letter_that_is_too_long_to_be_claimed_is_written_all_the_same(tmp_path: Path) -> None:
    flow = OneHop(tmp_path)
    flow.emit(order(1), {"event_id": "e2", "text": "x" * fates.LONGEST})  # nobody's
    flow.settle()

    assert [record.offset for record in engine.records(flow.log, LETTERS)] == [0]
    assert flow.claims.kept() == 1
    assert flow.committed() == 2
