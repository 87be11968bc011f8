"""What units stand on, opened from the settings: the log, the ports, an embedded Valkey."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tidings.compile import Ground
from tidings.content import content_root
from tidings.embedded import EmbeddedValkey, folder_of
from tidings.log.address import open_log
from tidings.settings import Settings, load_settings
from tidings.stores.address import open_io

CONFIG_VARIABLE = "TIDINGS_CONFIG"


class GroundError(Exception):
    """The settings name something that can't be used; the message says what and why."""


def settings_file(given: Path | None, env: Mapping[str, str] | None = None) -> Path | None:
    """The settings file: the one given, ``TIDINGS_CONFIG``'s, ``config/tidings.yaml`` here, or None
    for the shipped one."""
    named = given or (os.environ if env is None else env).get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    here = Path("config/tidings.yaml")
    return here if here.is_file() else None


def read_settings(given: Path | None, log: str | None = None) -> Settings:
    """The settings; ``log``, an address, outranks what they say. See ``load_settings``."""
    settings = load_settings(settings_file(given))
    return settings if log is None else settings.model_copy(update={"log": log})


def content(path: str) -> str:
    """A path of the settings: here, or among what is shipped where it isn't here."""
    local = Path(path).expanduser()
    if local.is_absolute() or local.exists():
        return path
    shipped = content_root() / local
    return str(shipped) if shipped.exists() else path


@contextmanager
def open_ground(settings: Settings, *, sheltered: bool = False) -> Iterator[Ground]:
    """Everything that units need, until the block ends.

    ``sheltered`` is for processes of the high class. Raises GroundError, LogError and Unavailable
    for what can't be opened, ServiceError where Valkey can't be started.
    """
    with ExitStack() as stack:
        claims = settings.claims
        folder = folder_of(claims)
        if folder is not None:
            valkey = EmbeddedValkey(folder)
            stack.callback(valkey.close)
            valkey.start()
            claims = valkey.url
        people, question, journal = settings.people.partition("?")
        kind, colon, place = people.partition(":")
        ports = open_io(
            people=f"{kind}{colon}{content(place)}{question}{journal}",
            suppressions=settings.suppressions,
            templates=content(settings.templates),
            claims=claims,
            default_locale=settings.default_locale,
            sheltered=sheltered,
        )
        try:
            io = stack.enter_context(ports)
        except ValueError as error:
            raise GroundError(str(error)) from error
        yield Ground(open_log(settings.log), io, settings)
