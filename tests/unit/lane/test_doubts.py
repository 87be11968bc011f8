"""With `on_uncertain: ask` a provider is asked whether it has a send before it is sent again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.lane.paper import TOPIC, Paper, PaperLane, a_delivery, id_of
from tidings.log.port import Append, Slot
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.ports import Address
from tidings.records import DOUBT, Outcome, encode
from tidings.runtime.lane.doubts import claim_of
from tidings.sender import Send, Terms, Verdict
from tidings.stores.claims_local import LocalClaims

ASK = SendSpec(default="sandbox", on_uncertain="ask")
TERMS = {"sandbox": Terms(settles_ms=5_000)}
RUNG_30S, RUNG_5M = f"{TOPIC}.retry.30s", f"{TOPIC}.retry.5m"
DEAD = "notif_dlq.push"
OK, RETRY, AMB, DROP = Verdict.OK, Verdict.RETRY, Verdict.AMB, Verdict.DROP


def asking(paper: Paper, spec: SendSpec = ASK, **more: Any) -> PaperLane:
    return paper.lane(spec, terms=TERMS, **more)


def in_doubt(paper: Paper, lane: PaperLane, *, taken: bool, **fields: Any) -> None:
    """A send that left and was not answered, and of which the provider is not asked yet."""
    paper.deliver("n1", "phone", **fields)
    lane.turn()
    lane.answer(0, AMB, accepted=taken, code="NoAnswer")
    lane.turn()
    assert not lane.in_flight


def question(paper: Paper, lane: PaperLane, pass_ms: int = 2_000) -> Send:
    """The question that comes when so much time has passed."""
    paper.clock.advance(pass_ms)
    lane.turn()
    [send] = lane.in_flight
    assert send.asking
    return send


def attempts(paper: Paper) -> list[tuple[int, str, str]]:
    """Each attempt's number, kind and code; one written again counts once."""
    found: dict[str, Outcome] = {one.outcome_id: one for one in paper.outcomes("attempt")}
    return [(one.attempt, one.kind, one.code) for one in found.values()]


# ── What the provider says ────────────────────────────────────────────────────────────────────


def test_what_the_provider_has_is_sent_and_not_sent_again() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    asked = question(paper, lane)
    assert (asked.send_id, asked.attempt) == (id_of("n1", "phone"), 1)
    lane.answer(asked, OK, accepted=False, provider_id="SM1", cost=7)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert attempts(paper) == [(1, "unknown", "NoAnswer"), (1, "sent", "")]
    [sent] = [one for one in paper.outcomes("attempt") if one.kind == "sent"]
    assert (sent.provider_id, sent.cost) == ("SM1", 7)
    assert paper.accepted == {id_of("n1", "phone"): 1}


def test_what_it_lacks_is_sent_again_once_its_word_is_old_enough_to_be_believed() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=False)
    lane.answer(question(paper, lane), RETRY, code="NotThere")  # 2 s after the attempt left
    lane.turn()
    assert not lane.in_flight, "it may be listed in a moment"
    lane.answer(question(paper, lane, 3_000), RETRY, code="NotThere")
    lane.turn()
    paper.clock.advance(1_200)  # the first wait in place, as after any transient error
    lane.turn()
    [send] = lane.in_flight
    assert (send.asking, send.attempt) == (False, 2)
    lane.answer(send, OK)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert attempts(paper) == [
        (1, "unknown", "NoAnswer"), (1, "retried", "NotThere"), (2, "sent", ""),
    ]  # fmt: skip
    assert paper.accepted == {id_of("n1", "phone"): 1}


@pytest.mark.parametrize(
    ("lane", "flow", "asked"), [("drop", "ask", True), ("ask", "drop", False), ("ask", "", True)]
)
def test_a_flow_decides_for_its_own_whether_the_provider_is_asked(
    lane: str, flow: str, asked: bool
) -> None:
    paper = Paper()
    process = asking(paper, SendSpec(default="sandbox", on_uncertain=lane))
    in_doubt(paper, process, taken=True, on_uncertain=flow)
    if asked:
        process.answer(question(paper, process), OK, accepted=False)
        process.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent" if asked else "unknown"]}
    assert paper.accepted == {id_of("n1", "phone"): 1}


def test_a_second_doubt_is_asked_about_from_when_the_first_attempt_left() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=False)
    first = question(paper, lane).doubt
    assert first is not None
    lane.answer(0, RETRY)
    lane.turn()
    lane.answer(question(paper, lane, 3_000), RETRY)
    lane.turn()
    paper.clock.advance(1_200)
    lane.turn()
    left = paper.clock.now()
    lane.answer(0, AMB, accepted=True)
    lane.turn()
    second = question(paper, lane, 10_000).doubt
    assert second is not None
    assert (first.count, second.count) == (1, 2)
    assert (second.since, second.last, second.attempt) == (first.since, left, 2)
    lane.answer(0, OK, accepted=False)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}


@pytest.mark.parametrize("found_out", [True, False])
def test_killed_behind_a_doubt_and_back_at_an_address_that_is_gone_it_says_what_was_found_out(
    found_out: bool,
) -> None:
    paper = Paper()
    dies = asking(paper)
    in_doubt(paper, dies, taken=True, reply_to="tidings.alerts", wait="w1")
    dies.answer(question(paper, dies), OK if found_out else AMB, accepted=False)
    dies.turn()
    paper.lanes.remove(dies)  # it has said nothing to the log

    paper.people.addresses["person-of-n1"] = ()
    asking(paper).turn(3)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): ["sent" if found_out else "unknown"]}
    told = {one.send_id for one in paper.outcomes("attempt")}
    assert told == {id_of("n1", "phone")}


def test_a_copy_on_the_ladder_whose_address_is_gone_is_told_what_others_found_out() -> None:
    paper = Paper()
    parks = asking(paper)
    in_doubt(paper, parks, taken=True, reply_to="tidings.alerts", wait="w1")
    parks.answer(question(paper, parks, 40_000), AMB, accepted=False)
    parks.turn()
    paper.confirm()
    paper.lanes.remove(parks)  # killed: the delivery is on the ladder, and read again as well

    finds = asking(paper, take=[Slot(TOPIC, 0)])
    finds.turn(2)
    finds.answer(0, OK, accepted=False)
    finds.turn()
    paper.people.addresses["person-of-n1"] = ()
    paper.clock.advance(31_000)
    asking(paper, take=[Slot(RUNG_30S, 0)]).turn(4)
    paper.confirm()

    assert paper.ends() == {("n1", "push"): ["sent"]}


def test_a_copy_on_the_ladder_that_comes_too_late_to_ask_is_told_what_others_found_out() -> None:
    paper = Paper()
    parks = asking(paper)
    in_doubt(paper, parks, taken=True)
    parks.answer(question(paper, parks, 40_000), AMB, accepted=False)
    parks.turn()  # on the ladder now; it is killed before that is confirmed to be settled
    paper.confirm()
    assert len(paper.deliveries(RUNG_30S)) == 1
    paper.lanes.remove(parks)

    finds = asking(paper, take=[Slot(TOPIC, 0)])
    finds.turn(2)
    finds.answer(0, OK, accepted=False)
    finds.turn()
    paper.clock.advance(3_600_000)
    late = asking(paper, take=[Slot(RUNG_30S, 0)])
    late.turn(3)
    paper.confirm()

    assert late.in_flight == []
    assert paper.ends() == {("n1", "push"): ["sent"]}


def test_while_it_does_not_say_it_is_asked_ever_more_seldom_and_then_over_the_ladder() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    began, ages = paper.clock.now(), []
    while not paper.of(RUNG_30S):
        lane.turn(pass_ms=20)
        for send in [*lane.in_flight]:
            ages.append(round((paper.clock.now() - began) / 1_000))
            lane.answer(send, AMB)
        paper.confirm()
    assert ages == [2, 4, 8, 16, 33]
    [waiting] = paper.deliveries(RUNG_30S)
    assert waiting.answers == {id_of("n1", "phone"): DOUBT}
    assert not paper.outcomes("end")
    paper.clock.advance(35_000)
    lane.turn(2)
    lane.answer(question(paper, lane, 0), OK, accepted=False)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert paper.accepted == {id_of("n1", "phone"): 1}


def test_what_comes_from_the_ladder_and_is_not_there_has_waited_and_goes_at_once() -> None:
    paper = Paper()
    spec = SendSpec(default="sandbox", on_uncertain="ask", retry=Retry(in_place=()))
    lane = asking(paper, spec)
    in_doubt(paper, lane, taken=False)
    lane.answer(question(paper, lane, 5_000), RETRY)
    lane.turn()
    paper.confirm()
    assert [one.attempt for one in paper.deliveries(RUNG_30S)] == [1], "a retry, over the ladder"
    paper.clock.advance(30_100)
    lane.turn(3)
    [asked] = lane.in_flight
    assert asked.asking, "the mark says that it may be there: nothing is sent unasked"
    lane.answer(asked, RETRY)
    lane.turn(2)
    [send] = lane.in_flight
    assert (send.asking, send.attempt) == (False, 2)


def test_it_is_asked_for_an_hour_at_most_and_ends_as_unknown() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    for _ in range(4_000):
        lane.turn(pass_ms=1_000)
        lane.answer_all(AMB)
        paper.confirm()
    assert paper.ends() == {("n1", "push"): ["unknown"]}
    [end] = paper.outcomes("end")
    assert end.reason == "no_answer"
    assert not paper.of(DEAD)
    assert paper.accepted == {id_of("n1", "phone"): 1}


def test_what_expires_in_doubt_is_unknown_and_not_expired() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True, expires_at=paper.clock.now() + 10_000)
    for _ in range(200):
        lane.turn(pass_ms=100)
        lane.answer_all(AMB)
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["unknown"]}


def test_what_expires_on_the_ladder_in_doubt_is_unknown_too() -> None:
    paper = Paper()
    lane = asking(paper)
    paper.people.addresses["person-of-n1"] = (Address(kind="device", value="phone"),)
    delivery = a_delivery("n1", answers={id_of("n1", "phone"): DOUBT}, expires_at=1, attempt=1)
    paper.write(Append(RUNG_30S, b"person-of-n1", encode(delivery)))
    paper.clock.advance(31_000)
    lane.turn(2)
    paper.confirm()
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason) == ("unknown", "no_answer")


def test_what_can_never_be_told_is_unknown_at_once() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    lane.answer(question(paper, lane), DROP, code="CantTell")
    lane.turn()
    paper.confirm()
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason, end.detail) == ("unknown", "no_answer", "CantTell")


def test_a_rate_limit_of_questions_is_obeyed() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    lane.answer(question(paper, lane), AMB, limited=True, retry_after_ms=20_000)
    lane.turn()
    paper.clock.advance(19_000)
    lane.turn()
    assert not lane.in_flight
    question(paper, lane, 1_100)


@pytest.mark.parametrize(
    ("spec", "terms"),
    [(SendSpec(default="sandbox"), TERMS), (ASK, {"sandbox": Terms()})],
    ids=["a lane that does not ask", "a provider that can't be asked"],
)
def test_where_nobody_is_asked_it_ends_as_unknown(spec: SendSpec, terms: dict[str, Terms]) -> None:
    paper = Paper()
    lane = paper.lane(spec, terms=terms)
    in_doubt(paper, lane, taken=True)
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["unknown"]}


# ── Kill -9 ───────────────────────────────────────────────────────────────────────────────────


def _marked(paper: Paper, lane: PaperLane, taken: bool) -> None:
    in_doubt(paper, lane, taken=taken)


def _asked(paper: Paper, lane: PaperLane, taken: bool) -> None:
    in_doubt(paper, lane, taken=taken)
    question(paper, lane)


def _told(paper: Paper, lane: PaperLane, taken: bool) -> None:
    _asked(paper, lane, taken)
    lane.answer(0, OK if taken else RETRY, accepted=False)


def _believed(paper: Paper, lane: PaperLane, taken: bool) -> None:
    in_doubt(paper, lane, taken=taken)
    lane.answer(question(paper, lane, 6_000), OK if taken else RETRY, accepted=False)
    lane.turn()


def _sent_again(paper: Paper, lane: PaperLane, taken: bool) -> None:
    _believed(paper, lane, taken)
    paper.clock.advance(1_200)
    lane.turn()
    if not taken:
        lane.answer(0, OK)  # accepted, and the process dies before its mark


def _doubted_again(paper: Paper, lane: PaperLane, taken: bool) -> None:
    _believed(paper, lane, taken)
    paper.clock.advance(1_200)
    lane.turn()
    if not taken:
        lane.answer(0, AMB, accepted=True)
        lane.turn()


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not taken"])
@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed", "unconfirmed"])
@pytest.mark.parametrize(
    "instant", [_marked, _asked, _told, _believed, _sent_again, _doubted_again]
)
def test_a_kill_at_any_instant_of_asking_loses_nothing_and_repeats_nothing(
    instant: Any, taken: bool, confirmed: bool
) -> None:
    paper = Paper()
    first = asking(paper)
    instant(paper, first, taken)
    if confirmed:
        first.confirm()
    paper.clock.advance(20_000)  # until its lease has run out

    second = asking(paper)
    for _ in range(400):
        second.turn(pass_ms=100)
        for send in [*second.in_flight]:
            if not send.asking:
                second.answer(send, OK)
            elif paper.accepted[send.send_id]:
                second.answer(send, OK, accepted=False)
            else:
                second.answer(send, RETRY, code="NotThere")
        second.confirm()
    assert paper.accepted == {id_of("n1", "phone"): 1}
    assert paper.ends() == {("n1", "push"): ["sent"]}
    paper.clock.advance(300)
    second.turn()
    assert paper.settled()(0)


def test_a_doubt_that_claims_have_forgotten_is_not_sent_again() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    while not paper.of(RUNG_30S):
        lane.turn(pass_ms=250)
        lane.answer_all(AMB)
        paper.confirm()
    paper.claims.claims = LocalClaims(paper.clock)
    paper.clock.advance(60_000)
    lane.turn(20)
    paper.confirm()
    assert not lane.in_flight
    assert paper.ends() == {("n1", "push"): ["unknown"]}


def test_of_two_processes_that_read_it_one_asks() -> None:
    paper = Paper()
    first = asking(paper)
    in_doubt(paper, first, taken=False)
    question(paper, first)
    second = asking(paper)  # its partition moved while the first one's question is under way
    second.turn(50)
    assert not second.in_flight
    first.answer(0, RETRY)
    first.turn()
    second.turn(100)
    assert [send.asking for send in second.in_flight] == [True]


def refused(paper: Paper, lane: PaperLane) -> None:
    """In doubt, not there, and refused for good when it is sent again."""
    in_doubt(paper, lane, taken=False, chain=("email",))
    lane.answer(question(paper, lane, 6_000), RETRY, code="NotThere")
    lane.turn()
    paper.clock.advance(1_200)
    lane.turn()
    lane.answer(0, DROP)
    lane.turn(2)


def test_what_it_lacks_and_then_refuses_goes_to_the_next_channel() -> None:
    paper = Paper()
    lane = asking(paper)
    refused(paper, lane)
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert len(paper.of("deliveries.email.normal")) == 1


def test_what_was_handed_over_after_a_doubt_is_not_sent_in_a_replay() -> None:
    paper = Paper()
    first = asking(paper)
    refused(paper, first)
    first.confirm()
    paper.clock.advance(20_000)
    second = asking(paper)
    for _ in range(100):
        second.turn(pass_ms=100)
        for send in [*second.in_flight]:
            second.answer(send, RETRY if send.asking else OK, code="NotThere")
        second.confirm()
    assert not paper.accepted
    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert len({record.value for record in paper.of("deliveries.email.normal")}) == 1


def test_what_is_in_doubt_and_has_no_address_in_the_replay_is_unknown_and_not_handed_over() -> None:
    paper = Paper()
    first = asking(paper)
    in_doubt(paper, first, taken=True, chain=("email",))
    paper.people.addresses["person-of-n1"] = ()
    paper.clock.advance(20_000)
    second = asking(paper)
    second.turn(3)
    second.confirm()
    assert paper.ends() == {("n1", "push"): ["unknown"]}
    assert not paper.of("deliveries.email.normal")


# ── Beside other things ───────────────────────────────────────────────────────────────────────


def test_while_it_is_in_doubt_no_other_provider_gets_it() -> None:
    paper = Paper()
    breaker = BreakerSpec(volume=1, pause=5_000, probes=1)
    spec = SendSpec(
        default=("one", "two"), on_uncertain="ask", breaker=breaker, retry=Retry(in_place=())
    )
    lane = paper.lane(spec, terms={"one": Terms(settles_ms=5_000)})
    in_doubt(paper, lane, taken=False)  # and that opens its breaker
    lane.turn(3, pass_ms=1_000)
    paper.confirm()
    [waiting] = paper.deliveries(RUNG_30S)
    assert (waiting.awaits, waiting.answers) == (("one",), {id_of("n1", "phone"): DOUBT})
    for _ in range(700):  # the pause: it comes as a probe, and is a question
        lane.turn(pass_ms=10)
        if lane.in_flight:
            break
    [asked] = lane.in_flight
    assert (asked.asking, asked.provider) == (True, "one")
    lane.answer(asked, RETRY, code="NotThere")
    lane.turn(2)
    [send] = lane.in_flight
    assert (send.asking, send.provider) == (False, "two"), "it surely has not got it now"


def test_what_it_lacks_and_would_be_put_off_goes_to_the_next_provider() -> None:
    paper = Paper()
    spec = SendSpec(default=("one", "two"), on_uncertain="ask", retry=Retry(in_place=()))
    lane = paper.lane(spec, terms={"one": Terms(settles_ms=5_000)})
    in_doubt(paper, lane, taken=False)
    lane.answer(question(paper, lane, 6_000), RETRY, code="NotThere")
    lane.turn(2)
    [send] = lane.in_flight
    assert (send.asking, send.provider, send.attempt) == (False, "two", 2)


def test_of_two_devices_the_one_in_doubt_does_not_hold_the_other() -> None:
    paper = Paper()
    lane = asking(paper)
    paper.deliver("n1", "phone", "tablet")
    lane.turn()
    lane.answer(0, AMB, accepted=True)
    lane.answer(0, OK)
    lane.turn()
    lane.answer(question(paper, lane), OK, accepted=False)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert set(paper.accepted.values()) == {1}


def test_a_code_in_doubt_that_a_newer_one_has_superseded_is_asked_about_and_not_sent() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=False, supersedes="code", wait="w1")
    paper.deliver("n2", "phone", supersedes="code", wait="w2", created_at=paper.clock.now() + 1)
    lane.turn()
    lane.answer(0, OK)
    lane.turn()
    lane.answer(question(paper, lane, 6_000), RETRY)
    lane.turn()
    paper.clock.advance(1_200)
    lane.turn(2)
    assert not lane.in_flight
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["cancelled"], ("n2", "push"): ["sent"]}


def test_a_stop_leaves_a_question_to_the_next_owner() -> None:
    paper = Paper()
    first = asking(paper)
    in_doubt(paper, first, taken=True)
    question(paper, first)
    first.lane.stop()
    first.answer(0, AMB)
    first.turn()
    first.confirm()
    first.turn()
    assert first.lane.drained()
    second = asking(paper)
    second.turn(2)
    second.answer(question(paper, second, 0), OK, accepted=False)
    second.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}


def test_a_question_goes_under_a_claim_of_its_own() -> None:
    paper = Paper()
    lane = asking(paper)
    in_doubt(paper, lane, taken=True)
    asked = question(paper, lane)
    assert claim_of(asked) == f"{id_of('n1', 'phone')}~1"
