"""Whether a provider accepts our credentials: asked so that nobody is sent anything.

a call that only reads        the account, what a key may do
a message to nobody           to a token or a number that there can't be: the services that have
                              nothing to read, or want another right for it, look at it last
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from tidings.http2 import Failure
from tidings.ports import Address
from tidings.redaction import text_redacted
from tidings.sender import Answer, Content, Send, Sender, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Response, Result

_LONGEST = 200  # characters of a refusal that are told
_NOT_US = (Verdict.OK, Verdict.INV, Verdict.DROP)


async def answered(
    pool: Pool, path: str, headers: Mapping[str, str], form: bytes | None = None
) -> Response:
    """What a GET of ``path``, or the POST of a form, is answered. Raises ValueError for silence."""
    asked: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    pool.request("GET" if form is None else "POST", path, headers, form, asked.set_result)
    result = await asked
    if isinstance(result, Failure):
        raise ValueError(result.why)
    return result


async def proved_by_call(pool: Pool, path: str, headers: Mapping[str, str]) -> bytes:
    """GET ``path``, for what it says. Raises ValueError where the provider refuses it, or does not
    answer."""
    response = await answered(pool, path, headers)
    if not 200 <= response.status < 300:
        raise ValueError(told(str(response.status), response.body.decode("utf-8", "replace")))
    return response.body


def told(code: str, said: str) -> str:
    """A refusal, without what is private."""
    return f"it answers {code}: {text_redacted(' '.join(said.split()))[:_LONGEST]}"


async def proved_by_push(
    sender: Sender,
    token: str,
    platform: str,
    now: int,
    data: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Push to a token that there is not: that it says so tells that all else was good.

    Raises ValueError where the provider refuses us, or does not answer.
    """
    asked: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    send = Send(
        send_id="0" * 32,
        channel="push",
        address=Address(kind="device", value=token, platform=platform),
        content=Content(parts={"title": "tidings check"}, data=data),
        tenant="default",
        category="",
        priority="normal",
        attempt=1,
        now=now,
    )
    sender.send([send], lambda _, answer: asked.set_result(answer))
    answer = await asked
    if answer.verdict not in _NOT_US:
        raise ValueError(told(answer.code, answer.detail))
