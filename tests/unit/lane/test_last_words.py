"""Whatever a killed lane has done of a delivery, its replay finds another world and says the same.

Something hangs on how these deliveries end: another channel comes next, or a flow waits.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.lane.paper import NOW, Paper, PaperLane, id_of
from tests.unit.lane.test_handovers import DAY, ONE_SMS, Lanes
from tidings.ids import cap_key
from tidings.log.port import Slot
from tidings.operators.send import Retry, SendSpec
from tidings.ports import Address, Count
from tidings.records import Allowance, Outcome, Priority, decode_entry
from tidings.sender import Verdict

HOUR = 3_600_000
PERSON = "person-of-n1"
PHONE, TABLET = (Address(kind="device", value=value) for value in ("phone", "tablet"))
ONCE = SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=()))
HANGS: list[dict[str, Any]] = [{"chain": ("email",)}, {"reply_to": "tidings.alerts", "wait": "w1"}]


def killed(paper: Paper, lane: PaperLane, *, confirmed: bool) -> None:
    """Kill -9, before or after the log confirmed what the lane said; it has committed nothing."""
    if confirmed:
        paper.confirm()
    paper.lanes.remove(lane)


def replayed(paper: Paper, spec: SendSpec = ONCE, **answers: Any) -> PaperLane:
    """Another process takes it over where the killed one had begun, and brings it to an end."""
    lane = paper.lane(spec)
    lane.turn(3)
    if answers:
        lane.answer_all(**answers)
    lane.turn(3)
    paper.confirm()
    lane.turn(2, pass_ms=300)
    return lane


def signals(paper: Paper) -> list[str]:
    found = [decode_entry(record.value or b"").signal for record in paper.of("tidings.alerts")]
    return [signal.kind for signal in found if signal is not None]


def mails(paper: Paper) -> list[str]:
    return [one.notif_id for one in paper.deliveries(f"deliveries.email.{paper.priority}")]


def words(outcomes: list[Outcome]) -> set[tuple[str, str, str, str]]:
    return {(one.outcome_id, one.kind, one.reason, one.detail) for one in outcomes}


@pytest.mark.parametrize("hangs", HANGS)
@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("gone", ["address", "consent", "life", "text"])
def test_what_was_sent_stays_sent_whatever_has_become_of_the_person(
    hangs: dict[str, Any], confirmed: bool, gone: str
) -> None:
    paper = Paper()
    delivery = paper.deliver("n1", PHONE, expires_at=NOW + 5_000, **hangs)
    dies = paper.lane()
    dies.turn()
    dies.answer(0, Verdict.OK, provider_id="p-7")
    dies.turn()
    killed(paper, dies, confirmed=confirmed)
    told = words(paper.outcomes())

    if gone == "address":
        paper.people.addresses[PERSON] = ()
    elif gone == "life":
        paper.clock.advance(10_000)
    else:
        paper.people.lets_go[delivery.notif_id] = gone
    replayed(paper)

    assert paper.ends() == {("n1", "push"): ["sent"]}
    (attempt,) = {(one.send_id, one.kind, one.provider_id) for one in paper.outcomes("attempt")}
    assert attempt == (id_of("n1", "phone"), "sent", "p-7")
    assert not confirmed or words(paper.outcomes()) == told
    assert mails(paper) == []
    assert set(signals(paper)) <= {"sent"}
    assert paper.of("notif_dlq.push") == []
    assert paper.accepted == {id_of("n1", "phone"): 1}
    assert paper.settled()(0)


@pytest.mark.parametrize("hangs", HANGS)
@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("first", ["no address", "refused"])
def test_what_was_handed_over_is_not_sent_when_the_person_can_be_reached_again(
    hangs: dict[str, Any], confirmed: bool, first: str
) -> None:
    paper = Paper()
    paper.deliver("n1", *(() if first == "no address" else (PHONE,)), **hangs)
    dies = paper.lane(ONCE)
    dies.turn()
    dies.answer_all(Verdict.RETRY)
    dies.turn()
    killed(paper, dies, confirmed=confirmed)
    told = words(paper.outcomes("end"))

    paper.people.addresses[PERSON] = (PHONE, TABLET)
    lane = replayed(paper)

    assert lane.in_flight == []
    assert paper.accepted == {}
    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert not confirmed or words(paper.outcomes("end")) == told
    (reason,) = {one.reason for one in paper.outcomes("end")}
    assert reason == ("no_address" if first == "no address" else "retries_exhausted")
    assert set(mails(paper)) == ({"n1"} if "chain" in hangs else set())
    assert set(signals(paper)) == ({"failed"} if "reply_to" in hangs else set())
    assert paper.settled()(0)


def test_killed_between_its_word_and_the_log_it_is_handed_over_by_the_replay() -> None:
    paper = Paper()
    paper.deliver("n1", PHONE, chain=("email",))
    dies = paper.lane(ONCE)
    dies.turn()
    dies.answer(0, Verdict.DROP)
    dies.turn()  # Claims know how it ended, and nothing is in the log
    killed(paper, dies, confirmed=False)
    assert mails(paper) == []

    lane = replayed(paper)

    assert lane.in_flight == []
    assert mails(paper) == ["n1"]
    (end,) = paper.outcomes("end")
    assert (end.kind, end.reason, end.detail) == ("failed", "refused", "next: email")


def test_on_a_rung_too_what_the_replay_has_sent_counts() -> None:
    spec = SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=(30_000,)))
    paper = Paper()
    paper.deliver("n1", PHONE, chain=("email",), expires_at=NOW + DAY)
    dies = paper.lane(spec)
    dies.turn()
    dies.answer(0, Verdict.RETRY)
    dies.turn()
    killed(paper, dies, confirmed=True)  # on the rung, and not committed
    lane = paper.lane(spec)
    lane.turn()
    lane.answer(0, Verdict.OK)
    lane.turn()
    paper.confirm()

    paper.people.addresses[PERSON] = ()
    paper.clock.advance(31_000)
    lane.turn(3)
    paper.confirm()
    lane.turn(2, pass_ms=300)

    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert mails(paper) == []
    assert paper.settled(Slot(f"{paper.topic}.retry.30s", 0))(0)


def test_of_two_devices_the_one_that_took_it_is_remembered_when_it_is_gone() -> None:
    paper = Paper()
    paper.deliver("n1", PHONE, TABLET, chain=("email",))
    dies = paper.lane(ONCE)
    dies.turn()
    dies.answer(0, Verdict.OK)
    dies.turn()
    killed(paper, dies, confirmed=True)

    paper.people.addresses[PERSON] = (TABLET,)
    paper.clock.advance(20_000)  # the tablet's lease has ended
    replayed(paper, verdict=Verdict.DROP)

    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert mails(paper) == []


def test_a_channel_that_has_room_meanwhile_is_not_taken_as_well_and_its_count_is_given_back() -> (
    None
):
    hourly = Allowance("email/all/1h", 1, HOUR)
    paper = Lanes()
    paper.fill(hourly)
    paper.fails("n1", allowances={"email": (hourly,), "sms": (ONE_SMS,)})
    dies = paper.lane()
    dies.turn()
    dies.answer_all(Verdict.DROP)
    dies.turn(3)
    killed(paper, dies, confirmed=True)
    assert [one.notif_id for one in paper.on("sms")] == ["n1"]

    paper.clock.advance(2 * HOUR)
    replayed(paper)

    assert paper.on("email") == []
    assert {one.notif_id for one in paper.on("sms")} == {"n1"}
    assert set(paper.details()) == {"email=cap:email/all/1h; next: sms"}
    assert [count.notif_id for count in paper.counts.calls[-1]] == ["n1"]  # it had room, and
    later = Count(cap_key("default", "ana", hourly.name), "later", 1, HOUR)
    assert paper.caps.count([later], paper.clock.now()) == [True]
    assert not paper.room(ONE_SMS)


def handed(paper: Paper, giver: PaperLane, taker: PaperLane) -> None:
    """A partition goes from one process to the other, with what is in flight."""
    slot = Slot(paper.topic, 0)
    giver.consumer.pending.append(lambda: giver.consumer.give_up([slot]))
    giver.turn()
    taker.consumer.pending.append(lambda: taker.consumer.take([slot]))


@pytest.mark.parametrize("hangs", HANGS)
@pytest.mark.parametrize("gone", ["address", "consent", "life", "text"])
def test_what_is_in_flight_when_its_partition_goes_is_waited_for(
    hangs: dict[str, Any], gone: str
) -> None:
    paper = Paper()
    delivery = paper.deliver("n1", PHONE, expires_at=NOW + 5_000, **hangs)
    giver, taker = paper.lane(), paper.lane(take=[])
    giver.turn()
    if gone == "address":
        paper.people.addresses[PERSON] = ()
    elif gone == "life":
        paper.clock.advance(6_000)
    else:
        paper.people.lets_go[delivery.notif_id] = gone
    handed(paper, giver, taker)
    taker.turn(3)
    paper.confirm()
    assert paper.outcomes() == [], "it may be sent yet"

    giver.answer(0, Verdict.OK)
    giver.turn()
    taker.turn(60)
    paper.confirm()
    taker.turn(2, pass_ms=300)

    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert mails(paper) == []
    assert set(signals(paper)) <= {"sent"}
    assert paper.settled()(0)


@pytest.mark.parametrize("how", [Verdict.RETRY, Verdict.DROP])
def test_what_was_in_flight_elsewhere_and_not_taken_is_handed_over_once(how: Verdict) -> None:
    paper = Paper()
    paper.deliver("n1", PHONE, chain=("email",))
    giver, taker = paper.lane(), paper.lane(take=[])
    giver.turn()
    paper.people.addresses[PERSON] = ()
    handed(paper, giver, taker)
    taker.turn(3)
    giver.answer(0, how)
    giver.turn(2)
    taker.turn(2, pass_ms=16_000)  # a lease's life
    paper.confirm()
    taker.turn(2, pass_ms=300)

    assert len(paper.ends()["n1", "push"]) == 1
    assert set(mails(paper)) == {"n1"}
    assert paper.settled()(0)


def test_a_process_that_stops_waits_for_nobody_elses_send() -> None:
    paper = Paper()
    paper.deliver("n1", PHONE, chain=("email",))
    giver, stops = paper.lane(), paper.lane(take=[])
    giver.turn()
    paper.people.addresses[PERSON] = ()
    handed(paper, giver, stops)
    stops.turn(3)
    stops.lane.stop()
    stops.turn(60)

    assert stops.lane.drained()
    paper.confirm()
    assert paper.outcomes() == []


def test_while_claims_are_away_a_last_word_waits() -> None:
    paper = Paper()
    paper.deliver("n1", chain=("email",))
    paper.claims.away = True
    lane = paper.lane()
    lane.turn(20)
    paper.confirm()
    assert paper.outcomes() == []
    assert mails(paper) == []

    paper.claims.away = False
    lane.turn(60)
    paper.confirm()

    assert mails(paper) == ["n1"]
    assert paper.ends() == {("n1", "push"): ["failed"]}


def test_while_claims_are_away_a_lane_that_stops_leaves_it_to_the_next_one() -> None:
    paper = Paper()
    paper.deliver("n1", chain=("email",))
    paper.claims.away = True
    stops = paper.lane()
    stops.turn(20)
    stops.lane.stop()
    stops.turn(60)
    assert stops.lane.drained()
    killed(paper, stops, confirmed=True)

    paper.claims.away = False
    replayed(paper)

    assert mails(paper) == ["n1"]


def test_while_claims_are_away_high_goes_on_and_tells_them_later() -> None:
    paper = Paper(priority=Priority.HIGH)
    paper.deliver("n1", chain=("email",))
    paper.claims.away = True
    lane = paper.lane()
    lane.turn(3)
    paper.confirm()
    assert mails(paper) == ["n1"]

    paper.claims.away = False
    paper.deliver("n2", PHONE)
    lane.turn(3)
    killed(paper, lane, confirmed=False)
    paper.people.addresses[PERSON] = (PHONE,)
    paper.committed.clear()
    lane = replayed(paper)

    assert [send.send_id for send in lane.in_flight] == [id_of("n2", "phone")]
    assert mails(paper) == ["n1", "n1"]


def test_nobody_is_asked_about_a_delivery_on_which_nothing_hangs() -> None:
    paper = Paper()
    paper.deliver("n1")
    paper.lane().turn(3)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert paper.claims.rounds == 0


def test_the_last_words_of_a_batch_are_asked_about_in_one_round_with_its_leases() -> None:
    paper = Paper()
    for number in range(5):
        paper.deliver(f"gone-{number}", chain=("email",))
        paper.deliver(f"there-{number}", PHONE, chain=("email",))
    lane = paper.lane()

    lane.turn()

    assert paper.claims.rounds == 1
    assert len(lane.in_flight) == 5
    paper.confirm()
    assert mails(paper) == [f"gone-{number}" for number in range(5)]
