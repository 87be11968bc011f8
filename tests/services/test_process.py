from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tidings.services.process import Server, ServiceError, free_port, wait_for


class Script(Server):
    """A server that is a line of Python; it is ready when it has written `ready`."""

    name = "script"
    start_timeout = 10.0
    stop_timeout = 10.0

    def __init__(self, folder: Path, source: str) -> None:
        super().__init__(folder)
        self.source = source

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.source]

    def ready(self) -> bool:
        return self.log.exists() and "ready" in self.log.read_text()


LASTING = "import time; print('ready', flush=True); time.sleep(600)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(600)"
)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_server_that_ends_at_once_is_reported_with_its_code_and_its_last_words(
    tmp_path: Path,
) -> None:
    with pytest.raises(ServiceError, match=r"script ended with code 3\n.*\n  no such disk"):
        Script(tmp_path, "import sys; print('no such disk'); sys.exit(3)").start()


def test_a_server_that_never_answers_is_killed_and_reported(tmp_path: Path) -> None:
    silent = Script(tmp_path, "import time; print('warming up', flush=True); time.sleep(600)")
    silent.start_timeout = 0.5
    with pytest.raises(ServiceError, match=r"waited 0.5 s for script to answer"):
        silent.start()
    assert not silent.running


def test_starting_a_running_server_is_refused(tmp_path: Path) -> None:
    with Script(tmp_path, LASTING) as server, pytest.raises(ServiceError, match="already running"):
        server.start()


def test_stop_ends_a_frozen_server_too(tmp_path: Path) -> None:
    server = Script(tmp_path, LASTING).start()
    pid = server.pid
    server.freeze()
    server.stop()
    assert gone(pid)


def test_stop_kills_what_does_not_hear_sigterm(tmp_path: Path) -> None:
    server = Script(tmp_path, DEAF).start()
    server.stop_timeout = 0.2
    pid = server.pid
    server.stop()
    assert gone(pid)


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    source = (
        "import os, pathlib, signal\n"
        "from tidings.services.valkey import Valkey\n"
        f"server = Valkey(pathlib.Path({str(tmp_path)!r})).start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    starter = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    pid = int(starter.stdout)
    wait_for(lambda: gone(pid), timeout=10, what="the server to be gone")


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = Script(tmp_path, LASTING)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        server.freeze()  # a signal that goes through shows that it is there,
        server.thaw()
        assert psutil.Process(server.pid).status() != psutil.STATUS_ZOMBIE
    finally:
        server.close()


def test_a_temporary_folder_goes_with_its_server() -> None:
    from tidings.services.valkey import Valkey

    with Valkey() as server:
        folder = server.folder
        assert server.log.exists()
    assert not folder.exists()


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(15_000 <= free_port() < first for _ in range(50))


def test_waiting_in_vain_names_what_was_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"waited 0.01 s for rain"):
        wait_for(lambda: False, timeout=0.01, what="rain")
