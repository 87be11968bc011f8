"""The words that are written about a delivery: outcomes, hand-overs and dead letters.

    attempt       one address, one try
    end           once for each delivery: sent, suppressed, expired, failed, unknown, cancelled;
                  in one record with its attempt where its only address has taken it
    signal        the same, to the flow that waits for it; see ``last_words`` for whose word counts
    ladder        the same delivery, to be read again from a rung's topic
    next channel  another delivery of the same notification, when this channel has failed
    letter        the delivery's bytes, when nothing is left to try

They gather here and are handed to the log by ``Lane.push``. A kill before that loses them: the
delivery is not settled then, so it is read again and they are written under the same ids.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress

from tidings.durations import format_duration
from tidings.ids import cap_key, outcome_id
from tidings.log.port import Append, Producer, Record
from tidings.operators.send import Retry
from tidings.ports import Caps, Leased, Unavailable
from tidings.ports import Verdict as Claim
from tidings.records import (
    DOUBT,
    PROVIDER_DOWN,
    DeadLetter,
    Kind,
    Origin,
    Stage,
)
from tidings.runtime.lane.answers import Stored, unpack
from tidings.runtime.lane.doubts import send_of
from tidings.runtime.lane.last_words import Ending, LastWord, first_word
from tidings.runtime.lane.letters_held import release_note
from tidings.runtime.lane.onward import on_next_channel, on_rung
from tidings.runtime.lane.outcomes import Said
from tidings.runtime.lane.policy import EXHAUSTED, UNKNOWN
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.tracker import Parcel, Ticket, Tracker
from tidings.runtime.lane.unwritten import Unwritten
from tidings.runtime.letters import dead_letter
from tidings.runtime.signals import reply
from tidings.sender import Verdict
from tidings.topics import retry

LONGEST_DETAIL = 500  # characters of an error that an outcome quotes
BUSY_MS = 500  # until Claims are asked again about what another process may have in flight

# What the hot path looks up is plain text: a member of an enum costs 0.1 µs to name, its value and
# its formatting 0.2 each.
_ATTEMPT, _END, _DECISION = Stage.ATTEMPT.value, Stage.END.value, Stage.DECISION.value
_TEXT = {kind: kind.value for kind in Kind}
_ATTEMPTS = {
    Verdict.OK: Kind.SENT.value,
    Verdict.AMB: Kind.UNKNOWN.value,
    Verdict.INV: Kind.FAILED.value,
    Verdict.DROP: Kind.FAILED.value,
    Verdict.RETRY: Kind.RETRIED.value,
    Verdict.CFG: Kind.RETRIED.value,
}
# The first of these that an address has answered is the delivery's end.
_LAST_WORDS = (
    (Verdict.OK.value, Kind.SENT),
    (Verdict.AMB.value, Kind.UNKNOWN),
    (DOUBT, Kind.UNKNOWN),
    (Kind.EXPIRED.value, Kind.EXPIRED),
    (Kind.CANCELLED.value, Kind.CANCELLED),
)
_SENT, _FAILED = Kind.SENT, Kind.FAILED
_FAILURES = (Kind.FAILED, Kind.SUPPRESSED)
_AMB = Verdict.AMB.value
_NOT_GOT = (Kind.SUPPRESSED, Kind.EXPIRED, Kind.CANCELLED)


class Settlement:
    """Writes about deliveries; ``path`` is the step that sends, as in ``push.send``."""

    def __init__(self, settings: LaneSettings, path: str, ladder: Retry, tracker: Tracker) -> None:
        self._unwritten = Unwritten(tracker)
        self._given_back: list[tuple[str, str]] = []
        self.failed: list[Ending] = []  # what `HandOvers` has to count first
        self.unsaid: list[Ending] = []  # what Claims are to be asked about first
        self._in_flight: list[Ending] = []  # elsewhere, maybe: to be asked about again
        self._ask_at = 0
        self._settings = settings
        self._path = path
        self._tracker = tracker
        self.rungs = [  # their topics
            retry(settings.channel, settings.priority, format_duration(delay))
            for delay in ladder.ladder
        ]

    def unwritten(self) -> bool:
        """Whether something was said that is not handed to the log."""
        return bool(self._unwritten)

    def write(self, producer: Producer) -> None:
        """Hand to the log what was said; its confirmation settles the deliveries."""
        self._unwritten.write(producer)

    def give_back(self, caps: Caps) -> None:
        """Uncount what nobody got, so that it takes no room of a cap.

        Where caps can't be asked it is let be: then less passes, for a window at the most.
        """
        if self._given_back:
            back, self._given_back = self._given_back, []
            with suppress(Unavailable):
                caps.give_back(back)

    def attempt(self, parcel: Parcel, send_id: str, answer: Stored) -> None:
        """One try at one address; that one has accepted it is news for a flow that waits."""
        kind = _ATTEMPTS[answer.verdict]
        if parcel.delivery.reply_to and kind == _TEXT[_SENT]:
            self._reply(parcel, kind)
        self._unwritten.tell(
            parcel,
            Said(
                outcome_id(send_id, kind, answer.attempt),
                answer.at,
                _ATTEMPT,
                kind,
                self._path,
                answer.attempt,
                answer.latency_ms,
                send_id,
                answer.address,
                answer.provider,
                answer.provider_id,
                answer.code,
                answer.detail,
                cost=answer.cost,
            ),
        )

    def end(
        self,
        parcel: Parcel,
        kind: Kind,
        at: int,
        *,
        reason: str = "",
        detail: str = "",
        step: str = "",
        letter: Append | None = None,
    ) -> None:
        """The delivery's last word, whoever says it.

        What an address has answered outweighs ``kind``: a delivery that one device took is sent,
        whatever became of the others. A channel that failed hands over to the next one; where there
        is none it goes to the dead letters, unless a ``letter`` is given.
        """
        delivery = parcel.delivery
        answers = delivery.answers.values()
        for answer, word in _LAST_WORDS:
            if answer in answers:
                kind = word
                reason, detail = (parcel.reasons or {}).get(answer, ("", ""))
                if answer == DOUBT:  # it came to its end elsewhere before its provider had said
                    reason = UNKNOWN.reason
                break
        else:
            if not reason and parcel.reasons:
                reason, detail = [*parcel.reasons.values()][-1]
        failing = parcel.failing if reason == EXHAUSTED else ""
        said = LastWord(kind, at, reason, detail, step or self._path, failing=failing)
        ending = Ending(parcel, said, letter)
        if delivery.allowances and delivery.chain and kind in _FAILURES:
            self.failed.append(ending)
        else:
            self.conclude(ending)

    def conclude(self, ending: Ending) -> None:
        """Say it, when it is sure that it is the first word on it."""
        parcel, kind = ending.parcel, ending.word.kind
        marked = kind is _SENT or (
            kind is Kind.UNKNOWN and _AMB in parcel.delivery.answers.values()
        )
        if parcel.turn and not marked:
            self.unsaid.append(ending)
        else:
            self._say(ending)

    def to_claim(self, now: int) -> bool:
        """Whether there is something that Claims are to be asked about now."""
        return bool(self.unsaid or (self._in_flight and now >= self._ask_at))

    def deadline(self) -> int:
        """When something is to be asked about again, 0 for nothing."""
        return self._ask_at if self._in_flight else 0

    def wake(self, now: int) -> None:
        """Ask again about what may be in flight elsewhere, where it is time."""
        if self._in_flight and now >= self._ask_at:
            self.unsaid += self._in_flight
            self._in_flight = []

    def answered(self, answers: Sequence[Leased], now: int) -> None:
        """What Claims have told of each that is unsaid, in order."""
        endings, self.unsaid = self.unsaid, []
        for ending, answer in zip(endings, answers, strict=True):
            if answer.verdict is Claim.BUSY:
                self._wait(ending, now)
                continue
            own, word = ending.word, first_word(ending, answer)
            if word is None:
                self._uncount(ending.parcel, own.counted)
                self._went_out(ending, answer)
                continue
            if word is not own:
                self._uncount(ending.parcel, set(own.counted).difference(word.counted))
            self._say(ending._replace(word=word))

    def _wait(self, ending: Ending, now: int) -> None:
        if ending.parcel.partition.alive:
            self._in_flight.append(ending)
            self._ask_at = now + BUSY_MS
        else:  # its new owner will find the same
            self._tracker.abandon(ending.parcel)

    def forsake(self) -> None:
        """Leave what is unsaid, of partitions that are another process's now, to that one."""
        endings, self.unsaid, self._in_flight = self.unsaid + self._in_flight, [], []
        for ending in endings:
            if ending.parcel.partition.alive:
                self.unsaid.append(ending)
            else:
                self._tracker.abandon(ending.parcel)

    def _say(self, ending: Ending) -> None:
        """The last word of a delivery, and the delivery that follows it, where its channel has
        failed and its chain has one with room."""
        parcel, word, letter = ending
        kind, at, detail = word.kind, word.at, word.detail
        chain: tuple[str, ...] = ()
        if kind in _FAILURES:
            chain = parcel.delivery.chain[len(word.closed) :]
            told = (detail, *word.closed, f"next: {chain[0]}" if chain else "")
            detail = "; ".join(filter(None, told))
        if letter is not None:
            self._unwritten.add(parcel, letter)
        if chain:
            self._unwritten.add(parcel, on_next_channel(parcel, chain, word.counted))
        elif letter is None and kind is _FAILED:
            self._failed(parcel, word, detail)
        self._end(parcel, kind, at, word.reason, detail, word.step, goes_on=bool(chain))

    def _went_out(self, ending: Ending, answer: Leased) -> None:
        """A send of it went out, before a crash or by another process: say so again, where that is
        not confirmed. Of one in doubt somebody may have found out more."""
        parcel, at = ending.parcel, ending.word.at
        kept, send_id = unpack(answer.answer, "", parcel.tried, at), send_of(answer.send_id)
        if kept.doubt:
            self.attempt(parcel, send_id, kept)
            parcel.doubt()
            word = LastWord(Kind.UNKNOWN, kept.at, UNKNOWN.reason, "", self._path)
            self.unsaid.append(Ending(parcel, word))
            return
        parcel.marked += (answer.send_id,)
        if answer.verdict is Claim.DONE:
            self._tracker.finish(parcel)
            return
        parcel.delivery.answers.pop(send_id, None)  # a doubt, from the ladder
        if kept.verdict is Verdict.OK and not parcel.delivery.answers:
            self.sent(parcel, send_id, kept)
            return
        self.attempt(parcel, send_id, kept)
        parcel.delivery.answers[send_id] = kept.verdict
        self.end(parcel, _FAILED, kept.at)

    def sent(self, parcel: Parcel, send_id: str, answer: Stored) -> None:
        """The delivery's last word where its only address has taken it: one record tells of the
        attempt and of the end, see ``records.outcomes_of``."""
        delivery = parcel.delivery
        kind, at = _TEXT[_SENT], answer.at
        if delivery.reply_to:
            self._reply(parcel, kind)
        self._unwritten.tell(
            parcel,
            Said(
                outcome_id(parcel.subject, kind, 0),
                at,
                _END,
                kind,
                self._path,
                answer.attempt,
                max(0, at - delivery.created_at),
                send_id,
                answer.address,
                answer.provider,
                answer.provider_id,
                answer.code,
                answer.detail,
                cost=answer.cost,
                took_ms=answer.latency_ms,
            ),
        )
        self._tracker.finish(parcel)

    def _end(
        self,
        parcel: Parcel,
        kind: Kind,
        at: int,
        reason: str,
        detail: str,
        step: str,
        *,
        goes_on: bool = False,
    ) -> None:
        delivery, text = parcel.delivery, _TEXT[kind]
        latency = max(0, at - delivery.created_at)
        said = Said(
            outcome_id(parcel.subject, text, 0),
            at,
            _END,
            text,
            step,
            parcel.tried,
            latency,
        )
        if reason or detail:
            said.reason, said.detail = reason, detail
        self._unwritten.tell(parcel, said)
        if delivery.reply_to and kind is not _SENT and not goes_on:
            self._reply(parcel, text)
        self._tracker.finish(parcel)
        if delivery.caps and kind in _NOT_GOT:
            self._uncount(parcel, delivery.caps)

    def _uncount(self, parcel: Parcel, names: Iterable[str]) -> None:
        delivery = parcel.delivery
        for name in names:
            key = cap_key(delivery.tenant, delivery.recipient_id, name)
            self._given_back.append((key, delivery.notif_id))

    def later(self, parcel: Parcel, at: int, rung: int) -> None:
        """Hand the delivery to a rung of the ladder; what was answered so far goes with it.

        Of what was sent Claims do not hear that it is done: of two copies that a kill has left on
        the ladder each would find the other's done, and neither would say how it ended.
        """
        parcel.marked = ()
        self._unwritten.add(parcel, on_rung(parcel, self.rungs[rung], at))
        self._tracker.finish(parcel)

    def released(self, parcel: Parcel) -> None:
        """A letter is taken up again; with this word in the log it is not released by hand."""
        self._unwritten.add(parcel, release_note(parcel.record))

    def deferred(self, parcel: Parcel, reason: str, provider: str, at: int) -> None:
        """The decision to wait for a provider that can take nothing more, no attempt made.

        Its id covers the record in hand: the same delivery may have to wait again.
        """
        subject = f"{parcel.subject}\x1f{parcel.origin()}"
        text = _TEXT[Kind.DEFERRED]
        said = Said(outcome_id(subject, text, 0), at, _DECISION, text, self._path)
        said.reason, said.provider = reason, provider
        self._unwritten.tell(parcel, said)

    def dead(
        self, parcel: Parcel, reason: str, error: BaseException | str, at: int, step: str
    ) -> None:
        """A delivery that a step could not handle: a letter, and it has failed on this channel."""
        letter = self._letter(parcel.record, parcel.delivery.flow, reason, error, at, step)
        detail = str(error)[:LONGEST_DETAIL]
        self.end(parcel, Kind.FAILED, at, reason=reason, detail=detail, step=step, letter=letter)

    def undecodable(self, ticket: Ticket, error: BaseException | str, at: int) -> None:
        """A record that is no delivery of this lane."""
        name, record = self._settings.name, ticket.record
        self._unwritten.add(ticket, self._letter(record, name, "undecodable", error, at, name))
        self._tracker.finish(ticket)

    def unwritable(self, ticket: Ticket, error: object, at: int) -> None:
        """The log refuses for good to take one of its writes: the bytes as they were read stay."""
        ticket.unconfirmed -= 1  # that one will not be confirmed
        flow = ticket.delivery.flow if isinstance(ticket, Parcel) else self._settings.name
        letter = self._letter(ticket.record, flow, "unwritable", str(error), at, self._path)
        self._unwritten.add(ticket, letter)
        self._tracker.finish(ticket)

    def _letter(
        self,
        record: Record,
        flow: str,
        reason: str,
        error: BaseException | str,
        at: int,
        step: str,
        failing: str = "",
    ) -> Append:
        """The bytes as they were read, to ``notif_dlq.<channel>``; ``failing`` is the provider that
        is to blame."""
        dead = DeadLetter(
            reason=reason,
            error=str(error),
            step=step or self._path,
            flow=flow,
            origin=Origin(record.topic, record.partition, record.offset),
            at=at,
            trace=_trace(error),
            cause=PROVIDER_DOWN if failing else "",
            provider=failing,
        )
        return dead_letter(record, dead, self._settings.channel)

    def _failed(self, parcel: Parcel, word: LastWord, detail: str) -> None:
        flow, error = parcel.delivery.flow, detail or word.reason
        letter = self._letter(
            parcel.record, flow, word.reason, error, word.at, word.step, word.failing
        )
        self._unwritten.add(parcel, letter)

    def _reply(self, parcel: Parcel, kind: str) -> None:
        record = parcel.record
        origin = Origin(record.topic, record.partition, record.offset)
        self._unwritten.add(parcel, reply(parcel.delivery, kind, origin))


def _trace(error: BaseException | str) -> str:
    if isinstance(error, str) or error.__traceback__ is None:
        return ""
    return "".join(traceback.format_exception(error))
