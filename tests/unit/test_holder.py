"""Who holds a lease, and whether it is gone: told of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tidings.holder import is_gone, this_process

SCRIPT = (
    "import time; from tidings.holder import this_process; print(this_process(), flush=True);"
    "time.sleep(60)"
)


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and its name."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        yield run, run.stdout.readline().strip()
        run.kill()


def test_a_process_that_runs_is_not_gone(child: tuple[subprocess.Popen[str], str]) -> None:
    process, name = child
    assert f"/{process.pid}/" in name
    assert name != this_process()
    assert not is_gone(name)
    assert not is_gone(this_process())


def test_a_frozen_process_is_not_gone(child: tuple[subprocess.Popen[str], str]) -> None:
    process, name = child
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert not is_gone(name)


def test_a_killed_process_is_gone_waited_for_or_not(
    child: tuple[subprocess.Popen[str], str],
) -> None:
    process, name = child
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)
    process.wait()
    assert is_gone(name)


def test_a_process_id_that_was_given_anew_is_another_process() -> None:
    machine_and_pid, _, started = this_process().rpartition("/")
    assert is_gone(f"{machine_and_pid}/{int(started) - 1}")


@pytest.mark.parametrize(
    "name", ["", "lane-a", "other-boot/4026531836/1/1", "////", "a/b/c/d", "a/b/0/0"]
)
def test_of_what_is_elsewhere_nothing_can_be_told(name: str) -> None:
    assert not is_gone(name)
    machine = this_process().rpartition("/")[0].rpartition("/")[0]
    assert not is_gone(f"{machine}/x/1")
