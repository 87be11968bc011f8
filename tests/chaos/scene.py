"""What plays in the chaos tests: one flow with three kinds of windows and a limit, its lane, its
people, and a text that says which events it stands for. A `call` closes its window at once, an
`undo` takes back what is in one: the likes of its actor, the whole of it, or all of its actor.

The text is what makes the provider's own file a proof: every push names the ids of the events it
was made of, so that what went out is told without any id of the product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tidings.receipts import PROVIDER_EVENTS, REPLIES
from tidings.records import Priority
from tidings.topics import (
    EVENTS,
    RETRY_DELAYS,
    dead_letters,
    flow_topics,
    lane_topics,
    retry,
)

SOURCE = "social.events"
ENTRIES = "tidings.social"
DELIVERIES = "deliveries.push.normal"
LADDER = [retry("push", Priority.NORMAL, delay) for delay in RETRY_DELAYS]
OUTCOMES = EVENTS
LETTERS = (dead_letters("flow"), dead_letters("push"))

LIKES = 1_000  # ms that a window of likes is open
COMMENTS_GAP, COMMENTS_WAIT = 800, 3_000  # ms: a sliding window
OTHERS = 2_000  # ms
MAX_ITEMS = 8
AT_MOST, WITHIN = 4, 10_000  # the limit

FLOW = f"""
flow: social
source: {{topic: {SOURCE}, key: recipient_id, id: event_id}}
steps:
  - filter: {{keep: actor_id != recipient_id, reason: own_action}}
  - dedupe: {{by: event_id, within: 1h}}
  - switch:
      cases:
        - name: likes
          when: about == 'like'
          steps:
            - digest: {{by: [photo_id], window: {LIKES}ms, actors: actor_id, keep: last 20,
                        fields: [event_id], max_items: {MAX_ITEMS}, counts: type,
                        flush: type == 'call', cancel: {{when: type == 'undo',
                        takes: type == 'like', match: [actor_id, photo_id]}}}}
        - name: comments
          when: about == 'comment'
          steps:
            - digest: {{by: [photo_id], gap: {COMMENTS_GAP}ms, max_wait: {COMMENTS_WAIT}ms,
                        actors: actor_id, keep: last 20, fields: [event_id],
                        max_items: {MAX_ITEMS}, counts: type, flush: type == 'call',
                        cancel: type == 'undo'}}
      else:
        - digest: {{by: [photo_id], window: {OTHERS}ms, actors: actor_id, keep: last 20,
                    fields: [event_id], max_items: {MAX_ITEMS}, counts: type,
                    flush: type == 'call',
                    cancel: {{when: type == 'undo', match: [actor_id, photo_id]}}}}
  - limit: {{at_most: {AT_MOST}, within: {WITHIN}ms}}
  - consent: {{category: social}}
  - deliver: {{to: push, priority: normal, template: gathered, expires: 6h}}
"""

LANE = """
lane: push
steps:
  - expire
  - addresses: {kind: device}
  - suppress
  - render: {max_bytes: 4096}
  - send: SEND
"""
ONE = "{default: sandbox}"
THREE = "{ios: apns, android: fcm, default: web, in_flight: {web: 1000}}"

TEXT = "{% for one in items %}{{ one.event_id }} {% endfor %}"

CONFIG = """
log: {log}
claims: {claims}
people: file:{folder}/people
suppressions: file:{folder}/suppressions
templates: {folder}/templates
categories: {{social: {{}}}}
types: {{like: social, comment: social, follow: social, call: social, undo: social}}
providers:
  sandbox:
    kind: sandbox
    file: {folder}/sandbox.jsonl
    latency: [20ms, 80ms]
    script:
      - {{share: 0.02, attempts: 1, answer: retry, code: "503"}}
"""


class Script(NamedTuple):
    """What is played: the flow, the texts by name, for how many people with devices of which
    platforms in turn, how the lane sends, and the providers beside the sandbox.
    """

    flow: str
    texts: Mapping[str, str]
    people: int
    providers: str = ""
    send: str = ONE
    platforms: tuple[str, ...] = ("ios",)


GATHERING = Script(FLOW, {"gathered": TEXT}, 1_000)
THREE_PROVIDERS = """\
  apns:
    kind: sandbox
    file: {folder}/sandbox.jsonl
    latency: [20ms, 60ms]
    script:
      - {{share: 0.02, attempts: 1, answer: retry, code: "503"}}
  fcm:
    kind: sandbox
    file: {folder}/sandbox.jsonl
    latency: [50ms, 400ms]
    script:
      - {{share: 0.05, attempts: 1, answer: retry, code: "429", limited: true, retry_after: 1s}}
  web:  # many messages a call: they are answered together
    kind: sandbox
    file: {folder}/sandbox.jsonl
    latency: 100ms
"""
PROVIDERS = GATHERING._replace(
    providers=THREE_PROVIDERS, send=THREE, platforms=("ios", "android", "web")
)


class Scene(NamedTuple):
    """The files of a scene."""

    folder: Path
    config: Path
    flow: Path
    lane: Path
    sandbox: Path


def devices(recipient: str) -> tuple[str, ...]:
    """The devices of a person: every tenth has two."""
    first = f"{recipient}-phone"
    return (first, f"{recipient}-tablet") if recipient.endswith("7") else (first,)


def whereabouts(recipient: str) -> dict[str, str]:
    """What a person has said of zone and quiet hours; not all have."""
    said: tuple[dict[str, str], ...] = (
        {},
        {"zone": "Europe/Madrid"},
        {"zone": "Pacific/Auckland", "quiet": "09:00-17:00"},
    )
    return said[int(recipient.rpartition("-")[2]) % len(said)]


def recipients(count: int) -> list[str]:
    """The ids of so many people."""
    return [f"user-{number:06d}" for number in range(count)]


def write(folder: Path, script: Script, log: str, claims: str) -> Scene:
    """Write flow, lane, configuration, people and texts into ``folder``."""
    scene = Scene(
        folder,
        folder / "tidings.yaml",
        folder / "social.yaml",
        folder / "push.yaml",
        folder / "sandbox.jsonl",
    )
    for name in ("people", "suppressions", *(f"templates/{text}" for text in script.texts)):
        (folder / name).mkdir(parents=True)
    scene.flow.write_text(script.flow)
    scene.lane.write_text(LANE.replace("SEND", script.send))
    config = CONFIG.format(log=log, claims=claims, folder=folder)
    scene.config.write_text(config + script.providers.format(folder=folder))
    for name, text in script.texts.items():
        body = f"--- title\n{{{{ count }}}}\n--- body\n{text}\n"
        (folder / "templates" / name / "push.en.j2").write_text(body)
    with (folder / "people/people.jsonl").open("w") as file:
        for number, recipient in enumerate(recipients(script.people)):
            platform = script.platforms[number % len(script.platforms)]
            addresses = [
                {"kind": "device", "value": device, "platform": platform}
                for device in devices(recipient)
            ]
            person = {"recipient_id": recipient, "addresses": addresses, **whereabouts(recipient)}
            file.write(json.dumps(person) + "\n")
    return scene


def topics() -> list[str]:
    """All topics of the scene."""
    return [
        SOURCE,
        *flow_topics("social", keyed=True),
        *lane_topics("push", Priority.NORMAL),
        PROVIDER_EVENTS,
        REPLIES,
    ]
