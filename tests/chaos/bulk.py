"""Kills over real calls of many: SendGrid's thousand mails a call, SES' fifty, and FCM beside them.

    backlog ──► lanes of e-mail and push, one process ──HTTP──► tidings simulate provider
                      ✗ kill -9                                   │ journal.jsonl
                                                                  ▼
                              what was accepted, message by message, against what was due

The senders are the real ones, the provider is a process of its own that is never killed. It writes
each message of a call into its file before it answers, so a call that a kill cuts off has been
heard as a whole: all of its messages count as accepted and not marked.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.chaos import backlog
from tests.chaos.audit import records
from tests.chaos.faults import Fault, Provider, as_row
from tests.chaos.scenarios import Result
from tests.chaos.worker import Worker
from tidings.ids import send_id
from tidings.log.address import open_log
from tidings.log.port import Append, Log
from tidings.records import Delivery, Origin, Priority, encode
from tidings.services.kafka import Kafka
from tidings.services.process import free_port, wait_for
from tidings.services.valkey import Valkey
from tidings.simulator.journal import Received, received
from tidings.topics import EVENTS, deliveries, lane_topics, settings

PROVIDERS = {"sendgrid": 5, "ses": 3, "fcm": 2}
"""How many messages of ten are each provider's."""
LARGEST = {"sendgrid": 100, "ses": 50, "fcm": 1}
"""How many messages the largest call of each must have had, for this to be about calls of many."""
OPEN = {"sendgrid": 2_000, "ses": 400, "fcm": 400}
"""Sends that each may have open: the lane's defaults. A kill repeats no more than all of them."""
PEOPLE = 10_000
STILL = 0.5  # s without a line in the provider's file: what a dead lane had written is read

EMAIL = """
lane: email
steps:
  - addresses: {kind: email}
  - suppress
  - render
  - send: {web: ses, default: sendgrid, retry: {in_place: [200ms, 400ms, 800ms]}}
"""
PUSH = """
lane: push
steps:
  - addresses: {kind: device}
  - suppress
  - render: {max_bytes: 4096}
  - send: {android: fcm, retry: {in_place: [200ms, 400ms, 800ms]}}
"""
SCENARIO = """
latency: [20ms, 80ms]
script:
  - {provider: sendgrid, share: 0.0005, attempts: 1, answer: retry}   # the whole call is refused
  - {provider: ses, share: 0.02, attempts: 1, answer: retry}          # the one mail of the call
  - {provider: fcm, share: 0.02, attempts: 1, answer: retry}
"""
TEXTS = {
    "email": "--- subject\nFor you\n--- text\n{{ event_id }}\n",
    "push": "--- title\nFor you\n--- body\n{{ event_id }}\n",
}


@dataclass
class Account:
    """What is due, and what became of it. ``due`` is the send id of each address and text."""

    due: dict[tuple[str, str], str] = field(default_factory=dict)
    notifications: set[str] = field(default_factory=set)


class Calls:
    """The provider's file, as what was accepted of what was due."""

    def __init__(self, file: Path, due: dict[tuple[str, str], str]) -> None:
        self.file = file
        self._due = due

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.stat().st_size if self.file.exists() else 0

    def accepted(self) -> list[Received]:
        """The messages that went out."""
        return [line for line in received(self.file) if line.accepted]

    def taken(self) -> Counter[str]:
        """How often each send was accepted; what was never due goes by its own text."""
        keys = (key_of(line) for line in self.accepted())
        return Counter(self._due.get(key, f"unknown {key}") for key in keys)

    def settle(self) -> None:
        """Wait until what was on its way to the provider has arrived."""
        before, since = self.size, time.monotonic()
        while time.monotonic() - since < STILL:
            time.sleep(0.05)
            if self.size != before:
                before, since = self.size, time.monotonic()


def key_of(line: Received) -> tuple[str, str]:
    """The address and the text of a message, whatever the provider calls its parts."""
    return line.address, (line.parts.get("text") or line.parts.get("body", "")).strip()


def bulk(folder: Path, messages: int, kills: int, seed: int) -> Result:
    """Kill -9 of the lanes, in the midst of calls, each started again at once."""
    with ExitStack() as stack:
        provider = _provider(folder)
        workers: list[Worker] = []
        stack.callback(lambda: [one.kill() for one in (*workers, provider) if one.running])
        kafka = stack.enter_context(Kafka(folder / "kafka"))
        valkey = stack.enter_context(Valkey(folder / "valkey", persistence="appendonly"))
        address = f"kafka:{kafka.bootstrap}?session.timeout.ms=6000"
        log = open_log(address)
        names = [*lane_topics("email", Priority.NORMAL), *lane_topics("push", Priority.NORMAL)]
        log.admin().create(settings([*names, EVENTS]))
        _write(folder, address, f"valkey://127.0.0.1:{valkey.port}/0", provider)
        account = _pile_up(log, messages)
        calls = Calls(folder / "provider/data/simulator/journal.jsonl", account.due)
        truth = Provider(valkey.url, calls.taken)
        workers.append(_lanes(folder, 0))
        faults = _rage(folder, workers, calls, truth, kills, Random(seed))
        wait_for(
            lambda: _ended(log, account, [*workers, provider]),
            timeout=180,
            what="all deliveries to end",
        )
        for worker in (*workers, provider):
            worker.terminate()
        for worker in workers:
            worker.ended()
        return _judge(log, account, calls, truth, faults)


# ── The play ──────────────────────────────────────────────────────────────────────────────────


def _provider(folder: Path) -> Worker:
    (folder / "scenario.yaml").write_text(SCENARIO)
    arguments = [
        *("simulate", "provider", *PROVIDERS, "--script", str(folder / "scenario.yaml")),
        *("--port", str(free_port()), "--plain-port", str(free_port())),
    ]
    return Worker("provider", arguments, folder / "provider")


def _write(folder: Path, log: str, claims: str, provider: Worker) -> None:
    for name in ("people", "templates/due"):
        (folder / name).mkdir(parents=True)

    def listens() -> bool:
        provider.check()
        return "endpoint" in provider.log.read_text().rpartition("sendgrid:")[2]

    wait_for(listens, timeout=60, what="the provider to listen")
    said = provider.log.read_text()
    config = {
        "log": log,
        "claims": claims,
        "people": f"file:{folder}/people",
        "suppressions": f"file:{folder}/suppressions",
        "templates": f"{folder}/templates",
        "categories": {"social": {}},
        **yaml.safe_load(said[said.index("providers:") :]),
    }
    (folder / "tidings.yaml").write_text(yaml.safe_dump(config))
    (folder / "email.yaml").write_text(EMAIL)
    (folder / "push.yaml").write_text(PUSH)
    for channel, text in TEXTS.items():
        (folder / f"templates/due/{channel}.en.j2").write_text(text)
    with (folder / "people/people.jsonl").open("w") as file:
        for number in range(PEOPLE):
            kind, value, platform = _address(number)
            one = {"kind": kind, "value": value, "platform": platform}
            file.write(json.dumps({"recipient_id": f"user-{number}", "addresses": [one]}) + "\n")


def _address(number: int) -> tuple[str, str, str]:
    """Kind, value and platform of the one address of a person: by it they have their provider."""
    place = number % 10
    if place < PROVIDERS["sendgrid"]:
        return "email", f"user-{number}@example.org", ""
    if place < PROVIDERS["sendgrid"] + PROVIDERS["ses"]:
        return "email", f"user-{number}@example.net", "web"
    return "device", f"token-{number}:APA91bsimulated", "android"


def _pile_up(log: Log, messages: int) -> Account:
    account, appends = Account(), list[Append]()
    now = int(time.time() * 1_000)
    for number in range(messages):
        kind, value, _ = _address(number % PEOPLE)
        channel = "email" if kind == "email" else "push"
        recipient, name = f"user-{number % PEOPLE}", f"n-{number}"
        delivery = Delivery(
            notif_id=name,
            recipient_id=recipient,
            flow="social",
            step="social.deliver",
            version="1",
            channel=channel,
            template="due",
            category="social",
            created_at=now,
            origin=Origin("tidings.social", 0, number),
            data={"event_id": f"e{number}"},
        )
        topic = deliveries(channel, Priority.NORMAL)
        appends.append(Append(topic, recipient.encode(), encode(delivery)))
        account.due[value, f"e{number}"] = send_id(name, channel, value, 0)
        account.notifications.add(name)
    backlog.write(log, appends)
    return account


def _lanes(folder: Path, number: int) -> Worker:
    arguments = [
        *("run", str(folder / "email.yaml"), str(folder / "push.yaml"), "--priority", "normal"),
        *("--config", str(folder / "tidings.yaml")),
    ]
    return Worker("lane", arguments, folder / f"lane-{number}", "lane.1")


def _rage(
    folder: Path,
    workers: list[Worker],
    calls: Calls,
    truth: Provider,
    kills: int,
    random: Random,
) -> list[Fault]:
    """Kill and start again as soon as the lanes have begun to work.

    Raises TimeoutError where the work is done before the last kill.
    """
    faults: list[Fault] = []
    before = calls.size
    while len(faults) < kills:
        wait_for(lambda: calls.size > before, timeout=60, what="the lanes to get on")  # noqa: B023
        time.sleep(random.uniform(0.0, 0.8))
        fault = Fault(len(faults) + 1, "lane", 0.0)
        fault.gone = workers.pop().kill()
        calls.settle()
        before = calls.size
        truth.look(fault)
        workers.append(_lanes(folder, fault.number))
        faults.append(fault)
    return faults


def _ended(log: Log, account: Account, workers: Sequence[Worker]) -> bool:
    for worker in workers:
        worker.check()
    settled = len(_ends(log)) >= len(account.notifications)
    if not settled:
        time.sleep(1.0)  # a look reads the whole topic
    return settled


def _ends(log: Log) -> dict[str, set[str]]:
    ends: dict[str, set[str]] = {}
    for record in records(log, EVENTS):
        outcome = json.loads(record.value or b"")
        if outcome["stage"] == "end":
            ends.setdefault(outcome["notif_id"], set()).add(outcome["kind"])
    return ends


# ── The judgement ─────────────────────────────────────────────────────────────────────────────


def _judge(
    log: Log,
    account: Account,
    calls: Calls,
    truth: Provider,
    faults: Sequence[Fault],
) -> Result:
    accepted = calls.accepted()
    taken = {key_of(line) for line in accepted}
    sizes = {name: Counter[int]() for name in PROVIDERS}
    for line in accepted:
        sizes[line.provider][line.call] += 1
    ends = _ends(log)
    unexplained = truth.count()
    most = sum(OPEN.values())
    wrong: dict[str, Any] = {
        "lost": sorted(account.due.keys() - taken),
        "uncalled": sorted(taken - account.due.keys()),
        "without an end": sorted(account.notifications - ends.keys()),
        "ended otherwise": sorted(name for name, kinds in ends.items() if kinds != {"sent"}),
        "repeats": unexplained,
        "more than may be open": [one.number for one in faults if one.unmarked > most],
        "calls of many": [
            name for name, each in sizes.items() if max(each.values(), default=0) < LARGEST[name]
        ],
    }
    result = Result("bulk", wrong={name: value for name, value in wrong.items() if value})
    result.figures = {"sends": {"due": len(account.due), "accepted": len(accepted),
                                "repeats": len(accepted) - len(taken)}}  # fmt: skip
    for name, each in sizes.items():
        result.figures[name] = {
            "messages": each.total(),
            "calls": len(each),
            "in the largest": max(each.values(), default=0),
        }
    result.rows = [as_row(fault) for fault in faults]
    return result
