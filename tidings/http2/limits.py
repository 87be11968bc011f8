"""How much a pool takes on, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a pool and its connections; times in seconds, sizes in bytes.

    ``streams``: requests under way on one connection (the server may allow fewer).
    ``timeout``: from the write of a request to its answer.
    ``queue``, ``wait``: how many requests wait for a free stream, and how long.
    ``keep_alive``: silence after which an idle connection is asked for a sign of life.
    ``body``: of an answer; what is beyond it is cut off.
    ``probe``: open one stream only until the server has accepted our credentials, which it shows
    by any answer but 403 (APNs demands it).
    """

    connections: int = 2
    streams: int = 1_000
    timeout: float = 10.0
    connect_timeout: float = 5.0
    queue: int = 10_000
    wait: float = 1.0
    keep_alive: float = 60.0
    body: int = 65_536
    probe: bool = False
