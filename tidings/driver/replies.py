"""What providers answer in a case: the replies of its file as a script for the courier."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate

from tidings.driver.courier import Reply
from tidings.driver.given import PATIENCE, ReplySpec
from tidings.sender import Answer, Send, Verdict


def accept(send: Send, now: int) -> Reply:
    """A provider that takes everything at once."""
    return Reply(Answer(verdict=Verdict.OK, provider_id=send.send_id), 0, True)


class Replies:
    """The replies of all providers; ``since`` and ``until`` count from ``start`` (epoch ms).

    What the real senders say is said here too: ``NotSent`` where a provider can't be reached,
    ``NoAnswer`` where it takes a message and is not heard of again.
    """

    def __init__(self, given: Mapping[str, Sequence[ReplySpec]], start: int) -> None:
        self._lines = {name: [_Line(one, start) for one in given[name]] for name in given}

    def __call__(self, send: Send, now: int) -> Reply:
        """What the first line that fits says."""
        for line in self._lines.get(send.provider, ()):
            if line.fits(send, now):
                line.used = True
                return line.reply(send)
        return accept(send, now)

    def unused(self, names: Iterable[str]) -> Iterator[tuple[str, ReplySpec]]:
        """The lines of these providers that no send came to, each with its provider."""
        for name in names:
            for line in self._lines[name]:
                if not line.used:
                    yield name, line.spec


class _Line:
    """One reply, ready to be compared."""

    def __init__(self, spec: ReplySpec, start: int) -> None:
        self.spec = spec
        self.used = False
        self._address = re.compile(translate(spec.address))
        self._since = start + spec.since
        self._until = start + spec.until if spec.until else 0

    def fits(self, send: Send, now: int) -> bool:
        spec = self.spec
        return bool(
            self._address.match(send.address.value)
            and (not spec.channel or spec.channel == send.channel)
            and (not spec.attempts or send.attempt <= spec.attempts)
            and self._since <= now
            and (not self._until or now < self._until)
        )

    def reply(self, send: Send) -> Reply:
        spec = self.spec
        latency = spec.latency or 0
        if spec.answer == "timeout":
            code = spec.code or "NoAnswer"
            wait = PATIENCE if spec.latency is None else latency
            return Reply(Answer(verdict=Verdict.AMB, code=code), wait, True)
        if spec.answer == "down":
            return Reply(Answer(verdict=Verdict.RETRY, code=spec.code or "NotSent"), latency, False)
        taken = spec.answer == "ok"
        answer = Answer(
            verdict=Verdict(spec.answer),
            code=spec.code,
            provider_id=send.send_id if taken else "",
            limited=spec.limited,
            retry_after_ms=-1 if spec.retry_after is None else spec.retry_after,
        )
        return Reply(answer, latency, taken)
