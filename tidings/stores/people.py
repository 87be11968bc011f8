"""People in a file: one JSON object per line, in memory, reloaded when the file changes.

    people.jsonl            written by people or a script, e.g.
        {"recipient_id":"ana","locale":"es-AR","zone":"America/Argentina/Buenos_Aires",
         "addresses":[{"kind":"email","value":"ana@example.com"}],"categories":{"promo":false}}
    people.journal.jsonl    written by Tidings: addresses that providers called dead; beside it, or
                            where ``journal`` says

(each object on one line; ``tenant`` is "default" where it is not said; the other fields are those
of ``ports.Profile``, and a name that isn't one is refused). Lines that start with ``#`` are
comments. A person who appears twice is what the last line says.

A removal is about the registration that was dead: the address comes back when ``people.jsonl`` has
it with a later ``registered_at``. 100,000 people load in about half a second, a look-up is one of
a dict. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from sys import intern

import msgspec
import structlog

from tidings.ports import Address, Clock, Person, Profile, Unavailable
from tidings.stores.lines import Journal, Lines

_LOG = structlog.get_logger(__name__)
_LOOK_EVERY_MS = 1_000


class _Line(Profile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipient_id: str
    tenant: str = "default"


class _Removal(msgspec.Struct, frozen=True, kw_only=True):
    recipient_id: str
    tenant: str
    kind: str
    value: str
    registered_at: int
    reason: str
    at: int


_NOTHING: Mapping[str, frozenset[str]] = {}
_Key = tuple[str, str]  # tenant, recipient_id: equal to, and hashed as, a Person
_Choices = Mapping[str, bool]
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_removal = msgspec.json.Decoder(_Removal).decode


class FilePeople:
    """The people of one folder. Raises ValueError at the start when ``people.jsonl`` is wrong.

    A file that turns wrong later is logged, and what stood before goes on.
    """

    def __init__(self, folder: Path, clock: Clock, journal: Path | None = None) -> None:
        self._clock = clock
        self._file = Lines(folder / "people.jsonl")
        self._journal = Journal(journal or folder / "people.journal.jsonl")
        self._profiles: dict[_Key, Profile] = {}
        self._removals: list[_Removal] = []
        self._read_people()
        self._read_removals()
        self._next_look = clock.now() + _LOOK_EVERY_MS

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        """The profile of each, in order; None for a person nobody knows."""
        now = self._clock.now()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_MS
            self._look()
        return list(map(self._profiles.get, people))

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        """Forget one address for all processes, and across restarts; tells whether it was there."""
        self._read_removals()
        profile = self._profiles.get(person)
        held = [a for a in profile.addresses if _is(a, kind, value)] if profile else []
        if not held:
            return False
        removal = _Removal(
            recipient_id=person.recipient_id,
            tenant=person.tenant,
            kind=kind,
            value=value,
            registered_at=max(address.registered_at for address in held),
            reason=reason,
            at=self._clock.now(),
        )
        self._journal.append([msgspec.json.encode(removal)])
        self._read_removals()
        return True

    def _look(self) -> None:
        try:
            self._read_people()
            self._read_removals()
        except (ValueError, Unavailable) as error:
            _LOG.error("people not reloaded, the former ones stand", error=str(error))

    def _read_people(self) -> None:
        found = self._file.read(_Reader().person)
        if found is None:
            return
        self._profiles = dict(found)
        for removal in self._removals:
            self._forget(removal)

    def _read_removals(self) -> None:
        news = self._journal.follow()
        if news is None:
            return
        fresh = list(self._journal.decoded(news, _decode_removal))
        self._removals = fresh if news.restarted else self._removals + fresh
        for removal in fresh:
            self._forget(removal)

    def _forget(self, removal: _Removal) -> None:
        key = (removal.tenant, removal.recipient_id)
        profile = self._profiles.get(key)
        if profile is None:
            return
        left = tuple(
            address
            for address in profile.addresses
            if not (
                _is(address, removal.kind, removal.value)
                and address.registered_at <= removal.registered_at
            )
        )
        if len(left) < len(profile.addresses):
            self._profiles[key] = msgspec.structs.replace(profile, addresses=left)


class _Reader:
    """Turns lines into people; what many have alike (zones, choices), they share in memory."""

    def __init__(self) -> None:
        self._choices: dict[tuple[tuple[str, bool], ...], _Choices] = {}

    def person(self, text: bytes) -> tuple[_Key, Profile]:
        line = _decode_line(text)
        profile = Profile(
            locale=intern(line.locale),
            zone=intern(line.zone),
            addresses=tuple(map(_shared, line.addresses)),
            channels=self._alike(line.channels),
            categories=self._alike(line.categories),
            pairs=self._alike(line.pairs),
            types=self._alike(line.types),
            muted=line.muted or _NOTHING,
            erased=line.erased,
            quiet=intern(line.quiet),
        )
        return (intern(line.tenant), line.recipient_id), profile

    def _alike(self, choices: _Choices) -> _Choices:
        return self._choices.setdefault(tuple(choices.items()), choices)


def _shared(address: Address) -> Address:
    return Address(
        kind=intern(address.kind),
        value=address.value,
        platform=intern(address.platform),
        app=intern(address.app),
        registered_at=address.registered_at,
        verified=address.verified,
        zone=intern(address.zone),
        quiet=intern(address.quiet),
    )


class FunctionPeople:
    """People made by a function: a load test's million of them need no file and no memory."""

    def __init__(self, make: Callable[[Person], Profile | None]) -> None:
        self._make = make
        self._changed: dict[Person, Profile] = {}

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        """The profile of each, in order; None where the function gives none."""
        if not self._changed:
            return list(map(self._make, people))
        return [self._changed.get(person) or self._make(person) for person in people]

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        """Forget one address in this process; tells whether it was there."""
        (profile,) = self.profiles([person])
        if profile is None:
            return False
        left = tuple(address for address in profile.addresses if not _is(address, kind, value))
        if len(left) == len(profile.addresses):
            return False
        self._changed[person] = msgspec.structs.replace(profile, addresses=left)
        return True


def _is(address: Address, kind: str, value: str) -> bool:
    return address.value == value and address.kind == kind
