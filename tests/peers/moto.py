"""moto's server, which answers as Amazon does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tidings.services.process import LOOPBACK, Server, answers, free_port


class Moto(Server):
    """The server on a free loopback port, for all of Amazon's services."""

    name = "moto"
    start_timeout = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        """moto, in the foreground."""
        return [sys.executable, "-m", "moto.server", "--host", LOOPBACK, "--port", str(self.port)]

    def ready(self) -> bool:
        """Whether it accepts connections."""
        return answers(self.port)
