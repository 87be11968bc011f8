"""Whether the systems that the settings name answer: each is asked something that changes nothing.

    log           its topics
    people        a person who is not there
    suppressions  an address that is not there
    claims        a count that is not there is given back (the caps are in the same place)
    payloads      the key is read, and in a store of its own one that has ended is put
    connections   `SELECT 1`, or a connection to the service's port
    providers     their secrets are read, and where there is a harmless question, the provider says
                  whether it accepts them; nobody is sent anything

All are asked at once, each has as long as it is given, and its failure is a problem of the line
that names it, with what is likely to help. What is told has no secret in it: values of secrets are
never part of a message, passwords in addresses are taken out.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tidings.content import content
from tidings.log.address import open_log
from tidings.ports import Io, Payload, Person, Query, Question
from tidings.problems import listed
from tidings.providers import sender_of
from tidings.redaction import text_redacted
from tidings.running.embedded import folder_of
from tidings.sender import NotAccepted, Provable
from tidings.settings import ConnectionSettings, Settings
from tidings.stores.address import Fetching, open_io
from tidings.stores.clock import SystemClock

NOBODY = "tidings-check"
_CREDENTIALS = (
    *("key", "key_id", "team_id", "certificate", "topic", "environment", "project"),
    *("access_key_id", "secret_access_key", "profile", "region"),
    *("account", "auth_token", "api_key", "api_secret", "user", "password"),
)
_HINTS = (
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed"),
        "this machine trusts nobody who signed that certificate: `ca` names a PEM file of who did, "
        "as of a proxy between; or another server answers there than was meant",
    ),
    (
        ("WRONG_VERSION_NUMBER", "wrong version number", "Server disconnected"),
        "what listens there speaks otherwise, with TLS or without: look at the port, and at "
        "`https` or `http`",
    ),
    (
        ("Name or service not known", "nodename nor servname", "name resolution"),
        "no DNS here knows that name: look for a slip of the pen, or at this machine's DNS",
    ),
    (
        ("refused", "Connect call failed", "Error 111"),
        "nothing listens there: is it started, and is the port right?",
    ),
    (
        ("no answer in", "Timeout", "timed out"),
        "a firewall between may drop what is sent, or it hangs; --timeout gives it longer",
    ),
)


class Probe(NamedTuple):
    """One system: its place in the settings, and what asks it; raises what it fails with."""

    keys: tuple[str, ...]
    ask: Callable[[], None]
    given: Mapping[str, Any] = MappingProxyType({})  # a provider's settings, as they are written


def probes(settings: Settings) -> list[Probe]:
    """What there is to ask. An embedded store is kept by the processes themselves: it is not."""
    stores = ["people", "suppressions"]
    if folder_of(settings.claims) is None:
        stores.append("claims")
    if settings.payloads.key is not None:
        stores.append("payloads")
    return [
        Probe(("log",), partial(_log, settings)),
        *(Probe((port,), partial(_store, settings, port)) for port in stores),
        *(
            Probe(("connections", name), partial(_connection, name, each))
            for name, each in settings.connections.items()
        ),
        *(
            Probe(("providers", name), partial(_provider, name, settings), given)
            for name, given in settings.providers.items()
        ),
    ]


class Trouble(NamedTuple):
    """What went wrong when a system was asked, and what is likely to help."""

    why: str
    hint: str | None


def asked(probes: Sequence[Probe], timeout: float) -> list[Trouble | None]:
    """What went wrong with each, None where it answered within ``timeout`` seconds."""
    asking = [_Asking(probe) for probe in probes]
    return [one.trouble(timeout) for one in asking]


class _Asking(threading.Thread):
    """One system that is being asked, on a thread that may hang for ever."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(name=f"probe-{probe.keys[-1]}", daemon=True)
        self._probe = probe
        self._failed: Exception | None = None
        self._began = time.monotonic()
        self.start()

    def run(self) -> None:
        try:
            self._probe.ask()
        except Exception as error:  # noqa: BLE001  whatever a client raises is the answer
            self._failed = error

    def trouble(self, timeout: float) -> Trouble | None:
        self.join(max(0.0, self._began + timeout - time.monotonic()))
        if self.is_alive():
            why = f"no answer in {timeout:g} s"
        elif self._failed is None:
            return None
        else:
            said = str(self._failed).strip() or type(self._failed).__name__
            why = text_redacted(said.splitlines()[0])
        if isinstance(self._failed, NotAccepted):
            return Trouble(why, _compare(self._probe.given))
        return Trouble(why, next((hint for signs, hint in _HINTS if _any(signs, why)), None))


def _any(signs: Sequence[str], text: str) -> bool:
    return any(sign in text for sign in signs)


def _compare(given: Mapping[str, Any]) -> str | None:
    names = [name for name in _CREDENTIALS if name in given]
    if not names:
        return None
    return f"compare {listed(names, 'and')} with what the provider shows you of this account"


def _log(settings: Settings) -> None:
    with closing(open_log(settings.log).admin()) as admin:
        admin.topics()


def _store(settings: Settings, port: str) -> None:
    with _alone(settings, port) as io:
        if port == "people":
            io.people.profiles([Person("default", NOBODY)])
        elif port == "suppressions":
            io.suppressions.check([Question("default", "email", NOBODY, "")], io.clock.now())
        elif port == "payloads":
            io.payloads.put([Payload(NOBODY, b"", 0)], io.clock.now())
        else:
            io.caps.give_back([(NOBODY, NOBODY)])


@contextmanager
def _alone(settings: Settings, port: str) -> Iterator[Io]:
    """The ports, of which ``port`` is that of the settings, and the others are empty."""
    with TemporaryDirectory() as folder:
        addresses = {
            "people": f"file:{folder}",
            "suppressions": f"file:{folder}",
            "claims": f"sqlite:{folder}/claims.db",
        }
        said = settings.payloads
        fetching = None
        if port == "payloads" and said.key is not None:
            store = said.store or addresses["claims"]  # where claims are is asked as theirs
            fetching = Fetching(said.url, said.key.read().strip().encode(), store)
        elif port == "people":
            people, question, journal = settings.people.partition("?")
            kind, colon, place = people.partition(":")
            if kind == "file" and not (file := Path(content(place), "people.jsonl")).exists():
                raise ValueError(f"there is no {file}: nobody could be reached")
            addresses[port] = f"{kind}{colon}{content(place)}{question}{journal}"
        else:
            addresses[port] = getattr(settings, port)
        with open_io(
            people=addresses["people"],
            suppressions=addresses["suppressions"],
            templates=folder,
            claims=addresses["claims"],
            fetching=fetching,
        ) as io:
            yield io


def _connection(name: str, settings: ConnectionSettings) -> None:
    password = settings.password.read().strip() if settings.password is not None else ""
    for value in settings.headers.values():
        value.read()
    if settings.kind() == "http":
        place = urlsplit(settings.url)
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname or "", port), timeout=30).close()
        return
    from tidings.stores.lookups_sql import SqlConnection

    query = Query(name, "SELECT 1 AS one WHERE 1 IN :keys", "one", 30_000, 5_000)
    with closing(SqlConnection(name, settings.url, password)) as connection:
        connection.fetch(query, [1])


def _provider(name: str, settings: Settings) -> None:
    asyncio.run(_begun(name, settings))


async def _begun(name: str, settings: Settings) -> None:
    sender = sender_of(name, settings.providers, SystemClock())
    try:
        await sender.open(asyncio.get_running_loop())
        if isinstance(sender, Provable):
            await sender.prove()
    finally:
        with suppress(Exception):  # what was not opened may not be closed
            await sender.close()
