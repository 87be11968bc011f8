"""What became of deliveries, as the outcomes of a recorded log tell: what a replay of them hears.

    queued ──► attempt: sent ──► receipts: delivered, opened …        end: failed, suppressed …

A delivery of a replay is a recorded one when it is of the same notification, on the same channel,
and as often tried there before. It hears what was heard then, as long after it went out as then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from tidings.driver.replay import Heard, News
from tidings.ids import wait_id
from tidings.log.port import Record
from tidings.records import UNDECODABLE, Delivery, Kind, Origin, Signal, Stage
from tidings.runtime.signals import AGAIN

# By value: a member of an enum costs 0.1 µs to name, and a log has millions of outcomes.
_ATTEMPT, _END, _RECEIPT = Stage.ATTEMPT.value, Stage.END.value, Stage.RECEIPT.value
_QUEUED, _SENT, _DEFERRED = Kind.QUEUED.value, Kind.SENT.value, Kind.DEFERRED.value
_HANDED_OVER = (Kind.FAILED.value, Kind.SUPPRESSED.value)


class NoOutcomeError(Exception):
    """A record of a log can't be read as an outcome; the message says where it stands."""


class _Told(msgspec.Struct, gc=False):
    """Of an outcome, what is looked at."""

    at: int
    stage: str
    kind: str
    recipient_id: str
    flow: str
    tenant: str = "default"
    notif_id: str = ""
    send_id: str = ""
    members: tuple[str, ...] = ()
    channel: str = ""
    round: int = 0


_decode = msgspec.json.Decoder(_Told).decode


class _Round(msgspec.Struct, gc=False):
    """A delivery that went out ``at`` (epoch ms), and the news of it."""

    at: int
    news: list[News]


class _Notification(msgspec.Struct, gc=False):
    """What was queued for one event; its deliveries by channel and round."""

    flow: str
    tenant: str
    recipient_id: str
    wait: str
    rounds: dict[tuple[str, int], _Round]

    def on(self, channel: str) -> list[_Round]:
        """Those on a channel, in order."""
        return [round_ for (name, _), round_ in self.rounds.items() if name == channel]

    def news(self) -> Iterator[tuple[int, str]]:
        """All news of it, with their times; that it was handed over to the next channel is none."""
        last = len(self.rounds) - 1
        for number, round_ in enumerate(self.rounds.values()):
            for kind, after in round_.news:
                if number == last or kind not in _HANDED_OVER:
                    yield round_.at + after, kind


class Aftermath:
    """What became of the deliveries of ``flows``: half a kilobyte of memory for each."""

    def __init__(self, flows: Collection[str]) -> None:
        self._flows = flows
        self._notifications: dict[str, _Notification] = {}
        self._sends: dict[str, _Round] = {}  # receipts carry no round, the attempts before them do

    def take(self, outcomes: Iterable[Record]) -> None:
        """Take outcomes in, in order of time. Raises NoOutcomeError for any other record."""
        for record in outcomes:
            try:
                told = _decode(record.value or b"")
            except UNDECODABLE as error:
                where = Origin(record.topic, record.partition, record.offset)
                raise NoOutcomeError(f"{where} of the log: no outcome: {error}") from None
            if told.flow not in self._flows or not told.notif_id:
                continue
            if told.send_id and told.stage == _END:  # two in one, see `records.outcomes_of`
                told.stage = _ATTEMPT
                self._take(told, record.time)
                if told.kind == _SENT:
                    continue  # that it ended so is no news
                told.stage, told.send_id = _END, ""
            self._take(told, record.time)

    def of(self, delivery: Delivery) -> Sequence[News]:
        """What was heard of a delivery; nothing where there was none such."""
        known = self._notifications.get(delivery.notif_id)
        rounds = known.on(delivery.channel) if known is not None else []
        return rounds[delivery.detour].news if delivery.detour < len(rounds) else ()

    def heard(self, flow: str) -> Iterator[Heard]:
        """What others were told of the deliveries of ``flow``."""
        for each in self._notifications.values():
            if each.flow == flow:
                for at, kind in each.news():
                    yield Heard(at, each.tenant, each.recipient_id, Signal(each.wait, kind))

    def _take(self, told: _Told, time: int) -> None:
        known = self._notifications.get(told.notif_id)
        if told.kind == _QUEUED:
            if known is None:
                # Of a digest the name is not known, and another flow can't wait for that.
                wait = wait_id(told.members[0], "") if len(told.members) == 1 else ""
                known = _Notification(told.flow, told.tenant, told.recipient_id, wait, {})
                self._notifications[told.notif_id] = known
            known.rounds.setdefault((told.channel, told.round), _Round(told.at, []))
            return
        round_ = self._round(known, told) if known is not None else None
        if round_ is None:
            return
        if told.kind == _DEFERRED and told.send_id:  # after a receipt: it was none, yet
            del round_.news[-1:]
        elif kind := _news(told):
            round_.news.append(News(kind, max(0, time - round_.at)))

    def _round(self, known: _Notification, told: _Told) -> _Round | None:
        """Whose news it is: its send's, else that of the round that it names."""
        found = self._sends.get(told.send_id)
        if found is None and told.stage == _RECEIPT:  # it came before the attempt was written
            return next(reversed(known.on(told.channel)), None)
        if found is None:
            place = told.channel, told.round % AGAIN
            found = known.rounds.setdefault(place, _Round(told.at, []))
        if told.send_id:
            self._sends[told.send_id] = found
        return found


def _news(told: _Told) -> str:
    """What a flow that waits was told of it; nothing of what it was not told of."""
    if told.stage == _ATTEMPT:
        return told.kind if told.kind == _SENT else ""
    if told.stage == _END:
        return told.kind if told.kind != _SENT else ""
    return told.kind if told.stage == _RECEIPT else ""
