"""Whether a provider accepts our credentials: asked so that nobody is sent anything.

a call that only reads        the account, what a key may do
a push to an impossible token the services that have nothing to read look at the token last
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tidings.http2 import Failure
from tidings.ports import Address
from tidings.redaction import text_redacted
from tidings.sender import Answer, Content, Send, Sender, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Result

_LONGEST = 200  # characters of a refusal that are told
_NOT_US = (Verdict.OK, Verdict.INV, Verdict.DROP)


async def proved_by_call(pool: Pool, path: str, headers: Mapping[str, str]) -> None:
    """GET ``path``. Raises ValueError where the provider refuses it, or does not answer."""
    asked: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    pool.request("GET", path, headers, None, asked.set_result)
    result = await asked
    if isinstance(result, Failure):
        raise ValueError(result.why)
    if not 200 <= result.status < 300:
        said = " ".join(result.body.decode("utf-8", "replace").split())
        raise ValueError(f"it answers {result.status}: {text_redacted(said)[:_LONGEST]}")


async def proved_by_push(sender: Sender, token: str, platform: str, now: int) -> None:
    """Push to a token that there is not: that it says so tells that all else was good.

    Raises ValueError where the provider refuses us, or does not answer.
    """
    asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    send = Send(
        send_id="0" * 32,
        channel="push",
        address=Address(kind="device", value=token, platform=platform),
        content=Content(parts={"title": "tidings check"}),
        tenant="default",
        category="",
        priority="normal",
        attempt=1,
        now=now,
    )
    sender.send([send], lambda _, answer: asked.set_result(answer))
    answer = await asked
    if answer.verdict not in _NOT_US:
        raise ValueError(f"it answers {answer.code}: {text_redacted(answer.detail)[:_LONGEST]}")
