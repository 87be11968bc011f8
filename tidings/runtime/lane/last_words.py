"""The last word on a delivery that was not sent: where something hangs on it, the first one stands.

    nothing hangs on it                               it is written
    another channel comes next, or a flow waits       Claims are asked first, in the round with the
                                                      leases:
        nothing was said before                       it is written
        its turn has ended so before                  the words of then are written again
        a send of it has gone out                     that it was sent is written again
        another process may have one in flight        it waits for that one, a lease's life at most

A replay finds another world: an address that is gone, a consent withdrawn, a provider that is back.
It would hand over what has gone out, or send what was handed over. A kill before the answer leaves
nothing; behind it the replay is told the same words, whatever it comes to by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from tidings.log.port import Append
from tidings.ports import End, Leased
from tidings.ports import Verdict as Claim
from tidings.records import Kind
from tidings.runtime.lane.tracker import Parcel


class LastWord(msgspec.Struct, frozen=True, array_like=True):
    """How a delivery ended; what Claims keep of it is this, as JSON.

    ``closed`` says for each channel at the head of its chain that is passed over why;
    ``counted`` is what the following one was counted against, ``failing`` the provider that is to
    blame.
    """

    kind: Kind
    at: int
    reason: str
    detail: str
    step: str
    closed: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    failing: str = ""


class Ending(NamedTuple):
    """A delivery that is to end with this word, and with this dead letter, where there is one."""

    parcel: Parcel
    word: LastWord
    letter: Append | None = None

    def to_next(self, closed: tuple[str, ...], counted: tuple[str, ...] = ()) -> Ending:
        """The same, when it is known which channels of its chain have no room."""
        word = msgspec.structs.replace(self.word, closed=closed, counted=counted)
        return self._replace(word=word)

    def to_claim(self, holder: str) -> End:
        """What Claims are asked by this process."""
        return End(self.parcel.turn, _encode(self.word).decode(), holder)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LastWord).decode


def first_word(ending: Ending, answer: Leased) -> LastWord | None:
    """The word that stands, None where a send of it has gone out."""
    if answer.verdict is Claim.LEASED:
        return ending.word
    return _decode(answer.answer) if answer.verdict is Claim.OVER else None
