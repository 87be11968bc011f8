"""People in a file: one JSON object per line, in memory, reloaded when the file changes.

    people.jsonl            written by people or a script, e.g.
        {"recipient_id":"ana","locale":"es-AR","zone":"America/Argentina/Buenos_Aires",
         "addresses":[{"kind":"email","value":"ana@example.com"}],"categories":{"promo":false}}
    people.journal.jsonl    written by Tidings: addresses that providers called dead, and those that
                            took another's place; beside it, or where ``journal`` says
    people.successes.jsonl  beside the journal: when addresses last took a message

(each object on one line; ``tenant`` is "default" where it is not said; the other fields are those
of ``ports.Profile``, and a name that isn't one is refused). Lines that start with ``#`` are
comments. A person who appears twice is what the last line says.

A removal is about the registration that was dead: the address comes back when ``people.jsonl`` has
it with a later ``registered_at``. 100,000 people load in about half a second, a look-up is one of
a dict. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern

import msgspec
import structlog

from tidings.ports import A_DAY, Address, Clock, Person, Profile, Success, Unavailable
from tidings.stores.lines import Journal, Lines
from tidings.stores.people_journal import (
    Entry,
    applied,
    decode_entry,
    encode_entry,
    is_address,
    owners_of,
    registered,
    succeeded,
)
from tidings.stores.successes import Successes

_LOG = structlog.get_logger(__name__)
_LOOK_EVERY_MS = 1_000
_SUCCESSES = "people.successes.jsonl"
_DEVICE = "device"


class _Line(Profile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipient_id: str
    tenant: str = "default"


_NOTHING: Mapping[str, frozenset[str]] = {}
_Key = tuple[str, str]  # tenant, recipient_id: equal to, and hashed as, a Person
_Choices = Mapping[str, bool]
_decode_line = msgspec.json.Decoder(_Line).decode


class FilePeople:
    """The people of one folder. Raises ValueError at the start when ``people.jsonl`` is wrong.

    A file that turns wrong later is logged, and what stood before goes on.
    """

    def __init__(self, folder: Path, clock: Clock, journal: Path | None = None) -> None:
        self._clock = clock
        self._file = Lines(folder / "people.jsonl")
        path = journal or folder / "people.journal.jsonl"
        self._journal = Journal(path)
        self._successes = Successes(path.with_name(_SUCCESSES))
        self._listens = False  # to successes: flows have no use for them
        self._profiles: dict[_Key, Profile] = {}
        self._owners: dict[str, Mapping[str, tuple[Person, ...]]] = {}  # by kind, once asked for
        self._entries: list[Entry] = []
        self._read_people()
        self._read_journal()
        self._next_look = clock.now() + _LOOK_EVERY_MS

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        """The profile of each, in order; None for a person nobody knows."""
        self._look_again()
        return list(map(self._profiles.get, people))

    def find(self, kind: str, values: Sequence[str]) -> list[tuple[Person, ...]]:
        """Whose each address is; see ``ports.People``."""
        self._look_again()
        owners = self._owners.get(kind)
        if owners is None:
            owners = self._owners[kind] = owners_of(kind, self._profiles.items())
        return [owners.get(value, ()) for value in values]

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        """Forget one address for all processes, and across restarts; tells whether it was there."""
        self._read_journal()
        profile = self._profiles.get(person)
        held = [a for a in profile.addresses if is_address(a, kind, value)] if profile else []
        if held:
            self._write([_removal(person, held, reason, self._clock.now())])
        return bool(held)

    def register(self, person: Person, address: Address, replaces: str = "") -> bool:
        """Take an address for all processes, and across restarts; see ``ports.People``."""
        self._read_journal()
        profile = self._profiles.get(person)
        if profile is None or registered(profile, address, replaces) is profile:
            return False
        entry = Entry(
            recipient_id=person.recipient_id,
            tenant=person.tenant,
            at=self._clock.now(),
            address=address,
            replaces=replaces,
        )
        self._write([entry])
        return True

    def note_successes(self, successes: Sequence[Success]) -> None:
        """Keep when addresses last took a message; see ``ports.People``."""
        self._read_successes()
        fresh = []
        for one in successes:
            profile = self._profiles.get(one.person)
            if profile is not None and _is_news(profile, one):
                fresh.append(one)
        if fresh:
            self._successes.add(fresh)
            self._read_successes()

    # ── Devices ───────────────────────────────────────────────────────────────────────────────

    def silent(self, before: int) -> Iterator[tuple[Person, Address]]:
        """The devices that have been silent since ``before``; see ``ports.Devices``."""
        self._read_people()
        self._read_journal()
        self._read_successes()
        if not 0 < self._successes.began < before:
            return
        for (tenant, recipient_id), profile in self._profiles.items():
            for one in profile.addresses:
                if one.kind == _DEVICE and max(one.registered_at, one.last_success_at) < before:
                    yield Person(tenant, recipient_id), one

    def prune(self, before: int) -> int:
        """Forget those, in one write, and compact what is kept of the others."""
        now = self._clock.now()
        gone = [_removal(person, [one], "silent", now) for person, one in self.silent(before)]
        if gone:
            self._write(gone)
        self._successes.compact(
            Success(Person(*key), one.kind, one.value, one.last_success_at)
            for key, profile in self._profiles.items()
            for one in profile.addresses
            if one.last_success_at
        )
        return len(gone)

    # ── Files ─────────────────────────────────────────────────────────────────────────────────

    def _write(self, entries: Sequence[Entry]) -> None:
        self._journal.append([encode_entry(entry) for entry in entries])
        self._read_journal()

    def _look_again(self) -> None:
        now = self._clock.now()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_MS
            self._look()

    def _look(self) -> None:
        try:
            self._read_people()
            self._read_journal()
            if self._listens:
                self._read_successes()
        except (ValueError, Unavailable) as error:
            _LOG.error("people not reloaded, the former ones stand", error=str(error))

    def _read_people(self) -> None:
        found = self._file.read(_Reader().person)
        if found is None:
            return
        former, self._profiles = self._profiles, dict(found)
        self._owners.clear()
        for entry in self._entries:
            self._apply(entry)
        if self._listens:
            self._carry_over(former)

    def _carry_over(self, former: Mapping[_Key, Profile]) -> None:
        """What was known of their last successes."""
        for key, before in former.items():
            for one in before.addresses:
                profile = self._profiles.get(key)
                if one.last_success_at and profile is not None:
                    self._profiles[key] = succeeded(
                        profile, one.kind, one.value, one.last_success_at
                    )

    def _read_journal(self) -> None:
        news = self._journal.follow()
        if news is None:
            return
        fresh = list(self._journal.decoded(news, decode_entry))
        self._entries = fresh if news.restarted else self._entries + fresh
        for entry in fresh:
            self._apply(entry)

    def _read_successes(self) -> None:
        self._listens = True
        for (tenant, recipient_id), kind, value, at in self._successes.news():
            profile = self._profiles.get((tenant, recipient_id))
            if profile is not None:
                self._profiles[tenant, recipient_id] = succeeded(profile, kind, value, at)

    def _apply(self, entry: Entry) -> None:
        key = (entry.tenant, entry.recipient_id)
        profile = self._profiles.get(key)
        if profile is not None:
            self._profiles[key] = applied(profile, entry)
            self._owners.pop(entry.kind if entry.address is None else entry.address.kind, None)


def _is_news(profile: Profile, success: Success) -> bool:
    _, kind, value, at = success
    return succeeded(profile, kind, value, at, A_DAY) is not profile


def _removal(person: Person, held: Sequence[Address], reason: str, at: int) -> Entry:
    """The removal of an address, as it is ``held``."""
    return Entry(
        recipient_id=person.recipient_id,
        tenant=person.tenant,
        kind=held[0].kind,
        value=held[0].value,
        registered_at=max(address.registered_at for address in held),
        reason=reason,
        at=at,
    )


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
        last_success_at=address.last_success_at,
    )
