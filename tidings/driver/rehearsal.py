"""A flow, and lanes behind it, on records of now: what would be decided and sent, and nothing is.

The flow runs on a log in memory, by the wall's time as it is told. People, suppressions, templates
and lookups are the real ones, of which it only reads; claims and caps begin empty and are its own.
Every send is accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tidings.driver.driver import Built, Driver
from tidings.driver.outputs import Output, outputs
from tidings.driver.ports import LocalCaps, local_payloads
from tidings.log.port import Record
from tidings.plan import FlowPlan
from tidings.ports import (
    Address,
    Io,
    People,
    Person,
    Profile,
    Question,
    Success,
    Suppression,
    Suppressions,
)
from tidings.records import Priority
from tidings.redaction import HIDDEN, redacted, secrets
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock

OPEN_FOR = 30 * 86_400_000  # ms after the last record, for windows that are open then
REMEMBERED = 1_000_000  # claims
KEPT = 10_000  # deliveries whose secrets are remembered until they are sent


class Rehearsal:
    """One flow, rehearsed. ``now`` is when it begins (epoch ms)."""

    def __init__(
        self,
        flow: FlowPlan,
        lanes: Sequence[Built],
        settings: Settings,
        io: Io,
        now: int,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        clock = ManualClock(now)
        own = io._replace(
            people=_OnlyRead(io.people),
            suppressions=_OnlyAsked(io.suppressions),
            claims=LocalClaims(clock, REMEMBERED),
            caps=LocalCaps(),
            clock=clock,
            payloads=local_payloads(),
        )
        self._driver = Driver(flow, settings, own, clock, lanes=lanes, priority=priority)
        self._secrets: dict[str, tuple[str, ...]] = {}

    def feed(self, records: Iterable[Record], now: int) -> list[Output]:
        """Take ``records`` in at ``now`` (epoch ms); gives what came out since the last time."""
        driver = self._driver
        driver.advance(max(now, driver.clock.now()))
        at = driver.clock.now()
        driver.feed(msgspec.structs.replace(record, time=at) for record in records)
        return self._take()

    def end(self) -> list[Output]:
        """Let what is open close, each at its own time to come; gives what came out."""
        self._driver.drain(self._driver.clock.now() + OPEN_FOR)
        return self._take()

    def holds(self) -> bool:
        """Whether a lookup's answer is under way: ``feed`` asks again as time passes."""
        return self._driver.holds()

    def _take(self) -> list[Output]:
        driver = self._driver
        found = [self._shown(output) for output in outputs(driver)]
        driver.forget(driver.topics)
        driver.sent.clear()
        return found

    def _shown(self, output: Output) -> Output:
        """The output without what must not be seen, in rendered texts neither."""
        fields = dict(output.fields)
        known = fields.pop("notif_id", "")
        parts = fields.pop("parts", None)
        if output.what == "delivered" and (hidden := tuple(secrets(fields.get("data")))):
            self._secrets[known] = hidden
            if len(self._secrets) > KEPT:
                del self._secrets[next(iter(self._secrets))]
        shown: dict[str, Any] = redacted(fields)
        if parts is not None:
            shown["parts"] = redacted(self._masked(parts, self._secrets.get(known, ())))
        if output.what != "sent":
            return msgspec.structs.replace(output, fields=shown)
        return msgspec.structs.replace(output, name=shown["channel"], fields=shown)

    def _masked(self, parts: Mapping[str, str], hidden: Iterable[str]) -> dict[str, str]:
        masked = dict(parts)
        for secret in hidden:
            for name, text in masked.items():
                masked[name] = text.replace(secret, HIDDEN)
        return masked


class _OnlyRead:
    """People of whom nothing is taken away."""

    def __init__(self, people: People) -> None:
        self._people = people

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        """The profile of each."""
        return self._people.profiles(people)

    def find(self, kind: str, values: Sequence[str]) -> list[tuple[Person, ...]]:
        """Whose each address is."""
        return self._people.find(kind, values)

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        """Leave it where it is."""
        return False

    def register(self, person: Person, address: Address, replaces: str = "") -> bool:
        """Leave them as they are."""
        return False

    def note_successes(self, successes: Sequence[Success]) -> None:
        """Keep nothing."""


class _OnlyAsked:
    """A suppression list to which nothing is added."""

    def __init__(self, suppressions: Suppressions) -> None:
        self._suppressions = suppressions

    def check(self, questions: Sequence[Question], now: int) -> list[Suppression | None]:
        """For each the suppression that forbids it, or None."""
        return self._suppressions.check(questions, now)

    def add(self, tenant: str, suppression: Suppression) -> None:
        """Leave the list as it is."""
