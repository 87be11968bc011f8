from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.lane.paper import a_delivery
from tidings.operators.send import Retry, SendSpec
from tidings.ports import Address
from tidings.records import Kind
from tidings.runtime.lane.policy import Act, Decision, decide, relieve, rung_for
from tidings.sender import Answer, Content, Send, Verdict

NOW = 1_000_000
SPEC = SendSpec(default="sandbox")
RETRY = Answer(verdict=Verdict.RETRY, code="503")


def a_send(attempt: int = 1, **changes: Any) -> Send:
    fields: dict[str, Any] = {
        "send_id": "s1",
        "channel": "push",
        "address": Address(kind="device", value="token", registered_at=500),
        "content": Content(parts={}),
        "tenant": "default",
        "category": "social",
        "priority": "normal",
        "attempt": attempt,
        "now": 0,
    }
    return Send(**fields | changes)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.OK, Decision(Act.END, Kind.SENT)),
        (Verdict.INV, Decision(Act.END, Kind.FAILED, "address_gone", gone=True)),
        (Verdict.DROP, Decision(Act.END, Kind.FAILED, "refused")),
        (Verdict.AMB, Decision(Act.END, Kind.UNKNOWN, "no_answer")),
        (Verdict.CFG, Decision(Act.STOP, reason="provider_stopped", counted=False)),
    ],
)
def test_what_each_verdict_leads_to(verdict: Verdict, expected: Decision) -> None:
    assert decide(Answer(verdict=verdict), a_send(), NOW, SPEC) == expected


@pytest.mark.parametrize(
    ("attempt", "act", "least", "greatest", "rung"),
    [
        (1, Act.AGAIN, 1_000, 1_200, 0),
        (2, Act.AGAIN, 2_000, 2_400, 0),
        (3, Act.AGAIN, 4_000, 4_800, 0),
        (4, Act.AGAIN, 8_000, 9_600, 0),
        (5, Act.LATER, 30_000, 30_000, 0),
        (6, Act.LATER, 300_000, 300_000, 1),
        (7, Act.LATER, 1_800_000, 1_800_000, 2),
        (8, Act.LATER, 1_800_000, 1_800_000, 2),
        (99, Act.LATER, 1_800_000, 1_800_000, 2),
    ],
)
def test_the_waits_behind_each_failed_attempt(
    attempt: int, act: Act, least: int, greatest: int, rung: int
) -> None:
    decision = decide(RETRY, a_send(attempt, expires_at=NOW + 10**9), NOW, SPEC)
    assert (decision.act, decision.rung, decision.counted) == (act, rung, True)
    assert NOW + least <= decision.at <= NOW + greatest


def test_while_its_provider_is_down_a_failure_waits_for_it_and_uses_up_no_retry() -> None:
    waits = Decision(Act.WAIT, reason="provider_down", counted=False)
    assert decide(RETRY, a_send(99), NOW, SPEC, down=True) == waits
    resend = SPEC.model_copy(update={"on_uncertain": "resend"})
    assert decide(Answer(verdict=Verdict.AMB), a_send(), NOW, resend, down=True) == waits
    limited = Answer(verdict=Verdict.RETRY, limited=True, retry_after_ms=7_000)
    assert decide(limited, a_send(), NOW, SPEC, down=True).act is Act.AGAIN


@pytest.mark.parametrize(
    ("lane", "flow", "act"),
    [
        ("drop", "", Act.END),
        ("drop", "resend", Act.AGAIN),
        ("resend", "", Act.AGAIN),
        ("resend", "drop", Act.END),
    ],
)
def test_what_a_flow_says_of_uncertain_sends_counts_before_what_its_lane_says(
    lane: str, flow: str, act: Act
) -> None:
    spec = SPEC.model_copy(update={"on_uncertain": lane})
    send = a_send(delivery=a_delivery("n1", on_uncertain=flow))
    assert decide(Answer(verdict=Verdict.AMB), send, NOW, spec).act is act


def test_the_last_rung_is_not_repeated_without_an_expiry() -> None:
    ended = Decision(Act.END, Kind.FAILED, "retries_exhausted")
    assert decide(RETRY, a_send(7), NOW, SPEC).act is Act.LATER
    assert decide(RETRY, a_send(8), NOW, SPEC) == ended


def test_the_last_rung_is_not_repeated_where_the_lane_says_so() -> None:
    spec = SendSpec(default="sandbox", retry=Retry(repeat_last=False))
    send = a_send(8, expires_at=NOW + 10**9)
    assert decide(RETRY, send, NOW, spec) == Decision(Act.END, Kind.FAILED, "retries_exhausted")


@given(st.text(min_size=1), st.integers(1, 4))
def test_the_jitter_is_a_function_of_send_and_attempt_within_a_fifth(
    send_id: str, attempt: int
) -> None:
    send = a_send(attempt, send_id=send_id)
    base = SPEC.retry.in_place[attempt - 1]
    first = decide(RETRY, send, NOW, SPEC)
    assert base <= first.at - NOW <= base * 1.2
    assert decide(RETRY, send, NOW, SPEC) == first


def test_the_jitter_spreads() -> None:
    waits = {decide(RETRY, a_send(send_id=f"s{n}"), NOW, SPEC).at for n in range(100)}
    assert len(waits) > 60


@pytest.mark.parametrize(
    ("asked", "act", "rung", "least"),
    [
        (-1, Act.LATER, 0, 30_000),  # it said nothing: 30 s, the first rung
        (2_000, Act.AGAIN, 0, 2_000),
        (0, Act.AGAIN, 0, 0),
        (29_999, Act.AGAIN, 0, 29_999),
        (45_000, Act.LATER, 0, 45_000),  # 30 s on the rung, the rest behind it
        (3_600_000, Act.LATER, 2, 3_600_000),
    ],
)
def test_a_rate_limit_waits_as_asked_and_uses_up_no_retry(
    asked: int, act: Act, rung: int, least: int
) -> None:
    answer = Answer(verdict=Verdict.RETRY, limited=True, retry_after_ms=asked)
    decision = decide(answer, a_send(), NOW, SPEC)
    assert (decision.act, decision.rung, decision.counted) == (act, rung, False)
    assert NOW + least <= decision.at <= NOW + least * 1.2


def test_spared_attempts_do_not_count() -> None:
    decision = decide(RETRY, a_send(10, spared=9), NOW, SPEC)
    assert decision.act is Act.AGAIN
    assert 1_000 <= decision.at - NOW <= 1_200


def test_a_transient_error_that_names_a_time_is_given_it() -> None:
    patient = Answer(verdict=Verdict.RETRY, code="503", retry_after_ms=6_000)
    assert 6_000 <= decide(patient, a_send(), NOW, SPEC).at - NOW <= 7_200
    very_patient = Answer(verdict=Verdict.RETRY, code="503", retry_after_ms=600_000)
    assert decide(very_patient, a_send(), NOW, SPEC) == Decision(
        Act.LATER, at=NOW + 600_000, rung=1
    )
    assert decide(very_patient, a_send(5), NOW, SPEC).at == NOW + 600_000


def test_nothing_is_tried_at_or_after_its_expiry() -> None:
    too_late = Decision(Act.END, Kind.EXPIRED, "no_retry_in_time")
    at = decide(RETRY, a_send(), NOW, SPEC).at
    assert decide(RETRY, a_send(expires_at=at), NOW, SPEC) == too_late
    assert decide(RETRY, a_send(expires_at=at + 1), NOW, SPEC).at == at
    assert decide(RETRY, a_send(6, expires_at=NOW + 300_000), NOW, SPEC) == too_late


def test_a_send_without_an_answer_is_tried_again_where_the_lane_says_so() -> None:
    spec = SendSpec(default="sandbox", on_uncertain="resend")
    decision = decide(Answer(verdict=Verdict.AMB), a_send(), NOW, spec)
    assert (decision.act, decision.counted) == (Act.AGAIN, True)


@pytest.mark.parametrize(("since", "gone"), [(0, True), (501, True), (499, False)])
def test_a_dead_address_is_removed_unless_it_was_registered_since(since: int, gone: bool) -> None:
    decision = decide(Answer(verdict=Verdict.INV, since=since), a_send(), NOW, SPEC)
    assert (decision.kind, decision.gone) == (Kind.FAILED, gone)


def test_without_a_ladder_every_wait_is_spent_in_the_lane() -> None:
    spec = SendSpec(default="sandbox", retry=Retry(ladder=()))
    limited = Answer(verdict=Verdict.RETRY, limited=True, retry_after_ms=600_000)
    assert decide(limited, a_send(), NOW, spec).act is Act.AGAIN
    assert decide(RETRY, a_send(5), NOW, spec).kind is Kind.FAILED


def test_without_room_a_retry_takes_the_first_rung_if_it_lives_so_long() -> None:
    again = Decision(Act.AGAIN, at=NOW + 1_000)
    relieved = relieve(again, a_send(), NOW, SPEC.retry)
    assert relieved == Decision(Act.LATER, at=NOW + 30_000)
    short = a_send(expires_at=NOW + 30_000)
    assert relieve(again, short, NOW, SPEC.retry) == again
    assert relieve(again, a_send(), NOW, Retry(ladder=())) == again


@pytest.mark.parametrize(("wait", "rung"), [(30_000, 0), (299_999, 0), (300_000, 1), (10**9, 2)])
def test_a_wait_takes_the_longest_rung_that_is_not_longer(wait: int, rung: int) -> None:
    assert rung_for(wait, SPEC.retry) == rung
