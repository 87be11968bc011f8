"""Runs units in this process: one Bytewax worker, one thread, until it is told to stop.

    SIGTERM or SIGINT    take nothing new, finish what is under way, leave the group, end
    a second one         end at once; whoever reads next does again what was open
    DRAIN_FOR seconds    later it ends anyhow, likewise

Units share the process in turn, a batch each. The collector is off: what units hold is long-lived,
and a full collection over 100,000 people's state stands still for 133 to 187 ms (measured).
`Housekeeper`, a unit itself, collects between batches instead.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn, Self

import structlog

from tidings.compile.dataflow import dataflow, run
from tidings.log.port import LogError
from tidings.running.readiness import tell_ready
from tidings.runtime.unit import Stage, Unit

DRAIN_FOR = 25  # seconds; supervisors and containers wait for 30

YOUNG_AT = 20_000  # new containers since the last young collection
LOOK_EVERY = 5.0  # seconds between two looks for a quiet moment
QUIET_BELOW = 0.1  # of a core, over one look
WHOLE_EVERY = 300.0  # seconds between two whole collections

QUIET_AFTER = 1.0  # seconds without a batch
NAP = 0.01  # seconds

_LOG = structlog.get_logger(__name__)


class Stop:
    """Told by a signal to stop; a second signal ends the process. Listens within a ``with``."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        listeners = {
            signal.SIGTERM: self._on_signal,
            signal.SIGINT: self._on_signal,
            signal.SIGALRM: self._too_long,
        }
        for number, listener in listeners.items():
            self._before[number] = signal.signal(number, listener)
        return self

    def __exit__(self, *error: object) -> None:
        signal.alarm(0)
        for number, listener in self._before.items():
            signal.signal(number, listener)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            end(128 + number)
        self.asked = True
        signal.alarm(DRAIN_FOR)
        _LOG.info("stopping", signal=signal.Signals(number).name)

    def _too_long(self, number: int, frame: FrameType | None) -> None:
        _LOG.error("not drained in time; what is open is done again by the next", after=DRAIN_FOR)
        end(1)


class Housekeeper:
    """A unit that collects garbage between the batches of the others, and naps when all is quiet.

    Once all have started, ``ready`` is told, and what there is by then is frozen. From then on
    young containers are collected as they gather, and all of them only every few minutes and in a
    quiet moment.

    The engine looks around a thousand times a second, for 2 to 3 % of a core a process. While no
    unit has had a batch for a second, a nap at each look makes that a tenth.
    """

    name = "tidings.housekeeping"  # no flow's or lane's
    stages: Sequence[Stage] = ()

    def __init__(
        self,
        ready: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ready = ready
        self._sleep = sleep
        self._monotonic = monotonic
        self._spent = spent
        self._look_at = 0.0
        self._spent_before = 0.0
        self._whole_at = 0.0
        self._frozen = False
        self._stirred_at = monotonic()
        self._napping = False

    def stir(self) -> None:
        """Some unit had something to do."""
        self._stirred_at = self._monotonic()

    def start(self) -> None:
        """Nothing to open."""

    def pull(self) -> None:
        """Collect what is due, and nap if there is nothing else to do."""
        if not self._frozen:
            self._freeze()
        elif gc.get_count()[0] > YOUNG_AT:
            gc.collect(0)
        now = self._monotonic()
        if now >= self._look_at:
            self._look(now)
        self._napping = now - self._stirred_at > QUIET_AFTER
        if self._napping:
            self._sleep(NAP)

    def _freeze(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()
        self._frozen = True
        self._ready()
        self._whole_at = self._monotonic() + WHOLE_EVERY

    def _look(self, now: float) -> None:
        spent = self._spent()
        if now >= self._whole_at and spent - self._spent_before < QUIET_BELOW * LOOK_EVERY:
            self._whole_at = now + WHOLE_EVERY
            gc.collect()
        self._look_at, self._spent_before = now + LOOK_EVERY, spent

    def push(self, batch: Any) -> None:
        """It makes no batches."""

    def pause(self) -> float:
        """Seldom is often enough; napping, it is asked at every look."""
        return 0.0 if self._napping else 0.02

    def stop(self) -> None:
        """Nothing to finish."""

    def drained(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing to let go of."""


def run_units(name: str, units: Sequence[Unit]) -> int:
    """Run ``units`` until a signal stops them; gives the exit code.

    0 when stopped and drained, 1 when the log refuses (a topic that is missing, a position out of
    range), with a message. Anything else that comes out of a unit is a bug: it is raised.
    """
    _LOG.info("starting", process=name, units=[unit.name for unit in units], pid=os.getpid())

    def ready() -> None:
        _LOG.info("ready", process=name)
        tell_ready()

    keeper = Housekeeper(ready)
    try:
        with Stop() as stop:
            run(dataflow(name, [*units, keeper], stop, keeper.stir))
    except Exception as error:
        refusal = _cause(error, LogError)
        if refusal is None:
            raise
        _LOG.error(str(refusal), process=name)
        return 1
    _LOG.info("stopped", process=name)
    return 0


def _cause(error: BaseException | None, kind: type[Exception]) -> Exception | None:
    """The first of ``kind`` among an error and its causes; Bytewax wraps what it meets."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__
    return None


def end(code: int) -> NoReturn:
    """End the process now: freeing a Kafka client hung in 4 of 51 stops, and nothing needs it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
