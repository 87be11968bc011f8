"""Doing something again and again, until the process is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable

_STOP = (signal.SIGTERM, signal.SIGINT)


def repeat(task: Callable[[], None], every_ms: int) -> None:
    """Do it now, and again so long after each end. Returns at SIGTERM or SIGINT; a task that is
    under way is finished first."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        task()
        while signal.sigtimedwait(_STOP, every_ms / 1000) is None:
            task()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
