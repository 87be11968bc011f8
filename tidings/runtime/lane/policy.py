"""What a provider's answer leads to: pure functions, decisions as values.

    verdict          decision
    OK               the send ends as sent
    INV              it ends as failed, and the address is removed; or suppressed, for a reason
    DROP             it ends as failed
    AMB              it ends as unknown; or is tried again, where the lane says so; or its provider
                     is asked whether it has it, see ``doubts``
    CFG              the provider is stopped, the message kept
    RETRY            in place after 1, 2, 4, 8 s (0 to 20 % longer), then up the ladder
    RETRY, limited   when the provider asked for, no retry used up
    RETRY, and the provider is down anyway: it waits for it, no retry used up

Nothing is tried at or after its expiry: a send whose next try would come too late ends as expired.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from tidings.ids import unit
from tidings.operators.send import Retry, SendSpec, on_uncertain
from tidings.records import Kind
from tidings.sender import Answer, Send, Verdict

JITTER = 0.2


class Act(StrEnum):
    """What is to be done with a send that was answered."""

    END = "end"
    AGAIN = "again"  # in place: it stays in the lane
    LATER = "later"  # over a rung of the ladder
    STOP = "stop"  # the provider takes nothing more; the send is kept
    WAIT = "wait"  # for its provider, which is down


class Decision(NamedTuple):
    """What becomes of one send.

    ``kind`` and ``reason`` are those of its end. ``at`` (epoch ms) is the earliest next try,
    ``rung`` the ladder's. ``counted`` tells whether the try used up a retry, ``gone`` whether the
    address is to be removed.
    """

    act: Act
    kind: Kind = Kind.RETRIED
    reason: str = ""
    at: int = 0
    rung: int = 0
    counted: bool = True
    gone: bool = False


_ENDS = {
    Verdict.OK: Decision(Act.END, Kind.SENT),
    Verdict.INV: Decision(Act.END, Kind.FAILED, "address_gone", gone=True),
    Verdict.DROP: Decision(Act.END, Kind.FAILED, "refused"),
}
UNKNOWN = Decision(Act.END, Kind.UNKNOWN, "no_answer")
_STOP = Decision(Act.STOP, reason="provider_stopped", counted=False)
_WAIT = Decision(Act.WAIT, reason="provider_down", counted=False)
EXHAUSTED = "retries_exhausted"  # by a provider's failures: nothing else is tried so often
_EXHAUSTED = Decision(Act.END, Kind.FAILED, EXHAUSTED)
_TOO_LATE = Decision(Act.END, Kind.EXPIRED, "no_retry_in_time")


def decide(answer: Answer, send: Send, now: int, spec: SendSpec, *, down: bool = False) -> Decision:
    """What ``answer`` to ``send`` leads to; ``now`` is epoch ms. ``down``: the provider's breaker
    is not closed."""
    end = _ENDS.get(answer.verdict)
    if end is not None:
        return _newer(answer, send) if end.gone else end
    if answer.verdict is Verdict.CFG:
        return _STOP
    if answer.verdict is Verdict.AMB and on_uncertain(send.delivery, spec) != "resend":
        return UNKNOWN
    if answer.limited:
        return _limited(answer, send, now, spec.retry)
    if down:
        return _WAIT
    return _retried(answer, send, now, spec.retry)


def _newer(answer: Answer, send: Send) -> Decision:
    if answer.suppress:  # it exists, and goes on the list instead
        return Decision(Act.END, Kind.FAILED, answer.suppress)
    # "Gone since" tells of an older registration of the same token: this one stays.
    end = _ENDS[Verdict.INV]
    stale = 0 < answer.since < send.address.registered_at
    return end._replace(gone=False) if stale else end


def _retried(answer: Answer, send: Send, now: int, retry: Retry) -> Decision:
    used = send.attempt - send.spared - 1  # the retries behind us
    if used < len(retry.in_place):
        wait = max(retry.in_place[used], answer.retry_after_ms)
        return _wait(wait, send, now, retry, counted=True)
    rung = used - len(retry.in_place)
    if rung >= len(retry.ladder):
        if not (retry.ladder and retry.repeat_last and send.expires_at):
            return _EXHAUSTED
        rung = len(retry.ladder) - 1
    at = now + max(retry.ladder[rung], answer.retry_after_ms)
    return _in_time(Decision(Act.LATER, at=at, rung=rung), send)


def _limited(answer: Answer, send: Send, now: int, retry: Retry) -> Decision:
    wait = answer.retry_after_ms if answer.retry_after_ms >= 0 else retry.rate_limit
    return _wait(wait, send, now, retry, counted=False)


def _wait(wait: int, send: Send, now: int, retry: Retry, *, counted: bool) -> Decision:
    """In the lane where it is shorter than the first rung, else over the ladder."""
    if fits(wait, retry):
        wait += int(wait * JITTER * unit(f"{send.send_id}:{send.attempt}"))
        return _in_time(Decision(Act.AGAIN, at=now + wait, counted=counted), send)
    rung = rung_for(wait, retry)
    return _in_time(Decision(Act.LATER, at=now + wait, rung=rung, counted=counted), send)


def _in_time(decision: Decision, send: Send) -> Decision:
    return _TOO_LATE if 0 < send.expires_at <= decision.at else decision


def relieve(decision: Decision, send: Send, now: int, retry: Retry) -> Decision:
    """``decision`` for a lane that has no room for a retry in place: the first rung instead.

    Stays as it is where there is no ladder, or where the message would expire on it.
    """
    if decision.act is not Act.AGAIN or not retry.ladder:
        return decision
    at = max(decision.at, now + retry.ladder[0])
    return decision if 0 < send.expires_at <= at else decision._replace(act=Act.LATER, at=at)


def spilled(rungs_tried: int, send: Send, now: int, retry: Retry) -> tuple[int, int]:
    """Until when and on which rung a send waits for a provider that is away, or full.

    Each time on a longer one, for it is released when the provider is back; but its life has to
    outlast the rung twice, so that it can still be tried if nobody releases it.
    """
    rung = min(rungs_tried, len(retry.ladder) - 1)
    while rung and 0 < send.expires_at < now + 2 * retry.ladder[rung]:
        rung -= 1
    return now + retry.ladder[rung], rung


def fits(wait: int, retry: Retry) -> bool:
    """Whether a wait (ms) is spent in the lane: what is shorter than the first rung is."""
    return not retry.ladder or wait < retry.ladder[0]


def rung_for(wait: int, retry: Retry) -> int:
    """The rung for a wait that is not the ladder's own: the longest that is not longer.

    What is left of the wait is spent behind it, so that a rung's records stay in due order.
    """
    return max((rung for rung, delay in enumerate(retry.ladder) if delay <= wait), default=0)
