"""The road to a push service: its settings, its connections, and what no answer means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tidings.durations import PositiveDuration
from tidings.http2 import Failure, Fate, Limits, Origin, Pool
from tidings.operators.senders.push.push_marks import Marks
from tidings.secret import Secret
from tidings.sender import Answer, Verdict

GRACE = 2.0  # seconds to finish when closing


class RoadSettings(BaseModel):
    """Settings of every push service."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    store: bool = True
    """Whether the service keeps a message for a phone that is off, until it expires."""
    reference_key: Secret | None = None
    """What references to our sends are signed with, the key of other providers' callbacks. With it
    a push carries its ``reference``, where there is room: an app that is opened by it hands it
    back, and we know whose it was."""
    host: str = ""
    """Another server than the service's own, for tests."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 443
    """The port of the server; Apple's listen on 2197 too, where a firewall wants it."""
    ca: Path | None = None
    """Whom to trust instead of the system's authorities, a PEM file."""
    connections: Annotated[int, Field(ge=1, le=64)] = 2
    """How many; each takes up to ``streams`` sends at once."""
    streams: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Sends under way on one connection, where the server allows so many."""
    timeout: PositiveDuration = 10_000
    """From a send to its answer; what takes longer may have been delivered."""
    wait: PositiveDuration = 1_000
    """How long a send waits for a connection, or for a token, before it is given back."""

    def authority(self, host: str) -> bytes:
        """The server's name in a request, ``host`` unless it is another one."""
        host = self.host or host
        return (host if self.port == 443 else f"{host}:{self.port}").encode()

    def marks(self) -> Marks:
        """What pushes carry. Raises ValueError for a key that can't be read."""
        key = self.reference_key
        return Marks() if key is None else Marks(key.read().strip().encode())

    def trusting(self) -> ssl.SSLContext:
        """TLS that trusts whom the settings say. Raises ValueError for a CA that can't be used."""
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ValueError(f"can't use the CA file {self.ca}: {error}") from None

    def pool(
        self,
        host: str,
        tls: ssl.SSLContext | None,
        loop: asyncio.AbstractEventLoop,
        random: Callable[[], float],
        *,
        probe: bool = False,
    ) -> Pool:
        """The connections; nothing is connected yet. ``probe``: one request first on each.

        Raises ValueError for a CA that can't be used.
        """
        context = tls or self.trusting()
        context.set_alpn_protocols(["h2"])
        limits = Limits(
            connections=self.connections,
            streams=self.streams,
            timeout=self.timeout / 1000,
            wait=self.wait / 1000,
            probe=probe,
        )
        origin = Origin(self.host or host, self.port, context)
        return Pool(origin, limits, loop=loop, random=random)


def unanswered(failure: Failure, provider_id: str = "") -> Answer:
    """The answer to a send whose own never came."""
    unsent = failure.fate is Fate.NOT_SENT
    return Answer(
        verdict=Verdict.RETRY if unsent else Verdict.AMB,
        code="NotSent" if unsent else "NoAnswer",
        detail=failure.why,
        provider_id=provider_id,
    )
