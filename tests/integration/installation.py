"""`tidings` as a process, in a folder of its own, and what it left there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tidings.log.address import open_log
from tidings.log.port import Append, Slot
from tidings.operators.senders.sandbox import Received, received
from tidings.records import outcomes_of
from tidings.services.process import wait_for

PATIENCE = 60.0  # seconds: several processes start on a machine that others use as well


class Installation:
    """An empty folder in which the command is run with what is shipped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.env = {
            **{name: value for name, value in os.environ.items() if "TIDINGS" not in name},
            "TIDINGS_DATA": str(self.data),
            "TIDINGS_SOCIAL_WINDOW": "1s",
        }
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts ``tidings …``; ``out()`` and ``err()`` are about the one started last."""
        with self._file("out", 1).open("w") as out, self._file("err", 1).open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "tidings.cli", *arguments],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
            )
        self._processes.append(process)
        return process

    def _file(self, stream: str, ahead: int = 0) -> Path:
        return self.folder / f"{stream}-{len(self._processes) + ahead}.txt"

    def out(self) -> str:
        """What was printed on stdout."""
        return self._file("out").read_text()

    def err(self) -> str:
        """What was printed on stderr."""
        return self._file("err").read_text()

    def said(self) -> str:
        """What was printed, stdout before stderr."""
        return self.out() + self.err()

    def wait_until_said(self, *words: str, times: int = 1) -> None:
        """Waits until each of ``words`` was printed so often."""
        wait_for(
            lambda: all(self.said().count(word) >= times for word in words),
            timeout=PATIENCE,
            what=f"{words} in\n{self.said()}",
        )

    def emit(self, topic: str, *events: Mapping[str, Any]) -> None:
        """Appends events as an upstream does, confirmed."""
        producer = open_log(f"sqlite:{self.data}/log").producer()
        refused: list[object] = []
        producer.append(
            [
                Append(topic, str(event["recipient_id"]).encode(), json.dumps(event).encode())
                for event in events
            ],
            lambda error, receipt: refused.append(error) if error else None,
        )
        assert producer.flush(30.0)
        assert refused == []
        producer.close()

    def accepted(self) -> list[Received]:
        """What the sandbox took, in order."""
        return [each for each in received(self.data / "sandbox.jsonl") if each.accepted]

    def wait_for_accepted(self, count: int) -> list[Received]:
        """Waits until the sandbox has taken so many."""
        wait_for(
            lambda: len(self.accepted()) >= count,
            timeout=PATIENCE,
            what=f"{count} messages, there are {len(self.accepted())}; {self.said()}",
        )
        return self.accepted()

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """All outcomes, partition by partition."""
        log = open_log(f"sqlite:{self.data}/log")
        reader = log.reader()
        for partition in range(log.admin().topics()["notif_events"].partitions):
            slot = Slot("notif_events", partition)
            for batch in reader.read(slot, 0, reader.span(slot).end):
                for record in batch:
                    yield from map(msgspec.to_builtins, outcomes_of(record.value or b""))
        reader.close()

    def close(self) -> None:
        """Kills what is left; children die with their parents."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def child(of: subprocess.Popen[str], name: str) -> psutil.Process:
    """The child of ``tidings dev`` whose command says ``name``; waits for it."""
    found: list[psutil.Process] = []

    def there() -> bool:
        for process in psutil.Process(of.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is none
                if name in " ".join(process.cmdline()):
                    found.append(process)
        return bool(found)

    wait_for(there, timeout=PATIENCE, what=f"the child {name} of {of.pid}")
    return found[0]


def ends(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """The exit code after a signal."""
    process.send_signal(number)
    return process.wait(PATIENCE)
