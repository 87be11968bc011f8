"""Prism, which checks each request against a published description and answers as it says.

npm fetches it, and Twilio's own description of its API with Twilio's command line; both go to the
cache, beside Kafka's jars.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.peers.npm import NODE, modules
from tidings.services.process import LOOPBACK, Server, answers, free_port

_HERE = Path(__file__).parent
_TWILIO = "@twilio/cli-core/src/services/twilio-api/twilio_api_v2010.json"


class Prism(Server):
    """The server on a free loopback port; it refuses what the description does not allow."""

    name = "prism"
    start_timeout = 90.0  # it reads two megabytes of description first

    def __init__(self, description: Path | None = None) -> None:
        super().__init__()
        self.port = free_port()
        self._description = description

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @staticmethod
    def twilios() -> Path:
        """Twilio's own description."""
        return modules(_HERE) / _TWILIO

    def command(self) -> Sequence[str]:
        """Prism, with errors for whatever violates the description."""
        found = modules(_HERE)
        description = self._description or self.twilios()
        listen = ["--host", LOOPBACK, "--port", str(self.port)]
        command = [NODE, str(found / ".bin/prism"), "mock", str(description)]
        return [*command, "--errors", *listen]

    def ready(self) -> bool:
        """Whether it accepts connections."""
        return answers(self.port)
