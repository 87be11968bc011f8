"""The demo as it runs: a house, upstreams beside it, eyes on the log and on the sandbox.

set up ──► emit (for a time, or until Ctrl-C) ──► drain ──► stop ──► account
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tidings.demo.account import Account, Place
from tidings.demo.cast import Cast
from tidings.demo.scene import Arrival, Scene
from tidings.demo.upstreams import decode_listed
from tidings.following import Follower, slots_of
from tidings.log.address import open_log
from tidings.log.port import Position, Slot
from tidings.log.positions import Settled
from tidings.operators.senders.sandbox import Received
from tidings.plan import FlowPlan
from tidings.running.house import House
from tidings.running.provision import needs
from tidings.running.roster import Role
from tidings.services.process import spawn
from tidings.settings import Settings
from tidings.stores.lines import Journal
from tidings.topics import EVENTS

PATIENCE = 60.0  # seconds that the drain may take after the last event
_LOOK = 0.05  # seconds

_decode_received = msgspec.json.Decoder(Received).decode


class Show:
    """One demo, in the folder ``data``. A ``with`` block starts and stops everything.

    ``began`` is the start of it all by the monotonic clock, seconds.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        settings: Settings,
        data: Path,
        config: Path,
        people: Path,
        began: float,
    ) -> None:
        self.cast = Cast(people)
        self.scene = Scene(self.cast)
        self.account = Account()
        self.house = House(roles, settings, data, config)
        self.first: float | None = None  # seconds from the start to the first message
        self.accepted: list[str] = []  # send ids, as the provider took them
        self.troubles: list[str] = []
        self._roles = roles
        self._settings = settings
        self._data = data
        self._list = Journal(data / "emitted.jsonl")
        self._sandbox = Journal(data / "sandbox.jsonl")
        self._stack = ExitStack()
        self._upstreams: Any = None
        self._follower: Follower
        self.began = began

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.house)
            log = open_log(self._settings.log)
            reader = stack.enter_context(closing(log.reader()))
            ours = sorted(needs(self._roles, self._settings).ours)
            watched = [
                name for name in ours if name.startswith((EVENTS, "deliveries.", "notif_dlq."))
            ]
            with closing(log.admin()) as admin:
                self._follower = Follower(reader, dict.fromkeys(slots_of(admin, watched), 0))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_emitting()
        self._stack.close()

    # ── The upstreams ─────────────────────────────────────────────────────────────────────────

    def emit(self, seconds: float, seed: int) -> None:
        """Start the upstreams, for so many seconds; 0 until they are stopped."""
        command = [
            *(sys.executable, "-m", "tidings.demo.upstreams", "--log", self._settings.log),
            *("--list", str(self._list.path), "--for", str(seconds), "--seed", str(seed)),
            *("--people", *self.cast.ids),
        ]
        self._upstreams = spawn(command, log=self._data / "logs" / "upstreams.log", cwd=Path.cwd())

    def emitting(self) -> bool:
        """Whether events still come."""
        return self._upstreams is not None and self._upstreams.poll() is None

    def stop_emitting(self) -> None:
        """End the upstreams; what they have appended is on their list."""
        if self.emitting():
            self._upstreams.send_signal(signal.SIGTERM)
            self._upstreams.wait()

    def upstreams_failed(self) -> str:
        """What the upstreams said if they ended badly."""
        if self._upstreams is None or self._upstreams.poll() in (None, 0):
            return ""
        return (self._data / "logs" / "upstreams.log").read_text(errors="replace")

    # ── Looking ───────────────────────────────────────────────────────────────────────────────

    def look(self) -> list[tuple[str, Arrival]]:
        """Take in what is new; gives the messages that came, with their channels."""
        for child, what in self.house.look():
            self.troubles.append(f"{child.program.name} {what}")
        for record in self._follower.poll():
            for outcome in self.account.read(record):
                self.scene.hear(outcome)
        self._enter_list()
        arrivals: list[tuple[str, Arrival]] = []
        for received in self._received():
            if received.accepted:
                self.accepted.append(received.send_id)
            arrivals += [(received.channel, each) for each in self.scene.receive([received])]
        if arrivals and self.first is None:
            self.first = time.monotonic() - self.began
        return arrivals

    def _received(self) -> Iterator[Received]:
        news = self._sandbox.follow()
        if news is not None:
            yield from map(_decode_received, filter(None, news.lines))

    def _enter_list(self) -> None:
        news = self._list.follow()
        if news is not None:
            self.account.emit(map(decode_listed, filter(None, news.lines)))

    # ── The end ───────────────────────────────────────────────────────────────────────────────

    def balance(self) -> tuple[int, int]:
        """(pending, lost), once everything has stopped."""
        log = open_log(self._settings.log)
        reader = log.reader()
        groups = self._groups()
        positions: dict[Slot, Position | None] = {}
        with closing(reader), closing(log.admin()) as admin:
            for topic, group in groups.items():
                slots = slots_of(admin, [topic])
                consumer = log.consumer(group)
                positions |= consumer.committed(slots)
                consumer.close()
            ends = {slot: reader.span(slot).end for slot in positions}

        def passed(topic: str, place: Place | None) -> bool:
            slots = [slot for slot in positions if slot.topic == topic]
            if place is not None:
                slots = [slot for slot in slots if slot.partition == place.partition]
            return all(
                _is_past(positions[slot], ends[slot] - 1 if place is None else place.offset)
                for slot in slots
            )

        return self.account.balance(passed)

    def _groups(self) -> dict[str, str]:
        """The group that reads each topic that an event or a delivery can wait in."""
        groups: dict[str, str] = {}
        for role in self._roles:
            plan = role.plan
            if isinstance(plan, FlowPlan):
                groups |= dict.fromkeys(plan.source.names(), f"tidings.{plan.name}.intake")
            else:
                lane = f"deliveries.{plan.channel}.{role.priority}"
                topics = [
                    topic
                    for topic in needs([role], self._settings).ours
                    if topic == lane or topic.startswith(f"{lane}.")
                ]
                groups |= dict.fromkeys(topics, f"tidings.lane.{plan.channel}.{role.priority}")
        return groups

    def appended(self) -> dict[str, int]:
        """When each event came into the log, by its id; its flow's coordinates are of no matter."""
        log = open_log(self._settings.log)
        ids = {event.id for event in self.account.emitted}
        found: dict[str, int] = {}
        with closing(log.reader()) as reader, closing(log.admin()) as admin:
            sources = needs(self._roles, self._settings).sources
            follower = Follower(reader, dict.fromkeys(slots_of(admin, sources), 0))
            for record in follower.poll():
                event = msgspec.json.decode(record.value or b"{}")
                for value in event.values():
                    if isinstance(value, str) and value in ids:
                        found.setdefault(value, record.time)
        return found

    def windowed(self) -> set[str]:
        """The flows that gather: their notifications begin when a window closes."""
        return {
            role.plan.name
            for role in self._roles
            if isinstance(role.plan, FlowPlan)
            and any(step.operator.name == "digest" for step in role.plan.steps())
        }


def _is_past(position: Position | None, offset: int) -> bool:
    if offset < 0:
        return True
    return position is not None and Settled(position).is_settled(offset)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Counts SIGINT and SIGTERM in the block instead of dying of them; the third one kills."""
    caught: list[int] = []

    def on_signal(number: int, frame: Any) -> None:
        caught.append(number)
        if len(caught) > 2:
            os._exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield lambda: len(caught)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
