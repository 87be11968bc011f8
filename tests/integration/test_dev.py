"""`tidings dev`: everything on one machine, kept alive."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable

import psutil
import pytest

from tests.integration.installation import PATIENCE, Installation, child, ends
from tidings.services.process import wait_for

UP = ("high is up", "rest is up")


@pytest.fixture
def dev(installation: Installation) -> subprocess.Popen[str]:
    """`tidings dev` with all that is shipped, up."""
    process = installation.start("dev", "--data", "data", "--plain")
    installation.wait_until_said(*UP)
    return process


def orders(numbers: Iterable[int]) -> list[dict[str, object]]:
    return [
        {
            "event_id": f"order-{number}",
            "type": "order",
            "recipient_id": "bob",
            "order_id": f"A{number}",
            "status": "shipped",
            "total": "9.99",
            "items": 1,
            "eta": "Friday",
        }
        for number in numbers
    ]


def told_of(installation: Installation, channel: str) -> list[str]:
    """The orders that the messages of a channel are about, in order of number."""
    headings = [
        each.parts.get("title") or each.parts["subject"]
        for each in installation.accepted()
        if each.channel == channel
    ]
    found = {word.strip(":") for heading in headings for word in heading.split() if word[0] == "A"}
    return sorted(found, key=lambda word: int(word[1:]))


def ended(installation: Installation) -> set[tuple[str, str]]:
    """The deliveries that came to an end: notification and channel."""
    return {
        (outcome["notif_id"], outcome["channel"])
        for outcome in installation.outcomes()
        if outcome["stage"] == "end"
    }


def test_events_become_messages_and_a_signal_ends_it_cleanly(
    installation: Installation, dev: subprocess.Popen[str]
) -> None:
    family = psutil.Process(dev.pid).children(recursive=True)
    installation.emit("orders.events", *orders(range(3)))
    installation.wait_for_accepted(6)
    for channel in ("push", "email"):
        assert told_of(installation, channel) == ["A0", "A1", "A2"]
    assert ends(dev, signal.SIGINT) == 0
    assert installation.said().endswith("stopping\nstopped\n")
    assert not any(process.is_running() for process in family)


def test_a_killed_process_is_started_again_and_nothing_is_lost(
    installation: Installation, dev: subprocess.Popen[str]
) -> None:
    for start in range(0, 300, 100):
        installation.emit("orders.events", *orders(range(start, start + 50)))
        child(dev, "--name rest").kill()
        installation.emit("orders.events", *orders(range(start + 50, start + 100)))
        installation.wait_until_said("rest is up", times=start // 100 + 2)
    # A provider may have taken what a killed lane had no time to tell of: that is in doubt until
    # the dead lane's lease ends. So it is the outcomes that are waited for, not the messages.
    wait_for(lambda: len(ended(installation)) == 600, timeout=PATIENCE, what="600 endings")
    assert ends(dev, signal.SIGTERM) == 0
    everything = [f"A{number}" for number in range(300)]
    for channel in ("push", "email"):
        assert told_of(installation, channel) == everything
    assert len(ended(installation)) == 600


def test_valkey_comes_back_too(installation: Installation, dev: subprocess.Popen[str]) -> None:
    killed = child(dev, "valkey-server")
    killed.kill()
    assert child(dev, "valkey-server").pid != killed.pid
    installation.emit("orders.events", *orders([1]))
    installation.wait_for_accepted(2)
    assert ends(dev, signal.SIGTERM) == 0


def test_nothing_outlives_it_when_it_is_killed(
    installation: Installation, dev: subprocess.Popen[str]
) -> None:
    family = psutil.Process(dev.pid).children(recursive=True)
    assert len(family) >= 3
    os.kill(dev.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_it_does_not_start_with_problems(installation: Installation) -> None:
    bad = installation.folder / "bad.yaml"
    bad.write_text("flow: bad\nsource: {topic: a, key: b}\nsteps: [{delivr: {}}]\n")
    process = installation.start("dev", str(bad))
    assert process.wait(PATIENCE) == 1
    assert "bad.yaml:3:10  error[unknown-operator]  bad.delivr" in installation.said()
