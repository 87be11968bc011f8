"""What is done again and again, until the process is told to stop."""

from __future__ import annotations

import signal
import threading

import pytest

from tidings.running.repeat import repeat


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_done_again_until_a_signal_which_it_finishes_first(number: signal.Signals) -> None:
    done: list[str] = []

    def task() -> None:
        done.append("begun")
        if len(done) == 5:
            signal.pthread_kill(threading.get_ident(), number)
        done.append("ended")

    repeat(task, every_ms=1)
    assert done == ["begun", "ended"] * 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(), "and signals are heard again"


def test_a_task_that_fails_ends_it() -> None:
    def task() -> None:
        raise ValueError("the people are away")

    with pytest.raises(ValueError, match="away"):
        repeat(task, every_ms=1)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
