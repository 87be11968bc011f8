"""The Valkey of one machine: whichever process got there first keeps it, the next one takes over.

    FOLDER/valkey.lock    held by the process that keeps the server
    FOLDER/valkey.sock    where it answers; elsewhere where that path would be too long
    FOLDER/*.aof          what outlives it

The server dies with its keeper. The kernel frees the lock with it, and another process that needs
the server starts it again within a second, with all that it held.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
from pathlib import Path

import structlog

from tidings.services.process import ServiceError
from tidings.services.valkey import Valkey

SCHEME = "embedded"
LOOK_EVERY = 0.5  # seconds
_LONGEST_SOCKET = 100  # bytes; the kernel takes 107

_LOG = structlog.get_logger(__name__)


def folder_of(address: str) -> Path | None:
    """The folder of ``embedded:FOLDER`` (``embedded`` is data/valkey); None for another address."""
    kind, _, rest = address.partition(":")
    return Path(rest or "data/valkey").expanduser().resolve() if kind == SCHEME else None


def socket_of(folder: Path) -> Path:
    """Where the server of ``folder`` answers: the same for every process that asks."""
    path = folder / "valkey.sock"
    if len(str(path).encode()) <= _LONGEST_SOCKET:
        return path
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tidings-{os.getuid()}-{name}.sock"


class EmbeddedValkey:
    """Keeps the Valkey of ``folder`` alive, or leaves that to the process which does already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket_of(folder)
        self._lock: int | None = None
        self._server: Valkey | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="valkey-keeper", daemon=True)

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The server's process id where this process keeps it, and it runs."""
        server = self._server
        return server.pid if server is not None and server.running else None

    def start(self) -> None:
        """Have it answer, and look after it from now on. Raises ServiceError if it can't start."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.keep()
        self._thread.start()

    def keep(self) -> None:
        """Take the server over where nobody keeps it; start it where it has died."""
        if self._lock is None and not self._take():
            return
        if self._server is None:
            self._server = Valkey(
                self._folder,
                socket=self._socket,
                persistence="appendonly",
                options={"maxmemory-policy": "noeviction", "hz": "2"},
            )
            self._server.start()
        elif not self._server.running:
            _LOG.warning("valkey ended by itself and is started again")
            self._server.start()

    def _take(self) -> bool:
        lock = os.open(self._folder / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_EVERY):
            try:
                self.keep()
            except (ServiceError, OSError) as error:
                _LOG.error("valkey can't be started", error=str(error))

    def close(self) -> None:
        """Stop the server where this process keeps it."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
