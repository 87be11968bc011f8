"""The thread on which the senders live: one asyncio loop, and no task for any send.

    engine's thread   hand_over ──► deque ──► call_soon_threadsafe ──► Sender.send
                      answered  ◄── deque ◄────────────────────────── done

The courier decides one thing: what it gets to later than its lease allows (the process was frozen,
or starved) it does not send, because another process may have by now.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, cast

import structlog

from tidings.ports import Clock
from tidings.sender import Answer, Askable, Send, Sender, Verdict

LATE = Answer(verdict=Verdict.RETRY, code="late")
"""Not a provider's answer: the send was never made. Recognised by identity."""

_LOG = structlog.get_logger(__name__)
_CLOSING = 5.0  # seconds that senders get to finish


Answered = tuple[Send, Answer, int]
"""A send, what it was answered, and when (epoch ms)."""


class Load(NamedTuple):
    """Sends for one provider, or questions to it: whether it has these already."""

    provider: str
    sends: Sequence[Send]
    asking: bool = False


class Courier:
    """Carries sends to their providers. Methods are called from the engine's thread."""

    def __init__(self, senders: Mapping[str, Sender], clock: Clock) -> None:
        self.answered: deque[Answered] = deque()
        self._senders = senders
        self._each = list(dict.fromkeys(senders.values()))
        self._clock = clock
        self._loads: deque[tuple[Load, int]] = deque()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Open all senders. Raises ValueError where one's settings are of no use."""
        opened: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._loop.call_soon(self._open, opened)
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()
        opened.result()

    def hand_over(self, loads: Sequence[Load], until: int) -> None:
        """Have these sent, but not at or after ``until`` (epoch ms): their lease is over then.

        Raises what a sender raised: that is a bug, and its sends will not be answered.
        """
        self.check()
        self._loads.extend((load, until) for load in loads)
        self._loop.call_soon_threadsafe(self._carry)

    def check(self) -> None:
        """Raises what a sender raised."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Let the senders finish, answers included, and end the thread."""
        if self._thread is None:
            return
        closed: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._close, closed)
        try:
            closed.result(timeout=2 * _CLOSING)
        except TimeoutError:
            _LOG.warning("senders did not close in time", seconds=_CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._thread = None
        self._loop.close()

    # ── On the loop ───────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _carry(self) -> None:
        now = self._clock.now()
        while self._loads:
            (provider, sends, asking), until = self._loads.popleft()
            if now >= until:
                self.answered.extend((send, LATE, now) for send in sends)
                continue
            try:
                sender = self._senders[provider]
                if asking:
                    cast(Askable, sender).ask(sends, self._done)
                else:
                    sender.send(sends, self._done)
            except Exception as error:  # noqa: BLE001  a bug: the engine raises it
                self._failure = error

    def _done(self, send: Send, answer: Answer) -> None:
        self.answered.append((send, answer, self._clock.now()))

    def _open(self, opened: Future[None]) -> None:
        async def open_all() -> None:
            for sender in self._each:
                await sender.open(self._loop)

        _report(self._loop.create_task(open_all()), opened)

    def _close(self, closed: Future[None]) -> None:
        async def close_all() -> None:
            self._carry()
            await asyncio.wait_for(
                asyncio.gather(*(sender.close() for sender in self._each)), _CLOSING
            )

        _report(self._loop.create_task(close_all()), closed)


def _report(task: asyncio.Task[None], to: Future[None]) -> None:
    """Give a task's end to a thread that waits for it."""

    def ended(task: asyncio.Task[None]) -> None:
        error = task.exception()
        if error is None:
            to.set_result(None)
        else:
            to.set_exception(error)

    task.add_done_callback(ended)
