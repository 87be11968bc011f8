"""A process of Tidings that the chaos tests start, kill, freeze and start again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tidings.services.process import spawn

STOPS_IN = 30.0  # seconds a process gets to drain


class Worker:
    """One process of one part (``intake``, ``flow``, ``lane`` or ``receipts``), in an empty folder
    of its own.

    ``arguments`` are those of ``tidings``, ``instance`` its name in its groups, if it has one.
    It dies with the process that started it.
    """

    def __init__(
        self, part: str, arguments: Sequence[str], folder: Path, instance: str = ""
    ) -> None:
        self.part = part
        self.instance = instance
        self.folder = folder
        folder.mkdir(parents=True)
        self.log = folder / "log"
        command = [sys.executable, "-m", "tidings.cli", *arguments]
        if arguments[0] == "run":
            command += ["--name", folder.name]
        if instance:
            command += ["--instance", instance]
        self.process: subprocess.Popen[bytes] = spawn(command, log=self.log, cwd=folder)

    @property
    def running(self) -> bool:
        """Whether it lives; a frozen one does."""
        return self.process.poll() is None

    def kill(self) -> int:
        """Kill -9; gives the epoch ms from which on it surely did nothing more."""
        self.process.kill()
        self.process.wait()
        return int(time.time() * 1000)

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> None:
        """Wait for the end after a SIGTERM. Raises AssertionError where it was no clean one.

        One that had not begun yet has nothing to drain, and ends by the signal.
        """
        code = self.process.wait(STOPS_IN)
        begun = "starting" in self.log.read_text(errors="replace")
        assert code == 0 or not begun, f"{self.part} ended with {code} on SIGTERM:\n{self.tail()}"

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raises AssertionError where it has died by itself."""
        code = self.process.poll()
        assert code is None, f"{self.part} died by itself with code {code}:\n{self.tail()}"

    def tail(self, lines: int = 30) -> str:
        """The end of what it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
