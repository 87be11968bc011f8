"""`tidings check --connect`: what does not answer is told by its name in the settings."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.peers.provider import Provider, Say
from tests.unit.cli.command import Command
from tidings.services.certificate import self_signed
from tidings.services.process import free_port

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
    (here / "people" / "people.jsonl").touch()
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
        "1 log missing-topic: 4 topics are missing in the log: `deliveries.push.normal`, "
        "`notif_dlq.flow`, `notif_events` and `shop.events`"
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


def test_what_has_answered_is_told(tidings: Command, flow: Path, here: Path) -> None:
    tidings("topics", "apply", "--sources")
    settings(here, "providers: {box: {kind: sandbox}}\n")
    assert tidings("check", "--connect").out == (
        "answered: log, people, suppressions, claims, providers.box\n1 file: no problems\n"
    )


def test_people_that_are_nowhere_are_told(tidings: Command, flow: Path, here: Path) -> None:
    (here / "people" / "people.jsonl").unlink()
    tidings("topics", "apply", "--sources")
    assert problems(tidings) == [
        "3 people unreachable: `people`: there is no people/people.jsonl: nobody could be reached"
    ]


def hints(tidings: Command) -> dict[str, str | None]:
    said = json.loads(tidings("check", "--connect", "--format", "json").out)
    return {one["path"]: one.get("hint") for one in said["problems"]}


def test_what_is_likely_to_help_is_told(
    tidings: Command, flow: Path, here: Path, tmp_path: Path
) -> None:
    tidings("topics", "apply", "--sources")
    (here / "key").write_text("SG.key")
    mail = "kind: sendgrid, key: 'file:key', sender: hello@example.com"
    tls = self_signed(tmp_path, now=datetime.now(UTC), life=timedelta(days=1))
    with (
        Provider(lambda got: Say(401, b'{"errors": [{"message": "revoked"}]}')) as refuses,
        Provider(lambda got: Say(200), tls=tls) as unknown,
    ):
        settings(
            here,
            f"providers:\n"
            f"  refused: {{{mail}, endpoint: '{refuses.url}'}}\n"
            f"  unknown: {{{mail}, endpoint: '{unknown.url}'}}\n"
            f"  nothing: {{{mail}, endpoint: 'http://127.0.0.1:{free_port()}'}}\n",
        )
        found = hints(tidings)
    assert found["providers.refused"] == (
        "compare `key` with what the provider shows you of this account"
    )
    assert "`ca` names a PEM file" in str(found["providers.unknown"])
    assert "is the port right?" in str(found["providers.nothing"])
