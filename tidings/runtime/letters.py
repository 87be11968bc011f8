"""Dead letters: the original bytes, and in headers why they could not go on.

The value and the original headers stay as they were, so that a letter can be put back where it came
from byte by byte; everything of ours is in headers ``tidings-<field>``. Flows and lanes write them
alike. What is larger than the topic takes is cut, for a letter that the log refuses would come back
for ever: a value, with a header ``tidings-cut`` that says how long it was; a key or headers wholly,
with ``tidings-cut-key`` and ``tidings-cut-headers``. All of it stands in the log, at the letter's
origin.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidings.log.port import Append, Headers, Record
from tidings.records import UNDECODABLE, DeadLetter, Delivery, Origin, decode_delivery
from tidings.runtime.signals import AGAIN
from tidings.topics import dead_letters

PREFIX = "tidings-"
LONGEST = 8_192  # bytes of one header; an error may quote the whole record that caused it
LARGEST = 14_000_000  # bytes of a value; the topic takes 16 MiB with key and headers
MOST_BESIDE = 1_100_000  # bytes of a key, and of all headers that were there: what 1 MiB can hold

_FIELDS = tuple(field.name for field in msgspec.structs.fields(DeadLetter))


def dead_letter(record: Record, dead: DeadLetter, channel: str) -> Append:
    """The letter for ``record`` on ``notif_dlq.<channel>``, under the record's key.

    Headers that an earlier letter of the same record left are replaced. Empty fields are left out;
    a field longer than LONGEST bytes is cut.
    """
    headers = [header for header in record.headers if not header[0].startswith(PREFIX)]
    size = sum(len(name.encode()) + len(content) for name, content in headers)
    if size > MOST_BESIDE:
        headers = [(PREFIX + "cut-headers", str(size).encode())]
    key = record.key
    if key is not None and len(key) > MOST_BESIDE:
        headers.append((PREFIX + "cut-key", str(len(key)).encode()))
        key = None
    for name in _FIELDS:
        value = getattr(dead, name)
        if value:
            headers.append((PREFIX + name, _header(value)))
    body = record.value
    if body is not None and len(body) > LARGEST:
        headers.append((PREFIX + "cut", str(len(body)).encode()))
        body = body[:LARGEST]
    return Append(dead_letters(channel), key, body, tuple(headers))


def read_letter(record: Record) -> DeadLetter | None:
    """Why the letter ``record`` was written; None for what is no letter of ours."""
    told = {
        name.removeprefix(PREFIX): value.decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
    fields: dict[str, Any] = {name: told[name] for name in _FIELDS if name in told}
    try:
        fields["origin"] = Origin.read(fields["origin"])
        fields["at"] = int(fields["at"])
        return DeadLetter(**fields)
    except (KeyError, TypeError, ValueError):
        return None


def released_delivery(record: Record) -> Delivery | None:
    """The delivery of a letter in its next round, None for what no lane could read.

    A letter is the end of a delivery that surely nobody got, so it is sent once more with ids that
    are functions of the letter: what is released twice is leased and marked as one.
    """
    if any(name == f"{PREFIX}cut" for name, _ in record.headers):
        return None
    try:
        delivery = decode_delivery(record.value or b"")
    except UNDECODABLE:
        return None
    return msgspec.structs.replace(
        delivery,
        round=delivery.round + AGAIN,
        attempt=0,
        spared=0,
        answers={},
        not_before=0,
        awaits=(),
    )


def stripped(headers: Headers) -> Headers:
    """A letter's headers without ours: those that its record came with."""
    return tuple(header for header in headers if not header[0].startswith(PREFIX))


def _header(value: object) -> bytes:
    # A lone surrogate, which a decoder may have let in, has no UTF-8: it is shown escaped.
    text = str(value).encode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST else text[:LONGEST].decode("utf-8", "ignore").encode()
