"""The token that Apple knows us by, and the key that signs it."""

from __future__ import annotations

import asyncio
import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pydantic import ValidationError

from tests.contract.apns_desk import (
    MINUTE,
    NOW,
    PEM,
    TOPIC,
    Clock,
    Desk,
    a_send,
    refuses,
    run,
    settings,
)
from tests.contract.push_keys import APNS as KEY
from tests.contract.push_keys import apns_certificate
from tests.peers.h2_server import Exchange
from tidings.operators.senders.apns import Apns
from tidings.operators.senders.push.apns_token import ProviderToken
from tidings.sender import Verdict


def claims(token: str) -> dict[str, Any]:
    return dict(json.loads(_unbase64(token.removeprefix("bearer ").split(".")[1])))


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_token_is_signed_as_the_standard_says() -> None:
    token = ProviderToken(PEM, "KEY", "TEAM").current(NOW)
    header, content, signature = token.split(".")
    assert json.loads(_unbase64(header)) == {"alg": "ES256", "kid": "KEY"}
    assert json.loads(_unbase64(content)) == {"iss": "TEAM", "iat": NOW // 1000 - 20 * 60}
    raw = _unbase64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    KEY.public_key().verify(der, f"{header}.{content}".encode(), ec.ECDSA(hashes.SHA256()))


def test_processes_of_a_team_send_the_same_token() -> None:
    first, second = (ProviderToken(PEM, "KEY", "TEAM") for _ in range(2))
    assert first.current(NOW + 5 * MINUTE) == second.current(NOW + 20 * MINUTE)


def test_a_token_lives_20_to_60_minutes_whenever_the_process_starts() -> None:
    for start in range(NOW, NOW + 20 * MINUTE, MINUTE):
        token = ProviderToken(PEM, "KEY", "TEAM")
        changes: list[int] = []
        current = ""
        for now in range(start, start + 300 * MINUTE, MINUTE):
            if token.current(now) != current:
                current = token.current(now)
                changes.append(now)
            assert MINUTE <= now - claims(current)["iat"] * 1000 < 60 * MINUTE
        gaps = [after - before for before, after in pairwise(changes)]
        assert min(gaps) >= 20 * MINUTE


def test_all_connections_and_sends_share_a_token_until_it_is_time(tmp_path: Path) -> None:
    clock = Clock()

    async def test(desk: Desk) -> None:
        for minutes in (0, 10, 24, 26, 40):
            clock.at = NOW + minutes * MINUTE
            await desk.send(*(a_send(minutes * 100 + n) for n in range(5)))
        tokens = [exchange.headers["authorization"] for exchange in desk.server.exchanges]
        assert tokens == [tokens[0]] * 15 + [tokens[15]] * 10
        assert tokens[0] != tokens[15]

    run(tmp_path, test, clock=clock, connections=2)


def test_an_expired_token_is_signed_anew_and_its_sends_made_once_more(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange.headers["authorization"])
        if exchange.headers["authorization"] == seen[0]:
            refuses(403, "ExpiredProviderToken")(exchange)
        else:
            exchange.respond()

    async def test(desk: Desk) -> None:
        answers = await desk.send(*(a_send(number) for number in range(10)))
        assert {answer.verdict for answer in answers} == {Verdict.OK}
        first, second = (claims(token)["iat"] for token in sorted(set(seen), key=seen.index))
        assert (first, second) == (NOW // 1000 - 20 * 60, NOW // 1000)
        paths = [exchange.headers["apns-id"] for exchange in desk.server.exchanges]
        assert len(paths) - len(set(paths)) <= 10

    run(tmp_path, test, answer, wait="20s")


def test_a_token_that_expires_as_soon_as_it_is_signed_is_a_matter_for_people(
    tmp_path: Path,
) -> None:
    async def test(desk: Desk) -> None:
        answers = await desk.send(a_send(1), a_send(2))
        assert {answer.verdict for answer in answers} == {Verdict.CFG}
        assert {answer.detail for answer in answers} == {
            "signed anew and expired all the same: is this machine's clock right?"
        }
        tokens = {exchange.headers["authorization"] for exchange in desk.server.exchanges}
        assert len(tokens) == 2

    run(tmp_path, test, refuses(403, "ExpiredProviderToken"), wait="20s")


def test_too_many_tokens_keep_the_old_one_and_rest_the_connection(tmp_path: Path) -> None:
    clock = Clock()
    tokens: list[str] = []

    def answer(exchange: Exchange) -> None:
        token = exchange.headers["authorization"]
        if tokens and token not in tokens and len(tokens) == 1:
            tokens.append(token)
            refuses(429, "TooManyProviderTokenUpdates")(exchange)
            return
        tokens.append(token)
        exchange.respond()

    async def test(desk: Desk) -> None:
        await desk.send(a_send(1))
        clock.at = NOW + 26 * MINUTE
        [refused] = await desk.send(a_send(2))
        assert (refused.verdict, refused.limited) == (Verdict.RETRY, True)
        assert refused.retry_after_ms == 60_000
        [resting] = await desk.send(a_send(3))
        assert (resting.verdict, resting.code) == (Verdict.RETRY, "NotSent")

    run(tmp_path, test, answer, clock=clock, wait="100ms")
    token = ProviderToken(PEM, "KEY", "TEAM")
    old = token.current(NOW)
    new = token.current(NOW + 26 * MINUTE)
    token.keep_old(new, NOW + 26 * MINUTE)
    assert token.current(NOW + 27 * MINUTE) == old
    assert token.current(NOW + 37 * MINUTE) == old
    assert token.current(NOW + 38 * MINUTE) != old  # it would expire


def test_before_the_token_is_accepted_there_is_one_stream(tmp_path: Path) -> None:
    at_once: list[int] = []

    def answer(exchange: Exchange) -> None:
        open_streams = exchange.peer.h2.open_inbound_streams
        at_once.append(open_streams)
        exchange.respond()

    async def test(desk: Desk) -> None:
        await desk.send(*(a_send(number) for number in range(100)))
        assert at_once[0] == 1
        assert len(at_once) == 100

    run(tmp_path, test, answer, wait="20s")


# ── secrets and settings ──────────────────────────────────────────────────────────────────────


def test_the_key_shows_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APNS_KEY", PEM)
    made = settings(tmp_path, key="env:APNS_KEY")
    secret = PEM.splitlines()[1][:20]
    sender = Apns(made, Clock())
    asyncio.run(_open(sender))
    shown = f"{made!r} {made} {made.model_dump_json()} {sender!r} {sender.__dict__!r}"
    assert "env:APNS_KEY" in shown
    assert secret not in shown


async def _open(sender: Apns) -> None:
    await sender.open(asyncio.get_running_loop())
    await sender.close()


def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a secret is named here, not written") as caught:
        settings(tmp_path, key=PEM)
    assert PEM.splitlines()[1][:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("env:NO_SUCH_VARIABLE", "the environment variable NO_SUCH_VARIABLE is not set"),
        ("file:/no/such/file", "can't read the secret in /no/such/file: No such file"),
    ],
)
def test_a_key_that_is_not_there_is_named(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asyncio.run(_open(Apns(settings(tmp_path, key=key), Clock())))


@pytest.mark.parametrize(
    "pem",
    [
        "not a key",
        ec.generate_private_key(ec.SECP384R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode(),
        KEY.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    ],
    ids=["text", "another curve", "a public key"],
)
def test_a_key_of_another_kind_is_refused_with_a_hint(pem: str) -> None:
    with pytest.raises(ValueError, match=r"take the \.p8 file as Apple gave it"):
        ProviderToken(pem, "KEY", "TEAM")


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't use the CA file"):
        asyncio.run(_open(Apns(settings(tmp_path, ca=tmp_path / "none.pem"), Clock())))


# ── a certificate in its place ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"push_type": "mdm"}, "MDM goes by `certificate`: Apple takes no key for it"),
        ({"key": None}, "`key`, `key_id` and `team_id` go together"),
        ({"team_id": ""}, "`key`, `key_id` and `team_id` go together"),
        ({"certificate": "push.pem", "key_id": "A"}, "give either `key` or `certificate`"),
        ({"certificate": "push.pem", "push_type": "liveactivity"}, "goes by `key`"),
        ({"certificate": "push.pem", "push_type": "location"}, "goes by `key`"),
    ],
)
def test_a_key_or_a_certificate_as_apple_takes_it(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(tmp_path, **changes)


def test_a_certificate_that_can_not_be_used_is_named_and_asks_nobody_for_a_password(
    tmp_path: Path,
) -> None:
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        apns_certificate(tmp_path, TOPIC).read_bytes().partition(b"-----BEGIN PRIVATE")[0]
        + KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for file in (tmp_path / "none.pem", locked):
        with pytest.raises(ValueError, match=rf"can't use the certificate .*{file.name}.*PEM"):
            asyncio.run(_open(Apns(settings(tmp_path, certificate=file), Clock())))
