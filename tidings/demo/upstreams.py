"""The sample services: a process that appends their events to the log, and keeps its own list.

It writes as any upstream does: keyed by recipient, confirmed by the log. Each event goes to the
list once the log has confirmed it; the list is what the account is held against.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from tidings.demo.events import Emitted, events
from tidings.log.address import open_log
from tidings.log.port import Ack, Append, LogError, Producer

_LOOK = 0.005  # seconds


class Listed(msgspec.Struct, frozen=True):
    """A line of the list."""

    topic: str
    id: str
    recipients: tuple[str, ...]


_encode = msgspec.json.Encoder().encode_lines
decode_listed = msgspec.json.Decoder(Listed).decode


class Upstreams:
    """Appends events when they are due. ``now`` gives seconds since the start."""

    def __init__(self, producer: Producer, list_file: int, now: Callable[[], float]) -> None:
        self._producer = producer
        self._list = list_file
        self._now = now
        self._confirmed: list[Listed] = []

    def run(self, script: Iterable[Emitted], until: float, stopped: Callable[[], bool]) -> None:
        """Emit ``script`` up to ``until`` seconds, 0 for without end, or until ``stopped``."""
        for emitted in script:
            if until and emitted.at >= until:
                break
            while (wait := emitted.at - self._now()) > 0 and not stopped():
                self._serve()
                time.sleep(min(_LOOK, wait))
            if stopped():
                break
            self._append(emitted)
            self._serve()
        if not self._producer.flush(30.0):
            raise LogError("the log has not confirmed all events within 30 s")
        self._serve()

    def _append(self, emitted: Emitted) -> None:
        key = emitted.recipients[0].encode() if len(emitted.recipients) == 1 else None
        value = msgspec.json.encode(emitted.event)
        self._producer.append([Append(emitted.topic, key, value)], self._ack(emitted))

    def _ack(self, emitted: Emitted) -> Ack:
        def acked(error: object | None, receipt: object = None) -> None:
            if error is not None:
                raise LogError(f"an event was not written: {error}")
            self._confirmed.append(Listed(emitted.topic, emitted.id, emitted.recipients))

        return acked

    def _serve(self) -> None:
        self._producer.poll()
        if self._confirmed:
            os.write(self._list, _encode(self._confirmed))
            self._confirmed.clear()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="python -m tidings.demo.upstreams")
    parser.add_argument("--log", required=True)
    parser.add_argument("--people", required=True, nargs="+")
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--for", dest="seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stopping: list[Any] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *caught: stopping.append(caught))
    started = time.monotonic()
    list_file = os.open(options.list, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    producer = open_log(options.log).producer()
    upstreams = Upstreams(producer, list_file, lambda: time.monotonic() - started)
    upstreams.run(events(options.seed, options.people), options.seconds, lambda: bool(stopping))
    producer.close()


if __name__ == "__main__":
    main()
