"""What a lane hands on to the next channel is counted there, and goes only where there is room."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.counting_caps import CountingCaps
from tests.unit.lane.paper import NOW, Paper
from tidings.driver.ports import LocalCaps
from tidings.ids import cap_key
from tidings.log.port import Slot
from tidings.ports import Count
from tidings.records import Allowance, Delivery, Kind, Priority
from tidings.sender import Verdict

DAY = 86_400_000
ONE_EMAIL = Allowance("email/all/1d", 1, DAY)
ONE_SMS = Allowance("sms/all/1d", 1, DAY)


class Lanes(Paper):
    """A lane for push whose deliveries may fall back to e-mail and then to a text message."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.caps = self.counts = CountingCaps()

    def fails(self, notif_id: str, **fields: Any) -> None:
        """A delivery whose one device will be refused; all of them are for one person."""
        given: dict[str, Any] = {
            "chain": ("email", "sms"),
            "allowances": {"email": (ONE_EMAIL,), "sms": (ONE_SMS,)},
            "recipient_id": "ana",
        }
        self.deliver(notif_id, f"phone-{notif_id}", **{**given, **fields})
        self.people.addresses["ana"] = self.people.addresses[f"person-of-{notif_id}"]

    def fill(self, allowance: Allowance, notif_id: str = "earlier") -> None:
        """Another flow has used up the one that is allowed."""
        key = cap_key("default", "ana", allowance.name)
        assert LocalCaps.count(self.counts, [Count(key, notif_id, 1, DAY)], NOW) == [True]

    def room(self, allowance: Allowance) -> bool:
        key = cap_key("default", "ana", allowance.name)
        return LocalCaps.count(self.counts, [Count(key, "later", 1, DAY)], NOW) == [True]

    def refuse_all(self) -> None:
        lane = self.lane()
        lane.turn()
        lane.answer_all(Verdict.DROP)
        lane.turn(3)
        self.confirm()
        lane.turn(pass_ms=300)  # and it commits

    def on(self, channel: str) -> list[Delivery]:
        return self.deliveries(f"deliveries.{channel}.{self.priority}")

    def details(self) -> list[str]:
        return [one.detail for one in self.outcomes("end")]


def test_the_next_channel_is_counted_and_says_what_it_was_counted_against() -> None:
    paper = Lanes()
    paper.fails("n1")

    paper.refuse_all()

    (following,) = paper.on("email")
    assert (following.chain, following.caps) == (("sms",), ("email/all/1d",))
    assert following.allowances == {"sms": (ONE_SMS,)}
    assert paper.details() == ["next: email"]
    assert not paper.room(ONE_EMAIL)
    assert paper.room(ONE_SMS)


def test_a_channel_without_room_is_passed_over_with_its_reason() -> None:
    paper = Lanes()
    paper.fill(ONE_EMAIL)
    paper.fails("n1")

    paper.refuse_all()

    assert paper.on("email") == []
    (following,) = paper.on("sms")
    assert (following.chain, following.caps, following.allowances) == ((), ("sms/all/1d",), {})
    assert paper.details() == ["email=cap:email/all/1d; next: sms"]


def test_where_no_channel_has_room_it_has_failed_and_goes_to_the_dead_letters() -> None:
    paper = Lanes()
    paper.fill(ONE_EMAIL)
    paper.fill(ONE_SMS)
    paper.fails("n1")

    paper.refuse_all()

    assert paper.on("email") == paper.on("sms") == []
    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert paper.details() == ["email=cap:email/all/1d; sms=cap:sms/all/1d"]
    (letter,) = paper.of("notif_dlq.push")
    assert dict(letter.headers)["tidings-reason"] == b"refused"
    assert paper.settled()(0)


def test_what_is_exempt_passes_a_full_cap_and_counts() -> None:
    paper = Lanes()
    paper.fill(ONE_EMAIL)
    exempt = Allowance("email/all/1d", 1, DAY, exempt=True)
    paper.fails("n1", chain=("email",), allowances={"email": (exempt,)})

    paper.refuse_all()

    (following,) = paper.on("email")
    assert following.caps == ("email/all/1d",)


def test_a_channel_that_no_cap_is_about_takes_it_and_nobody_is_asked() -> None:
    paper = Lanes()
    paper.fails("n1", allowances={"sms": (ONE_SMS,)})

    paper.refuse_all()

    (following,) = paper.on("email")
    assert (following.caps, following.allowances) == ((), {"sms": (ONE_SMS,)})
    assert paper.counts.calls == []


def test_a_batch_is_one_round_trip_and_the_first_in_order_gets_the_room() -> None:
    paper = Lanes()
    for notif_id in ("n1", "n2", "n3"):
        paper.fails(notif_id)

    paper.refuse_all()

    assert [one.notif_id for one in paper.on("email")] == ["n1"]
    assert [one.notif_id for one in paper.on("sms")] == ["n2"]
    assert [[count.notif_id for count in call] for call in paper.counts.calls] == [
        ["n1", "n2", "n3"],
        ["n2", "n3"],
    ]


def test_what_a_step_lets_go_is_counted_on_the_next_channel_and_given_back_on_this_one() -> None:
    paper = Lanes()
    push = Allowance("push/all/1h", 1, DAY)
    paper.fill(push, "n1")
    paper.fails("n1", data={"suppressed": True}, caps=("push/all/1h",))

    paper.refuse_all()

    (following,) = paper.on("email")
    assert following.caps == ("email/all/1d",)
    assert paper.ends() == {("n1", "push"): ["suppressed"]}
    assert paper.room(push)
    assert not paper.room(ONE_EMAIL)


def test_killed_before_it_was_confirmed_it_is_counted_once() -> None:
    paper = Lanes()
    paper.fails("n1")
    dies = paper.lane()
    dies.turn()
    dies.answer_all(Verdict.DROP)
    dies.turn(3)
    assert len(paper.counts.calls) == 1
    paper.lanes.remove(dies)

    paper.refuse_all()

    assert len(paper.counts.calls) == 2
    (following,) = paper.on("email")
    assert following.caps == ("email/all/1d",)
    assert paper.ends() == {("n1", "push"): ["failed"]}


def test_while_caps_are_away_it_waits_and_nothing_is_settled() -> None:
    paper = Lanes()
    paper.fails("n1")
    paper.counts.away = True
    lane = paper.lane()
    lane.turn()
    lane.answer_all(Verdict.DROP)
    lane.turn(100)
    paper.confirm()
    assert paper.outcomes("end") == []
    assert not paper.settled()(0)

    paper.counts.away = False
    lane.turn(60)
    paper.confirm()

    assert len(paper.counts.calls) == 1
    assert len(paper.on("email")) == 1
    assert paper.ends() == {("n1", "push"): ["failed"]}


def test_while_caps_are_away_a_lane_that_stops_leaves_it_to_the_next_one() -> None:
    paper = Lanes()
    paper.fails("n1")
    paper.counts.away = True
    stops = paper.lane()
    stops.turn()
    stops.answer_all(Verdict.DROP)
    stops.turn(3)
    paper.confirm()
    stops.lane.stop()
    assert stops.lane.drained()
    paper.lanes.remove(stops)

    paper.counts.away = False
    paper.refuse_all()

    assert len(paper.on("email")) == 1


def test_of_a_lane_that_stops_nothing_is_handed_over_when_caps_are_back() -> None:
    paper = Lanes()
    paper.fails("n1")
    paper.counts.away = True
    stops = paper.lane()
    stops.turn()
    stops.answer_all(Verdict.DROP)
    stops.turn(3)
    stops.lane.stop()

    paper.counts.away = False
    paper.fails("n2")  # something to push
    stops.turn(60)
    paper.confirm()

    assert paper.on("email") == []
    assert paper.counts.calls == []


def test_while_caps_are_away_what_waits_is_left_to_who_gets_its_partition() -> None:
    paper = Lanes()
    paper.fails("n1")
    paper.counts.away = True
    giver, slot = paper.lane(), Slot(paper.topic, 0)
    giver.turn()
    giver.answer_all(Verdict.DROP)
    giver.turn(3)
    giver.consumer.pending.append(lambda: giver.consumer.give_up([slot]))
    giver.turn(100)
    paper.confirm()
    giver.turn()
    assert giver.lane.drained()

    paper.counts.away = False
    paper.refuse_all()

    assert len(paper.on("email")) == 1
    assert paper.ends() == {("n1", "push"): ["failed"]}


def test_rooms_on_channels_that_nobody_goes_on_to_ask_nobody() -> None:
    paper = Lanes()
    paper.fails("n1", chain=())

    paper.refuse_all()

    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert len(paper.of("notif_dlq.push")) == 1
    assert paper.counts.calls == []


def test_while_caps_are_away_high_goes_on_uncounted() -> None:
    paper = Lanes(priority=Priority.HIGH)
    paper.fails("n1")
    paper.counts.away = True

    paper.refuse_all()

    (following,) = paper.on("email")
    assert (following.caps, following.allowances) == ((), {"sms": (ONE_SMS,)})


@pytest.mark.parametrize("kind", [Kind.EXPIRED, Kind.SENT])
def test_what_has_not_failed_goes_to_no_other_channel(kind: Kind) -> None:
    paper = Lanes()
    paper.fails("n1", expires_at=NOW if kind is Kind.EXPIRED else 0)
    lane = paper.lane()
    lane.turn()
    lane.answer_all(Verdict.OK)
    lane.turn(3)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): [str(kind)]}
    assert paper.on("email") == []
    assert paper.counts.calls == []
