"""How much memory a flow and a lane take, and whether a blast makes it more.

    python -m benchmarks.memory [--parts flow,lane,split] [--live N,N] [--seconds N] [--json]

flow   processes with so many people in their keyed state (a digest that is open, and a limit's
       memory), measured when all of them are in, and over a paced blast on top of that
lane   10,000 sends in flight at a provider that takes its time
split  an intake that makes 1,000,000 events of one of 16 MB, one for each follower (seen: 93 MiB
       before it, 192 at most, 12 s)

The blast's growth is the greatest resident size in its last third over that in its first: 1.0 is
flat.
"""

from __future__ import annotations

import argparse
import json
import time
from random import Random
from typing import Any

from benchmarks.crowd import TOPICS, Crowd
from benchmarks.harness import print_table
from benchmarks.stage import MIB, Stage, paced, producer, recipient
from tidings.records import Delivery, Origin, Priority, encode
from tidings.topics import TopicRule, flow_topics, lane_topics

GOALS = {100_000: 300, 1_000_000: 1_500}  # MiB
IN_FLIGHT, LANE_GOAL = 10_000, 250
FOLLOWERS = 1_000_000
BLAST = 5_000  # events a second on top
LANE = f"""
lane: push
steps:
  - expire
  - addresses: {{kind: device}}
  - suppress
  - render: {{max_bytes: 4096}}
  - send: {{default: sandbox, in_flight: {IN_FLIGHT}}}
"""

POSTS = """
flow: posts
source: {topic: posts.events, key: recipient_id, id: event_id}
steps:
  - split: followers
  - limit: {at_most: 20, within: 1d}
  - deliver: {to: push, template: notify, category: social}
"""


def flow(live: int, seconds: float) -> dict[str, Any]:
    """A flow process with ``live`` people in its state."""
    with Stage(TOPICS, people=10) as stage:
        crowd = Crowd(stage, live, window="10m")
        filled = stage.memory("flow")
        random = Random(7)
        sizes: list[float] = []
        looked = 0.0
        for due in paced(BLAST, seconds):
            for number in due:
                crowd.entries.write(random.randrange(live), f"photo-{number % 3:04d}")
            if time.monotonic() - looked >= 1.0:
                looked = time.monotonic()
                sizes.append(stage.memory("flow"))
        crowd.entries.flush()
        crowd.wait("the blast to be worked off")
        sizes.append(stage.memory("flow"))
    return {
        "what": f"flow, {live:,} live people",
        "mib": round(filled),
        "goal_mib": GOALS.get(live, ""),
        **_growth(sizes),
    }


def lane(seconds: float) -> dict[str, Any]:
    """A lane with all of its 10,000 places taken."""
    topics = ["notif_events", *lane_topics("push", Priority.NORMAL)]
    with Stage(topics, people=50_000, latency="2s") as stage:
        file = stage.folder / "push.yaml"
        file.write_text(LANE)
        upstream = producer(stage.kafka.bootstrap, linger_ms=20)
        for number in range(round(seconds * IN_FLIGHT / 2) + 3 * IN_FLIGHT):
            delivery = _delivery(number)
            upstream.produce("deliveries.push.normal", encode(delivery), delivery.recipient_id)
            if number % 1_000 == 0:
                upstream.poll(0)
        upstream.flush(120)
        stage.run("lane", str(file), "--priority", "normal")
        stage.wait_until(stage.sandbox.exists, "the first send")
        sizes: list[float] = []
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            time.sleep(1.0)
            stage.check()
            sizes.append(stage.memory("lane"))
    return {
        "what": f"lane, {IN_FLIGHT:,} in flight",
        "mib": round(max(sizes)),
        "goal_mib": LANE_GOAL,
        **_growth(sizes),
    }


def split(followers: int = FOLLOWERS) -> dict[str, Any]:
    """An intake while one event becomes one for each of so many followers."""
    lanes = lane_topics("push", Priority.NORMAL)
    topics = ["posts.events", *flow_topics("posts", keyed=True), *lanes]
    large = TopicRule(pattern="posts.events", max_record_bytes=32 * MIB)
    with Stage(topics, people=10, rules=[large]) as stage:
        file = stage.folder / "posts.yaml"
        file.write_text(POSTS)
        upstream = producer(stage.kafka.bootstrap, linger_ms=5)
        stage.run("intake", str(file), "--part", "intake")

        def post(number: int, count: int) -> None:
            event = {
                "event_id": f"post-{number}",
                "title": "Sunset over the old harbour, seen from the pier",
                "followers": [recipient(each) for each in range(count)],
            }
            upstream.produce("posts.events", json.dumps(event, separators=(",", ":")))
            upstream.flush(60)

        post(0, 1_000)  # it has loaded what it needs when that is through
        stage.wait_until(lambda: stage.written("tidings.posts") == 1_000, "a small post")
        before = stage.memory("intake")
        begun = time.monotonic()
        post(1, followers)
        sizes: list[float] = []
        while stage.written("tidings.posts") < 1_000 + followers:
            stage.check()
            sizes.append(stage.memory("intake"))
            time.sleep(0.1)
        took = time.monotonic() - begun
    return {
        "what": f"intake, one event for {followers:,}",
        "mib": round(max(sizes)),
        "idle_mib": round(before),
        "blast_seconds": round(took, 1),
        "per_second": round(followers / took),
    }


def _delivery(number: int) -> Delivery:
    return Delivery(
        notif_id=f"{number:032x}",
        recipient_id=recipient(number % 50_000),
        flow="social",
        step="social.deliver",
        version="1a2b3c4d",
        channel="push",
        template="social_digest",
        category="social",
        created_at=1_790_000_000_000,
        origin=Origin("tidings.social", number % 8, number),
        data={
            "type": "like",
            "photo_id": "photo-0001",
            "count": 7,
            "actors": ["Alice", "Bob", "Carla"],
            "actor_count": 7,
            "items": [{"actor_name": "Alice", "photo_title": "Sunset", "text": ""}],
        },
    )


def _growth(sizes: list[float]) -> dict[str, Any]:
    third = max(1, len(sizes) // 3)
    first, last = max(sizes[:third]), max(sizes[-third:])
    return {
        "blast_seconds": len(sizes),
        "first_third_mib": round(first),
        "last_third_mib": round(last),
        "growth": round(last / first, 3),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="flow,lane,split", help="with commas")
    parser.add_argument("--live", default="100000,1000000", help="people, with commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="of blast; 600 shows most")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.parts.split(",")
    rows = []
    if "flow" in parts:
        rows += [flow(int(live), options.seconds) for live in options.live.split(",")]
    if "lane" in parts:
        rows.append(lane(options.seconds / 2))
    if "split" in parts:
        rows.append(split())
    print_table("Memory", rows, as_json=options.json)


if __name__ == "__main__":
    main()
