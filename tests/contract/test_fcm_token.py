"""Whom Google knows us as: a service account's key by the official library, and what is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import jwt
from pydantic import ValidationError

from tests.contract.push_keys import (
    TokenServer,
    google_key,
    pem_of,
    public_pem_of,
    service_account,
    token_server,
)
from tidings.operators.senders.fcm import Fcm, Settings
from tidings.operators.senders.push.fcm_token import Away, Refused, account
from tidings.secret import Secret
from tidings.services.process import free_port
from tidings.stores.clock import SystemClock


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


def key_in(folder: Path, uri: str, **changes: Any) -> Secret:
    return Secret(f"file:{service_account(folder, uri, **changes)}")


def test_a_service_account_signs_what_it_asks_for(tmp_path: Path, tokens: TokenServer) -> None:
    project, ask = account(key_in(tmp_path, tokens.uri))
    assert project == "example-app"
    before = time.time()
    token = ask()
    assert token.value == "token-1"
    assert 3_590 < token.ends_at / 1000 - before < 3_610
    [asked] = tokens.asked
    claims = jwt.decode(asked["assertion"], certs=public_pem_of(google_key()))  # type: ignore[no-untyped-call]
    assert claims["iss"] == "push@example-app.iam.gserviceaccount.com"
    assert "https://www.googleapis.com/auth/cloud-platform" in claims["scope"].split()


def test_a_persons_own_credentials_name_no_project(tmp_path: Path, tokens: TokenServer) -> None:
    file = tmp_path / "person.json"
    person = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
    file.write_text(json.dumps({**person, "refresh_token": "r", "token_uri": tokens.uri}))
    project, _ = account(Secret(f"file:{file}"))
    assert project == "", "it is said in the settings then"


def test_application_default_credentials_are_taken_from_the_surroundings(
    tmp_path: Path, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = service_account(tmp_path, tokens.uri)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    project, ask = account(None)
    assert (project, ask().value) == ("example-app", "token-1")


def test_without_any_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ValueError, match="there are no Application Default credentials here"):
        account(None)


def test_an_account_that_is_closed_is_refused(tmp_path: Path, tokens: TokenServer) -> None:
    tokens.answers = [(400, {"error": "invalid_grant", "error_description": "no such account"})]
    with pytest.raises(Refused, match="invalid_grant: no such account"):
        account(key_in(tmp_path, tokens.uri)).ask()


def test_google_that_is_not_there_is_away(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}/token"
    with pytest.raises(Away, match="Max retries exceeded"):
        account(key_in(tmp_path, uri)).ask()


# ── what is no key ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    ["not JSON", "[]", "{}", '{"type":"service_account"}', '{"type":"external"}'],
)
def test_a_key_that_is_none_is_refused_with_a_hint_and_not_repeated(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="take the JSON file as the Firebase console gave it"):
        account(Secret(f"file:{file}"))


def test_a_private_key_that_is_broken_shows_nowhere(tmp_path: Path) -> None:
    secret = pem_of(google_key()).splitlines()[1]
    broken = f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ValueError, match="not a service account's key") as caught:
        account(key_in(tmp_path, "http://127.0.0.1/token", private_key=broken))
    assert secret[:20] not in str(caught.value)
    assert caught.value.__cause__ is None


def opened(settings: Settings) -> Fcm:
    """A sender, opened and closed again."""

    async def whole() -> Fcm:
        sender = Fcm(settings, SystemClock())
        try:
            await sender.open(asyncio.get_running_loop())
        finally:
            await sender.close()
        return sender

    return asyncio.run(whole())


def test_the_key_and_its_tokens_show_nowhere(tmp_path: Path, tokens: TokenServer) -> None:
    place = {"host": "127.0.0.1", "port": free_port()}
    settings = Settings(key=key_in(tmp_path, tokens.uri), **place)
    sender = opened(settings)
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {sender!r} {sender.__dict__!r}"
    assert "service-account.json" in shown
    assert "token-1" not in shown
    assert pem_of(google_key()).splitlines()[1][:20] not in shown


def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = service_account(tmp_path, "http://127.0.0.1/token").read_text()
    with pytest.raises(ValidationError, match="a secret is named here, not written") as caught:
        Settings(key=text)
    assert pem_of(google_key()).splitlines()[1][:20] not in str(caught.value)


def test_a_project_is_needed(tmp_path: Path, tokens: TokenServer) -> None:
    key = key_in(tmp_path, tokens.uri, project_id=None)
    with pytest.raises(ValueError, match="these credentials name none, set `project`"):
        opened(Settings(key=key))


def test_a_ca_file_that_is_none_is_named(tmp_path: Path, tokens: TokenServer) -> None:
    key = key_in(tmp_path, tokens.uri)
    with pytest.raises(ValueError, match="can't use the CA file"):
        opened(Settings(key=key, ca=tmp_path / "none.pem"))
