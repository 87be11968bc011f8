"""What a person texts back, all the way: the simulator calls back, the receipts make an event of
it, and the flow that waits hears it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.contract.simulated import Peer, simulated
from tests.engine import append, create, outcomes, plan_of, records, turn
from tidings.compile.units import Ground, intake, keyed, lane, receipts
from tidings.log.address import open_log
from tidings.log.port import Append
from tidings.plan import FlowPlan, LanePlan
from tidings.receipts import PROVIDER_EVENTS, REPLIES
from tidings.records import Priority
from tidings.running.ground import open_ground
from tidings.runtime.unit import Unit
from tidings.services.process import wait_for
from tidings.settings import Settings
from tidings.topics import flow_topics, lane_topics

STANDBY = """
flow: standby
source:
  topics: [standby.events, replies]
  key: recipient_id
  tenant: tenant
  fields: [event_id, type, recipient_id, tenant, text]
steps:
  - filter: type != 'reply' or lower(text) == 'on my way'
  - dedupe: {by: event_id, within: 1d}
  - escalate:
      rounds: [{channel: sms}, {channel: sms, after: 10m}]
      until: opened
      by: recipient_id
      cancel: type == 'reply'
  - deliver: {template: standby, category: security, priority: high}
"""
SMS = """
lane: sms
steps:
  - addresses: {kind: phone}
  - render
  - send: {default: twilio}
"""
SCENARIO = {
    "script": [
        {"address": "*0100", "receipts": [{"event": "replied", "text": "On my way", "times": 2}]},
        {"address": "*0101", "receipts": [{"event": "replied", "text": "Who is this?"}]},
    ]
}
ANA, BEN = "+12025550100", "+12025550101"


def test_an_answer_by_text_ends_what_waits_for_it_and_another_does_not(tmp_path: Path) -> None:
    log = open_log(f"sqlite:{tmp_path}/log")
    own = (*flow_topics("standby", keyed=True), *lane_topics("sms", Priority.HIGH))
    create(log, PROVIDER_EVENTS, REPLIES, "standby.events", *own)

    async def whole() -> None:
        async with simulated(tmp_path, SCENARIO) as peer:
            await asyncio.to_thread(run, tmp_path, peer)

    asyncio.run(whole())
    events = [json.loads(one.value or b"") for one in records(log, REPLIES)]
    replies = {(one["recipient_id"], one["type"], one["text"]) for one in events}
    assert replies == {("ana", "reply", "On my way"), ("ben", "reply", "Who is this?")}
    [yes] = {one["event_id"] for one in events if one["recipient_id"] == "ana"}
    told = {
        (one.recipient_id, one.step, one.kind, one.reason, one.detail)
        for one in outcomes(log)
        if one.stage == "decision" and one.kind != "queued"
    }
    assert told >= {
        ("ana", "standby.escalate", "cancelled", "cancelled", f"by {yes}"),
        ("ben", "standby.filter", "suppressed", "filtered", ""),
    }
    assert not any(who == "ben" and kind == "cancelled" for who, _, kind, _, _ in told)


def settings(folder: Path, log: str, providers: dict[str, Any]) -> Settings:
    people = [
        {"recipient_id": who, "addresses": [{"kind": "phone", "value": number}]}
        for who, number in (("ana", ANA), ("ben", BEN))
    ]
    for name in ("people", "suppressions", "templates/standby"):
        (folder / name).mkdir(parents=True)
    (folder / "people/people.jsonl").write_text("\n".join(map(json.dumps, people)) + "\n")
    (folder / "templates/standby/sms.en.j2").write_text("--- body\nCan you come?\n")
    return Settings(
        log=log,
        claims=f"sqlite:{folder}/claims.db",
        people=f"file:{folder}/people",
        suppressions=f"file:{folder}/suppressions",
        templates=str(folder / "templates"),
        categories={"security": {"critical": True}},
        providers=providers,
    )


def all_units(folder: Path, ground: Ground) -> list[Unit]:
    """The flow, its lane, and what reads callbacks, in this process."""
    flow, texts = plan_of(folder, STANDBY), plan_of(folder, SMS)
    assert isinstance(flow, FlowPlan)
    assert isinstance(texts, LanePlan)
    units: list[Unit] = [
        intake(flow, ground),
        keyed(flow, ground),
        lane(texts, Priority.HIGH, ground),
        receipts(ground),
    ]
    for unit in units:
        unit.start()
    return units


def run(folder: Path, peer: Peer) -> None:
    """Two are asked; until both answers have come to the flow."""
    providers = {"twilio": peer.settings["twilio"]}
    with open_ground(settings(folder, f"sqlite:{folder}/log", providers)) as ground:
        units, called = all_units(folder, ground), 0
        for who in ("ana", "ben"):
            event = {"event_id": f"e-{who}", "type": "ask", "recipient_id": who}
            asked = json.dumps(event | {"tenant": "default"}).encode()
            append(ground.log, Append("standby.events", who.encode(), asked))

        def heard() -> bool:
            nonlocal called
            for unit in units:
                turn(unit)
            for due, make in peer.later[called:]:
                hook = make(due)
                assert hook is not None
                append(ground.log, hook.append())
                called += 1
            ended = {(one.recipient_id, one.kind) for one in outcomes(ground.log)}
            return ended >= {("ana", "cancelled"), ("ben", "suppressed")}

        try:
            wait_for(heard, timeout=60.0, what="both answers")
        finally:
            for unit in units:
                unit.close()
