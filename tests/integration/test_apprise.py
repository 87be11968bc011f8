"""A provider of a third party: the example package, installed into an environment, found by its
entry point, and run by a lane."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.engine import append, create, outcomes
from tests.peers.provider import Got, Provider, Say
from tidings.log.address import open_log
from tidings.log.port import Append
from tidings.records import Delivery, Origin, Priority, encode
from tidings.services.process import spawn, wait_for
from tidings.topics import EVENTS, lane_topics

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "docs/examples/tidings-apprise"
LANE = """
lane: chat
steps:
  - addresses: {kind: chat}
  - render
  - send: {default: team}
"""


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment that has the package, and Tidings as it is here."""
    environment, uv = tmp_path / "venv", Path(sys.executable).with_name("uv")
    run(uv, "venv", "--python", sys.executable, environment)
    found = environment / "bin/python"
    install: list[str | Path] = [uv, "pip", "install", "--python", found]
    run(*install, "apprise>=1.9", "hatchling>=1.27")
    run(*install, "--no-deps", "--no-build-isolation", EXAMPLE)
    [packages] = environment.glob("lib/*/site-packages")
    beside = f"{CHECKOUT}\n{sysconfig.get_path('purelib')}\n"
    (packages / "tidings-here.pth").write_text(beside)
    return found


def a_delivery(who: str) -> Delivery:
    return Delivery(
        notif_id=f"n-{who}",
        recipient_id=who,
        flow="social",
        step="social.deliver",
        version="v1",
        channel="chat",
        template="hello",
        category="social",
        created_at=int(time.time() * 1000),
        origin=Origin("tidings.social", 0, 1),
        data={"name": who},
    )


@pytest.mark.timeout(240)
def test_a_lane_sends_by_a_provider_that_a_package_brings(python: Path, tmp_path: Path) -> None:
    def answer(got: Got) -> Say:
        return Say(403) if "ben" in got.path else Say(200)

    folder = tmp_path / "here"
    for name in ("people", "templates/hello"):
        (folder / name).mkdir(parents=True)
    (folder / "templates/hello/chat.en.j2").write_text(
        "--- title\nHi\n--- body\nHello {{ name }}\n"
    )
    people = [
        {"recipient_id": who, "addresses": [{"kind": "chat", "value": value}]}
        for who, value in (("ana", "ana"), ("ben", "ben"))
    ]
    (folder / "people/people.jsonl").write_text("\n".join(map(json.dumps, people)) + "\n")
    (folder / "chat.yaml").write_text(LANE)
    with Provider(answer) as provider:
        (folder / "url").write_text(provider.url.replace("http:", "json:") + "/{address}\n")
        settings = {
            "log": f"sqlite:{folder}/log",
            "claims": f"sqlite:{folder}/claims.db",
            "people": f"file:{folder}/people",
            "suppressions": f"file:{folder}/suppressions",
            "templates": f"{folder}/templates",
            "channels": {"chat": "chat"},
            "categories": {"social": {}},
            "providers": {"team": {"kind": "apprise", "url": f"file:{folder}/url"}},
        }
        (folder / "tidings.yaml").write_text(json.dumps(settings))
        log = open_log(str(settings["log"]))
        create(log, *lane_topics("chat", Priority.NORMAL), EVENTS)
        topic = "deliveries.chat.normal"
        append(log, *(Append(topic, b"k", encode(a_delivery(who))) for who in ("ana", "ben")))
        process = spawn(
            [
                *(str(python), "-m", "tidings.cli", "run", str(folder / "chat.yaml")),
                *("--priority", "normal", "--config", str(folder / "tidings.yaml")),
            ],
            log=folder / "lane.log",
            cwd=folder,
        )
        try:
            wait_for(
                lambda: sum(one.stage == "end" for one in outcomes(log)) == 2,
                timeout=60.0,
                what=f"two ends; {(folder / 'lane.log').read_text()}",
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    ends = {one.recipient_id: one.kind for one in outcomes(log) if one.stage == "end"}
    assert ends == {"ana": "sent", "ben": "unknown"}
    said = {got.path: json.loads(got.body) for got in provider.got}
    assert said["/ana"]["title"] == "Hi"
    assert said["/ana"]["message"] == "Hello ana"
