"""Sends that come back: what an answer leads to.

yes               marked and written; the delivery's end, where it was the last of its sends
a question's      what the provider says of a send that it may have
anything else     see ``policy``: the next provider, a wait, the ladder or an end
"""

from __future__ import annotations

import msgspec

from tidings.ports import A_DAY, Person
from tidings.records import Kind
from tidings.runtime.lane.answers import Stored, address_of, pack, stored
from tidings.runtime.lane.courier import LATE
from tidings.runtime.lane.desk import Desk
from tidings.runtime.lane.doubts import claim_of
from tidings.runtime.lane.policy import EXHAUSTED, Act, Decision, decide, relieve
from tidings.runtime.lane.quota import Quota
from tidings.runtime.lane.removal import Removals
from tidings.runtime.lane.successes import Successes
from tidings.runtime.lane.tracker import Parcel
from tidings.sender import Answer, Send, Verdict

_OK, _CFG = Verdict.OK, Verdict.CFG  # a member of an enum costs 0.1 µs to name
_EXPIRED = Kind.EXPIRED.value
_RETRIES = (Act.AGAIN, Act.LATER)
_SURELY_NOT_SENT = (Verdict.RETRY, Verdict.CFG)


class Returns:
    """Takes answers from the courier, and carries out what they mean."""

    def __init__(self, desk: Desk, removals: Removals, successes: Successes) -> None:
        self._desk = desk
        self._removals = removals
        self._successes = successes

    def round(self, now: int) -> None:
        """Take a batch of answers."""
        answered, in_flight = self._desk.courier.answered, self._desk.in_flight
        for _ in range(min(len(answered), self._desk.settings.batch)):
            send, answer, at = answered.popleft()
            if in_flight.get(send.send_id) is not send:
                continue  # a sender that answers twice
            del in_flight[send.send_id]
            quota = self._desk.quotas[send.provider]
            quota.in_flight -= 1
            if answer is LATE:
                send.now = now
                quota.waiting.append(send)
                continue
            quota.answers += 1
            quota.latency = at - send.now
            if answer.verdict is not _CFG and quota.proved(send.now):
                quota.go_on(now)
            parcel: Parcel = send.ticket
            parcel.news = True
            if send.asking:
                self._told(send, answer, at, now)
                continue
            if answer.replacement:
                self._removals.replace(_person(parcel), send.address, answer.replacement, now)
            kept = stored(send, answer, at, address_of(send))
            if answer.verdict is _OK:
                if send.now >= quota.breaker.since:
                    quota.good += 1
                    quota.taken_at = send.now
                self._took(send, kept)
            else:
                self._desk.settlement.attempt(parcel, send.send_id, kept)
                quota.refused(answer, send.now)
                self._refused(send, answer, at, now)
        for quota in self._desk.quotas.values():
            if quota.answers:
                quota.heard(now)

    def _took(self, send: Send, kept: Stored) -> None:
        """Its provider has it."""
        # A kill before its mark is what repeats a send. The mark is in this very round, and the
        # outcome is written behind it.
        parcel: Parcel = send.ticket
        claim = send.send_id if send.doubt is None else claim_of(send)
        self._desk.leases.mark(claim, pack(kept), parcel.turn)
        parcel.marked += (claim,)
        self._desk.endings.took(send, kept)
        if kept.at - send.address.last_success_at >= A_DAY:
            delivery = parcel.delivery
            self._successes.add(delivery.tenant, delivery.recipient_id, send.address, kept.at)

    def _refused(self, send: Send, answer: Answer, at: int, now: int) -> None:
        """Any answer but a yes; see ``policy``."""
        parcel: Parcel = send.ticket
        quota = self._desk.quotas[send.provider]
        down = not quota.breaker.closed
        if answer.verdict is Verdict.AMB and self._desk.doubts.asks(send, send.provider):
            self._desk.questions.begin(send, answer, at, now)
            return
        decision = decide(answer, send, now, self._desk.spec, down=down)
        if decision.gone and not answer.replacement:
            self._removals.add(_person(parcel), send.address)
        elif answer.suppress:
            self._removals.suppress(parcel.delivery.tenant, send, answer.suppress)
        if decision.act is Act.STOP:
            quota.stop(answer, now, now + self._desk.settings.probe_ms)
        elif decision.act in _RETRIES and (parcel.partition.crowded or quota.full_of_retries()):
            decision = relieve(decision, send, now, self._desk.spec.retry)
        other = self._way_round(send, answer, decision)
        ends = other is None and decision.act is Act.END
        exhausted = ends and decision.reason == EXHAUSTED
        if decision.kind is Kind.UNKNOWN or (exhausted and not parcel.turn):
            # Marked, with the answer that it is: a replay must not send it again either. Where
            # nothing was left to try its letter may be sent, under another id.
            claim = claim_of(send)
            self._desk.leases.mark(
                claim, pack(stored(send, answer, at, address_of(send))), parcel.turn
            )
            parcel.marked += (claim,)
        else:
            self._desk.leases.release(claim_of(send))
        if ends:
            expired = decision.kind is Kind.EXPIRED
            word = _EXPIRED if expired else answer.verdict
            if exhausted:
                parcel.failing = send.provider
            self._desk.endings.fail(send, word, decision.reason, answer.code, at)
            return
        send.spared += not decision.counted
        if not parcel.partition.alive:
            self._desk.endings.forsake(send)
        elif other is None and decision.act is Act.LATER:
            self._desk.endings.park(send, decision.at, decision.rung, send.attempt)
        elif other is None and decision.act is Act.AGAIN:
            send.attempt += 1
            self._desk.resting.add(send, decision.at)
        elif other is None and decision.act in (Act.WAIT, Act.STOP):
            # Behind the others: it may be what brings the provider down, or what it refuses.
            send.attempt += 1
            send.now = now
            quota.waiting.append(send)
        else:
            send.attempt += 1
            send.now = now
            (other or quota).waiting.appendleft(send)

    def _told(self, send: Send, answer: Answer, at: int, now: int) -> None:
        """What its provider says of a send that it may have."""
        quota, doubt = self._desk.quotas[send.provider], send.doubt
        assert doubt is not None, "it is a question"
        none = answer.verdict is Verdict.RETRY and not answer.limited
        if none or answer.verdict is _OK:
            quota.good += send.now >= quota.breaker.since
        else:
            quota.refused(answer, send.now)
        kept = stored(send, answer, at, address_of(send))
        kept = msgspec.structs.replace(kept, attempt=doubt.attempt)
        if answer.verdict is _OK:
            send.attempt = doubt.attempt
            self._took(send, kept)
        elif none and self._desk.doubts.settled(send):
            self._desk.settlement.attempt(send.ticket, send.send_id, kept)
            send.asking = False
            if send.attempt == doubt.attempt:
                self._refused(send, answer, at, now)
            else:  # it has been on the ladder since: that was its wait
                self._desk.leases.release(claim_of(send))
                send.now = now
                quota.waiting.append(send)
        else:
            self._desk.questions.again(send, answer, now)

    def _way_round(self, send: Send, answer: Answer, decision: Decision) -> Quota | None:
        """The next provider, for what this one surely has not sent and would be put off or ended:
        an end that comes of a retry is no more than the lack of time or of rungs for one."""
        if answer.verdict not in _SURELY_NOT_SENT:
            return None
        if decision.act is Act.AGAIN and decision.counted:  # a rate limit is not tried in place
            return None
        return self._desk.detours.next(send)


def _person(parcel: Parcel) -> Person:
    return Person(parcel.delivery.tenant, parcel.delivery.recipient_id)
