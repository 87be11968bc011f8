"""Whatever somebody writes into a flow's own topic, it is decided or dead, and nobody stops."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.unit.runtime.one_flow import OneFlow
from tidings.records import Entry, Origin, encode

FLOWS = {
    "digest": """
  - digest: {by: [photo], window: 1s, keep: last 3, tell_apart: [actor], counts: type}
  - limit: {at_most: 20, within: 1d, by: [photo]}
  - deliver: {to: push, template: t}
""",
    "hold": """
  - throttle: {within: 1s, by: [photo]}
  - hold: {delay: 1s, send_at: when, quiet: 22:00-08:00, zone: zone}
  - deliver: {to: push, template: t, expires: 1h}
""",
    "escalate": """
  - escalate:
      rounds: [{channel: push}, {channel: push, after: 5s}]
      until: opened
      by: photo
      cancel: type == 'ack'
  - deliver: {template: t}
""",
    "fan_out": """
  - fan_out:
      branches:
        - {name: a, when: photo == 'p', steps: [digest: {by: [photo], window: 1s}]}
        - {name: b, when: type == 'like', steps: [limit: {at_most: 3, within: 1s}]}
  - deliver: {to: push, template: t}
""",
}
GOOD: dict[str, Any] = {"photo": "p", "actor": "bob", "type": "like", "when": 0, "zone": "UTC"}
NUMBERS = [10**30, -(10**30), 2**63, 2**64, 2**53 + 1, -1, 0, 253_402_300_800_000]
VALUES: list[Any] = [
    *NUMBERS,
    1e300,
    True,
    None,
    "",
    "x" * 3_000,
    "\x00",
    "a\x1fb",
    [],
    {},
    [1],
    "1.1",
    "..",
]
KEYS = [b"\xff\xfe", b"", None, b"ana"]


def hostile(random: Random, number: int) -> tuple[bytes | None, bytes]:
    """Key and value of an entry with some of its parts exchanged."""
    good = Entry(recipient_id="ana", event_id=f"h{number}", origin=Origin("x", 0, 5), event=GOOD)
    entry = msgspec.json.decode(encode(good))
    entry["origin"][2] = 1_000 + number
    for _ in range(random.randint(1, 3)):
        value, whole = random.choice(VALUES), random.choice(NUMBERS)
        match random.randrange(6):
            case 0:
                entry[random.choice(["recipient_id", "event_id", "tenant", "way"])] = value
            case 1 if isinstance(entry["event"], dict):
                entry["event"] = entry["event"] | {random.choice([*GOOD, "else"]): value}
            case 2:
                entry["origin"] = ["x", *random.sample([0, 7, 9, 2_000, value, whole], 3)]
            case 3:
                entry["signal"] = {"wait": "w", "kind": "sent", "round": whole}
            case 4:
                entry["expires_at"] = whole
            case _:
                depth = random.choice([450, 505, 600, 930, 960, 985, 995])
                entry["event"] = GOOD | {"deep": msgspec.Raw(b"[" * depth + b"]" * depth)}
    key = entry["recipient_id"] if isinstance(entry["recipient_id"], str) else "ana"
    return random.choice([key.encode()] * 9 + KEYS), msgspec.json.encode(entry)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", FLOWS)
def test_no_entry_stops_a_flow_in_its_run_its_saves_or_its_replay(
    tmp_path: Path, name: str, seed: int
) -> None:
    random = Random(seed)
    flow = OneFlow(tmp_path, FLOWS[name])
    for number in range(30):
        flow.raw(*hostile(random, number))
        flow.settle()
        if random.random() < 0.4:
            flow.pass_time(1_500)
        if random.random() < 0.1:
            flow.kill()
            flow.start()
            flow.settle()
    flow.enter("neighbour", GOOD, id="good")
    flow.pass_time(60_000)
    flow.kill()
    flow.start()
    flow.settle()
    flow.pass_time(60_000)

    assert ("good",) in flow.members()
    assert {"undecodable", "wrong_key"} & set(flow.reasons())
