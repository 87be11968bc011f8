"""The lane as a unit: what one pull, its steps and one push do.

    pull    acks, commits; reads what there is room for; gives a batch, at most every few ms
    steps   the lane's own; a step that a port can't answer now holds its deliveries
    send    takes the answers, marks them, leases and hands over what may go
    push    hands to the log what was said on the way

A kill -9 loses nothing at any line: a position passes a delivery only when its last word is
confirmed, a send is marked before its outcome is written, and what is done twice has the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType

import structlog

from tidings.contract import Map, Site, Work
from tidings.log.port import Log, LogError, Producer
from tidings.operators.send import Sending
from tidings.ports import Io, Unavailable
from tidings.records import Priority
from tidings.runtime.alerts import Alerts
from tidings.runtime.lane.arrivals import Arrivals
from tidings.runtime.lane.batch import LaneBatch
from tidings.runtime.lane.courier import Courier
from tidings.runtime.lane.dispatch import Dispatch
from tidings.runtime.lane.handovers import HandOvers
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.settlement import Settlement
from tidings.runtime.lane.tracker import Tracker
from tidings.runtime.unit import Stage
from tidings.sender import Terms

_LOG = structlog.get_logger(__name__)
_ASK_AGAIN_MS = 200  # a port that could not answer
_IDLE = {Priority.HIGH: 0.002}  # seconds between two pulls with nothing in hand
_IDLE_ELSE = 0.01
_FLUSH = 5.0  # seconds at the end


class Lane:
    """One channel at one priority. ``send`` is the step that ends it; ``terms`` are those of its
    providers, by name."""

    def __init__(
        self,
        settings: LaneSettings,
        log: Log,
        io: Io,
        steps: Sequence[tuple[Site, Map[Work]]],
        send: tuple[Site, Sending],
        courier: Courier,
        terms: Mapping[str, Terms] = MappingProxyType({}),
    ) -> None:
        self.name = f"{settings.name}.{settings.priority}"
        self._settings = settings
        self._log = log
        self._io = io
        self._clock = io.clock
        site, self._sending = send
        self._tracker = Tracker()
        retry = self._sending.spec.retry
        self._settlement = Settlement(settings, site.path, retry, self._tracker)
        self._handovers = HandOvers(settings, io, self._tracker, self._settlement)
        self._courier = courier
        self._alerts = Alerts(self.name, settings.holder)
        self._dispatch = Dispatch(
            settings,
            self._sending,
            io,
            courier,
            self._tracker,
            self._settlement,
            terms,
            self._alerts,
        )
        self.stages = [Stage(site.path, self._stage(step)) for site, step in steps]
        self.stages.append(Stage(site.path, self._send))
        self._arrivals: Arrivals | None = None
        self._producer: Producer
        self._held: list[Work] = []
        self._ask_at = 0  # when held deliveries are tried again; 0: none failed lately
        self._round_at = 0
        self._commit_at = 0

    # ── Life ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Open the senders, then join the group. Raises ValueError for a sender's settings, and
        LogError."""
        self._courier.start()
        linger = 1 if self._settings.priority is Priority.HIGH else self._settings.collect_ms
        self._producer = self._log.producer(linger_ms=linger)
        self._arrivals = Arrivals(
            self._settings,
            self._sending.spec.retry,
            self._sending.site.channels,
            self._log.consumer(self._settings.group),
            self._tracker,
            self._settlement,
            self._sending.spec.providers(),
            self._dispatch.proven,
        )
        if self._dispatch.rated:
            with closing(self._log.admin()) as admin:
                there = admin.topics()
            self._dispatch.share(sum(there[topic].partitions for topic in self._arrivals.topics))
        self._arrivals.subscribe()

    def stop(self) -> None:
        """Leave the group at once, so that others take over; then finish what is in flight."""
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None
        self._dispatch.forsake_all()
        for work in self._held:
            self._tracker.abandon(work.ticket)
        self._held = []
        self._handovers.forsake()

    def drained(self) -> bool:
        """Whether all that was in flight is answered, marked, written and confirmed."""
        return not (self._tracker.open or self._settlement.unwritten()) and self._dispatch.drained()

    def unsaid(self) -> bool:
        """Whether the end of a delivery waits for what Claims say of it, at the next turn."""
        return self._settlement.to_claim(self._clock.now())

    def close(self) -> None:
        """Let go. The courier goes first: nothing may be sent that is not marked any more."""
        self.stop()
        self._courier.close()
        if self._tracker.open:
            self.push(self._send(LaneBatch([], self._clock.now(), self._settlement)))
            self._producer.flush(_FLUSH)
            self._send(LaneBatch([], self._clock.now(), self._settlement))
        self._producer.close()

    # ── A pull, and what it brings ────────────────────────────────────────────────────────────

    def pull(self) -> LaneBatch | None:
        """A batch, when there is something new, something answered or something due."""
        self._courier.check()
        self._producer.poll()
        now = self._clock.now()
        self._dispatch.tick(now)
        if self._tracker.refused:
            self._give_up_writes(now)
        if self._arrivals is not None and not 0 <= now - self._commit_at < self._settings.commit_ms:
            self._commit_at = now
            self._arrivals.commit()
        early = 0 <= now - self._round_at < self._settings.collect_ms
        if early and not self._dispatch.full():
            return None
        works = self._works(now)
        if not (
            works
            or self._settlement.unwritten()
            or self._dispatch.due(now)
            or self._handovers.due(now)
        ):
            return None
        self._round_at = now
        return LaneBatch(works, now, self._settlement)

    def push(self, batch: LaneBatch) -> None:
        """Hand to the log what was said; its confirmation settles the deliveries."""
        if self._settlement.failed:
            self._handovers.round()
        self._settlement.give_back(self._io.caps)
        self._settlement.write(self._producer)
        if alerts := self._alerts.take():
            self._producer.append(alerts, self._alert_written)

    def pause(self) -> float:
        """Seconds to the next pull: the rest of the round, or longer where nothing is in hand."""
        now, collect = self._clock.now(), self._settings.collect_ms
        if not (self._tracker.open or self._dispatch.due(now)):
            return _IDLE.get(self._settings.priority, _IDLE_ELSE)
        rest = collect - (now - self._round_at)
        return (rest if 0 < rest <= collect else collect) / 1000

    def deadline(self) -> int:
        """The next instant at which something that waits is due, 0 for none: a driver that holds
        the clock goes there."""
        arriving = self._arrivals.deadline() if self._arrivals is not None else 0
        asked = self._ask_at if self._held else 0
        waiting = (self._dispatch.deadline(), self._handovers.deadline())
        return min(filter(None, (arriving, asked, *waiting)), default=0)

    def _works(self, now: int) -> list[Work]:
        if self._arrivals is None:
            return []
        if not self._held:
            return self._arrivals.take(self._dispatch.room(), now, self._dispatch.openings)
        if now < self._ask_at:
            return self._arrivals.take(0, now)
        works, self._held = self._held, []
        return works

    def _send(self, batch: LaneBatch) -> LaneBatch:
        if batch.items:
            self._ask_at = 0  # they came through all steps
            self._sending.process(batch, self._io, batch.now)
        self._dispatch.round(batch.items, batch.now)
        return batch

    def _stage(self, step: Map[Work]) -> Callable[[LaneBatch], LaneBatch]:
        """One of the lane's steps; an operator asks before it changes anything, so a batch that
        a port can't answer for goes through all of them again."""

        def run(batch: LaneBatch) -> LaneBatch:
            if batch.items:
                try:
                    step.process(batch, self._io, batch.now)
                except Unavailable as error:
                    self._hold(batch, error)
            return batch

        return run

    def _hold(self, batch: LaneBatch, error: Unavailable) -> None:
        if not self._ask_at:
            _LOG.error("deliveries are held", lane=self.name, error=str(error))
        self._held += batch.items
        batch.items = []
        self._ask_at = batch.now + _ASK_AGAIN_MS

    def _alert_written(self, error: object | None, receipt: object) -> None:
        if error is not None:  # nothing waits for it
            _LOG.warning("an alert was not written", lane=self.name, error=str(error))

    def _give_up_writes(self, now: int) -> None:
        """A delivery or a letter that the log will never take becomes a dead letter. Anything else
        that it failed to write is made good by a restart alone, which does it again."""
        refused, self._tracker.refused = self._tracker.refused, []
        for writes, error in refused:
            if not (writes.alone and isinstance(error, LogError)):
                raise LogError(f"{self.name}: the log did not take a record: {error}")
            self._settlement.unwritable(writes.tickets[0], error, now)
