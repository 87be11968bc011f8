"""The stores by their addresses: what the configuration says of each.

people                  file:FOLDER, or file:FOLDER?journal=FILE where the folder is read-only
suppressions            file:FOLDER
templates               a folder
connections             a database's URL, or a service's
claims (and caps)       sqlite:FILE, or valkey://HOST:PORT/0 (redis://, rediss://, unix://PATH)
payloads                the same; where nothing is said, where claims are
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tidings.ports import Caps, Claims, Clock, Io, NoPayloads
from tidings.stores.caps_sqlite import SqliteCaps
from tidings.stores.caps_valkey import ValkeyCaps
from tidings.stores.claims_local import LocalClaims
from tidings.stores.claims_sheltered import ShelteredClaims
from tidings.stores.claims_sqlite import SqliteClaims
from tidings.stores.claims_valkey import ValkeyClaims
from tidings.stores.clock import SystemClock
from tidings.stores.lookups import Connection as Asked
from tidings.stores.lookups import ThreadedLookups
from tidings.stores.payloads import Shelf, SignedPayloads
from tidings.stores.payloads_sqlite import SqliteShelf
from tidings.stores.payloads_valkey import ValkeyShelf
from tidings.stores.people import FilePeople
from tidings.stores.suppressions import FileSuppressions
from tidings.stores.templates import FileTemplates
from tidings.stores.valkey import SCHEMES, Valkey


class Connection(NamedTuple):
    """Another system that is looked things up in, its secrets read."""

    name: str
    url: str
    password: str = ""
    headers: Mapping[str, str] = {}
    concurrency: int = 4


class Fetching(NamedTuple):
    """Where an app fetches what is too large for a push, the secret read; see ``Settings``."""

    url: str
    key: bytes
    store: str = ""


@contextmanager
def open_io(
    *,
    people: str,
    suppressions: str,
    templates: str,
    claims: str,
    default_locale: str = "en",
    sheltered: bool = False,
    asks: bool = True,
    clock: Clock | None = None,
    connections: Iterable[Connection] = (),
    fetching: Fetching | None = None,
) -> Iterator[Io]:
    """The ports, until the block ends; Valkey is connected at the first question.

    ``sheltered`` is for the high class: its claims go on in this process while the shared ones are
    away. ``asks`` tells that claims will be asked: the client library is loaded now, not then.
    Raises ValueError for an address of another form and for a file that is wrong, Unavailable for
    one that can't be opened.
    """
    clock = clock or SystemClock()
    with ExitStack() as stack:
        shared, caps = _claims_and_caps(claims, clock, stack, asks)
        yield Io(
            people=open_people(people, clock),
            suppressions=FileSuppressions(_folder("suppressions", suppressions), clock),
            templates=FileTemplates(Path(templates).expanduser(), clock, default_locale),
            claims=ShelteredClaims(shared, LocalClaims(clock), clock) if sheltered else shared,
            caps=caps,
            clock=clock,
            lookups=stack.enter_context(closing(_lookups(connections))),
            payloads=NoPayloads() if fetching is None else _payloads(fetching, claims, stack),
        )


def open_people(address: str, clock: Clock) -> FilePeople:
    """The people at an address. Raises ValueError for one of another form, and for a file that is
    wrong."""
    address, _, journal = address.partition("?journal=")
    return FilePeople(
        _folder("people", address), clock, Path(journal).expanduser() if journal else None
    )


def _lookups(connections: Iterable[Connection]) -> ThreadedLookups:
    """SQLAlchemy and urllib3 are loaded where something is looked up, and nowhere else."""
    opened: dict[str, Asked] = {}
    for name, url, password, headers, concurrency in connections:
        if url.startswith(("http://", "https://")):
            from tidings.stores.lookups_http import HttpConnection

            opened[name] = HttpConnection(name, url, headers, concurrency)
        else:
            from tidings.stores.lookups_sql import SqlConnection

            opened[name] = SqlConnection(name, url, password, concurrency)
    return ThreadedLookups(opened)


def _payloads(fetching: Fetching, claims: str, stack: ExitStack) -> SignedPayloads:
    address = fetching.store or claims
    kind, separator, rest = address.partition(":")
    shelf: Shelf
    if kind == "sqlite" and rest:
        shelf = stack.enter_context(closing(SqliteShelf(Path(rest).expanduser())))
    elif kind in SCHEMES and separator:
        shelf = ValkeyShelf(stack.enter_context(closing(Valkey(address))))
    else:
        raise ValueError(
            f"payloads: {address!r} is no address: write sqlite:FILE, or valkey://HOST:PORT/0"
        )
    return SignedPayloads(shelf, fetching.url, [fetching.key])


def _folder(port: str, address: str) -> Path:
    kind, _, rest = address.partition(":")
    if kind != "file" or not rest:
        raise ValueError(f"{port}: {address!r} is no address: write file:FOLDER")
    return Path(rest).expanduser()


def _claims_and_caps(
    address: str, clock: Clock, stack: ExitStack, asks: bool
) -> tuple[Claims, Caps]:
    kind, separator, rest = address.partition(":")
    if kind == "sqlite" and rest:
        path = Path(rest).expanduser()
        return (
            stack.enter_context(closing(SqliteClaims(path, clock))),
            stack.enter_context(closing(SqliteCaps(path))),
        )
    if kind in SCHEMES and separator:
        valkey = stack.enter_context(closing(Valkey(address)))
        if asks:
            valkey.load()
        return ValkeyClaims(valkey), ValkeyCaps(valkey)
    raise ValueError(
        f"claims: {address!r} is no address: write sqlite:FILE, or valkey://HOST:PORT/0"
    )
