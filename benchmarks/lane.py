"""A whole lane on real Kafka and Valkey: sends per CPU-second.

    python -m benchmarks.lane [--deliveries N] [--runs N] [--json]

Decode, expiry, addresses, consent, suppression, sandboxed Jinja title and body, lease, send, mark,
the outcomes confirmed, offset committed. Once with a provider that answers at once, once with one
that takes 20 to 80 ms, and once each with APNs' and FCM's senders over TLS, for which nginx stands
in. What Google grants a project, 10,000 a second, is lifted: it would be all that is measured. The
devices were heard of today, as most have been when a message comes. The first tenth is not counted:
tokens, connections and what is imported with the first send come once for a process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.flow import Meter
from benchmarks.harness import child, medians, print_table


def fill(bootstrap: str, deliveries: int) -> None:
    """Fill ``deliveries.push.normal``."""
    from tidings.log.address import open_log
    from tidings.log.port import Append
    from tidings.records import Delivery, Origin, encode

    producer = open_log(f"kafka:{bootstrap}").producer(linger_ms=20)
    random = Random(7)
    for number in range(deliveries):
        recipient = f"user-{random.randrange(50_000):08d}"
        delivery = Delivery(
            notif_id=f"{number:032x}",
            recipient_id=recipient,
            flow="social",
            step="social.deliver",
            version="1a2b3c4d",
            channel="push",
            template="social_digest",
            category="social",
            created_at=1_790_000_000_000 + number,
            origin=Origin("tidings.social", number % 8, number),
            data={
                "type": "like",
                "photo_id": "photo-0001",
                "count": 7,
                "actors": ["Alice", "Bob", "Carla"],
                "actor_count": 7,
                "items": [{"actor_name": "Alice", "photo_title": "Sunset", "text": ""}],
                "opened_at": 1_790_000_000_000,
                "closed_at": 1_790_000_030_000,
            },
            chain=("email",),
        )
        append = Append("deliveries.push.normal", recipient.encode(), encode(delivery))
        producer.append([append], _must)
        if number % 1000 == 0:
            producer.poll()
    producer.flush(60.0)
    producer.close()


def _must(error: object, receipt: object) -> None:
    if error is not None:
        raise RuntimeError(str(error))


def run_lane(
    bootstrap: str, valkey: str, deliveries: int, providers: dict[str, Any], lane: str, device: str
) -> dict[str, Any]:
    """Works off the topic; called in a process of its own."""
    import gc

    from tidings.compile.dataflow import dataflow, run
    from tidings.compile.units import Ground
    from tidings.compile.units import lane as lane_of
    from tidings.content import content_root
    from tidings.log.address import open_log
    from tidings.plan import LanePlan, load
    from tidings.ports import Address, Io, Profile
    from tidings.problems import Problems
    from tidings.records import Priority
    from tidings.settings import CategorySettings, Settings
    from tidings.stores.claims_valkey import ValkeyClaims
    from tidings.stores.clock import SystemClock
    from tidings.stores.people_made import FunctionPeople
    from tidings.stores.suppressions import FileSuppressions
    from tidings.stores.templates import FileTemplates
    from tidings.stores.valkey import Valkey

    folder = Path(tempfile.mkdtemp())
    file = folder / "push.yaml"
    file.write_text(lane)
    problems = Problems()
    plan = load(file, {}, problems)
    problems.raise_if_any()
    assert isinstance(plan, LanePlan)
    clock = SystemClock()
    server = Valkey(valkey)
    server.load()  # as a lane does when it starts
    platform = "android" if providers["provider"]["kind"] == "fcm" else "ios"
    address = Address(kind="device", value=device, platform=platform, last_success_at=clock.now())
    phone = Profile(addresses=(address,))
    io = Io(
        people=FunctionPeople(lambda person: phone),
        suppressions=FileSuppressions(folder, clock),
        templates=FileTemplates(content_root() / "config" / "templates", clock),
        claims=ValkeyClaims(server),
        caps=None,  # type: ignore[arg-type]  # a lane asks for none
        clock=clock,
    )
    settings = Settings(
        categories={"social": CategorySettings()}, types={"like": "social"}, providers=providers
    )
    unit = lane_of(plan, Priority.NORMAL, Ground(open_log(f"kafka:{bootstrap}"), io, settings))
    meter = LaneMeter(unit, deliveries, deliveries // 10)
    gc.collect()
    gc.freeze()
    gc.disable()
    run(dataflow("bench", [meter], lambda: meter.done))
    return meter.report()


class LaneMeter(Meter):
    """Done when every delivery is settled."""

    def _idle(self) -> bool:
        return bool(self._unit.drained())


LANE = """
lane: push
steps:
  - expire
  - addresses: {kind: device}
  - consent
  - suppress
  - render: {max_bytes: 4096}
  - send: {default: provider}
"""
LIFTED = LANE.replace("default: provider", "default: provider, rate: 9000000/min")


def measure(deliveries: int, runs: int) -> list[dict[str, Any]]:
    """Medians of ``runs`` for each provider."""
    from benchmarks import apns as apple
    from benchmarks import fcm as google
    from tidings.log.address import open_log
    from tidings.records import Priority
    from tidings.services.kafka import Kafka
    from tidings.services.nginx import Nginx
    from tidings.services.valkey import Valkey
    from tidings.topics import EVENTS, lane_topics, settings

    rows = []
    answers = apple.ANSWERS + google.PATHS
    with Nginx(answers) as nginx, tempfile.TemporaryDirectory() as folder:
        kept = f"{folder}/got.jsonl"
        sandbox = {"kind": "sandbox", "file": kept}
        ca = str(nginx.certificate.certificate)
        place = {"host": "127.0.0.1", "port": nginx.port, "ca": ca}
        apns = {
            "kind": "apns",
            "key": f"file:{apple.signing_key()}",
            "key_id": "KEY1234567",
            "team_id": "TEAM123456",
            "topic": apple.TOPIC,
            **place,
        }
        os.environ["REQUESTS_CA_BUNDLE"] = ca  # for Google's library, which asks for the token
        fcm = {"kind": "fcm", "key": f"file:{google.account(folder, nginx.port)}", **place}
        phones = {"apns": "ab" * 32, "sandbox": "ab" * 32, "fcm": google.device(7)}
        for what, provider in (
            ("sandbox, no latency", sandbox),
            ("sandbox, 20-80 ms", {**sandbox, "latency": ["20ms", "80ms"]}),
            ("APNs over TLS", apns),
            ("FCM over TLS", fcm),
        ):
            device = phones[str(provider["kind"])]
            lane = LIFTED if provider["kind"] == "fcm" else LANE
            found = []
            for _ in range(runs):
                Path(kept).unlink(missing_ok=True)
                with Kafka() as kafka, Valkey() as valkey:
                    admin = open_log(f"kafka:{kafka.bootstrap}").admin()
                    admin.create(settings([*lane_topics("push", Priority.NORMAL), EVENTS]))
                    fill(kafka.bootstrap, deliveries)
                    providers = {"provider": provider}
                    arguments = [kafka.bootstrap, valkey.url, deliveries, providers, lane, device]
                    found.append(child("benchmarks.lane", "--child", json.dumps(arguments)))
                if provider["kind"] == "sandbox":
                    got = Path(kept).read_bytes().count(b"\n")
                    assert got == deliveries, f"the provider got {got} of {deliveries}"
            rows.append({"what": f"lane, {what}", **medians(found)})
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deliveries", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(run_lane(*json.loads(options.child))) + "\n")
        sys.stdout.flush()
        os._exit(0)
    rows = measure(options.deliveries, options.runs)
    print_table("A lane on Kafka and Valkey", rows, as_json=options.json)


if __name__ == "__main__":
    main()
