"""Rounds under kills: of each event exactly those go out that the flow's topic implies.

    rounds      kill -9 of the intake, the flow, the lane and the receipts in turn

A carrier stands behind the provider: it tells of some messages that they arrived, of some that they
did not, now and then twice, as signed callbacks. Who is told of in which round goes by the person.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from tests.chaos import faults, scene
from tests.chaos.audit import records
from tests.chaos.faults import Fault
from tests.chaos.scenarios import Act, Blast, Play, Result
from tests.chaos.world import World
from tidings.ids import wait_id
from tidings.log.port import Log, Record
from tidings.operators.senders.sandbox import received
from tidings.receipts import Reference, Webhook
from tidings.records import Origin

PARTS = ("flow", "lane", "receipts", "intake")
ROUNDS, AFTER = 3, 1_500  # ms
PATIENCE = 60_000  # ms: longer than any recovery
URL, TOKEN, KEY = "https://notify.example.com/twilio", "12345", "k" * 32

FLOW = f"""
flow: social
source: {{topic: {scene.SOURCE}, key: recipient_id, id: event_id}}
steps:
  - dedupe: {{by: event_id, within: 1h}}
  - set: {{count: 1}}
  - escalate:
      rounds: [{{channel: push}}, {{channel: push, after: {AFTER}ms}},
               {{channel: push, after: {AFTER}ms}}]
      until: delivered
      accepted_within: {PATIENCE}ms
  - deliver: {{priority: normal, template: round, category: social, expires: 6h,
              fields: [event_id, round, count]}}
"""
TWILIO = f"""
  twilio: {{{{kind: twilio, account: AC{"0" * 32}, from: "+15005550006",
           auth_token: "file:{{folder}}/token",
           callback: {{{{url: "{URL}", key: "file:{{folder}}/key"}}}}}}}}
"""
SCRIPT = scene.Script(FLOW, {"round": "{{ event_id }} {{ round }}"}, 300, TWILIO)

Out = tuple[str, int]  # an event, and a round of it, from 1


def arrives(recipient: str) -> tuple[int, str]:
    """In which round a person's phone tells something, and what; 0 for never."""
    return (
        (1, "delivered"),
        (2, "delivered"),
        (3, "delivered"),
        (0, ""),
        (1, "undelivered"),
    )[int(recipient[-2:]) % 5]


class Carrier:
    """Tells of the messages that the provider took; a thread of its own until ``stop``."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = Random(seed)
        self._told: set[str] = set()
        self._stopping = threading.Event()
        self._failed: list[object] = []
        self._thread = threading.Thread(target=self._run, name="carrier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell what is left, and end."""
        self._stopping.set()
        self._thread.join()
        assert not self._failed, self._failed[:3]

    def _run(self) -> None:
        producer = self._world.log.producer()
        while True:
            last = self._stopping.wait(0.3)
            hooks = [hook.append() for hook in self._due()]
            producer.append(hooks, self._ack)
            producer.flush(10)
            if last:
                producer.close()
                return

    def _ack(self, error: object | None, receipt: object = None) -> None:
        if error is not None:
            self._failed.append(error)

    def _due(self) -> Iterable[Webhook]:
        for line in received(self._world.stage.sandbox):
            if not line.accepted or line.send_id in self._told:
                continue
            self._told.add(line.send_id)
            event_id, number = line.parts["body"].split()
            recipient = line.address.rpartition("-")[0]
            wanted, status = arrives(recipient)
            if int(number) == wanted:
                hook = _callback(recipient, line.send_id, event_id, int(number), status)
                yield from [hook] * self._random.choice((1, 1, 1, 2))


def _callback(recipient: str, send_id: str, event_id: str, number: int, status: str) -> Webhook:
    reference = Reference(
        "default",
        recipient,
        send_id,
        event_id,
        "social",
        "push",
        "social",
        "",
        Origin(scene.DELIVERIES, 0, 0),
        scene.ENTRIES,
        wait_id(event_id, ""),
        number - 1,
    )
    url = f"{URL}?ref={reference.signed(KEY.encode())}"
    form = {"MessageSid": send_id, "MessageStatus": status, "To": "+12025550100"}
    headers = {"x-twilio-signature": RequestValidator(TOKEN).compute_signature(url, form)}
    return Webhook(provider="twilio", url=url, headers=headers, body=urlencode(form).encode())


# ── The oracle ────────────────────────────────────────────────────────────────────────────────


class Implied(NamedTuple):
    """What a topic implies: the rounds that go out, and of how many events the person was reached
    early."""

    out: set[Out]
    reached: int


def implied(entries: Iterable[Record]) -> Implied:
    """The rounds that the flow's topic implies; its records come partition by partition."""
    partitions: dict[int, list[Record]] = defaultdict(list)
    for record in entries:
        partitions[record.partition].append(record)
    out: set[Out] = set()
    reached = 0
    for those in partitions.values():
        reached += _play(those, out)
    return Implied(out, reached)


def _play(partition: Sequence[Record], out: set[Out]) -> int:
    now = reached = 0
    events: dict[str, str] = {}  # by wait
    current: dict[str, int] = {}  # the round that is out, by event, until it is over
    accepted: set[Out] = set()
    timers: list[tuple[int, Out, bool]] = []  # the last: from the acceptance on

    def go(event_id: str, at: int) -> None:
        number = current.pop(event_id, 0) + 1
        out.add((event_id, number))
        if number < ROUNDS:
            current[event_id] = number
            heappush(timers, (at + PATIENCE, (event_id, number), False))

    for record in partition:
        now = max(now, record.time)
        while timers and timers[0][0] <= now:
            at, (event_id, number), counts = heappop(timers)
            if current.get(event_id) == number and counts == ((event_id, number) in accepted):
                go(event_id, at)
        if record.value is None:
            continue
        entry = json.loads(record.value)
        signal = entry.get("signal")
        if signal is None:
            known = wait_id(entry["event_id"], "")
            if known not in events:  # an intake that died repeats itself
                events[known] = entry["event_id"]
                go(entry["event_id"], now)
            continue
        event_id, number = events[signal["wait"]], signal.get("round", 0) + 1
        if event_id in current and signal["kind"] == "delivered":
            del current[event_id]
            reached += 1
        elif current.get(event_id) == number and signal["kind"] == "failed":
            go(event_id, now)
        elif current.get(event_id) == number and (event_id, number) not in accepted:
            accepted.add((event_id, number))
            heappush(timers, (now + AFTER, (event_id, number), True))
    return reached


# ── The audit ─────────────────────────────────────────────────────────────────────────────────


def audit(log: Log, stage: scene.Scene, written: dict[str, str]) -> tuple[dict[str, int], Any]:
    """Figures, and what is not as it must be."""
    truth = implied(records(log, scene.ENTRIES))
    delivered: dict[Out, bytes] = {}
    differing: list[Out] = []
    for record in records(log, scene.DELIVERIES):
        value = record.value or b""
        delivery = json.loads(value)
        out = delivery["data"]["event_id"], delivery["data"]["round"]
        if delivered.setdefault(out, value) != value:
            differing.append(out)
    due = {
        (event_id, number, device)
        for event_id, number in truth.out
        for device in scene.devices(written[event_id])
    }
    taken = [line for line in received(stage.sandbox) if line.accepted]
    got = {(*_out(line.parts["body"]), line.address) for line in taken}
    wrong = {
        "lost": sorted(written.keys() - {event_id for event_id, _ in truth.out}),
        "missing": sorted(truth.out - delivered.keys()),
        "unknown": sorted(delivered.keys() - truth.out),
        "differing": differing,
        "never sent": sorted(due - got),
        "sent without a reason": sorted(got - due),
        "letters": [topic for topic in scene.LETTERS for _ in records(log, topic)],
    }
    figures = {
        "events": len(written),
        "rounds": len(truth.out),
        "reached": truth.reached,
        "accepted": len(taken),
        "repeated": len(taken) - len(got),
    }
    return figures, {name: value for name, value in wrong.items() if value}


def _out(text: str) -> Out:
    event_id, number = text.split()
    return event_id, int(number)


def rounds(folder: Path, blast: Blast, targets: Sequence[str], kills: int) -> Result:
    """Kill -9 of ``targets`` in turn in the midst of rounds, each started again at once."""
    with World(folder, SCRIPT._replace(people=blast.people), named=True) as world:
        (world.stage.folder / "token").write_text(TOKEN)
        (world.stage.folder / "key").write_text(KEY)
        play = Play(world, blast, PARTS)
        play.kills = faults.draw(play.random, targets, kills, blast.seconds)

        def strike(fault: Fault) -> Act:
            return lambda at: faults.strike(world, fault, play.provider)

        carrier = Carrier(world, blast.seed)
        upstream = play.blast([(fault.at, strike(fault)) for fault in play.kills], blast.seconds)
        carrier.stop()
        world.settle(PARTS, quiet=2.0, timeout=60)
        figures, wrong = audit(world.log, world.stage, upstream.written)
        result = Result("rounds", {"rounds": figures}, wrong=wrong)
        if not 0 < figures["reached"] < figures["events"]:
            result.wrong["idle"] = "nobody was reached, or everybody"
        return play.end(result)
