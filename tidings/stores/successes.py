"""When addresses last took a message: a file beside the journal of people, a line a device and day.

    {"began":1790000000000}
    {"recipient_id":"ana","kind":"device","value":"…","at":1790000000000}

``began`` is when the first was kept: nobody has been silent for longer than we have listened. It is
written anew, with one line a device, by ``compact``. What another process adds in that very instant
may be lost: then the device's next success is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from tidings.ports import Person, Success
from tidings.stores.lines import Journal


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    recipient_id: str = ""
    tenant: str = "default"
    kind: str = ""
    value: str = ""
    at: int = 0
    began: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


class Successes:
    """The file at ``path``; ``began`` is 0 while it holds nothing."""

    def __init__(self, path: Path) -> None:
        self.began = 0
        self._journal = Journal(path)

    def news(self) -> Iterator[Success]:
        """What has been added since the last call. Raises Unavailable."""
        found = self._journal.follow()
        if found is None:
            return
        for line in self._journal.decoded(found, _decode):
            if line.began:
                self.began = min(self.began or line.began, line.began)
            else:
                person = Person(line.tenant, line.recipient_id)
                yield Success(person, line.kind, line.value, line.at)

    def add(self, successes: Sequence[Success]) -> None:
        """Append these. Raises Unavailable."""
        lines = [_encode(_of(one)) for one in successes]
        if not self.began:
            lines.insert(0, _encode(_Line(began=min(one.at for one in successes))))
        self._journal.append(lines)

    def compact(self, successes: Iterable[Success]) -> None:
        """Hold these, and nothing else. Raises Unavailable."""
        if self.began:
            kept = (_encode(_of(one)) for one in successes)
            self._journal.replace([_encode(_Line(began=self.began)), *kept])


def _of(success: Success) -> _Line:
    (tenant, recipient_id), kind, value, at = success
    return _Line(recipient_id=recipient_id, tenant=tenant, kind=kind, value=value, at=at)
