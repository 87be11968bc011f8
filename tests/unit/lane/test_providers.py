"""Quotas, slow and stopped providers, and Claims that are away."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.lane.paper import TOPIC, Paper, id_of
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.ports import Address, Lease, Mark
from tidings.records import Priority
from tidings.runtime.lane.courier import LATE
from tidings.sender import Verdict
from tidings.topics import EVENTS

BOTH = SendSpec(ios="apns", android="fcm", in_flight=2)
RUNG_30S = f"{TOPIC}.retry.30s"


def ios(name: str) -> Address:
    return Address(kind="device", value=name, platform="ios")


def android(name: str) -> Address:
    return Address(kind="device", value=name, platform="android")


def test_no_more_is_in_flight_than_the_quota_and_no_more_is_read_than_there_is_room_for() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=3))
    for number in range(500):
        paper.deliver(f"n{number}", "phone")
    lane.turn(20)
    assert len(lane.in_flight) == 3
    read = max(lane.consumer.next.values())
    assert 103 <= read <= 110, "places and a backlog of 100; one more at each listening"
    lane.answer_all()
    lane.turn()
    assert len(lane.in_flight) == 3


def test_a_lane_without_room_still_listens_to_its_group() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=1))
    for number in range(300):
        paper.deliver(f"n{number}", "phone")
    lane.turn(20)
    polls = lane.consumer.polls
    lane.turn(100)
    assert 5 <= lane.consumer.polls - polls <= 15, "each 100 ms"
    heard = set(lane.consumer.next) - lane.consumer.paused
    assert {slot.topic for slot in heard} == {"notif_dlq.push"}, "letters take no room"
    lane.answer_all()
    lane.turn(2)
    assert not lane.consumer.paused


def test_one_stalled_provider_holds_up_no_other() -> None:
    paper = Paper()
    lane = paper.lane(BOTH)
    for number in range(1_000):
        paper.deliver(f"i{number}", ios("phone"))
        paper.deliver(f"a{number}", android("phone"))
    went_on = 0
    for _ in range(600):
        lane.turn()
        for send in [send for send in lane.in_flight if send.provider == "fcm"]:
            lane.answer(send, Verdict.OK)
            went_on += 1
        paper.confirm()
    lane.turn()
    paper.confirm()
    assert went_on == 1_000, "the other provider got everything"
    stalled = [send for send in lane.in_flight if send.provider == "apns"]
    assert len(stalled) == 2
    spilled = paper.deliveries(RUNG_30S)
    assert len(spilled) + len(stalled) + waiting_for(lane, "apns") == 1_000
    assert {(one.attempt, one.spared) for one in spilled} == {(0, 0)}, "no attempt is counted"
    deferred = paper.outcomes("decision")
    assert len(deferred) == len(spilled)
    assert {(one.kind, one.reason, one.provider) for one in deferred} == {
        ("deferred", "provider_full", "apns")
    }
    assert len({one.outcome_id for one in deferred}) == len(deferred)


def test_what_waits_for_a_provider_that_hangs_is_put_off_once_and_not_again_and_again() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(ios="apns", android="fcm", in_flight=100))
    for number in range(300):
        paper.deliver(f"i{number}", ios("phone"))
    for second in range(10):
        if second % 3 == 0:  # now and then, so that in between none waits in the lane
            paper.deliver(f"late{second}", ios("phone"))
        for number in range(100):
            paper.deliver(f"a{second}.{number}", android("phone"))
            lane.turn()
            for send in [send for send in lane.in_flight if send.provider == "fcm"]:
                lane.answer(send, Verdict.OK)
            paper.confirm()
    put_off = Counter(one.notif_id for one in paper.deliveries(RUNG_30S))
    assert len(put_off) > 200
    assert set(put_off.values()) == {1}


def waiting_for(lane: object, provider: str) -> int:
    quotas = lane.lane._dispatch._quotas  # type: ignore[attr-defined]
    return len(quotas[provider].waiting)


def test_a_busy_provider_spills_nothing() -> None:
    paper = Paper()
    lane = paper.lane(BOTH)
    for number in range(400):
        paper.deliver(f"i{number}", ios("phone"))
    while len(paper.accepted) < 400:
        lane.turn()
        lane.answer_all()
    lane.turn()
    paper.confirm()
    assert not paper.of(RUNG_30S)


def test_the_only_provider_of_a_lane_holds_up_nobody_and_so_spills_nothing() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=1))
    for number in range(300):
        paper.deliver(f"n{number}", "phone")
    lane.turn(1_000)
    paper.confirm()
    assert not paper.of(RUNG_30S)
    while len(paper.accepted) < 300:
        lane.answer_all()
        lane.turn()
    assert set(paper.accepted.values()) == {1}


def test_time_in_which_the_process_stood_still_is_not_the_providers_fault() -> None:
    paper = Paper()
    lane = paper.lane(BOTH)
    for number in range(50):
        paper.deliver(f"i{number}", ios("phone"))
    lane.turn(3)
    paper.clock.advance(5_000)
    lane.turn(3)
    paper.confirm()
    assert not paper.of(RUNG_30S)


def test_too_many_retries_in_place_take_the_ladder() -> None:
    paper = Paper()
    never = BreakerSpec(volume=1_000_000)
    lane = paper.lane(SendSpec(default="sandbox", in_flight=10, breaker=never))
    for number in range(400):
        paper.deliver(f"n{number}", "phone")
    for _ in range(50):
        lane.turn()
        lane.answer_all(Verdict.RETRY)
        paper.confirm()
    lane.turn()
    paper.confirm()
    relieved = paper.deliveries(RUNG_30S)
    assert len(relieved) == 200, "200 rest in the lane"
    assert {one.attempt for one in relieved} == {1}, "the attempt was made, and counts"


def test_a_provider_that_refuses_our_credentials_is_stopped_and_tried_again_by_one_send() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=5))
    for number in range(50):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    lane.answer_all(Verdict.CFG, code="InvalidProviderToken")
    lane.turn(100)
    assert not lane.in_flight
    for _ in range(2):
        paper.clock.advance(30_000)
        lane.turn(5)
        assert len(lane.in_flight) == 1, "one probe"
        lane.answer_all(Verdict.CFG)
        lane.turn(2)
    paper.clock.advance(30_000)
    lane.turn(2)
    while len(paper.accepted) < 50:
        lane.answer_all(Verdict.OK)
        lane.turn()
    lane.turn()
    paper.confirm()
    assert {tuple(kinds) for kinds in paper.ends().values()} == {("sent",)}
    refused = [one for one in paper.outcomes("attempt") if one.code == "InvalidProviderToken"]
    assert {one.kind for one in refused} == {"retried"}


def test_a_stopped_provider_is_not_tried_with_the_same_send_again_and_again() -> None:
    """What it refuses may be that one: another tells whether it takes the rest."""
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=1))
    for number in range(3):
        paper.deliver(f"n{number}", "phone")
    lane.turn()
    refused = lane.answer(0, Verdict.CFG)
    lane.turn(2)
    paper.clock.advance(30_000)
    lane.turn(5)
    [probe] = lane.in_flight
    assert probe.send_id != refused.send_id
    lane.answer(probe, Verdict.OK)
    lane.turn()
    assert lane.in_flight, "it goes on"


@pytest.mark.parametrize("late", [Verdict.OK, Verdict.RETRY, Verdict.INV])
def test_what_was_under_way_when_a_provider_stopped_does_not_have_it_go_on(late: Verdict) -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=2))
    for number in range(10):
        paper.deliver(f"n{number}", "phone")
    lane.turn(2)
    first, second = lane.in_flight
    lane.answer(first, Verdict.CFG, code="InvalidProviderToken")
    lane.turn()
    paper.clock.advance(50)
    lane.answer(second, late)
    lane.turn(5)
    assert lane.in_flight == []
    paper.clock.advance(30_000)
    lane.turn()
    [probe] = lane.in_flight
    lane.answer(probe, Verdict.OK)
    lane.turn(2)
    assert len(lane.in_flight) == 2


def test_what_a_stopped_provider_refused_has_used_up_no_retry() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    for _ in range(8):
        lane.turn()
        lane.answer(0, Verdict.CFG)
        lane.turn()
        paper.clock.advance(30_000)
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.clock.advance(1_200)
    lane.turn()
    assert [send.attempt for send in lane.in_flight] == [10]


def test_beside_another_provider_the_sends_of_a_stopped_one_go_to_the_ladder() -> None:
    paper = Paper()
    lane = paper.lane(BOTH)
    for number in range(20):
        paper.deliver(f"i{number}", ios("phone"))
        paper.deliver(f"a{number}", android("phone"))
    for _ in range(30):
        lane.turn()
        for send in [*lane.in_flight]:
            lane.answer(send, Verdict.CFG if send.provider == "apns" else Verdict.OK)
    lane.turn()
    paper.confirm()
    assert len(paper.accepted) == 20
    spilled = paper.deliveries(RUNG_30S)
    assert len(spilled) == 20
    assert {one.attempt - one.spared for one in spilled} == {0}
    reasons = {one.reason for one in paper.outcomes("decision")}
    assert reasons == {"provider_stopped"}


def test_without_a_ladder_a_stalled_provider_makes_the_lane_wait() -> None:
    paper = Paper()
    spec = SendSpec(ios="apns", android="fcm", in_flight=1, retry=Retry(ladder=()))
    lane = paper.lane(spec)
    for number in range(300):
        paper.deliver(f"i{number}", ios("phone"))
    lane.turn(500)
    paper.confirm()
    assert not paper.outcomes()


def test_a_sender_that_never_answers_ends_the_process_with_its_name() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn(590, pass_ms=100)
    with pytest.raises(RuntimeError, match=r"sandbox has not answered a send for 6\d s"):
        lane.turn(30, pass_ms=100)


def test_a_process_that_was_frozen_gives_its_senders_time_to_answer() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    paper.clock.advance(300_000)
    lane.turn(50)
    lane.answer_all()
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}


# ── Claims ────────────────────────────────────────────────────────────────────────────────────


def test_while_claims_are_away_normal_priority_waits_and_then_goes_on() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("in_flight", "phone")
    lane.turn()
    paper.claims.away = True
    lane.answer_all()
    paper.deliver("waiting", "phone")
    lane.turn(20)
    paper.confirm()
    assert not lane.in_flight
    assert paper.ends() == {("in_flight", "push"): ["sent"]}, "what was sent is told all the same"
    asked = paper.claims.rounds
    lane.turn(40)
    assert paper.claims.rounds - asked <= 2, "asked each half second, not in every round"
    paper.claims.away = False
    lane.turn(60)
    assert [send.send_id for send in lane.in_flight] == [id_of("waiting", "phone")]
    asks = Lease(id_of("in_flight", "phone"), "x", "stranger")
    [told] = paper.claims.claims.round([asks], (), (), (), paper.clock.now(), 500, 500)
    assert told.verdict == "done", "its mark was made up for"


def test_that_claims_were_away_is_no_providers_fault() -> None:
    paper = Paper()
    lane = paper.lane(BOTH)
    for number in range(50):
        paper.deliver(f"i{number}", ios("phone"))
    paper.claims.away = True
    lane.turn(300)
    paper.claims.away = False
    lane.turn(60)
    paper.confirm()
    assert len(lane.in_flight) == 2
    assert not paper.of(RUNG_30S)


def test_while_claims_are_away_high_priority_goes_on_by_its_own_memory() -> None:
    paper = Paper(priority=Priority.HIGH)
    lane = paper.lane()
    paper.claims.away = True
    for _ in range(2):
        paper.deliver("n1", "phone")
        lane.turn(2)
        lane.answer_all()
        lane.turn(2)
    assert dict(paper.accepted) == {id_of("n1", "phone"): 1}, "a duplicate is recognised"
    paper.deliver("n2", "phone")
    lane.turn(2)
    assert [send.send_id for send in lane.in_flight] == [id_of("n2", "phone")]


def test_what_another_process_has_leased_is_asked_for_again_and_sent_when_the_lease_is_over() -> (
    None
):
    paper = Paper()
    now = paper.clock.now()
    known = id_of("n1", "phone")
    paper.claims.claims.round([Lease(known, "o", "dead process")], (), (), (), now, 15_000, 10**6)
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    paper.clock.advance(14_000)
    lane.turn(60)
    assert not lane.in_flight
    paper.clock.advance(1_000)
    lane.turn(60)
    assert [send.attempt for send in lane.in_flight] == [1], "no attempt is counted"


def test_what_was_sent_before_a_crash_is_told_again_word_for_word() -> None:
    paper = Paper()
    first = paper.lane()
    paper.deliver("n1", "phone", "tablet")
    first.turn()
    paper.clock.advance(55)
    first.answer_all(Verdict.OK, provider_id="p7", cost=3)
    first.turn()  # marked and appended
    paper.clock.advance(60_000)
    second = paper.lane()  # the first is dead
    second.turn()
    assert not second.in_flight
    second.confirm()
    replayed = paper.outcomes()
    assert len(replayed) == 3
    first.confirm()  # had it lived, it would have said the same
    assert {one.outcome_id: one for one in paper.outcomes()} == {
        one.outcome_id: one for one in replayed
    }


def test_what_its_only_address_took_before_a_crash_is_told_again_in_the_same_bytes() -> None:
    paper = Paper()
    first = paper.lane()
    paper.deliver("n1", "phone")
    first.serve(Verdict.RETRY)
    paper.clock.advance(1_200)
    first.turn()
    paper.clock.advance(55)
    first.answer_all(Verdict.OK, provider_id="p7", code="200", detail="queued", cost=3)
    first.turn()  # marked and appended
    paper.clock.advance(60_000)
    second = paper.lane()  # the first is dead
    second.turn()
    assert not second.in_flight
    second.confirm()
    [replayed] = [record.value for record in paper.of(EVENTS)]
    first.confirm()  # had it lived, it would have said the same, and the retry before
    assert [record.value for record in paper.of(EVENTS)].count(replayed) == 2
    assert [(one.stage, one.kind, one.attempt) for one in paper.outcomes()] == [
        ("attempt", "sent", 2),
        ("end", "sent", 2),
        ("attempt", "retried", 1),
        ("attempt", "sent", 2),
        ("end", "sent", 2),
    ]


def test_what_is_done_is_settled_without_a_word() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    paper.deliver("n1", "phone")
    lane.serve()
    paper.confirm()
    paper.clock.advance(600)
    lane.turn(5)
    paper.clock.advance(300)
    lane.turn()
    assert paper.settled()(1)
    paper.confirm()
    assert len(paper.outcomes()) == 2
    assert dict(paper.accepted) == {id_of("n1", "phone"): 1}


def test_a_mark_that_can_not_be_read_still_says_that_it_was_sent() -> None:
    paper = Paper()
    mark = Mark(id_of("n1", "phone"), "someone", "not JSON")
    paper.claims.claims.round((), [mark], (), (), paper.clock.now(), 500, 10**6)
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    paper.confirm()
    assert not lane.in_flight
    assert paper.ends() == {("n1", "push"): ["sent"]}


def test_a_send_that_the_courier_got_to_too_late_is_leased_and_tried_anew() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    [send] = lane.in_flight
    lane.courier.in_flight.clear()
    lane.courier.answered.append((send, LATE, paper.clock.now()))
    lane.turn()
    assert [(send.send_id, send.attempt) for send in lane.in_flight] == [(id_of("n1", "phone"), 1)]
    lane.answer_all()
    lane.turn()
    paper.confirm()
    assert len(paper.outcomes("attempt")) == 1, "it was no attempt"
