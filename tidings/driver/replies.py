"""What providers answer in a case: the replies of its file as a script for the courier."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate

from tidings.driver.courier import Reply
from tidings.driver.given import PATIENCE, ReplySpec
from tidings.sender import Answer, Send, Verdict

_SILENT = Answer(verdict=Verdict.AMB, code="NoAnswer")
_SAID = {
    "none": Answer(verdict=Verdict.RETRY, code="NotThere"),
    "silent": _SILENT,
    "never": Answer(verdict=Verdict.DROP, code="NotTold"),
}


def accept(send: Send, now: int) -> Reply:
    """A provider that takes everything at once."""
    return Reply(Answer(verdict=Verdict.OK, provider_id=send.send_id), 0, True)


def has_it(send: Send, now: int) -> Answer:
    """What is said by a provider that has what it is asked about."""
    return Answer(verdict=Verdict.OK, provider_id=send.send_id)


class Replies:
    """The replies of all providers; ``since`` and ``until`` count from ``start`` (epoch ms).

    What the real senders say is said here too: ``NotSent`` where a provider can't be reached,
    ``NoAnswer`` where it takes a message and is not heard of again.
    """

    def __init__(self, given: Mapping[str, Sequence[ReplySpec]], start: int) -> None:
        self._lines = {name: [_Line(one, start) for one in given[name]] for name in given}
        self._doubts: dict[str, _Doubt] = {}  # by send id

    def __call__(self, send: Send, now: int) -> Reply:
        """What the first line that fits says."""
        for line in self._lines.get(send.provider, ()):
            if line.fits(send, now):
                line.used = line.used or not line.spec.asked
                reply = line.reply(send)
                if reply.answer.verdict is Verdict.AMB:
                    known = self._doubts.get(send.send_id)
                    taken = reply.taken or (known is not None and known.taken)
                    self._doubts[send.send_id] = _Doubt(line, taken)
                return reply
        return accept(send, now)

    def asked(self, send: Send, now: int) -> Answer:
        """What is said when it is asked whether it has a send that it did not answer: what the
        line of that says, but nothing while it is down."""
        doubt = self._doubts[send.send_id]
        for line in self._lines[send.provider]:
            if line.fits(send, now):
                if line.spec.answer == "down":
                    line.used = True
                    return _SILENT
                break
        words = doubt.line.spec.asked
        doubt.line.used = True
        doubt.times += 1
        if words:
            word = words[min(doubt.times, len(words)) - 1]
        else:
            word = "has" if doubt.taken else "none"
        return has_it(send, now) if word == "has" else _SAID[word]

    def unused(self, names: Iterable[str]) -> Iterator[tuple[str, ReplySpec]]:
        """The lines of these providers that no send came to, each with its provider."""
        for name in names:
            for line in self._lines[name]:
                if not line.used:
                    yield name, line.spec


class _Doubt:
    """A send that was not answered: by which line, whether it was taken, how often asked about."""

    def __init__(self, line: _Line, taken: bool) -> None:
        self.line = line
        self.taken = taken
        self.times = 0


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
