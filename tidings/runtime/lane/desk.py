"""What the sends of a lane pass through, on their way out and on their way back."""

from __future__ import annotations

from dataclasses import dataclass

from tidings.operators.send import SendSpec
from tidings.ports import Clock
from tidings.runtime.lane.courier import Courier
from tidings.runtime.lane.detour import Detours
from tidings.runtime.lane.doubts import Doubts
from tidings.runtime.lane.endings import Endings
from tidings.runtime.lane.leases import Leases
from tidings.runtime.lane.questions import Questions
from tidings.runtime.lane.quota import Quota
from tidings.runtime.lane.resting import Resting
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.settlement import Settlement
from tidings.sender import Send


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by `Dispatch`, `Departures` and `Returns`. ``in_flight`` is by send id, the oldest
    first."""

    settings: LaneSettings
    spec: SendSpec
    clock: Clock
    courier: Courier
    settlement: Settlement
    endings: Endings
    leases: Leases
    quotas: dict[str, Quota]
    in_flight: dict[str, Send]
    detours: Detours
    resting: Resting
    doubts: Doubts
    questions: Questions

    def forgive(self, now: int) -> None:
        """That nothing left was no provider's fault."""
        for quota in self.quotas.values():
            quota.forgive(now)
