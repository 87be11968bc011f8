"""Tells whoever supervises a process that it is ready: systemd's protocol, one datagram.

``NOTIFY_SOCKET`` in the environment names a unix socket; ``@`` at its start stands for the abstract
namespace. So a unit of systemd may say ``Type=notify``, and ours listens the same way.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from itertools import count

VARIABLE = "NOTIFY_SOCKET"
READY = b"READY=1"

_numbers = count()


def tell_ready(env: Mapping[str, str] | None = None) -> None:
    """Say that this process is ready, if anybody wants to know."""
    address = (os.environ if env is None else env).get(VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(READY, address)


class Ear:
    """Where one child tells that it is ready; ``address`` is for its environment."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        name = f"tidings-{os.getpid()}-{next(_numbers)}"
        self._socket.bind(f"\0{name}")
        self.address = f"@{name}"

    def heard(self) -> bool:
        """Whether it has told since the last question."""
        told = False
        with contextlib.suppress(BlockingIOError):
            while message := self._socket.recv(4_096):
                told = told or READY in message.split(b"\n")
        return told

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
