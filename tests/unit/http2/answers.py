"""What a connection answered, and what a strict server got."""

from __future__ import annotations

from typing import Any

import h2.events

from tests.peers.wire import Wire
from tidings.http2 import Response

NO_STREAM = 2**31 - 1


def response(wire: Wire, token: Any) -> Response:
    result = wire.results[token]
    assert isinstance(result, Response)
    return result


def answered(wire: Wire, token: Any) -> tuple[int, bytes]:
    found = response(wire, token)
    return found.status, found.body


def frame_sizes(wire: Wire) -> list[int]:
    data = [event.data for event in wire.events if isinstance(event, h2.events.DataReceived)]
    return [len(piece or b"") for piece in data]
