"""Sends on their way out: those that have a place ask for a lease, and who gets one goes.

The others have gone out before, wait for another process, or are let be.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidings.ports import Lease, Leased
from tidings.ports import Verdict as Claim
from tidings.records import Delivery, Kind
from tidings.runtime.lane.answers import address_of, unpack
from tidings.runtime.lane.courier import Load
from tidings.runtime.lane.desk import Desk
from tidings.runtime.lane.doubts import claim_of
from tidings.runtime.lane.policy import EXHAUSTED, spilled
from tidings.runtime.lane.quota import Quota
from tidings.runtime.lane.settlement import BUSY_MS
from tidings.runtime.lane.tracker import Parcel, Tracker
from tidings.sender import Send, Verdict

_OK, _LEASED = Verdict.OK, Claim.LEASED  # a member of an enum costs 0.1 µs to name
_EXPIRED, _CANCELLED, _FAILED = Kind.EXPIRED.value, Kind.CANCELLED.value, Kind.FAILED.value
_MARGIN_MS = 1_000  # before a lease ends, so that clocks may differ by so much


class Departures:
    """Takes what waits to the courier."""

    def __init__(self, desk: Desk, tracker: Tracker, rungs: Mapping[str, int]) -> None:
        self._desk = desk
        self._tracker = tracker
        self._rungs = rungs

    def round(self, now: int) -> None:
        """One round with Claims, for all that has a place and all that they should hear."""
        if not self._desk.leases.available(now):
            self._desk.settlement.forsake()
            self._desk.forgive(now)
            return
        self._desk.settlement.wake(now)
        asked: list[Send] = []
        for quota in self._desk.quotas.values():
            if quota.waiting:
                self._choose(quota, asked, now)
        holder = self._desk.settings.holder
        leases = [
            _lease(send, holder)
            if send.doubt is not None or send.ticket.delivery.supersedes
            else Lease(send.send_id, send.ticket.origin(), holder, "", "", 0, send.ticket.turn)
            for send in asked
        ]
        ends = [ending.to_claim(holder) for ending in self._desk.settlement.unsaid]
        # A kill from here on leaves leases: what they stand for waits until they have run out.
        answers = self._desk.leases.round(leases, self._tracker.done, now, ends)
        if answers is not None:
            if ends:
                self._desk.settlement.answered(answers[len(leases) :], now)
                del answers[len(leases) :]
            self._leave(asked, answers, now)
            self._spill(now)
            return
        for send in reversed(asked):
            del self._desk.in_flight[send.send_id]
            self._desk.quotas[send.provider].waiting.appendleft(send)
        self._desk.settlement.forsake()
        self._desk.forgive(now)

    def _choose(self, quota: Quota, asked: list[Send], now: int) -> None:
        """Those that wait, as far as there are places."""
        waiting, in_flight = quota.waiting, self._desk.in_flight
        free = min(quota.free(now), self._desk.settings.batch)
        while free > 0 and waiting:
            send = waiting.popleft()
            if not send.ticket.partition.alive:
                self._desk.endings.forsake(send)
            elif 0 < send.expires_at <= now and not send.asking:
                self._desk.endings.fail(send, _EXPIRED, "expired", "", now)
            elif send.send_id in in_flight:
                self._desk.resting.add(send, now + BUSY_MS)  # the same delivery, read twice
            else:
                in_flight[send.send_id] = send
                asked.append(send)
                free -= 1

    def _leave(self, asked: list[Send], answers: list[Leased], now: int) -> None:
        started = self._desk.clock.now()
        loads: dict[str, list[Send]] = {}
        questions: dict[str, list[Send]] = {}
        for send, leased in zip(asked, answers, strict=True):
            if leased.verdict is _LEASED:
                if send.asking and self._desk.doubts.hopeless(send, now):
                    del self._desk.in_flight[send.send_id]
                    self._desk.questions.give_up(send, "", now)
                    continue
                send.now = started
                (questions if send.asking else loads).setdefault(send.provider, []).append(send)
                continue
            del self._desk.in_flight[send.send_id]
            if leased.verdict is Claim.BUSY:
                self._desk.resting.add(send, now + BUSY_MS)
            elif leased.verdict is Claim.SUPERSEDED:
                self._desk.endings.fail(send, _CANCELLED, "superseded", "", now)
            elif leased.verdict is Claim.OVER:  # how, is said when its last word is asked about
                self._desk.endings.fail(send, _FAILED, "over", "", now)
            else:
                self._found(send, leased, now)
        if loads or questions:
            carried = [Load(*load) for load in loads.items()]
            carried += [Load(*load, asking=True) for load in questions.items()]
            for provider, sends, _ in carried:
                self._desk.quotas[provider].depart(len(sends), started)
            until = now + self._desk.settings.lease_ms - _MARGIN_MS
            self._desk.courier.hand_over(carried, until)

    def _found(self, send: Send, leased: Leased, now: int) -> None:
        """It went out already, or used up its tries, by us before a crash or by another process:
        say so again.

        Where its outcome is confirmed too, nothing is said, unless other addresses have news. What
        went out without an answer is asked about.
        """
        kept = unpack(leased.answer, send.provider, send.attempt, send.now)
        if not kept.address:
            kept = msgspec.structs.replace(kept, address=address_of(send))
        parcel: Parcel = send.ticket
        if kept.doubt and self._desk.doubts.found(send, kept):
            self._desk.settlement.attempt(parcel, send.send_id, kept)
            parcel.doubt()
            send.now = now
            self._desk.quotas[send.provider].waiting.append(send)
            return
        parcel.marked += (claim_of(send),)
        if leased.verdict is Claim.SENT:
            parcel.news = True
            if kept.verdict is _OK:
                self._desk.endings.took(send, kept)
                return
            self._desk.settlement.attempt(parcel, send.send_id, kept)
            if kept.verdict is Verdict.RETRY:  # nothing was left to try: a letter goes with it
                parcel.failing = kept.provider
                self._desk.endings.fail(send, kept.verdict, EXHAUSTED, kept.code, kept.at)
                return
        self._desk.endings.close(send, kept.verdict, kept.at)

    def _spill(self, now: int) -> None:
        for quota in self._desk.quotas.values():
            reason = quota.why
            for send in quota.spilling(now):
                if not send.asking and (other := self._desk.detours.next(send)) is not None:
                    send.now = now
                    other.waiting.append(send)
                elif send.ticket.partition.alive:
                    self._desk.settlement.deferred(send.ticket, reason, quota.name, now)
                    tried = self._rungs.get(send.ticket.record.topic, 0) if quota.away else 0
                    at, rung = spilled(tried, send, now, self._desk.spec.retry)
                    self._desk.endings.park(send, at, rung, send.attempt - 1, awaits=quota.name)
                else:
                    self._desk.endings.forsake(send)


def _lease(send: Send, holder: str) -> Lease:
    """A lease for what a newer one may have superseded, or what its provider may have. A later
    round only asks: its delivery is younger than the event that it is about. Whether a provider has
    it is asked all the same."""
    delivery: Delivery = send.ticket.delivery
    claim, origin, turn = claim_of(send), send.ticket.origin(), send.ticket.turn
    if send.asking or not delivery.supersedes:
        return Lease(claim, origin, holder, "", "", 0, turn)
    since = delivery.created_at if delivery.round == 0 else 0
    return Lease(claim, origin, holder, delivery.supersedes, delivery.wait, since, turn)
