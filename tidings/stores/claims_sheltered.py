"""Claims that go on when the shared ones are away: what the high class asks.

A code that comes late is worth nothing, so the high class does not wait for Valkey. While it
answers, its answers are remembered in this process; while it is away, this process answers from
that memory; when it is back, the next question is preceded by what was claimed or sent meanwhile.
What two processes do to the same send in that time, and what a process forgets by dying in it, may
be sent twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from tidings.ports import Claims, Clock, End, Lease, Leased, Mark, Unavailable, Verdict
from tidings.stores.claims_local import LocalClaims

_OWED = 100_000  # marks, as many done, and as many claims: minutes of what the high class sends
_AT_ONCE = 1_000  # claims of a call
_GRAINS = 64  # claims are handed over with lives that are by a share of this too short at most


class _Claimed(NamedTuple):
    """A claim that is owed to the shared ones: it lives ``until`` (epoch ms), of ``ttl_ms``."""

    origin: str
    until: int
    ttl_ms: int


class ShelteredClaims:
    """The shared claims, or this process's own while they are away: never Unavailable."""

    def __init__(self, shared: Claims, own: LocalClaims, clock: Clock) -> None:
        self._shared = shared
        self._own = own
        self._clock = clock
        self._owed_firsts: dict[str, _Claimed] = {}
        self._owed_marks: deque[Mark] = deque(maxlen=_OWED)
        self._owed_done: deque[str] = deque(maxlen=_OWED)
        self._owed_ends: deque[End] = deque(maxlen=_OWED)

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        """The origin that holds each key, as far as can be told now."""
        try:
            if self._owed_firsts:
                self._hand_over()
            origins = self._shared.first(claims, ttl_ms, forgotten)
        except Unavailable:
            origins = self._own.first(claims, ttl_ms, forgotten)
            for key in forgotten:
                self._owed_firsts.pop(key, None)
            self._owe(claims, origins, ttl_ms)
            return origins
        known = [(key, origin) for (key, _), origin in zip(claims, origins, strict=True)]
        self._own.first(known, ttl_ms, forgotten)
        return origins

    def _owe(self, claims: Sequence[tuple[str, str]], origins: Sequence[str], ttl_ms: int) -> None:
        """Keep what was first here; the oldest fall out when there are too many."""
        owed, now = self._owed_firsts, self._clock.now()
        for (key, mine), origin in zip(claims, origins, strict=True):
            known = owed.get(key)
            if origin == mine and (known is None or known.until <= now):
                owed.pop(key, None)  # the newest stand last
                owed[key] = _Claimed(origin, now + ttl_ms, ttl_ms)
        for key in [*islice(owed, max(0, len(owed) - _OWED))]:
            del owed[key]

    def _hand_over(self) -> None:
        """Tell the shared claims what was first meanwhile; none lives longer for it."""
        now = self._clock.now()
        groups: dict[tuple[int, int], list[str]] = {}
        for key, claimed in [*self._owed_firsts.items()]:
            left = claimed.until - now
            if left <= 0:
                del self._owed_firsts[key]
            else:
                grain = left * _GRAINS // claimed.ttl_ms
                groups.setdefault((claimed.ttl_ms, grain), []).append(key)
        for keys in groups.values():
            least = min([self._owed_firsts[key].until for key in keys]) - now
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                self._shared.first([(key, self._owed_firsts[key].origin) for key in part], least)
                for key in part:
                    del self._owed_firsts[key]

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
        """All that a lane says in a batch, as far as can be told now."""
        try:
            answers = self._shared.round(
                leases,
                [*self._owed_marks, *marks],
                [*self._owed_done, *done],
                released,
                now,
                lease_ms,
                keep_ms,
                [*ends, *self._owed_ends],
            )
        except Unavailable:
            self._owed_marks.extend(marks)
            self._owed_done.extend(done)
            self._owed_ends.extend(ends)
            return self._own.round(leases, marks, done, released, now, lease_ms, keep_ms, ends)
        asked = len(leases)
        answers, ended = answers[:asked], answers[asked : asked + len(ends)]
        self._owed_marks.clear()
        self._owed_done.clear()
        self._owed_ends.clear()
        known_marks, known_done = [*marks], [*done]
        for lease, (verdict, answer, _) in zip(leases, answers, strict=True):
            if verdict in (Verdict.SENT, Verdict.DONE):
                known_marks.append(Mark(lease.send_id, lease.holder, answer))
            if verdict is Verdict.DONE:
                known_done.append(lease.send_id)
        known_ends = []
        for end, (verdict, answer, send_id) in zip(ends, ended, strict=True):
            if verdict is Verdict.BUSY:
                continue
            if send_id:
                known_marks.append(Mark(send_id, "", answer, end.turn))
            words = answer if verdict is Verdict.OVER else end.words
            known_ends.append(End(end.turn, words))
        self._own.round(
            leases, known_marks, known_done, released, now, lease_ms, keep_ms, known_ends
        )
        return answers + ended
