"""Payloads that wait for their app, behind signed addresses: what a shelf keeps, made a port.

    put  ──► shelf, and https://push.example.com/payloads/<reference>
    get  ◄── <reference>: whose signature and life are looked at before the shelf is asked

A reference tells a payload's id and when it ends. It is opaque, and belongs to this one payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidings.ports import Payload
from tidings.signing import Forged, opened, signed

_DOMAIN = b"tidings payload\x00"


class Shelf(Protocol):
    """Where payloads are kept, by id. Raises Unavailable."""

    def put(self, payloads: Sequence[Payload], now: int) -> None:
        """Keep each until its ``expires_at``, in one round trip; of two with one id the later."""
        ...

    def get(self, payload_id: str, now: int) -> bytes | None:
        """What is kept; None where nothing is, or no longer."""
        ...


class _Reference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    payload_id: str
    expires_at: int


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Reference).decode


class SignedPayloads:
    """See ``ports.Payloads``. ``url`` is the public address, the first of ``keys`` signs."""

    def __init__(self, shelf: Shelf, url: str, keys: Sequence[bytes]) -> None:
        self._shelf = shelf
        self._url = url.rstrip("/")
        self._keys = keys

    def __repr__(self) -> str:
        return f"SignedPayloads({self._url})"

    def put(self, payloads: Sequence[Payload], now: int) -> list[str]:
        """Keep each, and give its address."""
        if payloads:
            self._shelf.put(payloads, now)
        return [f"{self._url}/{self._reference(each)}" for each in payloads]

    def get(self, reference: str, now: int) -> bytes | None:
        """What a reference stands for. Raises Forged."""
        try:
            found = _unpack(opened(reference, self._keys, _DOMAIN))
        except msgspec.DecodeError as error:
            raise Forged(f"a reference that can't be read: {error}") from None
        return self._shelf.get(found.payload_id, now) if now < found.expires_at else None

    def _reference(self, payload: Payload) -> str:
        return signed(_pack(_Reference(payload.id, payload.expires_at)), self._keys[0], _DOMAIN)
