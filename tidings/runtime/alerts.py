"""What the people who run this should know of, said once when it begins and once when it is over.

A part keeps what is open in memory: one that is killed forgets it, and opens it anew if it is still
so. An alert says nothing of a person and quotes no provider's text, which may.
"""

from __future__ import annotations

from typing import NamedTuple

from tidings.ids import id_of
from tidings.log.port import Append
from tidings.records import Alert, encode
from tidings.topics import ALERTS


class Cause(NamedTuple):
    """What an alert is about: of one kind and subject only one is open at a time."""

    kind: str
    subject: str


class Alerts:
    """The alerts of one part, ``where`` (``push.normal``), in one process, ``by``."""

    def __init__(self, where: str, by: str) -> None:
        self._where = where
        self._by = by
        self._open: dict[Cause, Alert] = {}
        self._seen: dict[Cause, int] = {}
        self._said: list[Append] = []

    def opened(
        self, cause: Cause, at: int, *, provider: str = "", code: str = "", fix: str = ""
    ) -> None:
        """It is so at ``at`` (epoch ms); said where it was not so before."""
        self._seen[cause] = at
        if cause in self._open:
            return
        alert = Alert(
            alert_id=id_of("a", self._where, *cause, self._by, str(at)),
            at=at,
            kind=cause.kind,
            state="open",
            where=self._where,
            by=self._by,
            provider=provider,
            code=code,
            fix=fix,
        )
        self._open[cause] = alert
        self._say(cause, alert)

    def closed(self, cause: Cause, at: int) -> None:
        """It is over; said where it was open."""
        alert = self._open.pop(cause, None)
        if alert is not None:
            del self._seen[cause]
            over = Alert(
                alert_id=alert.alert_id,
                at=at,
                kind=alert.kind,
                state="closed",
                where=alert.where,
                by=alert.by,
                provider=alert.provider,
                code=alert.code,
            )
            self._say(cause, over)

    def close_quiet(self, now: int, quiet_ms: int) -> None:
        """What was not said to be so for ``quiet_ms`` is over."""
        for cause, seen in [*self._seen.items()]:
            if now - seen >= quiet_ms:
                self.closed(cause, now)

    def take(self) -> list[Append]:
        """What is to be written."""
        said, self._said = self._said, []
        return said

    def _say(self, cause: Cause, alert: Alert) -> None:
        key = f"{self._where}/{cause.kind}/{cause.subject}"
        self._said.append(Append(ALERTS, key.encode(), encode(alert)))
