"""Ports that answer from plain values."""

from __future__ import annotations

import time
from bisect import bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from tidings.ports import (
    Count,
    LookupFailed,
    Lookups,
    Payload,
    Person,
    Profile,
    Query,
    Question,
    Row,
    Suppression,
    Template,
    Templates,
    Unavailable,
    tied_together,
)
from tidings.stores.payloads import SignedPayloads
from tidings.stores.people_made import FunctionPeople
from tidings.stores.suppressions import normalised

LOOK_EVERY_MS = 10  # for the answers of lookups


def people_of(profiles: Mapping[tuple[str, str], Profile]) -> FunctionPeople:
    """People by (tenant, recipient id); others are unknown."""
    return FunctionPeople(profiles.get, [Person(*key) for key in profiles])


class GivenSuppressions:
    """A suppression list in memory; see ``ports.Suppressions``."""

    def __init__(self, entries: Sequence[tuple[str, Suppression]] = ()) -> None:
        self._held: dict[tuple[str, str, str], list[Suppression]] = {}
        for tenant, entry in entries:
            self.add(tenant, entry)

    def check(self, questions: Sequence[Question], now: int) -> list[Suppression | None]:
        """For each the suppression that forbids it, or None."""
        if not self._held:
            return [None] * len(questions)
        return [self._forbids(question, now) for question in questions]

    def add(self, tenant: str, suppression: Suppression) -> None:
        """Put on the list; the same scope and reason of the same address is replaced."""
        channel = suppression.channel
        key = (tenant, channel, normalised(channel, suppression.address))
        of = (suppression.scope, suppression.reason)
        kept = [held for held in self._held.get(key, ()) if (held.scope, held.reason) != of]
        kept.append(suppression)
        self._held[key] = sorted(kept, key=lambda held: (held.until != 0, held.scope != "all"))

    def _forbids(self, question: Question, now: int) -> Suppression | None:
        tenant, channel, address, category = question
        for held in self._held.get((tenant, channel, normalised(channel, address)), ()):
            if held.scope in ("all", category) and (held.until == 0 or held.until > now):
                return held
        return None


class GivenTemplates:
    """Some texts before those of others; they are for every locale."""

    def __init__(self, texts: Mapping[tuple[str, str], Template], others: Templates) -> None:
        self._texts = texts
        self._others = others

    def find(
        self, template_id: str, channel: str, locale: str, variant: str = ""
    ) -> Template | None:
        """The given text, else the others' best."""
        given = self._texts.get((template_id, channel))
        return given or self._others.find(template_id, channel, locale, variant)

    def texts(self, template_id: str, channel: str) -> Sequence[Template]:
        """The given text, else all of the others'."""
        given = self._texts.get((template_id, channel))
        return [given] if given else self._others.texts(template_id, channel)

    def ids(self) -> Sequence[str]:
        """All template ids."""
        return sorted({*self._others.ids(), *(name for name, _ in self._texts)})


class GivenLookups:
    """Other systems that know these rows, by connection and key; see ``ports.Lookups``."""

    def __init__(self, known: Mapping[str, Mapping[str, Row] | None]) -> None:
        self._known = known

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        """The row of each key. Raises LookupFailed for a connection without any."""
        rows = self._known.get(query.connection)
        if rows is None:
            raise LookupFailed(f"{query.connection} is down")
        return [rows.get(str(key)) for key in keys]


class PatientLookups:
    """Lookups whose answers are waited for: in virtual time nobody is kept waiting."""

    def __init__(self, lookups: Lookups, sleep: Callable[[float], None] = time.sleep) -> None:
        self._lookups = lookups
        self._sleep = sleep

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        """See ``ports.Lookups``. Raises Unavailable for answers that don't come in their time."""
        for _ in range(query.timeout_ms // LOOK_EVERY_MS + 1):
            with suppress(Unavailable):
                return self._lookups.rows(query, keys)
            self._sleep(LOOK_EVERY_MS / 1_000)
        return self._lookups.rows(query, keys)


class LocalCaps:
    """Caps in memory, of one process; see ``ports.Caps``. What is two windows old is let go."""

    def __init__(self) -> None:
        self._times: dict[str, list[tuple[int, str]]] = {}
        self._known: dict[str, dict[str, int]] = {}

    def count(self, counts: Sequence[Count], now: int) -> list[bool]:
        """Count each and tell whether it may pass."""
        return [passes for tied in tied_together(counts) for passes in self._count(tied, now)]

    def give_back(self, counts: Sequence[tuple[str, str]]) -> None:
        """Uncount (key, notif_id)."""
        for key, notif_id in counts:
            at = self._known.get(key, {}).pop(notif_id, None)
            if at is not None:
                self._times[key].remove((at, notif_id))

    def _count(self, tied: Sequence[Count], now: int) -> list[bool]:
        passes = [self._has_room(count, now) for count in tied]
        if all(passes):
            for count in tied:
                known = self._known[count.key]
                if count.notif_id not in known:
                    insort(self._times[count.key], (now, count.notif_id))
                    known[count.notif_id] = now
        return passes

    def _has_room(self, count: Count, now: int) -> bool:
        times = self._times.setdefault(count.key, [])
        known = self._known.setdefault(count.key, {})
        stale = bisect_right(times, now - 2 * count.within_ms, key=_time)
        for _, old in times[:stale]:
            del known[old]
        del times[:stale]
        if count.notif_id in known or count.exempt:
            return True
        return len(times) - bisect_right(times, now - count.within_ms, key=_time) < count.at_most


class LocalShelf:
    """Payloads in memory, of one process; see ``payloads.Shelf``."""

    def __init__(self) -> None:
        self._kept: dict[str, Payload] = {}

    def put(self, payloads: Sequence[Payload], now: int) -> None:
        """Keep each."""
        self._kept |= {each.id: each for each in payloads}

    def get(self, payload_id: str, now: int) -> bytes | None:
        """What is kept."""
        found = self._kept.get(payload_id)
        return found.body if found is not None and now < found.expires_at else None


def local_payloads() -> SignedPayloads:
    """Payloads that nobody but this process could fetch."""
    return SignedPayloads(LocalShelf(), "https://push.example.com/payloads", [b"no secret"])


def _time(counted: tuple[int, str]) -> int:
    return counted[0]
