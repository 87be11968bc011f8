"""The suppression list in a file: in memory, appended to by all processes, followed by all.

    suppressions.jsonl            written by people (an imported list, say), e.g.
        {"channel":"email","address":"ana@example.com","reason":"complaint"}
    suppressions.journal.jsonl    written by Tidings, with the time ``at`` of each entry

The fields are those of ``ports.Suppression`` and ``tenant`` ("default" where it is not said). A
file with an unreadable line is refused at the start; later it is logged, and what stood goes on.
An entry is known to this process at once, to others within 200 ms, and survives a power cut.

Entries of one address with different reasons stand side by side, so that a soft bounce that ends
in 30 days never takes the place of a complaint that holds for good; an entry with the same scope
and reason is replaced (one whose ``until`` has passed thereby lifts it). Of several that forbid
the address the answer names one that holds for good before one that ends, and one for all
categories before one for this category.

E-mail addresses are compared in lower case and in IDNA form: somebody who opted out as
``Ana@Example.com`` did so as ``ana@example.com``. Phone numbers (E.164) and tokens are taken as
they are. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from tidings.ports import Clock, Question, Suppression
from tidings.stores.lines import Journal, Lines

_LOG = structlog.get_logger(__name__)
_LOOK_EVERY_MS = 200
_EVERYTHING = "all"


class _Line(Suppression, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    tenant: str = "default"
    at: int = 0

    def suppression(self) -> Suppression:
        return Suppression(
            channel=self.channel,
            address=self.address,
            reason=self.reason,
            scope=self.scope,
            source=self.source,
            until=self.until,
        )


_Key = tuple[str, str, str]  # tenant, channel, normalised address
_decode = msgspec.json.Decoder(_Line).decode


class FileSuppressions:
    """The list of one folder. Raises ValueError at the start for an unreadable file of people's."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self._file = Lines(folder / "suppressions.jsonl")
        self._journal = Journal(folder / "suppressions.journal.jsonl", sync=True)
        self._given: list[_Line] = []
        self._added: list[_Line] = []
        self._index: dict[_Key, tuple[Suppression, ...]] = {}
        self._read_journal()
        self._read_file()
        self._next_look = clock.now() + _LOOK_EVERY_MS

    def check(self, questions: Sequence[Question], now: int) -> list[Suppression | None]:
        """For each the suppression that forbids it, or None."""
        self._look()
        if not self._index:
            return [None] * len(questions)
        get = self._index.get
        return [
            None
            if (held := get((tenant, channel, normalised(channel, address)))) is None
            else _forbids(held, category, now)
            for tenant, channel, address, category in questions
        ]

    def add(self, tenant: str, suppression: Suppression) -> None:
        """Put on the list, for all processes."""
        line = _Line(tenant=tenant, at=self._clock.now(), **msgspec.structs.asdict(suppression))
        self._journal.append([msgspec.json.encode(line)])
        self._read_journal()

    def _look(self) -> None:
        now = self._clock.now()
        if now < self._next_look:
            return
        self._read_journal()
        try:
            self._read_file()
        except ValueError as error:
            _LOG.error("suppressions not reloaded, the former ones stand", error=str(error))
        self._next_look = now + _LOOK_EVERY_MS

    def _read_journal(self) -> None:
        news = self._journal.follow()
        if news is None:
            return
        fresh = list(self._journal.decoded(news, _decode))
        if news.restarted:
            self._added = fresh
            self._rebuild()
        else:
            self._added += fresh
            for line in fresh:
                self._put(line)

    def _read_file(self) -> None:
        found = self._file.read(_decode)
        if found is not None:
            self._given = found
            self._rebuild()

    def _rebuild(self) -> None:
        self._index = {}
        for line in (*self._given, *self._added):
            self._put(line)

    def _put(self, line: _Line) -> None:
        key = (line.tenant, line.channel, normalised(line.channel, line.address))
        entry = line.suppression()
        kept = [
            held
            for held in self._index.get(key, ())
            if (held.scope, held.reason) != (entry.scope, entry.reason)
        ]
        self._index[key] = tuple(sorted((*kept, entry), key=_rank))


def _rank(entry: Suppression) -> tuple[bool, bool]:
    return entry.until != 0, entry.scope != _EVERYTHING


def _forbids(held: Sequence[Suppression], category: str, now: int) -> Suppression | None:
    for entry in held:
        if entry.scope in (_EVERYTHING, category) and (entry.until == 0 or entry.until > now):
            return entry
    return None


def normalised(channel: str, address: str) -> str:
    """The form in which an address is compared."""
    if channel != "email":
        return address
    address = address.lower()
    return address if address.isascii() else _with_ascii_domain(address)


def _with_ascii_domain(address: str) -> str:
    local, at, domain = address.rpartition("@")
    try:
        return f"{local}{at}{domain.encode('idna').decode()}"
    except UnicodeError:
        return address  # no domain in any form: only itself is equal to it
