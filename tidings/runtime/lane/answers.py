"""What Claims keep of a send that went out: enough to write its outcome again, word for word."""

from __future__ import annotations

import msgspec

from tidings.ids import address_hash
from tidings.sender import Answer, Send, Verdict

LONGEST_DETAIL = 500  # characters of what a provider says that are kept


class Stored(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """A provider's answer as a mark holds it: a short JSON array.

    ``doubt``: it is none, and the provider is asked whether it has the message.
    """

    verdict: Verdict
    provider: str
    attempt: int
    at: int
    latency_ms: int
    code: str = ""
    provider_id: str = ""
    segments: int = 0
    cost: int = 0
    detail: str = ""
    address: str = ""  # its hash, where the mark ends a turn: a replay may not find the address
    doubt: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stored).decode


def address_of(send: Send) -> str:
    """The hash by which outcomes name its address."""
    return address_hash(send.tenant, send.channel, send.address.value)


def stored(
    send: Send, answer: Answer, at: int, address: str = "", *, doubt: bool = False
) -> Stored:
    """What is kept of ``answer`` to ``send``, which came at ``at`` (epoch ms)."""
    return Stored(
        answer.verdict,
        send.provider,
        send.attempt,
        at,
        max(0, at - send.now),
        answer.code,
        answer.provider_id,
        answer.segments,
        answer.cost,
        answer.detail[:LONGEST_DETAIL],
        address,
        doubt,
    )


def pack(kept: Stored) -> str:
    """The text of a mark."""
    return _encode(kept).decode()


def unpack(text: str, provider: str, attempt: int, at: int) -> Stored:
    """A mark's text read back. One that can't be read, or is gone, still says that it was sent."""
    try:
        return _decode(text)
    except msgspec.DecodeError:
        return Stored(Verdict.OK, provider, attempt, at, 0)
