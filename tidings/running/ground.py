"""What units stand on, opened from the settings: the log, the ports, an embedded Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tidings.compile.units import Ground
from tidings.content import content
from tidings.log.address import open_log
from tidings.running.embedded import EmbeddedValkey, folder_of
from tidings.settings import Settings
from tidings.stores.address import Connection, Fetching, open_io


class GroundError(Exception):
    """The settings name something that can't be used; the message says what and why."""


@contextmanager
def open_ground(
    settings: Settings, *, sheltered: bool = False, asks: bool = True, instance: str = ""
) -> Iterator[Ground]:
    """Everything that units need, until the block ends.

    ``sheltered`` is for processes of the high class, ``asks`` for all that ask claims from the
    first event on; ``instance`` is the process's own name, as ``open_log`` wants it. Raises
    GroundError, LogError and Unavailable for what can't be opened, ServiceError where Valkey can't
    be started.
    """
    with ExitStack() as stack:
        claims = settings.claims
        folder = folder_of(claims)
        if folder is not None:
            valkey = EmbeddedValkey(folder)
            stack.callback(valkey.close)
            valkey.start()
            claims = valkey.url
        ports = open_io(
            people=people_address(settings),
            suppressions=settings.suppressions,
            templates=content(settings.templates),
            claims=claims,
            default_locale=settings.default_locale,
            sheltered=sheltered,
            asks=asks,
            connections=_connections(settings),
            fetching=_fetching(settings),
        )
        try:
            io = stack.enter_context(ports)
        except ValueError as error:
            raise GroundError(str(error)) from error
        yield Ground(open_log(settings.log, instance=instance), io, settings)


def people_address(settings: Settings) -> str:
    """Where people are: here, or among what is shipped."""
    people, question, journal = settings.people.partition("?")
    kind, colon, place = people.partition(":")
    return f"{kind}{colon}{content(place)}{question}{journal}"


def _fetching(settings: Settings) -> Fetching | None:
    """Where payloads wait, with the secret. Raises GroundError where it can't be read."""
    said = settings.payloads
    if said.key is None:
        return None
    try:
        key = said.key.read().strip().encode()
    except ValueError as error:
        raise GroundError(f"payloads.key: {error}") from error
    return Fetching(said.url, key, said.store)


def _connections(settings: Settings) -> Iterator[Connection]:
    """The other systems, with their secrets. Raises GroundError for one that can't be read."""
    for name, each in settings.connections.items():
        try:
            password = each.password.read().strip() if each.password is not None else ""
            headers = {header: value.read().strip() for header, value in each.headers.items()}
        except ValueError as error:
            raise GroundError(f"connections.{name}: {error}") from error
        yield Connection(name, each.url, password, headers, each.concurrency)
