"""The way round a provider that can't take a send now: the next one of its list.

Only what has surely not been sent goes it, and only where it would be put off otherwise: while the
provider is stopped or down, when it says that it gets too many, when its tries in place are used
up, or when it has been full for too long.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidings.operators.send import Sending
from tidings.runtime.lane.quota import Quota
from tidings.sender import Send


class Detours:
    """Finds the provider for a send among those of its list."""

    def __init__(self, sending: Sending, quotas: Mapping[str, Quota]) -> None:
        self._after = sending.after
        self._quotas = quotas

    def first(self, send: Send, now: int) -> Quota:
        """Where a new send goes: to its provider, unless that is away and not to be probed."""
        quota = self._quotas[send.provider]
        if not quota.away or quota.probed(now):
            return quota
        return self.next(send) or quota

    def next(self, send: Send) -> Quota | None:
        """The next provider of its list that takes sends now; the send is that one's from then on.
        None where there is no such: nothing has changed then."""
        for name in self._after(send.provider, send.address.platform):
            quota = self._quotas[name]
            if not (quota.away or quota.congested) and quota.room() > 0:
                send.provider = name
                return quota
        return None
