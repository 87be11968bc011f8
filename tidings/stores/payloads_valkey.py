"""Payloads in Valkey or Redis: strings under ``tidings:payload:<id>`` that end by themselves.

They do not outlive a server that does not persist: then a phone shows the short text, and finds
nothing to fetch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from tidings.ports import Payload
from tidings.stores.valkey import Valkey
from tidings.stores.valkey_script import Script

_PUT, _GET = Script("put_payloads"), Script("get_payload")
_LARGEST_CALL = 4_000_000  # bytes: what a server takes in a fraction of its time-out

_pack = msgspec.msgpack.Encoder().encode


class ValkeyShelf:
    """Kept for all processes that know the server. Bodies are text in UTF-8."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    def put(self, payloads: Sequence[Payload], now: int) -> None:
        """Keep each; see ``payloads.Shelf``. What is more than 4 MB goes in several calls."""
        for call in _calls(payloads):
            kept = [(each.id, each.expires_at - now, each.body.decode()) for each in call]
            self._valkey.run(_PUT, _pack(kept))

    def get(self, payload_id: str, now: int) -> bytes | None:
        """What is kept."""
        found = self._valkey.run(_GET, payload_id)
        return None if found is None else found.encode()


def _calls(payloads: Sequence[Payload]) -> Iterator[list[Payload]]:
    call: list[Payload] = []
    size = 0
    for each in payloads:
        if call and size + len(each.body) > _LARGEST_CALL:
            yield call
            call, size = [], 0
        call.append(each)
        size += len(each.body)
    if call:
        yield call
