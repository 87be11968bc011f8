"""Claims in memory: for one process, and for the high class while Valkey is away.

The rules of leases and marks stand here once for all that is not Lua: ``settle`` plays a round on
a mapping, and the SQLite adapter loads what a round touches and calls the same function.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

from tidings.ports import TURN_SHARE, Clock, End, Lease, Leased, Mark, Verdict

_LEASED = Leased(Verdict.LEASED)


class Held(NamedTuple):
    """What is known of a send: LEASED with origin and holder, or SENT or DONE with the answer.

    ``until`` (epoch ms) ends the lease, or the mark's life. Under the key of what is newest it is
    SUPERSEDED, all others are, with what is newest as the answer. Under a turn's key it is how that
    ended: SENT with the send's id, or OVER with the words; under a further one the latest lease of
    its sends.
    """

    state: Verdict
    until: int
    origin: str = ""
    holder: str = ""
    answer: str = ""


def settle(
    sends: MutableMapping[str, Held],
    leases: Sequence[Lease],
    marks: Sequence[Mark],
    done: Sequence[str],
    released: Sequence[tuple[str, str]],
    now: int,
    lease_ms: int,
    keep_ms: int,
    ends: Sequence[End] = (),
) -> list[Leased]:
    """Play a round on ``sends`` as ``ports.Claims.round`` says; answers the leases and the ends."""
    for mark in marks:
        held = _alive(sends, mark.send_id, now)
        if held is None or held.state is Verdict.LEASED:
            sends[mark.send_id] = Held(Verdict.SENT, now + keep_ms, answer=mark.answer)
        if mark.turn and _alive(sends, turn_place(mark.turn), now) is None:
            until = now + keep_ms // TURN_SHARE
            sends[turn_place(mark.turn)] = Held(Verdict.SENT, until, answer=mark.send_id)
    for send_id in done:
        held = _alive(sends, send_id, now)
        if held is not None and held.state is Verdict.SENT:
            sends[send_id] = held._replace(state=Verdict.DONE)
        elif held is None or held.state is Verdict.LEASED:
            sends[send_id] = Held(Verdict.DONE, now + keep_ms)
    for send_id, holder in released:
        held = sends.get(send_id)
        if held is not None and held.state is Verdict.LEASED and held.holder == holder:
            del sends[send_id]
    ended = [_end(sends, end, now, keep_ms) for end in ends]
    return [_take(sends, lease, now, lease_ms, keep_ms) for lease in leases] + ended


def turn_place(turn: str) -> str:
    """Where it is kept how a turn ended: no send is called so."""
    return f"turn:{turn}"


def going_place(turn: str) -> str:
    """Where it is kept who has a send of a turn in flight: no send is called so."""
    return f"going:{turn}"


def newest_place(name: str) -> str:
    """Where it is kept what is newest: no send is called so."""
    return f"newest:{name}"


def _end(sends: MutableMapping[str, Held], end: End, now: int, keep_ms: int) -> Leased:
    place = turn_place(end.turn)
    held = _alive(sends, place, now)
    if held is None:
        going = _alive(sends, going_place(end.turn), now)
        if going is not None and going.holder != end.holder:
            return Leased(Verdict.BUSY, going.holder)
        sends[place] = Held(Verdict.OVER, now + keep_ms, answer=end.words)
        return _LEASED
    if held.state is Verdict.OVER:
        return Leased(Verdict.OVER, held.answer)
    sent = _alive(sends, held.answer, now) or Held(Verdict.DONE, 0)
    return Leased(sent.state, sent.answer, held.answer)


def _take(
    sends: MutableMapping[str, Held], lease: Lease, now: int, lease_ms: int, keep_ms: int
) -> Leased:
    newest = not lease.newest or _is_newest(sends, lease, now, keep_ms)
    held = _alive(sends, lease.send_id, now)
    if held is not None and held.state is not Verdict.LEASED:
        return Leased(held.state, held.answer)
    if held is not None and (held.origin, held.holder) != (lease.origin, lease.holder):
        return Leased(Verdict.BUSY, held.holder)
    if lease.turn and _is_over(sends, lease.turn, now):
        return Leased(Verdict.OVER)
    if not newest:
        return Leased(Verdict.SUPERSEDED)
    held = Held(Verdict.LEASED, now + lease_ms, lease.origin, lease.holder)
    sends[lease.send_id] = held
    if lease.turn:
        sends[going_place(lease.turn)] = held
    return _LEASED


def _is_over(sends: MutableMapping[str, Held], turn: str, now: int) -> bool:
    held = _alive(sends, turn_place(turn), now)
    return held is not None and held.state is Verdict.OVER


def _is_newest(sends: MutableMapping[str, Held], lease: Lease, now: int, keep_ms: int) -> bool:
    """Whether this is about the newest thing, which it may become by asking."""
    place = newest_place(lease.newest)
    held, rank = _alive(sends, place, now), f"{lease.since:015d}{lease.thing}"
    if held is None or (lease.since and held.answer < rank):
        if lease.since:
            sends[place] = Held(Verdict.SUPERSEDED, now + keep_ms, answer=rank)
        return True
    return held.answer[15:] == lease.thing


def _alive(sends: MutableMapping[str, Held], send_id: str, now: int) -> Held | None:
    held = sends.get(send_id)
    return held if held is not None and held.until > now else None


class LocalClaims:
    """Claims of this process alone; the oldest fall out when there are more than ``capacity``.

    What falls out early lets a duplicate pass, never loses a message.
    """

    def __init__(self, clock: Clock, capacity: int = 200_000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._firsts: dict[str, tuple[str, int]] = {}
        self._sends: dict[str, Held] = {}

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        """The origin that holds each key; see ``ports.Claims``."""
        now = self._clock.now()
        for key in forgotten:
            self._firsts.pop(key, None)
        origins: list[str] = []
        for key, origin in claims:
            held, until = self._firsts.get(key, ("", 0))
            if until <= now:
                self._firsts.pop(key, None)  # the newest stand last
                self._firsts[key] = (origin, now + ttl_ms)
                held = origin
            origins.append(held)
        _shrink(self._firsts, self._capacity)
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
        answers = settle(self._sends, leases, marks, done, released, now, lease_ms, keep_ms, ends)
        _shrink(self._sends, self._capacity)
        return answers


def _shrink(memory: dict[str, tuple[str, int]] | dict[str, Held], capacity: int) -> None:
    for key in [key for key, _ in zip(memory, range(len(memory) - capacity), strict=False)]:
        del memory[key]
