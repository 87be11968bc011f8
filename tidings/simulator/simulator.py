"""The simulator itself: a request in, what becomes of it out. No socket, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tidings.ids import id_of, unit
from tidings.receipts import Webhook
from tidings.script import drawn, lines, span
from tidings.sender import Verdict
from tidings.simulator.journal import Journal, Received
from tidings.simulator.scenario import Event, Scenario, WireRule
from tidings.simulator.wire import Asked, Fate, Remembers, Reply, Request, Service, Told

_MOST_KEYS = 500_000  # messages whose attempts are counted; the oldest is forgotten
_BOUNCES = (Event(event="bounced", after=1_000),)
_NOT_FOUND = Reply(404, b'{"message":"no such path here"}', (), "NoSuchPath")

Later = Callable[[int, Callable[[int], Webhook | None]], None]
"""Has a callback made and sent at an instant (epoch ms)."""


class Deed(NamedTuple):
    """What is done about a request: after ``delay`` ms a reply; without one, the connection is
    reset, or nothing ever comes."""

    reply: Reply | None
    delay: int = 0
    reset: bool = False


class _Drawn(NamedTuple):
    fate: Fate
    accepted: bool
    by: str
    latency: int
    receipts: Sequence[Event]


class Simulator:
    """Answers as a scenario says; ``calls`` counts what it got.

    ``later`` takes the callbacks, None where nobody wants them.
    """

    def __init__(
        self,
        scenario: Scenario,
        services: Sequence[Service],
        journal: Journal,
        now: Callable[[], int],
        later: Later | None = None,
    ) -> None:
        self._scenario = scenario
        self._services = services
        self._journal = journal
        self._now = now
        self._later = later
        self._script = lines(scenario.script)
        self._latency = span(scenario.latency)
        self._started_at = now()
        self._attempts: dict[str, int] = {}
        self.calls = 0

    def take(self, request: Request) -> Deed:
        """Hear a request: keep it, and say what it gets."""
        service = next((one for one in self._services if one.knows(request.path)), None)
        if service is None:
            return Deed(_NOT_FOUND)
        now = self._now()
        self.calls += 1
        asked = service.read(request, now)
        if isinstance(asked, Reply) and request.method == "GET" and self._is_away(service, now):
            return Deed(None)
        if isinstance(asked, Reply):
            if asked.code:
                self._journal.keep([self._refused(service, request, asked)])
            return Deed(asked)
        attempts = [self._attempt(f"{service.name}:{one.key}") for one in asked]
        draws = [
            self._draw(service, one, attempt, now)
            for one, attempt in zip(asked, attempts, strict=True)
        ]
        # A call is one: where one of its messages gets no answer, none does.
        lost = next((one for one in draws if one.fate.verdict is Verdict.AMB), None)
        reply = None if lost else service.reply(asked, [one.fate for one in draws], now)
        kept = []
        for one, attempt, draw in zip(asked, attempts, draws, strict=True):
            accepted = lost.accepted if lost else _accepted(draw, reply)
            received = self._received(service, request, reply)
            received.answer = Verdict.AMB if lost else draw.fate.verdict
            received.accepted, received.id = accepted, draw.fate.id if accepted else ""
            received.key, received.address, received.attempt = one.key, one.address, attempt
            received.code = (lost or draw).fate.code
            received.platform, received.parts = one.platform, one.parts
            kept.append(received)
            if accepted:
                if isinstance(service, Remembers):
                    service.keep(one, draw.fate.id, now)
                self._call_back(service, one, draw, now)
        self._journal.keep(kept)
        delay = max(one.latency for one in draws)
        return Deed(reply, delay, reset=lost is not None and lost.by == "reset")

    def _is_away(self, service: Service, now: int) -> bool:
        """Whether the script has it answer nobody, not even who only asks."""
        age = now - self._started_at
        return any(
            line.is_outage(age) and line.rule.provider in ("", service.name)
            for line in self._script
        )

    def _attempt(self, key: str) -> int:
        attempt = self._attempts.pop(key, 0) + 1
        self._attempts[key] = attempt
        if len(self._attempts) > _MOST_KEYS:
            del self._attempts[next(iter(self._attempts))]
        return attempt

    def _draw(self, service: Service, asked: Asked, attempt: int, now: int) -> _Drawn:
        scenario = self._scenario
        rule, accepted, latency = WireRule(), True, self._latency
        age = now - self._started_at
        for line in self._script:
            if line.rule.provider in ("", service.name) and line.fits(
                asked.address, asked.platform, asked.key, attempt, age, scenario.seed
            ):
                rule, accepted, latency = line.rule, line.accepted, line.latency or latency
                break
        verdict, receipts = rule.answer, rule.receipts
        if verdict is Verdict.INV and service.bounces and not rule.status:
            verdict, accepted = Verdict.OK, True
            receipts = _BOUNCES if receipts is None else receipts
        fate = Fate(
            verdict,
            id_of("simulated", service.name, asked.key, str(attempt)),
            rule.code,
            rule.status,
            rule.limited,
            -1 if rule.retry_after is None else rule.retry_after,
            rule.dead_for,
        )
        wait = drawn(latency, asked.key, attempt, scenario.seed)
        told = scenario.receipts if receipts is None else receipts
        return _Drawn(fate, accepted, rule.by, wait, told)

    def _received(self, service: Service, request: Request, reply: Reply | None) -> Received:
        status = reply.status if reply is not None else 0
        received = Received(self._now(), service.name, self.calls, request.http, status)
        received.client = request.client
        return received

    def _refused(self, service: Service, request: Request, reply: Reply) -> Received:
        """A call that was wrong in itself."""
        received = self._received(service, request, reply)
        received.answer = Verdict.CFG if reply.status in (401, 403) else Verdict.DROP
        received.code = reply.code
        return received

    def _call_back(self, service: Service, asked: Asked, draw: _Drawn, now: int) -> None:
        if self._later is None:
            return
        for number, event in enumerate(draw.receipts):
            if unit(f"{self._scenario.seed}:{asked.key}:{number}") >= event.share:
                continue
            happened = 0
            for turn in range(event.times):
                after = drawn(span(event.after), f"{asked.key}:{number}", turn, self._scenario.seed)
                due = now + draw.latency + after
                happened = happened or due
                told = Told(asked, draw.fate.id, event, number, happened)
                self._later(due, partial(service.webhook, told))


def _accepted(draw: _Drawn, reply: Reply | None) -> bool:
    """Whether a message goes out: not the good ones of a call that is refused as a whole."""
    refused = reply is not None and reply.status >= 400
    return draw.accepted and not (refused and draw.fate.verdict is Verdict.OK)
