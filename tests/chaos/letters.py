"""A provider is down until retries are used up, and lanes are killed: while it is, and when the
letters of it go out.

    blast ──► lanes high · normal · low ──HTTP──► tidings simulate provider (503 for a while)
                 ✗ kill -9   │    ▲                  │ journal.jsonl
                             ▼    │                  ▼
                            letters         what was accepted, message by message, against
                                            what was due

A breaker that opens late makes many letters: here it looks at a thousand answers, and a process
that is started in the midst of the outage begins anew. All letters are in one partition. What the
provider got is read from its own file.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.chaos.audit import records
from tests.chaos.blast import HOUR, Blast, a_delivery
from tests.chaos.faults import Fault, Provider, as_row
from tests.chaos.scenarios import Result
from tests.chaos.worker import Worker
from tidings.ids import send_id
from tidings.log.address import open_log
from tidings.log.port import Log
from tidings.records import Delivery, Origin, Priority
from tidings.runtime.letters import read_letter
from tidings.runtime.signals import AGAIN
from tidings.services.kafka import Kafka
from tidings.services.process import free_port, wait_for
from tidings.services.valkey import Valkey
from tidings.simulator.journal import Received, received
from tidings.topics import EVENTS, RELEASED, TopicRule, dead_letters, lane_topics
from tidings.topics import settings as topic_settings

CLASSES = tuple(Priority)
PLACES, RATE = 40, 400  # of each lane: sends at once, and in a second
LATENCY = 50  # ms
LIFE = 6_000  # ms, of those that do not outlive the outage
DOUBLES = {Priority.HIGH: 500, Priority.NORMAL: 1_000, Priority.LOW: 2_000}  # ms, after an outage
PEOPLE = 200
ON_THE_WAY = 300  # ms between a send's leaving and its arrival, on a machine with much to do

LANE = f"""
lane: push
steps:
  - expire
  - addresses: {{kind: device}}
  - render
  - send:
      android: fcm
      in_flight: {PLACES}
      rate: {RATE}/s
      retry: {{in_place: [100ms], ladder: []}}
      breaker: {{volume: VOLUME, window: 20s, pause: 500ms, longest: 2s}}
"""
TEXT = "--- title\nFor you\n--- body\n{{ name }}\n"


@dataclass
class Plan:
    """A blast of ``messages`` of each class over ``seconds``; the provider is away from ``since``
    to ``until`` (s after it began). Each class is killed so often while it is away, and so often
    within ``after`` s when it is back. ``volume`` is what a breaker looks at."""

    messages: int = 6_000
    seconds: float = 40.0
    since: float = 12.0
    until: float = 42.0
    kills: tuple[int, int] = (1, 0)
    after: float = 10.0
    volume: int = 1_000
    seed: int = 1


@dataclass
class Seen:
    """What was due, and what became of it; all by the name of a notification."""

    delivered: dict[str, Delivery] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    letters: dict[Origin, str] = field(default_factory=dict)  # where each stands
    released: set[Origin] = field(default_factory=set)
    got: list[Received] = field(default_factory=list)

    def read(self, log: Log, journal: Path) -> None:
        """Look again."""
        self.got = received(journal)
        self.ends.clear()
        for record in records(log, EVENTS):
            outcome = json.loads(record.value or b"")
            if outcome["stage"] == "end":
                self.ends[outcome["notif_id"]].append(outcome["kind"])
        for record in records(log, dead_letters("push")):
            if read_letter(record) is not None:
                place = Origin(record.topic, record.partition, record.offset)
                self.letters[place] = json.loads(record.value or b"")["notif_id"]
        self.released = {Origin(*json.loads(one.value or b"")) for one in records(log, RELEASED)}

    def accepted(self) -> list[Received]:
        """The messages that went out."""
        return [line for line in self.got if line.accepted]


class Cast:
    """The lanes, one process of each class, killed and started again."""

    def __init__(self, folder: Path, journal: Path, valkey: str) -> None:
        self._folder = folder
        self._journal = journal
        self._started = 0
        self.workers: dict[Priority, Worker] = {}
        self.since: dict[Priority, list[int]] = defaultdict(list)  # when each process was started
        self.kills: list[Fault] = []
        self.truths = {
            one: Provider(valkey, lambda one=one: self._taken(one), ids_of)  # type: ignore[misc]
            for one in CLASSES
        }

    def start(self, priority: Priority) -> None:
        """Another process of this class."""
        arguments = [
            *("run", str(self._folder / "push.yaml"), "--priority", str(priority)),
            *("--config", str(self._folder / "tidings.yaml")),
        ]
        folder = self._folder / f"lane-{priority}-{self._started}"
        self._started += 1
        self.since[priority].append(round(time.time() * 1_000))
        self.workers[priority] = Worker("lane", arguments, folder, f"lane.{priority}")

    def strike(self, fault: Fault) -> None:
        """Kill -9, note what was under way, and start again, as a supervisor does."""
        priority = Priority(fault.target)
        fault.gone = self.workers[priority].kill()
        time.sleep(ON_THE_WAY / 1_000)
        self.truths[priority].look(fault)
        self.kills.append(fault)
        self.start(priority)

    def check(self) -> None:
        """Raises AssertionError where one has died by itself."""
        for worker in self.workers.values():
            worker.check()

    def ready(self, *priorities: Priority) -> bool:
        """Whether the processes of these have come up."""
        self.check()
        logs = [self.workers[one].log.read_text(errors="replace") for one in priorities]
        return all('"ready"' in log for log in logs)

    def cut_off(self, line: Received) -> bool:
        """Whether its lane was killed within the second after it had gone out."""
        return any(
            line.parts["body"].startswith(fault.target) and 0 <= fault.gone - line.at < 1_000
            for fault in self.kills
        )

    def _taken(self, priority: Priority) -> Counter[str]:
        accepted = (line.parts["body"] for line in received(self._journal) if line.accepted)
        return Counter(name for name in accepted if name.startswith(str(priority)))


def ids_of(name: str) -> list[str]:
    """The sends that a notification may have: its own, and one for each time a letter of it was
    released."""
    token = token_of(int(name.rpartition("-")[2]))
    return [send_id(name, "push", token, round_ * AGAIN) for round_ in range(4)]


def token_of(number: int) -> str:
    """The phone of a notification's person."""
    return f"token-{number % PEOPLE}:APA91bsimulated"


def letters(folder: Path, plan: Plan) -> Result:
    """Play it, and hold what the provider got against what was to be sent."""
    with ExitStack() as stack:
        kafka = stack.enter_context(Kafka(folder / "kafka"))
        valkey = stack.enter_context(Valkey(folder / "valkey"))
        address = f"kafka:{kafka.bootstrap}?session.timeout.ms=6000"
        log = open_log(address)
        names = [name for one in CLASSES for name in lane_topics("push", one, ())]
        one_partition = TopicRule(pattern=dead_letters("push"), partitions=1)
        log.admin().create(topic_settings([*names, EVENTS], [one_partition]))
        provider = _provider(folder, plan)
        begun = time.monotonic()
        cast = Cast(folder, folder / "provider/data/simulator/journal.jsonl", valkey.url)
        stack.callback(
            lambda: [one.kill() for one in (*cast.workers.values(), provider) if one.running]
        )
        _write(folder, address, valkey.url, provider, plan)
        for one in CLASSES:
            cast.start(one)
        wait_for(lambda: cast.ready(*CLASSES), timeout=60, what="the lanes to begin")
        seen = Seen()
        _play(log, plan, seen, cast, begun)
        journal = folder / "provider/data/simulator/journal.jsonl"
        with suppress(TimeoutError):  # what is missing is told below
            wait_for(lambda: _settled(log, journal, seen, cast), timeout=90, what="all to go out")
        for worker in (*cast.workers.values(), provider):
            worker.terminate()
        for worker in cast.workers.values():
            worker.ended()
        seen.read(log, journal)
        return _judge(seen, cast, plan)


# ── The play ──────────────────────────────────────────────────────────────────────────────────


def _provider(folder: Path, plan: Plan) -> Worker:
    since, until = (f"{round(at * 1_000)}ms" for at in (plan.since, plan.until))
    away = {"since": since, "until": until, "answer": "retry"}
    scenario = {"latency": f"{LATENCY}ms", "script": [away]}
    (folder / "scenario.yaml").write_text(yaml.safe_dump(scenario))
    arguments = [
        *("simulate", "provider", "fcm", "--script", str(folder / "scenario.yaml")),
        *("--port", str(free_port()), "--plain-port", str(free_port())),
    ]
    worker = Worker("provider", arguments, folder / "provider")

    def listens() -> bool:
        worker.check()
        return "\n    ca:" in worker.log.read_text().rpartition("fcm:")[2]

    wait_for(listens, timeout=60, what="the provider to listen")
    return worker


def _write(folder: Path, log: str, claims: str, provider: Worker, plan: Plan) -> None:
    for name in ("people", "suppressions", "templates/due"):
        (folder / name).mkdir(parents=True)
    said = provider.log.read_text()
    config = {
        "log": log,
        "claims": f"{claims}",
        "people": f"file:{folder}/people",
        "suppressions": f"file:{folder}/suppressions",
        "templates": f"{folder}/templates",
        "categories": {"social": {}},
        **yaml.safe_load(said[said.index("providers:") :]),
    }
    (folder / "tidings.yaml").write_text(yaml.safe_dump(config))
    (folder / "push.yaml").write_text(LANE.replace("VOLUME", str(plan.volume)))
    (folder / "templates/due/push.en.j2").write_text(TEXT)
    with (folder / "people/people.jsonl").open("w") as file:
        for number in range(PEOPLE):
            one = {"kind": "device", "value": token_of(number), "platform": "android"}
            file.write(json.dumps({"recipient_id": f"user-{number}", "addresses": [one]}) + "\n")


def _play(log: Log, plan: Plan, seen: Seen, cast: Cast, begun: float) -> None:
    """The blast, and the kills in it and behind it; ``begun`` is the provider's beginning."""
    random = Random(plan.seed)

    def make(priority: Priority, number: int, now: int) -> Delivery:
        life = LIFE if random.random() < 0.15 else HOUR
        recipient = f"user-{number % PEOPLE}"
        return a_delivery(priority, number, now, recipient=recipient, template="due", life=life)

    kills = _kills(plan, random)
    blast = Blast(log, CLASSES, plan.messages, plan.seconds, make)
    while kills or not blast.over:
        seen.delivered |= blast.go_on()
        cast.check()
        for fault in kills:
            if time.monotonic() - begun >= fault.at and cast.ready(Priority(fault.target)):
                kills.remove(fault)
                fault.at = round(time.monotonic() - begun, 2)
                cast.strike(fault)
                break
        time.sleep(0.05)
    blast.close()


def _kills(plan: Plan, random: Random) -> list[Fault]:
    """Those while it is away leave it time to be noticed anew; none falls on a process that has
    not come up."""
    down, back = plan.kills
    length = plan.until - plan.since
    drawn = [
        (plan.since + length * random.uniform(0.1, 0.5), str(one))
        for one in CLASSES
        for _ in range(down)
    ]
    drawn += [
        (plan.until + plan.after * random.uniform(0.05, 1.0), str(one))
        for one in CLASSES
        for _ in range(back)
    ]
    return [Fault(n, who, round(at, 2)) for n, (at, who) in enumerate(sorted(drawn), start=1)]


def _settled(log: Log, journal: Path, seen: Seen, cast: Cast) -> bool:
    cast.check()
    time.sleep(1.0)  # a look reads all topics
    seen.read(log, journal)
    accepted = {line.parts["body"] for line in seen.accepted()}
    over = {name for name, kinds in seen.ends.items() if "sent" in kinds or "expired" in kinds}
    return seen.delivered.keys() <= accepted | over and seen.delivered.keys() <= seen.ends.keys()


# ── The judgement ─────────────────────────────────────────────────────────────────────────────


def _judge(seen: Seen, cast: Cast, plan: Plan) -> Result:
    result = Result("letters")
    accepted = seen.accepted()
    times = Counter(line.parts["body"] for line in accepted)
    due = {name for name, one in seen.delivered.items() if one.expires_at - one.created_at > LIFE}
    unexplained = [name for truth in cast.truths.values() for name in truth.count()]
    lettered = set(seen.letters.values())
    # A lane that was killed before it knew that one went out finds it expired, and says so (0018).
    cut_off = {line.parts["body"] for line in accepted if cast.cut_off(line)}
    wrong: dict[str, list[Any]] = {
        "lost": sorted(due - times.keys()),
        "never heard of": sorted(times.keys() - seen.delivered.keys()),
        "without an end": sorted(seen.delivered.keys() - seen.ends.keys()),
        "not said to be sent": sorted(
            name
            for name in times.keys() & seen.ends.keys() - cut_off
            if "sent" not in seen.ends[name]
        ),
        "repeats": sorted(unexplained),
        "sent when it had expired": sorted(
            line.parts["body"]
            for line in accepted
            if line.at >= seen.delivered[line.parts["body"]].expires_at + ON_THE_WAY
        ),
        "expired and sent": sorted(
            name
            for name, kinds in seen.ends.items()
            if "expired" in kinds and name in times and name not in cut_off
        ),
        "letters that were not released": sorted(seen.letters.keys() - seen.released),
    }
    back = max((line.at for line in seen.got if not line.accepted), default=0)
    after = {
        one: sorted(
            (line.at, line.parts["body"])
            for line in accepted
            if line.at > back and line.parts["body"].startswith(str(one))
        )
        for one in CLASSES
    }
    counts = Counter(str(name).partition("-")[0] for name in seen.letters.values())
    aware = _aware(seen, cast, plan)
    result.figures = {
        "served by a process that knew of the outage": {str(one): 1 for one in aware},
        "due": {"in all": len(seen.delivered), "long-lived": len(due)},
        "letters": dict(counts),
        "ends": Counter(" ".join(sorted(set(kinds))) for kinds in seen.ends.values()),
        "accepted": {
            "in all": len(accepted),
            "repeated": len(accepted) - len(times),
            "told as expired, for the kill cut them off": sum(
                "sent" not in seen.ends[name] for name in cut_off
            ),
        },
        **{f"{one}, accepted after the outage": _told(after[one]) for one in CLASSES},
        **{
            f"{one}, letters of them": _told([x for x in after[one] if x[1] in lettered])
            for one in CLASSES
        },
    }
    if any(count < plan.volume // 4 for count in map(counts.__getitem__, map(str, CLASSES))):
        wrong["calm"] = [f"few letters: {counts}"]
    elif all(after.values()):
        wrong |= _paced(after, lettered, aware)
    result.rows = [as_row(fault) for fault in cast.kills]
    result.wrong = {name: value for name, value in wrong.items() if value}
    return result


After = dict[Priority, list[tuple[int, str]]]


def _aware(seen: Seen, cast: Cast, plan: Plan) -> dict[Priority, int]:
    """Until when (epoch ms) each class was served by a process whose breaker had opened."""
    until: dict[Priority, int] = {}
    for one in CLASSES:
        refused = [line.at for line in seen.got if not line.accepted and _is_of(line, one)]
        over = max(refused, default=0)
        last = max((at for at in cast.since[one] if at < over), default=0)
        if sum(at > last for at in refused) >= plan.volume:
            gone = [fault.gone for fault in cast.kills if fault.target == str(one)]
            until[one] = min((at for at in gone if at > over), default=1 << 62)
    return until


def _paced(after: After, lettered: set[str], aware: dict[Priority, int]) -> dict[str, list[Any]]:
    """High letters are out before half of the low ones are, where no kill behind the outage has
    held one of them up; and no second sees more than the slow start gives, or the rate where a
    process does not know of the outage."""
    wrong: dict[str, list[Any]] = {}
    both = (Priority.HIGH, Priority.LOW)
    if all(aware.get(one, 0) > after[one][-1][0] for one in both):
        high, low = ([at for at, name in after[one] if name in lettered] for one in both)
        late = high[len(high) * 95 // 100] - low[len(low) // 2]
        if late > 0:
            wrong["high is not out before low"] = [f"{late} ms"]
    for one in CLASSES:
        first = after[one][0][0]
        for second, count in enumerate(_seconds([at for at, _ in after[one]], first)):
            end = first + (second + 1) * 1_000
            most = RATE * 1.1
            if end < aware.get(one, 0):
                places = 4 * 2 ** ((end - first) / DOUBLES[one])
                most = min(most, places * 1_000 / LATENCY + 50)
            if count > most:
                wrong.setdefault(f"herd of {one}", []).append(
                    f"{count} in second {second + 1}, at most {most:.0f}"
                )
    return wrong


def _is_of(line: Received, priority: Priority) -> bool:
    return line.parts.get("body", "").startswith(str(priority))


def _seconds(times: Iterable[int], first: int) -> list[int]:
    counted = Counter((at - first) // 1_000 for at in times)
    return [counted[second] for second in range(max(counted, default=-1) + 1)]


def _told(lines: Sequence[tuple[int, str]]) -> dict[str, int]:
    if not lines:
        return {}
    seconds = _seconds([at for at, _ in lines], lines[0][0])
    return {"in all": len(lines), **{f"in s {n + 1}": one for n, one in enumerate(seconds[:14])}}
