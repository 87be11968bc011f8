"""Waiting for what no event tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; raises TimeoutError after 30 s."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
