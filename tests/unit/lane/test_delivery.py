"""One delivery, from its record to its end."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.lane.paper import NOW, SPEC, TOPIC, Paper, a_delivery, id_of, site
from tidings.ids import outcome_id
from tidings.log.port import Append, LogError, Slot
from tidings.operators.send import Retry, SendSpec
from tidings.ports import Address, Lease
from tidings.ports import Verdict as Leased
from tidings.records import Kind, Outcome, Priority, decode_outcome, encode, outcomes_of
from tidings.sender import Verdict
from tidings.topics import EVENTS

RUNG_30S = f"{TOPIC}.retry.30s"
DEAD = "notif_dlq.push"


def told(outcomes: list[Outcome]) -> list[tuple[str, str, int]]:
    return [(one.stage, one.kind, one.attempt) for one in outcomes]


def test_an_accepted_send_is_an_attempt_and_the_end_and_then_the_position_moves() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    assert [send.address.value for send in lane.in_flight] == ["phone"]
    paper.clock.advance(40)
    lane.answer(0, Verdict.OK, provider_id="p1", cost=7)
    lane.turn()
    paper.clock.advance(300)
    lane.turn()
    assert not paper.settled()(0), "the outcome is not confirmed yet"

    paper.confirm()
    paper.clock.advance(300)
    lane.turn()
    assert paper.settled()(0)
    attempt, end = paper.outcomes()
    assert (attempt.stage, attempt.kind, attempt.send_id) == (
        "attempt",
        "sent",
        id_of("n1", "phone"),
    )
    assert (attempt.provider, attempt.provider_id, attempt.cost) == ("sandbox", "p1", 7)
    assert (attempt.latency_ms, attempt.attempt) == (40, 1)
    assert attempt.address
    assert "phone" not in attempt.address
    assert (end.stage, end.kind, end.reason, end.send_id) == ("end", "sent", "", "")
    assert (end.provider, end.provider_id, end.address, end.cost) == ("", "", "", 0)
    assert end.latency_ms == attempt.at - NOW
    for one in (attempt, end):
        assert (one.notif_id, one.channel, one.flow, one.step) == (
            "n1",
            "push",
            "social",
            "push.send",
        )
        assert (one.template, one.locale) == ("social_digest", "en")
        assert one.origin is not None
        assert str(one.origin) == f"{TOPIC}:0:0"
    assert attempt.outcome_id != end.outcome_id


def test_what_its_only_address_takes_is_one_record_and_of_two_addresses_each_has_its_own() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    paper.deliver("n2", "phone", "tablet")
    lane.serve()
    paper.confirm()
    written = [decode_outcome(record.value or b"") for record in paper.of(EVENTS)]
    assert [(one.notif_id, one.stage) for one in written] == [
        ("n1", "end"),
        ("n2", "attempt"),
        ("n2", "attempt"),
        ("n2", "end"),
    ]
    attempt, end = outcomes_of(paper.of(EVENTS)[0].value or b"")
    assert attempt.outcome_id == outcome_id(id_of("n1", "phone"), "sent", 1)
    assert end.outcome_id == outcome_id("n1\x1fpush\x1f0", "sent", 0)


def test_a_transient_error_is_tried_again_in_place_and_holds_neither_place_nor_lease() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=1))
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY, code="503")
    lane.turn()
    paper.deliver("n2", "tablet")
    lane.turn()
    assert [send.address.value for send in lane.in_flight] == ["tablet"], "its place is free"
    lease = Lease(id_of("n1", "phone"), "elsewhere", "stranger")
    [taken] = paper.claims.claims.round([lease], (), (), (), paper.clock.now(), 500, 500)
    assert taken.verdict is Leased.LEASED, "its lease is free"

    lane.answer_all()
    paper.clock.advance(1_200)
    lane.turn()
    [again] = lane.in_flight
    assert (again.address.value, again.attempt) == ("phone", 2)
    lane.answer_all()
    lane.turn()
    paper.confirm()
    of_n1 = [one for one in paper.outcomes() if one.notif_id == "n1"]
    assert told(of_n1) == [("attempt", "retried", 1), ("attempt", "sent", 2), ("end", "sent", 2)]
    assert of_n1[0].code == "503"


def test_after_four_retries_in_place_it_climbs_the_ladder_rung_by_rung() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", expires_at=NOW + 6 * 3_600_000)
    for wait in (0, 1_200, 2_400, 4_800, 9_600):
        paper.clock.advance(wait)
        lane.turn()
        lane.answer(0, Verdict.RETRY)
        lane.turn()
    paper.confirm()
    [waiting] = paper.deliveries(RUNG_30S)
    assert (waiting.attempt, waiting.not_before - paper.clock.now()) == (5, 30_000)
    assert waiting.notif_id == "n1"
    assert not paper.ends(), "handing over is no end"

    paper.clock.advance(300)
    lane.turn()
    assert paper.settled()(0)
    paper.clock.advance(29_000)
    lane.turn(2)
    assert not lane.in_flight, "it is early"
    paper.clock.advance(1_000)
    lane.turn(2)
    assert lane.answer(0, Verdict.RETRY).attempt == 6
    lane.turn()
    paper.confirm()
    assert [one.attempt for one in paper.deliveries(f"{TOPIC}.retry.5m")] == [6]
    for rung, attempt in (("30m", 7), ("30m", 8)):
        paper.clock.advance(300_100 if attempt == 7 else 1_800_100)
        lane.turn(2)
        assert lane.answer(0, Verdict.RETRY).attempt == attempt
        lane.turn()
        paper.confirm()
        assert paper.deliveries(f"{TOPIC}.retry.{rung}")[-1].attempt == attempt
    paper.clock.advance(1_800_100)
    lane.turn(2)
    lane.answer_all()
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}


def test_what_has_used_up_the_ladder_fails_and_is_a_dead_letter() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=(30_000,))))
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()
    paper.clock.advance(30_100)
    lane.turn(2)
    lane.answer(0, Verdict.RETRY, code="503")
    lane.turn()
    paper.confirm()
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason, end.attempt) == ("failed", "retries_exhausted", 2)
    [letter] = paper.of(DEAD)
    assert letter.value == paper.of(RUNG_30S)[0].value, "the bytes as they were read"
    headers = dict(letter.headers)
    assert headers["tidings-reason"] == b"retries_exhausted"
    assert headers["tidings-origin"] == f"{RUNG_30S}:0:0".encode()


def test_a_rate_limit_waits_as_asked_and_uses_up_no_retry() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    for attempt in range(1, 8):
        lane.turn()
        assert lane.in_flight[0].attempt == attempt
        lane.answer(0, Verdict.RETRY, limited=True, retry_after_ms=2_000)
        lane.turn()
        paper.clock.advance(1_990)
        lane.turn()
        assert not lane.in_flight
        paper.clock.advance(400)
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.clock.advance(1_200)
    lane.turn()
    assert lane.in_flight, "the first retry in place is still to be had"


def test_a_rate_limit_that_names_no_time_waits_30s_on_the_ladder() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY, limited=True)
    lane.turn()
    paper.confirm()
    [waiting] = paper.deliveries(RUNG_30S)
    assert (waiting.attempt, waiting.spared) == (1, 1)


def test_what_a_rung_leaves_of_a_wait_is_spent_behind_it() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.RETRY, limited=True, retry_after_ms=45_000)
    lane.turn()
    paper.confirm()
    paper.clock.advance(31_000)
    lane.turn(2)
    assert not lane.in_flight
    paper.clock.advance(14_000)
    lane.turn(2)
    assert [send.attempt for send in lane.in_flight] == [2]


def test_a_dead_address_is_removed_and_the_next_channel_takes_over() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", chain=("email", "sms"), round=3)
    lane.turn()
    lane.answer(0, Verdict.INV, code="Unregistered")
    lane.turn()
    paper.confirm()
    assert paper.people.removed == [("person-of-n1", "phone")]
    [following] = paper.deliveries("deliveries.email.normal")
    assert (following.notif_id, following.channel, following.chain) == ("n1", "email", ("sms",))
    assert (following.attempt, following.answers, following.round) == (0, {}, 3)
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason, end.channel) == ("failed", "address_gone", "push")
    assert end.detail == "Unregistered; next: email"
    assert not paper.of(DEAD)


def test_a_dead_address_is_removed_later_where_the_database_is_away() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    paper.people.away = True
    lane.answer(0, Verdict.INV)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["failed"]}
    assert paper.people.removed == []
    paper.people.away = False
    paper.clock.advance(1_000)
    lane.turn()
    assert paper.people.removed == [("person-of-n1", "phone")]


def test_a_refused_message_fails_without_another_try() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.DROP, code="PayloadTooLarge")
    lane.turn()
    paper.confirm()
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason, end.detail) == ("failed", "refused", "PayloadTooLarge")
    assert [letter.value for letter in paper.of(DEAD)] == [paper.of(TOPIC)[0].value]


def test_a_send_without_an_answer_ends_unknown_and_a_replay_does_not_send_it() -> None:
    paper = Paper()
    first = paper.lane()
    paper.deliver("n1", "phone")
    first.turn()
    first.answer(0, Verdict.AMB, accepted=True, code="connection_lost")
    first.turn()  # marked, its outcome not confirmed: and now the process dies

    second = paper.lane()
    paper.clock.advance(20_000)
    second.turn()
    assert not second.in_flight
    second.confirm()
    assert paper.ends() == {("n1", "push"): ["unknown"]}
    assert told(paper.outcomes("attempt")) == [("attempt", "unknown", 1)]


def test_every_device_of_a_person_is_sent_to_and_one_is_enough() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "old", "phone", "tablet", chain=("email",))
    lane.turn()
    assert [send.address.value for send in lane.in_flight] == ["old", "phone", "tablet"]
    lane.answer(0, Verdict.INV)
    lane.answer(0, Verdict.OK)
    lane.turn()
    assert not paper.outcomes("end"), "one is still open"
    lane.answer(0, Verdict.DROP)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert not paper.of("deliveries.email.normal")
    assert not paper.of(DEAD)
    assert sorted(one.kind for one in paper.outcomes("attempt")) == ["failed", "failed", "sent"]


def test_on_the_ladder_only_the_device_that_has_not_answered_is_asked_again() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", retry=Retry(in_place=())))
    paper.deliver("n1", "phone", "tablet")
    lane.turn()
    lane.answer(0, Verdict.OK)
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()
    [waiting] = paper.deliveries(RUNG_30S)
    assert waiting.answers == {id_of("n1", "phone"): "ok"}
    paper.clock.advance(30_100)
    lane.turn(2)
    assert [(send.address.value, send.attempt) for send in lane.in_flight] == [("tablet", 2)]
    lane.answer(0, Verdict.INV)
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("n1", "push"): ["sent"]}
    assert dict(paper.accepted) == {id_of("n1", "phone"): 1}


def test_what_is_past_its_expiry_is_not_sent() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=1))
    paper.deliver("past", "phone", expires_at=NOW)
    paper.deliver("first", "phone")
    paper.deliver("soon", "phone", expires_at=NOW + 5_000)
    lane.turn()
    assert [send.send_id for send in lane.in_flight] == [id_of("first", "phone")]
    paper.clock.advance(5_000)
    lane.answer_all()
    lane.turn()
    assert not lane.in_flight
    paper.confirm()
    assert paper.ends() == {
        ("past", "push"): ["expired"],
        ("first", "push"): ["sent"],
        ("soon", "push"): ["expired"],
    }
    assert not paper.of(DEAD)


def test_a_retry_that_would_come_too_late_ends_it_as_expired() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", expires_at=NOW + 900)
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason) == ("expired", "no_retry_in_time")


def test_a_delivery_that_a_step_lets_go_of_ends_or_takes_the_next_channel() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("alone")
    paper.deliver("chained", chain=("sms",))
    lane.turn()
    paper.confirm()
    assert paper.ends() == {("alone", "push"): ["failed"], ("chained", "push"): ["failed"]}
    assert {one.step for one in paper.outcomes("end")} == {"push.addresses"}
    assert [one.notif_id for one in paper.deliveries("deliveries.sms.normal")] == ["chained"]
    assert len(paper.of(DEAD)) == 1


def test_a_delivery_that_a_step_cannot_handle_is_a_dead_letter_with_its_trace() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", data={"broken": True}, chain=("email",))
    lane.turn()
    paper.confirm()
    [letter] = paper.of(DEAD)
    headers = dict(letter.headers)
    assert letter.value == paper.of(TOPIC)[0].value
    assert headers["tidings-reason"] == b"missing_variable"
    assert headers["tidings-error"] == b"`name` is missing"
    assert headers["tidings-step"] == b"push.render"
    [end] = paper.outcomes("end")
    assert (end.kind, end.step) == ("failed", "push.render")
    assert len(paper.deliveries("deliveries.email.normal")) == 1, "its words may be right there"


def test_deliveries_are_held_while_a_port_can_not_answer() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.people.away = True
    paper.deliver("n1", "phone")
    lane.turn(10)
    assert not lane.in_flight
    assert not paper.outcomes()
    paper.people.away = False
    paper.clock.advance(200)
    lane.turn()
    assert len(lane.in_flight) == 1


def test_what_the_log_will_never_take_becomes_a_dead_letter() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", chain=("email",))
    lane.turn()
    lane.answer(0, Verdict.INV)
    lane.turn()
    lane.confirm(1, LogError("larger than the topic takes"))  # the delivery to the next channel
    lane.turn()
    paper.confirm()
    assert [letter.value for letter in paper.of(DEAD)] == [paper.of(TOPIC)[0].value]
    paper.clock.advance(300)
    lane.turn()
    assert paper.settled()(0)


def test_what_the_log_failed_to_take_for_now_ends_the_process() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.serve()
    lane.confirm(1, "the broker is away")
    with pytest.raises(LogError, match="did not take a record: the broker is away"):
        lane.turn()
    assert not paper.settled()(0)


def test_deliveries_carry_their_headers_along_the_ladder() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", retry=Retry(in_place=())))
    paper.people.addresses["person-of-n1"] = (Address(kind="device", value="phone"),)
    paper.write(Append(TOPIC, b"k", encode(a_delivery("n1")), (("traceparent", b"00-1"),)))
    lane.turn()
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()
    [waiting] = paper.of(RUNG_30S)
    assert (waiting.key, waiting.headers) == (b"k", (("traceparent", b"00-1"),))


def test_fields_that_we_do_not_know_do_not_stop_us() -> None:
    paper = Paper()
    lane = paper.lane()
    fields = msgspec.json.decode(encode(paper.deliver("n1", "phone"))) | {"from_tomorrow": 1}
    paper.records[Slot(TOPIC, 0)].clear()
    paper.write(Append(TOPIC, b"k", msgspec.json.encode(fields)))
    lane.turn()
    assert len(lane.in_flight) == 1


def test_a_lane_of_high_priority_reads_its_own_topic() -> None:
    paper = Paper(priority=Priority.HIGH)
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    assert lane.in_flight[0].priority == "high"
    assert lane.consumer.topics == [
        "deliveries.push.high",
        *(f"deliveries.push.high.retry.{rung}" for rung in ("30s", "5m", "30m")),
        "notif_dlq.push",
    ]
    assert SPEC.retry.ladder == (30_000, 300_000, 1_800_000)


def test_a_suppressed_delivery_is_a_decision_and_no_dead_letter() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    batch = lane.lane.pull()
    assert batch is not None
    batch.drop(batch.items[0], Kind.SUPPRESSED, "complaint", site("suppress"), "all ses")
    batch.items = []
    lane.lane.push(batch)
    paper.confirm()
    [end] = paper.outcomes("end")
    assert (end.kind, end.reason, end.detail) == ("suppressed", "complaint", "all ses")
    assert not paper.of(DEAD)


def test_of_two_copies_on_the_ladder_the_one_that_finds_all_sent_says_so() -> None:
    spec = SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=(30_000,)))
    paper, rung = Paper(), f"{TOPIC}.retry.30s"
    paper.deliver("n1", "phone", "tablet")
    lane = paper.lane(spec)
    lane.turn()
    lane.answer(0, Verdict.OK)
    lane.answer(0, Verdict.RETRY)
    lane.turn()
    paper.confirm()
    lane.turn(2)
    (copy,) = paper.deliveries(rung)
    assert copy.answers == {id_of("n1", "phone"): "ok"}

    other = msgspec.structs.replace(copy, answers={id_of("n1", "tablet"): "ok"})
    (record,) = paper.of(rung)
    paper.write(Append(rung, record.key, encode(other)))  # of a process that was killed
    paper.clock.advance(31_000)
    lane.turn(3)
    paper.confirm()

    assert [send.send_id for send in lane.in_flight] == [id_of("n1", "tablet")]
    assert paper.ends() == {("n1", "push"): ["sent"]}
