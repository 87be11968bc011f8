"""Whether a provider accepts our credentials: asked so that nobody is sent anything.

a call that only reads        the account, what a key may do
a message to nobody           to a token or a number that there can't be: the services that have
                              nothing to read, or want another right for it, look at it last
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from tidings.http2 import Failure
from tidings.ports import Address
from tidings.redaction import text_redacted
from tidings.sender import Answer, Content, NotAccepted, Send, Sender, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Response, Result

_LONGEST = 200  # characters of a refusal that are told
_NOT_US = (Verdict.OK, Verdict.INV, Verdict.DROP)
_REFUSALS = (401, 403, 404)
_SILENT = ("NotSent", "NoAnswer")  # codes of ours: nobody has answered
_decode = msgspec.json.Decoder().decode


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
    """GET ``path``, for what it says. Raises NotAccepted where the provider refuses us, ValueError
    where it does not answer, or not now."""
    response = await answered(pool, path, headers)
    if 200 <= response.status < 300:
        return response.body
    kind = NotAccepted if response.status in _REFUSALS else ValueError
    raise kind(told(str(response.status), response.body.decode("utf-8", "replace")))


def told(code: str, said: str) -> str:
    """A refusal, without what is private."""
    words = text_redacted(" ".join(_words(said).split()))[:_LONGEST]
    return f"it answers {code}: {words}" if words and words != code else f"it answers {code}"


def _words(said: str) -> str:
    """The messages in an answer of JSON, else the answer."""
    try:
        found = [*_messages(_decode(said))]
    except msgspec.DecodeError:
        return said
    return "; ".join(found) or said


def _messages(said: Any) -> Iterator[str]:
    if isinstance(said, list):
        for one in said:
            yield from _messages(one)
    elif isinstance(said, dict):
        if isinstance(said.get("message"), str):
            yield said["message"]
        yield from _messages([said.get("error"), said.get("errors")])


async def proved_by_push(
    sender: Sender,
    token: str,
    platform: str,
    now: int,
    data: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Push to a token that there is not: that it says so tells that all else was good.

    Raises NotAccepted where the provider refuses us, ValueError where it does not answer, or not
    now.
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
    if answer.verdict in _NOT_US:
        return
    if answer.code in _SILENT:
        raise ValueError(answer.detail or "no answer")
    kind = NotAccepted if answer.verdict is Verdict.CFG else ValueError
    raise kind(told(answer.code, answer.detail))
