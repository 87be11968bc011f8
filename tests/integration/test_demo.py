"""`tidings demo`: ends by itself, loses nothing, and says so in JSON."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.integration.installation import PATIENCE, Installation, ends
from tidings.services.process import wait_for


def demo(installation: Installation, *options: str) -> dict[str, Any]:
    """The summary of a demo, alone on stdout, and nothing on stderr."""
    process = installation.start("demo", "--json", *options)
    code = process.wait(PATIENCE + 50)
    assert (code, installation.err()) == (0, "")
    summary: dict[str, Any] = json.loads(installation.out())
    return summary


def check(summary: dict[str, Any]) -> None:
    assert (summary["lost"], summary["pending"], summary["restarts"]) == (0, 0, 0)
    assert summary["repeated"] == 0
    assert summary["dead_letters"] == {}
    assert summary["events"] > 100
    assert summary["digested_events"] > summary["digests"] > 0
    assert {"push", "email", "sms"} <= summary["outcomes"]["sent"].keys()
    assert summary["held"]["no_consent"] > 0
    assert summary["latency_ms"].keys() == {"high", "normal", "low"}


@pytest.mark.timeout(180)
def test_it_ends_by_itself_and_loses_nothing(installation: Installation) -> None:
    check(demo(installation, "--for", "3s"))


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_over_kafka_too(installation: Installation) -> None:
    check(demo(installation, "--for", "3s", "--kafka"))


@pytest.mark.timeout(180)
def test_ctrl_c_drains_and_tells_what_was(installation: Installation) -> None:
    process = installation.start("demo")
    wait_for(lambda: "push" in installation.said(), timeout=PATIENCE, what="a first push")
    assert ends(process, signal.SIGINT) == 0
    assert installation.said().endswith("pending 0, lost 0, repeated 0\n")
