"""What providers tell and people answer, under kills: each has its consequence, and once.

    answers     kill -9 of the receipts and of Kafka in turn, with flow and intake between

Each event is for a person of its own, and of six kinds of people each does something else when the
first message is out. A carrier, which stands for lane and provider, reads the deliveries from the
log and calls back, signed, now and then twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from confluent_kafka import Consumer
from twilio.request_validator import RequestValidator

from tests.chaos import faults, scene
from tests.chaos.audit import records
from tests.chaos.rounds import KEY, TOKEN, TWILIO, URL
from tests.chaos.scenarios import Blast, Result
from tests.chaos.world import World
from tidings.log.port import Append
from tidings.receipts import PROVIDER_EVENTS, REPLIES, Reference, Webhook
from tidings.records import Delivery, Origin, Priority, decode_delivery
from tidings.topics import lane_topics, settings

PARTS = ("intake", "flow", "receipts")
TARGETS = ("receipts", "broker", "receipts", "broker", "flow", "intake")
DELIVERIES = "deliveries.sms.normal"
AGAIN = 1 << 16  # the rounds of what is tried again are above it

FLOW = f"""
flow: social
source: {{topics: [{scene.SOURCE}, {REPLIES}], key: recipient_id, id: event_id}}
steps:
  - filter: type != 'reply' or lower(text) == 'gladly'
  - dedupe: {{by: event_id, within: 1h}}
  - escalate:
      rounds: [{{channel: sms}}, {{channel: sms, after: 1h}}]
      until: delivered
      by: recipient_id
      cancel: type == 'reply'
      accepted_within: 1h
  - deliver: {{priority: normal, template: round, category: social, expires: 6h,
              fields: [event_id]}}
"""
SCRIPT = scene.Script(FLOW, {"round": "{{ event_id }}"}, 0, TWILIO)

KINDS = ("delivered", "replies", "gone", "stops", "again", "forged")
"""What a person's phone, or the person, does."""
ROUNDS = {"gone": [0, 1]}
"""Which rounds are decided about for each kind, once; for others the first alone. A second one may
find that the number is gone from its person."""
CANCELLED = {"delivered": "engaged", "replies": "cancelled"}
"""How what was open for them ends."""
SUPPRESSED = {"gone": "invalid", "stops": "stop"}
"""Why their number is on the list afterwards."""
TOLD = {
    "delivered": [("delivered", "")],
    "gone": [("failed", "30005")],
    "again": [("deferred", "30008"), ("failed", "30008")],
}
"""The outcomes of what was told, kind and code."""


def recipient(number: int) -> str:
    """A person's id."""
    return f"user-{number:06d}"


def kind_of(name: str) -> str:
    """What a person does."""
    return KINDS[int(name.rpartition("-")[2]) % len(KINDS)]


def phone(name: str) -> str:
    """The number of a person."""
    return f"+1202{int(name.rpartition('-')[2]):07d}"


class Carrier:
    """Writes the events, one a person, and calls back; a thread of its own until ``finish``.

    ``passed`` is the seconds of the blast so far, ``calls`` counts what was called back, ``forged``
    the letters that are to come of it.
    """

    def __init__(self, world: World, blast: Blast) -> None:
        self.passed = 0.0
        self.calls = 0
        self.forged = 0
        self._blast = blast
        self._random = Random(blast.seed)
        self._producer = world.log.producer()
        self._reader = Consumer(
            {
                "bootstrap.servers": world.kafka.bootstrap,
                "group.id": "carrier",
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,  # that its broker is killed is the play
            }
        )
        self._reader.subscribe([DELIVERIES])
        self._written = 0
        self._heard: set[str] = set()
        self._failed: list[object] = []
        self._thread = threading.Thread(target=self._run, name="carrier", daemon=True)
        self._thread.start()

    def finish(self, timeout: float = 90.0) -> None:
        """Wait until every person has got the first message and has done what they do."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"only {len(self._heard)} of {self._blast.events} heard"
        assert not self._failed, self._failed[:3]

    def _run(self) -> None:
        begun = time.monotonic()
        while len(self._heard) < self._blast.events:
            self.passed = time.monotonic() - begun
            share = min(1.0, self.passed / self._blast.seconds)
            due = round(share * self._blast.events)
            self._append([_event(number) for number in range(self._written, due)])
            self._written = due
            for message in self._reader.consume(500, 0.05):
                value = message.value()
                if message.error() is None and value is not None:
                    place = Origin(DELIVERIES, message.partition() or 0, message.offset() or 0)
                    self._hear(decode_delivery(value), place)
            self._producer.poll()
        self.passed = max(self.passed, self._blast.seconds)
        assert self._producer.flush(60)
        self._reader.close()

    def _hear(self, delivery: Delivery, place: Origin) -> None:
        who = delivery.recipient_id
        if who in self._heard:  # a later round, or a delivery that a killed flow wrote again
            return
        self._heard.add(who)
        for hook in _called(delivery, place):
            times = self._random.choice((1, 1, 1, 2))
            self.calls += times
            self.forged += times if kind_of(who) == "forged" else 0
            self._append([hook.append()] * times)

    def _append(self, appends: list[Append]) -> None:
        if appends:
            self._producer.append(appends, self._ack)

    def _ack(self, error: object | None, receipt: object = None) -> None:
        if error is not None:
            self._failed.append(error)


def _event(number: int) -> Append:
    event = {"event_id": f"e{number}", "type": "like", "recipient_id": recipient(number)}
    return Append(scene.SOURCE, event["event_id"].encode(), json.dumps(event).encode())


def _called(delivery: Delivery, place: Origin) -> Iterator[Webhook]:
    """What is called back of a first message."""
    who, sid = delivery.recipient_id, f"SM{delivery.notif_id}"
    reference = Reference(
        tenant=delivery.tenant,
        recipient_id=who,
        send_id=f"s-{delivery.notif_id}",
        notif_id=delivery.notif_id,
        flow=delivery.flow,
        channel="sms",
        category=delivery.category,
        campaign_id="",
        origin=place,
        reply_to=delivery.reply_to,
        wait=delivery.wait,
        round=delivery.round,
    )
    told = {"MessageSid": sid, "To": phone(who)}
    said = {"MessageSid": f"SM-of-{who}", "From": phone(who), "SmsStatus": "received"}
    match kind_of(who):
        case "delivered":
            yield _signed(reference, told | {"MessageStatus": "delivered"})
        case "replies":
            yield _signed(None, said | {"Body": "Gladly"})
        case "gone":
            yield _signed(reference, told | {"MessageStatus": "undelivered", "ErrorCode": "30005"})
        case "stops":
            yield _signed(None, said | {"Body": "STOP"})
        case "again":
            yield _signed(reference, told | {"MessageStatus": "undelivered", "ErrorCode": "30008"})
        case "forged":
            yield _signed(reference, told | {"MessageStatus": "delivered"}, token="guessed")


def _signed(reference: Reference | None, form: dict[str, str], token: str = TOKEN) -> Webhook:
    url = f"{URL}?ref={reference.signed(KEY.encode())}" if reference is not None else URL
    headers = {"x-twilio-signature": RequestValidator(token).compute_signature(url, form)}
    return Webhook(provider="twilio", url=url, headers=headers, body=urlencode(form).encode())


# ── The audit ─────────────────────────────────────────────────────────────────────────────────


def audit(world: World, people: int, forged: int) -> tuple[dict[str, int], dict[str, Any]]:
    """Figures, and what is not as it must be: by the log and the stores' own files."""
    log, folder = world.log, world.stage.folder
    rounds: dict[str, set[int]] = defaultdict(set)
    bodies: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    again: Counter[str] = Counter()
    for record in records(log, DELIVERIES):
        delivery = json.loads(record.value or b"")
        who, number = delivery["recipient_id"], delivery.get("round", 0)
        if number >= AGAIN:
            again[who] += 1
            continue
        rounds[who].add(number)
        bodies[who, number].add(record.value or b"")
    outcomes = {
        one["outcome_id"]: one
        for record in records(log, scene.OUTCOMES)
        for one in [json.loads(record.value or b"")]
    }
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    ended: dict[str, list[str]] = defaultdict(list)
    decided: dict[str, list[int]] = defaultdict(list)
    cancels: Counter[str] = Counter()
    for one in outcomes.values():
        who, reason = one["recipient_id"], one.get("reason", "")
        if one["step"] == "receipts":
            told[who].append((one["kind"], one.get("code", "")))
        elif reason == "cancels":
            cancels[who] += 1
        elif one["kind"] == "cancelled":
            ended[who].append(reason)
        elif one["step"] == "social.deliver":
            decided[who].append(one.get("round", 0))
    entries: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for record in records(log, scene.ENTRIES):
        entry = json.loads(record.value or b"{}")
        if entry and entry.get("signal") is None and entry["event"]["type"] == "reply":
            entries[entry["recipient_id"]].add(tuple(entry["origin"]))
    listed = defaultdict(set)
    for line in _lines(folder / "suppressions/suppressions.journal.jsonl"):
        listed[line["address"]].add(line["reason"])
    removed = {line["value"] for line in _lines(folder / "people/people.journal.jsonl")}
    letters = {
        dict(record.headers)["tidings-origin"]
        for record in records(log, scene.LETTERS[0])
        if dict(record.headers)["tidings-reason"] == b"forged"
    }
    everyone = [recipient(number) for number in range(people)]
    expected: dict[str, tuple[Any, dict[str, Any]]] = {}

    def differ(what: str, got: Any, of: Any) -> None:
        wrong = [(who, kind_of(who), got(who)) for who in everyone if got(who) != of(who)]
        if wrong:
            expected[what] = (len(wrong), {"first": wrong[:3]})

    differ("rounds", lambda who: sorted(decided[who]), lambda who: ROUNDS.get(kind_of(who), [0]))
    differ("first rounds", lambda who: 0 in rounds[who], lambda who: True)
    differ("tried again", lambda who: again[who] > 0, lambda who: kind_of(who) == "again")
    differ("told", lambda who: sorted(told[who]), lambda who: TOLD.get(kind_of(who), []))
    differ(
        "ended",
        lambda who: ended[who],
        lambda who: [CANCELLED[kind_of(who)]] if kind_of(who) in CANCELLED else [],
    )
    replied = "replies".__eq__
    differ("replies heard", lambda who: cancels[who], lambda who: int(replied(kind_of(who))))
    differ("replies let in", lambda who: len(entries[who]), lambda who: int(replied(kind_of(who))))
    differ(
        "suppressed",
        lambda who: sorted(listed[phone(who)]),
        lambda who: [SUPPRESSED[kind_of(who)]] if kind_of(who) in SUPPRESSED else [],
    )
    differ("removed", lambda who: phone(who) in removed, lambda who: kind_of(who) == "gone")
    wrong: dict[str, Any] = dict(expected)
    if len(letters) != forged:
        wrong["letters"] = f"{len(letters)} forged callbacks are letters, {forged} came"
    if others := [
        dict(record.headers)["tidings-reason"]
        for record in records(log, scene.LETTERS[0])
        if dict(record.headers)["tidings-reason"] != b"forged"
    ]:
        wrong["other letters"] = others
    if differing := [key for key, values in bodies.items() if len(values) > 1]:
        wrong["differing"] = differing
    figures = {
        "people": people,
        "callbacks": sum(1 for _ in records(log, PROVIDER_EVENTS)),
        "told": sum(map(len, told.values())),
        "replies heard": cancels.total(),
        "replies written": sum(1 for _ in records(log, REPLIES)),
        "suppressed": sum(map(bool, listed.values())),
        "tried again": len(again),
        "forged": len(letters),
    }
    return figures, wrong


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def answers(folder: Path, blast: Blast, targets: Sequence[str], kills: int) -> Result:
    """Kill -9 of ``targets`` in turn while callbacks come in, each started again at once."""
    with World(folder, SCRIPT, session_ms=6_000, named=True) as world:
        there = world.log.admin().topics()
        lane = settings(lane_topics("sms", Priority.NORMAL))
        world.log.admin().create([topic for topic in lane if topic.name not in there])
        _write(world.stage.folder, blast.events)
        for part in PARTS:
            world.start(part)
        world.wait_for_work(PARTS)
        provider = faults.Provider(world.valkey.url, Counter)
        kept = faults.draw(Random(blast.seed), targets, kills, blast.seconds)
        carrier = Carrier(world, blast)
        for fault in kept:
            while carrier.passed < fault.at:
                world.check()
                time.sleep(0.005)
            faults.strike(world, fault, provider)
        carrier.finish()
        world.settle(PARTS, quiet=2.0, timeout=120)
        figures, wrong = audit(world, blast.events, carrier.forged)
        world.end(list(world.everyone()))
        result = Result("answers", {"answers": figures}, wrong=wrong)
        result.rows = [faults.as_row(fault) for fault in kept]
        return result


def _write(folder: Path, people: int) -> None:
    (folder / "token").write_text(TOKEN)
    (folder / "key").write_text(KEY)
    (folder / "templates/round/sms.en.j2").write_text("--- body\n{{ event_id }}\n")
    with (folder / "people/people.jsonl").open("w") as file:
        for number in range(people):
            address = {"kind": "phone", "value": phone(recipient(number))}
            person = {"recipient_id": recipient(number), "addresses": [address]}
            file.write(json.dumps(person) + "\n")
