"""Claims in Valkey or Redis: one script for each of the two calls, one round trip for a batch.

Claims are strings under ``tidings:first:<key>``, sends under ``tidings:send:<send id>``, ends of
turns under ``tidings:turn:<turn>``; the scripts in ``lua/`` say what is in them. They do not
outlive the server unless it persists: a claim that was lost lets a duplicate pass, never loses a
message.

Whether a lease has expired is decided by the ``now`` of the one who asks, never by the server's
clock; a lease's key lives a minute longer than the lease, for askers whose clocks differ.

Measured with 1,000 to a call: 0.3 µs of the caller's CPU for a claim, 0.4 for a lease, 0.4 for a
mark with a 60-byte answer; 50 µs for the call itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidings.ports import TURN_SHARE, End, Lease, Leased, Mark, Verdict
from tidings.stores.valkey import Valkey
from tidings.stores.valkey_script import Script

_FIRST, _ROUND = Script("first"), Script("round")
_SKEW_MS = 60_000

_pack = msgspec.msgpack.Encoder().encode
_LEASED = Leased(Verdict.LEASED)
_VERDICTS = {
    "B": Verdict.BUSY,
    "S": Verdict.SENT,
    "D": Verdict.DONE,
    "N": Verdict.SUPERSEDED,
    "O": Verdict.OVER,
}


class ValkeyClaims:
    """Claims shared by all processes that know the server."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        """The origin that holds each key; see ``ports.Claims``."""
        if not (claims or forgotten):
            return []
        taken = self._valkey.run(_FIRST, ttl_ms, _pack((claims, forgotten)))
        origins = [origin for _, origin in claims]
        for place, origin in zip(taken[::2], taken[1::2], strict=True):
            origins[place - 1] = origin
        return origins

    def round(
        self,
        leases: Sequence[Lease],
        marks: Sequence[Mark],
        done: Sequence[str],
        released: Sequence[tuple[str, str]],
        now: int,
        lease_ms: int,
        keep_ms: int,
        ends: Sequence[End] = (),
    ) -> list[Leased]:
        """All that a lane says in a batch; see ``ports.Claims``."""
        if not (leases or marks or done or released or ends):
            return []
        refused = self._valkey.run(
            _ROUND,
            now,
            now + lease_ms,
            lease_ms + _SKEW_MS,
            keep_ms,
            max(1, keep_ms // TURN_SHARE),
            _pack((leases, marks, done, released, ends)),
        )
        answers = [_LEASED] * (len(leases) + len(ends))
        for place, held in zip(refused[::2], refused[1::2], strict=True):
            answers[place - 1] = _refusal(held) if place <= len(leases) else _ended(held)
        return answers


def _refusal(held: str) -> Leased:
    return Leased(_VERDICTS[held[0]], held[1:])


def _ended(held: str) -> Leased:
    answer, _, send_id = held[1:].rpartition("\x1e") if held[0] in "SD" else (held[1:], "", "")
    return Leased(_VERDICTS[held[0]], answer, send_id)
