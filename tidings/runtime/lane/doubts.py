"""Sends that their provider may have: it is asked, until it says so or there is no time left.

    sent ──► no answer: a doubt, marked ──► asked ──► it has it          it is sent
                       ▲                    │  ▲─┘    it does not say    asked again
                       └── no answer again ─┴──────   it has none        tried again

A mark is never taken back. So what comes after a doubt, the questions and the next attempt, goes
under a claim of its own, ``<send id>~1`` after the first: whoever reads the delivery again finds
the doubts in their order, and goes on behind the last of them.

What a kill -9 does: a doubt not yet marked is sent again, as what was accepted and not yet marked
is; behind a mark it is asked again, by one process at a time, and the next attempt is not made
before the answer. A provider that has the message after all says so then.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidings.operators.send import SendSpec, on_uncertain
from tidings.records import DOUBT, Delivery
from tidings.runtime.lane.answers import Stored
from tidings.runtime.lane.policy import UNKNOWN, Act, Decision, fits, rung_for
from tidings.sender import Answer, Doubt, Send, Terms, Verdict

_SOON_MS = 2_000  # until the first question: a connection that broke tells at once
_LONGEST_MS = 3_600_000  # of asking: what a provider has not listed by then it never will


def claim_of(send: Send) -> str:
    """What Claims know the next attempt or question of ``send`` by."""
    doubt = send.doubt
    return f"{send.send_id}~{doubt.count}" if doubt is not None and doubt.count else send.send_id


def send_of(claim: str) -> str:
    """The id of the send that Claims know by this."""
    return claim.partition("~")[0]


class Doubts:
    """Which sends are asked about, and what the answers lead to."""

    def __init__(self, spec: SendSpec, terms: Mapping[str, Terms]) -> None:
        self._spec = spec
        self._retry = spec.retry
        self._settles = {
            name: given.settles_ms for name, given in terms.items() if given.settles_ms
        }

    def asks(self, send: Send, provider: str) -> bool:
        """Whether this provider is asked whether it has ``send``."""
        return provider in self._settles and on_uncertain(send.delivery, self._spec) == "ask"

    def begin(self, send: Send, at: int) -> None:
        """The attempt under way was given up at ``at`` (epoch ms); it is asked about."""
        known = send.doubt
        send.doubt = Doubt(
            count=known.count + 1 if known else 1,
            since=known.since if known else send.now,
            last=send.now,
            begun=known.begun if known else at,
            attempt=send.attempt,
        )
        send.asking = True

    def found(self, send: Send, kept: Stored) -> bool:
        """Whether a mark is a doubt, and its provider is asked; ``send`` is a question then."""
        if not (kept.doubt and self.asks(send, kept.provider)):
            return False
        known, left = send.doubt, kept.at - kept.latency_ms
        if known is None or not known.count:
            known = Doubt(0, left, left, kept.at, kept.attempt)
        send.doubt = Doubt(known.count + 1, known.since, left, known.begun, kept.attempt)
        send.asking = True
        send.provider = kept.provider
        send.attempt = max(send.attempt, kept.attempt)
        return True

    def parked(self, send: Send, delivery: Delivery) -> bool:
        """Whether a delivery came from the ladder with a doubt about ``send``: Claims are asked for
        it first, and it must not be sent where they have lost their memory."""
        if delivery.answers.get(send.send_id) != DOUBT:
            return False
        at = delivery.created_at
        send.doubt = Doubt(0, at, at, at, delivery.attempt)
        send.asking = True
        return True

    def settled(self, send: Send) -> bool:
        """Whether a provider that said it has no such message is believed."""
        doubt = send.doubt
        assert doubt is not None, "it is a question"
        return send.now >= doubt.last + self._settles[send.provider]

    def again(self, send: Send, now: int, answer: Answer | None = None) -> Decision:
        """When to ask (again), after ``answer`` to a question or before the first."""
        doubt = send.doubt
        assert doubt is not None, "it is a question"
        wait = max(_SOON_MS, now - doubt.begun)  # each time twice as long after the beginning
        if answer is not None:
            if answer.verdict is Verdict.DROP:
                return UNKNOWN
            if answer.limited:
                asked = answer.retry_after_ms
                wait = max(wait, asked if asked >= 0 else self._retry.rate_limit)
            elif answer.verdict is Verdict.RETRY:  # none so far
                wait = max(0, min(wait, doubt.last + self._settles[send.provider] - now))
        at = now + wait
        if at >= doubt.begun + _LONGEST_MS or 0 < send.expires_at <= at:
            return UNKNOWN
        if fits(wait, self._retry):
            return Decision(Act.AGAIN, at=at, counted=False)
        return Decision(Act.LATER, at=at, rung=rung_for(wait, self._retry), counted=False)

    def hopeless(self, send: Send, now: int) -> bool:
        """Whether no answer would help any more, to a question that Claims have granted: it is too
        late, or they know nothing of the doubt that it is about."""
        doubt = send.doubt
        assert doubt is not None, "it is a question"
        late = now >= doubt.begun + _LONGEST_MS or 0 < send.expires_at <= now
        return not doubt.count or late or not self.asks(send, send.provider)
