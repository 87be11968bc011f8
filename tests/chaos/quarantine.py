"""Poison: a stream in which every other record is wrong runs through intake, flow and lane."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from tests.chaos import poison, scene
from tests.chaos.fates import Fates, Place, Trial
from tests.chaos.poison import Dose
from tests.chaos.world import Ground
from tidings.log.port import Append, Log

PARTITIONS = 8
FURTHER_DOWN = 60  # poisoned entries, and as many deliveries

SCRIPT = scene.Script(
    f"""
flow: social
source: {{topic: {scene.SOURCE}, key: recipient_id, id: event_id}}
steps:
  - filter: {{keep: actor_id != recipient_id, reason: own_action}}
  - dedupe: {{by: event_id, within: 1h}}
  - set: {{template: "coalesce(template, 'gathered')"}}
  - digest: {{by: [photo_id, template], window: 500ms, actors: actor_id, keep: last 20,
             fields: [event_id], max_items: 20}}
  - limit: {{at_most: 10000, within: 10s}}
  - consent: {{category: social}}
  - deliver: {{to: push, priority: normal, template: gathered, template_id: template,
              collapse_key: photo_id, expires: 6h}}
""",
    poison.TEMPLATES,
    poison.PEOPLE,
)


def quarantine(world: Ground, parts: tuple[str, ...], count: int, seed: int) -> Fates:
    """Write the stream, kill and restart everybody in the middle of it, and judge."""
    for part in parts:
        world.start(part)
    world.wait_for_work(["intake", "flow", "lane"])
    doses = list(_placed(poison.stream(count, seed)))
    _pour(world.log, (Append(scene.SOURCE, d.key, d.value, d.headers, _home(p)) for p, d in doses))
    further = _pour_further_down(world.log, seed)
    for part in parts:
        world.gets_on("intake")
        world.kill(world.workers[part][0])
        world.start(part)
    world.settle(["intake", "flow", "lane"], quiet=2.0, timeout=300)
    trial = Trial(world.log, world.stage)
    fates = trial.judge(doses)
    for topic, written in further.items():
        if (found := len(trial.letters_for(topic))) < written:
            fates.vanished.append(f"{written - found} bad ones written to {topic}")
    world.end(list(world.everyone()))
    return fates


def _placed(stream: Iterable[Dose]) -> Iterable[tuple[Place, Dose]]:
    for number, dose in enumerate(stream):
        yield f"{scene.SOURCE}:{number % PARTITIONS}:{number // PARTITIONS}", dose


def _home(place: Place) -> int:
    return int(place.split(":")[1])


def _pour(log: Log, appends: Iterable[Append]) -> None:
    producer = log.producer()
    failed: list[object] = []
    for append in appends:
        producer.append([append], lambda error, _: failed.append(error) if error else None)
        producer.poll()
    assert producer.flush(120.0)
    producer.close()
    assert not failed, failed[:3]


def _pour_further_down(log: Log, seed: int) -> dict[str, int]:
    """Bad records in the topics between the parts; gives how many, by topic."""
    random = Random(seed)
    _pour(
        log,
        (
            Append(scene.ENTRIES, *poison.bad_entry(number, random), (), number % PARTITIONS)
            for number in range(FURTHER_DOWN)
        ),
    )
    _pour(
        log,
        (
            Append(scene.DELIVERIES, b"\x00", poison.bad_delivery(number, random))
            for number in range(FURTHER_DOWN)
        ),
    )
    return {scene.ENTRIES: FURTHER_DOWN, scene.DELIVERIES: FURTHER_DOWN}
