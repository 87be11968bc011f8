"""`tidings simulate provider` as a process: what it prints, sends, keeps and calls back."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.contract.simulated import a_send
from tests.engine import create, records
from tidings.log.address import open_log
from tidings.providers import desks, sender_of
from tidings.receipts import PROVIDER_EVENTS, Receipt, Reference, Webhook
from tidings.sender import Answer, Send
from tidings.services.process import spawn, wait_for
from tidings.simulator.journal import received
from tidings.stores.clock import SystemClock

SCENARIO = """
receipts: [{event: delivered, after: [0ms, 300ms], times: 2}]
script:
  - {address: "*02", answer: inv}
"""


def send(settings: dict[str, Any], sends: list[Send]) -> list[Answer]:
    """What a sender of ours with these settings is answered."""

    async def run() -> list[Answer]:
        sender = sender_of("twilio", {"twilio": settings}, SystemClock())
        loop = asyncio.get_running_loop()
        await sender.open(loop)
        answers = {one.send_id: loop.create_future() for one in sends}
        sender.send(sends, lambda one, answer: answers[one.send_id].set_result(answer))
        found = await asyncio.wait_for(asyncio.gather(*answers.values()), 30)
        await sender.close()
        return list(found)

    return asyncio.run(run())


def test_a_provider_is_pretended_and_its_callbacks_are_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "rehearsal.yaml").write_text(SCENARIO)
    address = f"sqlite:{tmp_path}/log"
    log = open_log(address)
    create(log, PROVIDER_EVENTS)
    said = tmp_path / "said"
    process = spawn(
        [
            *(sys.executable, "-m", "tidings.cli", "simulate", "provider", "twilio"),
            *("--script", "rehearsal.yaml", "--callbacks", "log", "--log", address),
        ],
        log=said,
        cwd=tmp_path,
    )
    try:
        wait_for(lambda: "auth_token" in said.read_text(), timeout=60.0, what="its settings")
        providers = yaml.safe_load(said.read_text())["providers"]
        answers = send(providers["twilio"], [a_send("twilio", number) for number in (1, 2)])
        wait_for(lambda: len([*records(log, PROVIDER_EVENTS)]) >= 2, timeout=30.0, what="callbacks")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0, said.read_text()
    assert [*providers] == ["twilio", "voice"], "the one that was asked for, for texts and calls"
    assert [(one.verdict, one.code) for one in answers] == [("ok", ""), ("inv", "21211")]
    got = received(tmp_path / "data/simulator/journal.jsonl")
    assert {(one.address, one.accepted) for one in got} == {
        ("+12025550101", True),
        ("+12025550102", False),
    }
    desk = desks(providers)["twilio"]
    hooks = [Webhook.of(record) for record in records(log, PROVIDER_EVENTS)]
    [first], [second] = (desk.read(hook) for hook in hooks)
    assert isinstance(first, Receipt)
    assert first.kind == "delivered"
    assert first.event_id == second.event_id, "told twice"
    assert Reference.read(first.reference, desk.keys).recipient_id == "user-1"
    assert "2 calls, 2 callbacks (0 not due)" in said.read_text()
