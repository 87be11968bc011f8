"""`tidings run`: flows and lanes as a process, from an event to what the provider got."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.integration.installation import Installation, ends
from tidings.content import content_root
from tidings.runtime.lane.settings import LaneSettings

FLOWS = content_root() / "flows"
OTP = {"request_id": "r1", "type": "otp", "recipient_id": "bob", "code": "481516", "app": "Shop"}


def files(*names: str) -> list[str]:
    return [str(FLOWS / f"{name}.yaml") for name in names]


def test_a_flow_and_its_lane_send_what_comes_and_end_cleanly(installation: Installation) -> None:
    process = installation.start(
        *("run", *files("otp", "lanes/sms"), "--priority", "high", "--create-topics")
    )
    installation.wait_until_said('"event": "ready"')
    installation.emit("otp.events", OTP)
    [message] = installation.wait_for_accepted(1)
    assert (message.channel, message.address, message.priority) == ("sms", "+447700900101", "high")
    assert message.parts == {"body": "481516 is your Shop code. Never share it with anyone."}
    assert ends(process, signal.SIGTERM) == 0
    assert "481516" not in installation.said()
    kinds = [(outcome["stage"], outcome["kind"]) for outcome in installation.outcomes()]
    assert kinds == [("decision", "queued"), ("attempt", "sent"), ("end", "sent")]


def test_the_parts_of_a_flow_run_apart(installation: Installation) -> None:
    social = {
        "event_id": "e1",
        "type": "like",
        "recipient_id": "bob",
        "actor_id": "ana",
        "actor_name": "Ana",
        "photo_id": "p",
        "photo_title": "Sunset",
        "text": "",
    }
    intake = installation.start(
        "run", *files("social"), "--part", "intake", "--create-topics", "--name", "in"
    )
    installation.wait_until_said('"event": "ready"')
    flow = installation.start("run", *files("social"), "--part", "flow")
    installation.wait_until_said('"event": "ready"')
    lane = installation.start(
        "run", *files("lanes/push"), "--priority", "normal", "--create-topics"
    )
    installation.wait_until_said('"event": "ready"')
    installation.emit("social.events", social)
    [message] = installation.wait_for_accepted(1)
    assert message.parts["title"] == "Ana liked your photo"
    assert [ends(process, signal.SIGINT) for process in (intake, flow, lane)] == [0, 0, 0]


def test_what_names_no_priority_goes_to_the_lanes_of_the_processs(
    installation: Installation, tmp_path: Path
) -> None:
    news = tmp_path / "news.yaml"
    news.write_text(
        "flow: news\nsource: {topic: news.events, key: recipient_id, id: event_id}\n"
        "steps:\n  - deliver: {to: sms, template: notify, category: codes}\n"
    )
    installation.start(
        *("run", *files("notify", "lanes/sms"), str(news)),
        *("--priority", "high", "--create-topics"),
    )
    installation.wait_until_said('"event": "ready"')
    words = {"title": "Hi", "body": "there"}
    said: dict[str, object] = {"recipient_id": "bob", "type": "otp", "data": words}
    installation.emit("notifications.high", {**said, "notif_id": "n1", "channels": ["sms"]})
    installation.emit("news.events", {**said, **words, "event_id": "e1"})
    assert [each.priority for each in installation.wait_for_accepted(2)] == ["high", "high"]


def test_what_a_killed_lane_had_in_flight_is_sent_again_before_its_lease_runs_out(
    installation: Installation, tmp_path: Path
) -> None:
    command = ("run", *files("otp", "lanes/sms"), "--priority", "high", "--create-topics")
    for name, latency in (("silent", "20s"), ("quick", "1ms")):
        (tmp_path / f"{name}.yaml").write_text(
            "log: sqlite:data/log\n"
            "categories: {codes: {critical: true}}\n"
            "channels: {sms: phone, voice: phone}\n"
            f"providers: {{sandbox: &box {{kind: sandbox, latency: {latency}}}, spare: *box}}\n"
        )
    lane = installation.start(*command, "--config", str(tmp_path / "silent.yaml"))
    installation.wait_until_said('"event": "ready"')
    installation.emit("otp.events", OTP)
    installation.wait_for_accepted(1)
    lane.kill()
    lane.wait()
    installation.start(*command, "--config", str(tmp_path / "quick.yaml"))
    first, again = installation.wait_for_accepted(2)
    assert first.send_id == again.send_id
    assert again.at < first.at + LaneSettings.lease_ms


def test_a_second_signal_ends_it_at_once(installation: Installation, tmp_path: Path) -> None:
    # A provider that takes longer than the test keeps the lane from being drained.
    config = tmp_path / "slow.yaml"
    config.write_text(
        "log: sqlite:data/log\n"
        "categories: {codes: {critical: true}}\n"
        "channels: {sms: phone, voice: phone}\n"
        "providers: {sandbox: &box {kind: sandbox, latency: 20s}, spare: *box}\n"
    )
    process = installation.start(
        *("run", *files("otp", "lanes/sms"), "--priority", "high", "--create-topics"),
        *("--config", str(config)),
    )
    installation.wait_until_said('"event": "ready"')
    installation.emit("otp.events", OTP)
    installation.wait_for_accepted(1)
    os.kill(process.pid, signal.SIGTERM)
    installation.wait_until_said('"event": "stopping"')
    assert ends(process, signal.SIGTERM) == 128 + signal.SIGTERM
