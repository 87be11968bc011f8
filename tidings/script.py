"""The script of a pretended provider: who gets which answer. The sandbox and the simulator read it.

    script:
      - {address: "dead-*", answer: inv, code: Unregistered}
      - {since: 60s, until: 90s, answer: retry, code: "503"}
      - {share: 0.05, attempts: 1, answer: retry, limited: true, retry_after: 10s}

What a send gets is a function of the seed, its key and its attempt: a run repeats itself.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from xxhash import xxh3_64_intdigest

from tidings.durations import Duration
from tidings.sender import Verdict

Latency = Duration | tuple[Duration, Duration]
"""One duration, or the least and the greatest."""


class Rule(BaseModel):
    """A line of the script: whom it is about, and what they get. The first that fits decides."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    address: str = "*"
    """A pattern for the address, with ``*`` and ``?``."""
    platform: str = ""
    """Only devices of this platform; empty for all."""
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which part of what fits."""
    draw: Literal["attempt", "address"] = "attempt"
    """What is drawn for ``share``: each attempt of a send anew, or an address once for all, as when
    apps are removed."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """Only the first so many attempts of a send; 0 for all."""
    since: Duration = 0
    """From so long after the start."""
    until: Duration = 0
    """To so long after the start; 0 for ever. An outage is a rule with both."""
    answer: Verdict = Verdict.OK
    """What it gets: ok, inv, retry, cfg, drop or amb."""
    accepted: bool | None = None
    """Whether the message goes out all the same. By default an ``ok`` does, and nothing else;
    ``amb`` with true is a time-out after the provider accepted."""
    code: str = ""
    """The provider's word for it."""
    limited: bool = False
    """It is a rate limit (429)."""
    retry_after: Duration | None = None
    """How long it asks us to wait."""
    latency: Latency | None = None
    """Its own latency: a stall is an ``amb`` after the patience of a real sender."""


R = TypeVar("R", bound=Rule)


class Line(Generic[R]):
    """A rule, made ready; ``number`` is its place in the script."""

    def __init__(self, number: int, rule: R) -> None:
        self.rule = rule
        self.accepted = rule.answer is Verdict.OK if rule.accepted is None else rule.accepted
        self.latency = None if rule.latency is None else span(rule.latency)
        self._number = number
        self._address = None if rule.address == "*" else re.compile(fnmatch.translate(rule.address))

    def is_outage(self, age_ms: int) -> bool:
        """Whether it stands for a provider that answers nobody, ``age_ms`` from the start."""
        rule = self.rule
        whole = rule.share == 1.0 and not (rule.attempts or rule.platform) and rule.address == "*"
        timed = rule.since <= age_ms < rule.until
        return whole and timed and rule.answer in (Verdict.RETRY, Verdict.AMB) and not rule.limited

    def fits(
        self, address: str, platform: str, key: str, attempt: int, age_ms: int, seed: int
    ) -> bool:
        """Whether it is about this attempt (from 1) of the send ``key``, ``age_ms`` from the
        start."""
        rule = self.rule
        if rule.attempts and attempt > rule.attempts:
            return False
        if age_ms < rule.since or (rule.until and age_ms >= rule.until):
            return False
        if rule.platform and platform != rule.platform:
            return False
        if self._address is not None and not self._address.match(address):
            return False
        if rule.share == 1.0:
            return True
        subject = address if rule.draw == "address" else f"{key}:{attempt}"
        return xxh3_64_intdigest(f"{self._number}:{subject}".encode(), seed) < rule.share * 2**64


def lines(script: Sequence[R]) -> list[Line[R]]:
    """A script, made ready."""
    return [Line(number, rule) for number, rule in enumerate(script)]


def span(latency: Latency) -> tuple[int, int]:
    """The least and the greatest, ms."""
    return latency if isinstance(latency, tuple) else (latency, latency)


def drawn(bounds: tuple[int, int], key: str, attempt: int, seed: int) -> int:
    """A duration between the two, a function of the rest; ms."""
    least, greatest = bounds
    if greatest <= least:
        return least
    return least + xxh3_64_intdigest(f"{key}{attempt}".encode(), seed) % (greatest - least + 1)
