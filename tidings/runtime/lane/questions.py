"""Questions to providers on their way: begun, asked again, given up; when is said by ``doubts``."""

from __future__ import annotations

from collections.abc import Mapping

from tidings.operators.send import Retry
from tidings.runtime.lane.answers import Stored, address_of, pack, stored
from tidings.runtime.lane.doubts import Doubts, claim_of
from tidings.runtime.lane.endings import Endings
from tidings.runtime.lane.leases import Leases
from tidings.runtime.lane.policy import UNKNOWN, Act, Decision, relieve
from tidings.runtime.lane.quota import Quota
from tidings.runtime.lane.resting import Resting
from tidings.runtime.lane.tracker import Parcel
from tidings.sender import Answer, Send, Verdict


class Questions:
    """Puts sends that are asked about where they wait for their question."""

    def __init__(
        self,
        doubts: Doubts,
        quotas: Mapping[str, Quota],
        resting: Resting,
        leases: Leases,
        endings: Endings,
        retry: Retry,
    ) -> None:
        self._doubts = doubts
        self._quotas = quotas
        self._resting = resting
        self._leases = leases
        self._endings = endings
        self._retry = retry

    def begin(self, send: Send, answer: Answer, at: int, now: int) -> None:
        """An attempt got no answer: it is marked as a doubt in this very round."""
        # Never told as done: Claims that have lost the mark would take it for a yes.
        kept, parcel = stored(send, answer, at, address_of(send), doubt=True), send.ticket
        self._leases.mark(claim_of(send), pack(kept), parcel.turn)
        parcel.doubt()
        self._doubts.begin(send, at)
        self._wait(send, self._doubts.again(send, now), "", now)

    def again(self, send: Send, answer: Answer, now: int) -> None:
        """Its provider has not said yet; nobody holds it until the next question."""
        self._leases.release(claim_of(send))
        self._wait(send, self._doubts.again(send, now, answer), answer.code, now)

    def give_up(self, send: Send, code: str, now: int) -> None:
        """Nobody will say whether its provider has it: it ends as unknown, in a replay too."""
        doubt = send.doubt
        assert doubt is not None, "it is a question"
        claim, parcel = claim_of(send), send.ticket
        kept = Stored(
            Verdict.AMB, send.provider, doubt.attempt, now, 0, code, address=address_of(send)
        )
        self._leases.mark(claim, pack(kept), parcel.turn)
        parcel.marked += (claim,)
        self._endings.fail(send, Verdict.AMB, UNKNOWN.reason, code, now)

    def _wait(self, send: Send, decision: Decision, code: str, now: int) -> None:
        parcel: Parcel = send.ticket
        quota = self._quotas[send.provider]
        if parcel.partition.crowded or quota.full_of_retries():
            decision = relieve(decision, send, now, self._retry)
        if decision.act is Act.END:
            self.give_up(send, code, now)
        elif not parcel.partition.alive:
            self._endings.forsake(send)
        elif quota.away:  # behind the others, for when it is back
            send.now = now
            quota.waiting.append(send)
        elif decision.act is Act.LATER:
            self._endings.park(send, decision.at, decision.rung, send.attempt)
        else:
            self._resting.add(send, decision.at)
