"""A seeded stream of records of which many are wrong, and their neighbours, which are not.

good    must reach the provider, whatever stands beside it
bad     must be in the dead letters, byte by byte
odd     one or the other: it may be legal in an unexpected way (a field of another type, a byte
        that was flipped inside a text), but it may not vanish
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

from tidings.ids import notification_id
from tidings.log.port import Headers
from tidings.records import Delivery, Entry, Origin, encode

PEOPLE = 200
TEMPLATES = {  # and what each is made of; all but the first fail
    "gathered": "{% for one in items %}{{ one.event_id }} {% endfor %}",
    "missing_variable": "{{ nobody.has.this }}",
    "wrong_type": "{{ count + 'x' }}",
    "division": "{{ 1 / 0 }}",
    "syntax": "{% for one in items %}",
    "forbidden": "{{ ''.__class__.__mro__ }}",
    "endless": "{% for one in range(1000000000) %}{{ one }}{% endfor %}",
    "bottomless": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
}
FIVE_MB = 5_000_000


class Grade(StrEnum):
    """What must become of a record."""

    GOOD = "good"
    BAD = "bad"
    ODD = "odd"


class Dose(NamedTuple):
    """One record for the source's topic."""

    kind: str
    grade: Grade
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


def event(number: int, random: Random, **changes: Any) -> dict[str, Any]:
    """An event; ``...`` as a change takes the field away."""
    fields = {
        "event_id": f"e{number}",
        "type": "like",
        "recipient_id": f"user-{random.randrange(PEOPLE):06d}",
        "actor_id": f"actor-{random.randrange(50)}",
        "photo_id": f"own-{number}",
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def stream(count: int, seed: int, large: int = 12) -> Iterator[Dose]:
    """``count`` records: half of them good, the others bad or odd; ``large`` are very large."""
    random = Random(seed)
    places = set(random.sample(range(count), large))
    for number in range(count):
        if number in places:
            kind, make = _LARGE[len(places) % len(_LARGE)]
            places.discard(number)
            yield Dose(kind, *make(number, random))
        elif random.random() < 0.5:
            good = event(number, random, photo_id=f"photo-{random.randrange(3)}")
            yield Dose("good", Grade.GOOD, _json(good), _key(random))
        elif random.random() < 0.5:
            yield _fuzzed(number, random)
        else:
            kind, make = random.choice(_KINDS)
            grade, value = make(number, random)
            yield Dose(kind, grade, value, _key(random), _headers(random))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _key(random: Random) -> bytes | None:
    return random.choice((None, b"", b"\x00\xff", random.randbytes(8), b"user-000001"))


def _headers(random: Random) -> Headers:
    return random.choice(
        (
            (),
            (("traceparent", b"00-4bf9-1"),),
            (("bytes", b"\x00\xff\xfe"), ("bytes", b"twice")),
            (("tidings-reason", b"forged"), ("empty", b"")),
        )
    )


def _fuzzed(number: int, random: Random) -> Dose:
    """A good event with some bytes flipped, cut out, doubled or put in."""
    value = bytearray(_json(event(number, random, text="héllo wörld")))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(value) or 1)
        match random.randrange(4):
            case 0 if value:
                value[at] = random.randrange(256)
            case 1:
                del value[at : at + random.randint(1, 20)]
            case 2:
                value[at:at] = value[at : at + random.randint(1, 20)]
            case _:
                value[at:at] = random.randbytes(random.randint(1, 8))
    return Dose("fuzzed", Grade.ODD, bytes(value), _key(random), _headers(random))


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────

Make = Callable[[int, Random], tuple[Grade, bytes | None]]


def _raw(grade: Grade, value: bytes | None) -> Make:
    return lambda number, random: (grade, value)


def _with(grade: Grade, **changes: Any) -> Make:
    return lambda number, random: (grade, _json(event(number, random, **changes)))


def _text(grade: Grade, field: str, literal: str) -> Make:
    """A literal that ``json.dumps`` would not write in place of a field's value."""

    def make(number: int, random: Random) -> tuple[Grade, bytes]:
        text = json.dumps(event(number, random, **{field: "@here@"}))
        return grade, text.replace('"@here@"', literal).encode("utf-8", "surrogatepass")

    return make


def _template(name: str) -> Make:
    return _with(Grade.BAD, template=name)


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


BAD, ODD = Grade.BAD, Grade.ODD

_KINDS: list[tuple[str, Make]] = [
    ("tombstone", _raw(BAD, None)),
    ("empty", _raw(BAD, b"")),
    ("half a brace", _raw(BAD, b"{")),
    ("NUL bytes", _raw(BAD, b"\x00" * 50)),
    ("null", _raw(BAD, b"null")),
    ("a list", _raw(BAD, b"[1, 2]")),
    ("a number", _raw(BAD, b"17")),
    ("a text", _raw(BAD, b'"text"')),
    ("latin-1", _raw(BAD, '{"recipient_id": "é"}'.encode("latin-1"))),
    ("utf-16", lambda n, r: (BAD, json.dumps(event(n, r)).encode("utf-16"))),
    ("a byte order mark", lambda n, r: (BAD, b"\xef\xbb\xbf" + _json(event(n, r)))),
    ("two documents", lambda n, r: (BAD, _json(event(n, r)) * 2)),
    ("Avro", lambda n, r: (BAD, b"\x00\x00\x00\x00\x07" + r.randbytes(40))),
    ("no recipient", _with(BAD, recipient_id=...)),
    ("recipient null", _with(BAD, recipient_id=None)),
    ("recipient empty", _with(BAD, recipient_id="")),
    ("recipient a list", _with(BAD, recipient_id=["a"])),
    ("recipient a map", _with(BAD, recipient_id={"id": "a"})),
    ("recipient true", _with(BAD, recipient_id=True)),
    ("recipient 1.5", _with(BAD, recipient_id=1.5)),
    ("recipient of another tenant", _with(BAD, recipient_id="acme\x1fuser-000001")),
    ("recipient with NUL", _with(ODD, recipient_id="user\x00")),
    ("recipient a number", _with(ODD, recipient_id=10**30)),
    ("recipient of 5,000 digits", _text(ODD, "recipient_id", "9" * 5_000)),
    ("no id", _with(ODD, event_id=...)),
    ("id a list", _with(ODD, event_id=[1])),
    ("id with NUL", _with(ODD, event_id="e\x00\x1f")),
    ("no type", _with(ODD, type=...)),
    ("no actor", _with(BAD, actor_id=...)),
    ("actor a map", _with(ODD, actor_id={"a": [1]})),
    ("no photo", _with(BAD, photo_id=...)),
    ("photo null", _with(ODD, photo_id=None)),
    ("photo a map", _with(BAD, photo_id={"a": 1})),
    ("photo a list", _with(BAD, photo_id=[[]])),
    ("photo true", _with(BAD, photo_id=True)),
    ("photo with separators", _with(ODD, photo_id="a\x1fb\x00")),
    ("a lone surrogate", _text(ODD, "photo_id", '"\\ud800"')),
    ("a surrogate's bytes", _text(BAD, "photo_id", '"\ud800"')),
    ("NaN", _text(BAD, "photo_id", "NaN")),
    ("1e999", _text(ODD, "photo_id", "1e999")),
    ("40 digits", _text(ODD, "photo_id", "9" * 40)),
    ("5,000 digits", _text(ODD, "photo_id", "9" * 5_000)),
    ("400 deep", _text(ODD, "text", _nested(400))),
    ("950 deep", _text(ODD, "text", _nested(950))),
    ("1,000 deep", _text(ODD, "text", _nested(1_000))),
    ("100,000 deep", _text(ODD, "text", _nested(100_000))),
    ("deep where it is read", _text(ODD, "photo_id", _nested(300))),
    ("a name twice", _text(ODD, "photo_id", '"p", "photo_id": "q"')),
    ("CloudEvent without data", _raw(BAD, b'{"specversion": "1.0", "id": "c", "type": "like"}')),
    ("CloudEvent with a list", _raw(BAD, b'{"specversion": "1.0", "id": "c", "data": [1]}')),
    ("a missing template", _template("nowhere")),
    ("a template like a path", _template("../../etc/passwd")),
    ("a template with NUL", _template("a\x00b")),
    ("a template of 5 kB", _template("t" * 5_000)),
    *[(f"the template {name}", _template(name)) for name in TEMPLATES if name != "gathered"],
]

_LARGE: list[tuple[str, Make]] = [
    ("5 MB of JSON", _with(BAD, text="x" * FIVE_MB)),
    ("5 MB of nothing", lambda n, r: (BAD, r.randbytes(1_000) * (FIVE_MB // 1_000))),
    ("recipient of 900 kB", _with(BAD, recipient_id="x" * 900_000)),
    ("id of 900 kB", _with(ODD, event_id="x" * 900_000)),
    ("photo of 900 kB", _with(BAD, photo_id="p" * 900_000)),
    ("900 kB that nobody reads", _with(ODD, text="x" * 900_000)),
]


# ── Poison further down ───────────────────────────────────────────────────────────────────────


def bad_entry(number: int, random: Random) -> tuple[bytes, bytes]:
    """Key and value of an entry that no intake of ours has written."""
    good = Entry(
        recipient_id="user-000001",
        event_id=f"x{number}",
        origin=Origin("elsewhere", 0, number),
        event=event(number, random),
    )
    value = bytearray(encode(good))
    del value[random.randrange(len(value)) :]
    return random.choice((b"user-000001", b"\xff\xfe", b"\x1f")), bytes(value)


def bad_delivery(number: int, random: Random) -> bytes:
    """A delivery that no flow of ours has written."""
    good = Delivery(
        notif_id=notification_id("default", "social", f"x{number}", "user-000001", "s"),
        recipient_id="user-000001",
        flow="social",
        step="s",
        version="1",
        channel="push",
        template="gathered",
        category="social",
        created_at=0,
        origin=Origin("elsewhere", 0, number),
    )
    value = bytearray(encode(good))
    match random.randrange(3):
        case 0:
            del value[random.randrange(len(value)) :]
        case 1:
            value[0:1] = b"\x00"
        case _:
            value = bytearray(encode(good)).replace(b'"push"', b'"fax"')
    return bytes(value)
