"""What providers tell later in a case: its receipts, through the unit that reads callbacks.

    a send is taken ──► the receipts that fit, each at its time ──► provider_events ──► Receipts

The unit is production's. What it reads is signed and parsed as a provider's is; only the form is
ours, so that a case can say what a receipt leads to without knowing whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from heapq import heappop, heappush
from operator import itemgetter

import msgspec

from tidings.callbacks import reference_of
from tidings.driver.given import ReceiptSpec
from tidings.log.port import Append
from tidings.providers import Desk
from tidings.receipts import Receipt, Webhook
from tidings.records import Kind
from tidings.sender import Send

_KEY = b"the key of a case's own callbacks"
_decode = msgspec.json.Decoder(Receipt).decode


class Callbacks:
    """The receipts of a case, of which the first ``common`` are those of its file. ``start`` (epoch
    ms) is what ``at`` counts from."""

    def __init__(self, given: Sequence[ReceiptSpec], start: int, common: int = 0) -> None:
        self._lines = [_Line(number, spec) for number, spec in enumerate(given)]
        self._common = common
        self._taken: list[tuple[int, Send]] = []
        self._due: list[tuple[int, int, _Line, Send | None]] = []  # a heap, by time
        self._said = 0
        for line in self._lines:
            if line.spec.at is not None:
                self._add(start + line.spec.at, line, None)

    def taken(self, send: Send, at: int) -> None:
        """A provider took ``send``; what it answered came at ``at`` (epoch ms)."""
        # Attempt and provider of a send change with its next try: it is kept as it is now.
        kept = msgspec.structs.replace(send)
        self._taken.append((at, kept))
        for line in self._lines:
            if line.spec.after is not None and line.fits(kept):
                self._add(at + line.spec.after, line, kept)

    def deadline(self) -> int:
        """When the next receipt is due (epoch ms), 0 for none."""
        return self._due[0][0] if self._due else 0

    def due(self, now: int) -> Iterator[Append]:
        """The callbacks whose time has come."""
        while self._due and self._due[0][0] <= now:
            at, _, line, send = heappop(self._due)
            if send is None:
                send = self._last(line, at)
            if send is not None:
                line.used = True
                yield _callback(line, send, at)

    def unused(self) -> Iterator[ReceiptSpec]:
        """The case's own receipts of which no send was found."""
        return (line.spec for line in self._lines[self._common :] if not line.used)

    def _add(self, at: int, line: _Line, send: Send | None) -> None:
        self._said += 1
        heappush(self._due, (at, self._said, line, send))

    def _last(self, line: _Line, at: int) -> Send | None:
        """The last send that was taken before, of those that fit."""
        found = [(taken, send) for taken, send in self._taken if taken <= at and line.fits(send)]
        return max(found, key=itemgetter(0))[1] if found else None


class _Line:
    """One receipt, ready to be compared."""

    def __init__(self, number: int, spec: ReceiptSpec) -> None:
        self.number = number
        self.spec = spec
        self.used = False
        self._address = re.compile(translate(spec.address))

    def fits(self, send: Send) -> bool:
        spec = self.spec
        return bool(
            self._address.match(send.address.value)
            and (not spec.channel or spec.channel == send.channel)
            and (not spec.provider or spec.provider == send.provider)
        )


def desks(providers: Iterable[str]) -> dict[str, Desk]:
    """What reads the callbacks of these providers."""
    return {name: Desk(_read, (_KEY,)) for name in providers}


def _read(webhook: Webhook) -> Sequence[Receipt]:
    return (_decode(webhook.body),)


def _callback(line: _Line, send: Send, at: int) -> Append:
    """The call of a provider that says it."""
    spec, reference = line.spec, reference_of(send)
    receipt = Receipt(
        kind=Kind(spec.kind),
        event_id=f"{line.number}@{at}",
        reference=reference.signed(_KEY) if reference is not None else "",
        provider_id=send.send_id,
        at=at,
        address=send.address.value,
        code=spec.code,
        suppress=spec.suppress,
        scope=spec.scope,
        gone=spec.gone,
        again_ms=spec.again,
        tries=spec.tries,
    )
    body = msgspec.json.encode(receipt)
    return Webhook(provider=send.provider, url="", headers={}, body=body).append()
