"""The sandbox: a provider that sends nothing and keeps everything, and answers as it is told.

It is the default of every channel, and the oracle of our tests: what it got is in a file of its
own, one JSON line a send, written before the send is answered. The line of a send that was answered
survives a kill -9 of the process that wrote it, so the file is what a provider would know. A send
counts as accepted when its request arrives, its latency passes after that: a process that dies in
between has been heard, as it would be by a real one.

    providers:
      sandbox:
        latency: [20ms, 80ms]
        script:
          - {address: "dead-*", answer: inv, code: Unregistered}
          - {share: 0.05, attempts: 1, answer: retry, code: "503"}

It can be asked what it has, and says so by its file; not in an outage of the script.

What a send gets is a function of the seed, the send id and the attempt: a run repeats itself.
Measured: 1.5 µs of CPU a send, 3.1 with a latency.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from tidings.ports import Clock
from tidings.script import Latency, Rule, drawn, lines, span
from tidings.sender import Answer, Done, Send, SenderKind, Terms, Verdict

_TICK_MS = 4  # answers that are due within it share a timer
_NAME = "sandbox"
_OK = Verdict.OK  # a member of an enum costs 0.1 µs to name
_HERE = Answer(verdict=Verdict.OK, code="asked")
_NOT_HERE = Answer(verdict=Verdict.RETRY, code="NotThere")
_SILENT = Answer(verdict=Verdict.AMB, code="outage")


class Settings(BaseModel):
    """Settings of the sandbox."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    file: Path = Path("data/sandbox.jsonl")
    """Where it keeps what it got; processes may share it."""
    latency: Latency = 0
    """From request to answer: one duration, or the least and the greatest."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed draws other latencies and other sends for a rule's share."""
    script: tuple[Rule, ...] = ()
    """What goes wrong; without a rule that fits, a send is accepted."""


class Received(msgspec.Struct, omit_defaults=True, gc=False):
    """One request that the sandbox got. ``at`` is its arrival in epoch ms."""

    send_id: str
    at: int
    channel: str
    address: str
    priority: str
    attempt: int
    verdict: Verdict
    accepted: bool
    parts: Mapping[str, str]
    platform: str = ""
    code: str = ""


_encode = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(Received).decode


class Sandbox:
    """A sender that keeps what it gets in ``settings.file``. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._script = [(line, _answer(line.rule)) for line in lines(settings.script)]
        self._latency = span(settings.latency)
        self._seed = settings.seed
        self._due: dict[int, list[tuple[Send, Answer, Done]]] = {}
        self._opened_at = 0
        self._file = -1

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the file. Raises ValueError where it can't be written."""
        self._loop = loop
        self._opened_at = self._clock.now()
        path = self._settings.file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # a process died in the middle of its line: end it
        except OSError as error:
            raise ValueError(
                f"the sandbox can't write {path}: {error.strerror}; set `file` to another place"
            ) from error

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Keep them, and answer each when its latency has passed."""
        now = self._clock.now()
        lines: list[Received] = []
        answered: list[tuple[Send, Answer, int]] = []
        for send in sends:
            answer, accepted, latency = self._decide(send, now)
            answered.append((send, answer, latency))
            lines.append(
                Received(
                    send.send_id,
                    now,
                    send.channel,
                    send.address.value,
                    send.priority,
                    send.attempt,
                    answer.verdict,
                    accepted,
                    send.content.parts,
                    send.address.platform,
                    answer.code,
                )
            )
        try:
            self._keep(_encode(lines))
        except OSError as error:
            refusal = Answer(verdict=Verdict.RETRY, code="disk", detail=str(error))
            answered = [(send, refusal, 0) for send in sends]
        self._answer(answered, done)

    def ask(self, sends: Sequence[Send], done: Done) -> None:
        """Look them up in the file, as far as it is there now."""
        age_ms = self._clock.now() - self._opened_at
        if any(line.is_outage(age_ms) for line, _ in self._script):
            for send in sends:
                done(send, _SILENT)
            return
        for send in sends:
            done(send, _HERE if _has(self._settings.file, send.send_id) else _NOT_HERE)

    async def close(self) -> None:
        """Answer at once what is still open, and close the file."""
        for tick in sorted(self._due):
            self._fire(tick)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _decide(self, send: Send, now: int) -> tuple[Answer, bool, int]:
        """The answer, whether the message goes out, and the latency."""
        bounds, accepted = self._latency, True
        answer = None
        address, age_ms = send.address, now - self._opened_at
        for line, said in self._script:
            if line.fits(
                address.value, address.platform, send.send_id, send.attempt, age_ms, self._seed
            ):
                answer, accepted = said, line.accepted
                bounds = line.latency or bounds
                break
        latency = drawn(bounds, send.send_id, send.attempt, self._seed)
        return answer or Answer(verdict=_OK, provider_id=send.send_id), accepted, latency

    def _keep(self, lines: bytes) -> None:
        # One call for a batch; the page cache holds it when the process is gone.
        while lines:
            lines = lines[os.write(self._file, lines) :]

    def _answer(self, answered: list[tuple[Send, Answer, int]], done: Done) -> None:
        now_ms = int(self._loop.time() * 1000)
        for send, answer, latency in answered:
            if latency == 0:
                done(send, answer)
                continue
            tick = (now_ms + latency) // _TICK_MS + 1
            due = self._due.get(tick)
            if due is None:
                due = self._due[tick] = []
                self._loop.call_at(tick * _TICK_MS / 1000, self._fire, tick)
            due.append((send, answer, done))

    def _fire(self, tick: int) -> None:
        for send, answer, done in self._due.pop(tick, ()):
            done(send, answer)


def _answer(rule: Rule) -> Answer:
    return Answer(
        verdict=rule.answer,
        code=rule.code,
        limited=rule.limited,
        retry_after_ms=-1 if rule.retry_after is None else rule.retry_after,
    )


def received(file: Path) -> list[Received]:
    """What the sandbox at ``file`` got, in the order of arrival.

    A line cut short by the death of its writer is left out: its send was never answered.
    """
    if not file.exists():
        return []
    found: list[Received] = []
    for line in file.read_bytes().splitlines():
        try:
            found.append(_decode(line))
        except msgspec.DecodeError:
            continue
    return found


def _has(file: Path, send_id: str) -> bool:
    """Whether a send of this id went out; the file is searched from its end."""
    key = b'"send_id":' + msgspec.json.encode(send_id)
    with file.open("rb") as opened:
        if not os.fstat(opened.fileno()).st_size:
            return False
        with mmap(opened.fileno(), 0, access=ACCESS_READ) as kept:
            place = kept.rfind(key)
            while place >= 0:
                first, end = kept.rfind(b"\n", 0, place) + 1, kept.find(b"\n", place)
                with suppress(msgspec.DecodeError):  # its writer died in the middle of it
                    if _decode(kept[first : end if end >= 0 else len(kept)]).accepted:
                        return True
                place = kept.rfind(key, 0, place)
    return False


_TERMS = Terms(settles_ms=1_000)
SENDER = SenderKind(_NAME, Settings, Sandbox, terms=lambda settings: _TERMS)
