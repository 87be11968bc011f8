"""`tidings check --connect`: what does not answer is told by its name in the settings."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.unit.cli.command import Command

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - deliver: {to: push, template: order_update, category: orders}
"""
SETTINGS = """\
log: sqlite:data/log
claims: sqlite:data/claims.db
people: file:people
categories: {orders: {}}
"""


@pytest.fixture
def flow(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TIDINGS_CLAIMS")
    for folder in ("flows", "config", "people"):
        (here / folder).mkdir()
    (here / "config" / "tidings.yaml").write_text(SETTINGS)
    file = here / "flows" / "shop.yaml"
    file.write_text(FLOW)
    return file


def problems(tidings: Command, *more: str) -> list[str]:
    said = json.loads(tidings("check", "--connect", "--format", "json", *more).out)
    return [
        f"{one['line']} {one['path']} {one['code']}: {one['message']}" for one in said["problems"]
    ]


def settings(here: Path, more: str) -> None:
    (here / "config" / "tidings.yaml").write_text(SETTINGS + more)


def test_missing_topics_are_told_and_none_is_once_they_are_made(
    tidings: Command, flow: Path
) -> None:
    assert problems(tidings) == [
        f"1 log missing-topic: there is no topic `{name}` in the log"
        for name in ("deliveries.push.normal", "notif_dlq.flow", "notif_events", "shop.events")
    ]
    tidings("topics", "apply", "--sources")
    assert problems(tidings) == []


def test_each_that_fails_is_told_at_its_line_without_its_secrets(
    tidings: Command, flow: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidings("topics", "apply", "--sources")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    (here / "not-a-key.p8").write_text("hunter3")
    settings(
        here,
        "connections:\n"
        "  shop: {url: 'sqlite:////nowhere/at/all.db', password: 'env:DATABASE_PASSWORD'}\n"
        "providers:\n"
        "  box: {kind: sandbox}\n"
        "  apns: {kind: apns, key: 'file:not-a-key.p8', key_id: ABCDEFGHIJ, team_id: ABCDEFGHIJ, "
        "topic: com.example.app}\n",
    )
    found = problems(tidings)
    assert [each.split(":")[0] for each in found] == [
        "6 connections.shop unreachable",
        "9 providers.apns unreachable",
    ]
    assert "hunter" not in "".join(found)


def test_what_says_nothing_is_given_up_in_time(tidings: Command, flow: Path, here: Path) -> None:
    tidings("topics", "apply", "--sources")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://:hunter2@127.0.0.1:{silent.getsockname()[1]}/0"
        (here / "config" / "tidings.yaml").write_text(
            SETTINGS.replace("sqlite:data/claims.db", address)
        )
        found = problems(tidings, "--timeout", "0.2")
    assert [each.split(":")[0] for each in found] == ["2 claims unreachable"]
    assert "hunter2" not in found[0]


def test_where_payloads_wait_is_asked_with_its_secret(
    tidings: Command, flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidings("topics", "apply", "--sources")
    where = "payloads: {url: 'https://p.example.com', key: env:PAYLOADS_KEY, store: '%s'}\n"
    settings(flow.parent.parent, where % "sqlite:data/payloads.db")
    monkeypatch.delenv("PAYLOADS_KEY", raising=False)
    [lacking] = problems(tidings)
    assert "PAYLOADS_KEY is not set" in lacking

    monkeypatch.setenv("PAYLOADS_KEY", "k" * 32)
    assert problems(tidings) == []

    settings(flow.parent.parent, where % "valkey://127.0.0.1:1/0")
    [away] = problems(tidings)
    assert away.startswith("5 payloads unreachable")
