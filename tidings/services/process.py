"""What the servers share: a free port, a child process, its log, and waiting until it answers."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
_TETHER = Path(__file__).with_name("tether.py")
_LOWEST_PORT = 15_000
_POLL = 0.02  # seconds between two looks at a condition


class ServiceError(RuntimeError):
    """A server could not be had, started or stopped; the message says why and what to do."""


def free_port() -> int:
    """A free TCP port on loopback, below the range that the kernel gives to outgoing connections.

    From inside that range a client that keeps trying a dead server's port will in time be given
    that very port as its own, connect to itself, and keep the server from coming back.
    """
    ports = list(range(_LOWEST_PORT, _first_ephemeral_port()))
    for port in random.sample(ports, k=min(200, len(ports))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                return port
    raise ServiceError("no free port on 127.0.0.1: is something leaking servers?")


def _first_ephemeral_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32_768  # Linux' default
    return max(first, _LOWEST_PORT + 1_000)


def answers(port: int) -> bool:
    """Whether something accepts TCP connections on that loopback port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def wait_for(condition: Callable[[], bool], *, timeout: float, what: str) -> None:
    """Waits until the condition holds; raises TimeoutError naming `what` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(_POLL)


@cache
def _starter(pid: int) -> ThreadPoolExecutor:
    # The kernel's "parent" is the thread that forked: a server started from a short-lived thread
    # would be killed when that thread ends. One thread that lives as long as the process starts
    # them all; one per pid, because threads do not survive a fork.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="service-starter")


def spawn(
    command: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a command in a process group of its own, tied to the life of this process.

    Its output is appended to `log`; `env` is added to the environment. A Ctrl-C at the terminal
    does not reach it: whoever started it stops it.
    """
    tethered = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                process_group=0,
            )

    return _starter(os.getpid()).submit(start).result()


class Server(ABC):
    """One server, its folder and its process.

    `folder` holds configuration, data and log; None means a temporary one that `close()` removes.
    A `with` block starts the server and closes it. Subclasses say what to run and how to tell
    that it answers.
    """

    name: str
    start_timeout: float = 30.0  # seconds
    stop_timeout: float = 15.0  # seconds from SIGTERM to SIGKILL
    env: Mapping[str, str] = {}  # beside what this process has

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary = folder is None
        self.folder = Path(
            tempfile.mkdtemp(prefix=f"tidings-{self.name}-") if folder is None else folder
        ).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers; asked again and again while it starts."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to write
        """Writes what the command needs into the folder; runs before each start."""

    @property
    def pid(self) -> int:
        """The process id; raises ServiceError where the server is not running."""
        if self._process is None or not self.running:
            raise ServiceError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Starts the server and waits until it answers; on the same ports and data as before.

        Raises ServiceError, with the end of the server's log, where it dies or takes too long.
        """
        if self.running:
            raise ServiceError(f"{self.name} is already running (pid {self.pid})")
        self.prepare()
        self._process = spawn(self.command(), log=self.log, cwd=self.folder, env=self.env)
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        def up() -> bool:
            code = process.poll()
            if code is not None:
                raise ServiceError(f"{self.name} ended with code {code}\n{self.log_tail()}")
            return self.ready()

        try:
            wait_for(up, timeout=self.start_timeout, what=f"{self.name} to answer")
        except TimeoutError as error:
            raise ServiceError(f"{error}\n{self.log_tail()}") from None

    def stop(self) -> None:
        """Stops the server cleanly (SIGTERM), or by SIGKILL when it takes too long."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)  # a frozen process does not hear SIGTERM
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kills the server and its children (SIGKILL), and waits until they are gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def wait(self) -> None:
        """Blocks until the process ends, by itself or by somebody else's hand."""
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """Stops the clock of the server (SIGSTOP): it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen server go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # The group, so that nginx' workers get it too. A process that has ended but was not
        # waited for still owns its id, so this never reaches a stranger.
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Stops the server and removes its folder where that is a temporary one."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log, for an error message."""
        if not self.log.exists():
            return "(it wrote no log)"
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the end of {self.log}:", *(f"  {line}" for line in text)])

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
