"""The sender of APNs against peers that we did not write: nginx, and Pushy's mock of Apple."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.contract.apns_desk import (
    MINUTE,
    TOPIC,
    Clock,
    Desk,
    a_send,
    of_size,
    settings,
)
from tests.contract.push_keys import APNS as KEY
from tests.contract.push_keys import apns_certificate
from tests.peers.pushy.peer import Pushy
from tidings.operators.senders import apns
from tidings.operators.senders.apns import Apns
from tidings.operators.senders.push.apns_message import RULES, PushType, topic
from tidings.operators.senders.push.apns_token import ProviderToken
from tidings.ports import Address
from tidings.sender import Answer, Content, Send, Verdict
from tidings.services.nginx import Nginx
from tidings.services.process import ServiceError


def test_nginx_gets_every_send(tmp_path: Path, start_nginx: Callable[..., Nginx]) -> None:
    nginx = start_nginx(
        """
        location /3/device/ { return 200; }
        location /3/device/dead { return 410 '{"reason":"Unregistered","timestamp":1700000}'; }
        """
    )

    async def whole() -> list[Answer]:
        given = settings(tmp_path, port=nginx.port, ca=nginx.certificate.certificate, wait="20s")
        sender = Apns(given, Clock())
        await sender.open(asyncio.get_running_loop())
        dead = Address(kind="device", value="dead")
        sends = [a_send(n, address=dead if n % 100 == 7 else None) for n in range(3_000)]
        answers = await Desk(sender).send(*sends)
        await sender.close()
        return answers

    verdicts = [answer.verdict for answer in asyncio.run(whole())]
    assert verdicts == [Verdict.INV if n % 100 == 7 else Verdict.OK for n in range(3_000)]


class DerToken(ProviderToken):
    """Pushy wants the signature in DER, where the standard and Apple want it raw."""

    def _signature(self, data: bytes) -> bytes:
        raw = super()._signature(data)
        return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


class SystemClock:
    """Pushy goes by the time of day."""

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset

    def now(self) -> int:
        return int(time.time() * 1000) + self._offset


DEVICES = [f"{number:064x}" for number in range(20)]
EXPIRED = f"{99:064x}"


MDM = "com.apple.mgmt.External.462ad9c3"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apns_certificate(tmp_path_factory.mktemp("mdm"), MDM)


@pytest.fixture(scope="module")
def pushy(certificate: Path) -> Iterator[Pushy]:
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    server = Pushy(
        public.decode(),
        key_id="KEY1234567",
        team_id="TEAM123456",
        topics=[TOPIC, MDM, *(topic(TOPIC, one) for one in RULES)],
        devices=DEVICES,
        expired=[EXPIRED],
        client=certificate,
    )
    try:
        with server:
            yield server
    except ServiceError as error:
        pytest.fail(str(error), pytrace=False)


def ask_pushy(
    pushy: Pushy,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    sends: Sequence[Send],
    *,
    clock: Any = None,
    **changes: Any,
) -> list[Answer]:
    monkeypatch.setattr(apns, "ProviderToken", DerToken)

    async def whole() -> list[Answer]:
        given = settings(
            folder, port=pushy.port, ca=pushy.certificate.certificate, wait="20s", **changes
        )
        sender = Apns(given, clock or SystemClock())
        await sender.open(asyncio.get_running_loop())
        answers = await Desk(sender).send(*sends)
        await sender.close()
        return answers

    return asyncio.run(whole())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"key_id": "OTHER12345"}, "it answers InvalidProviderToken"),
    ],
)
def test_pushys_apns_tells_whether_it_accepts_us(
    pushy: Pushy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    said: str,
) -> None:
    """It looks at the device before the key, unlike Apple: so it knows this one."""
    monkeypatch.setattr(apns, "ProviderToken", DerToken)

    async def proved() -> str:
        given = settings(
            tmp_path, port=pushy.port, ca=pushy.certificate.certificate, wait="20s", **changes
        )
        sender = Apns(given, SystemClock())
        await sender.open(asyncio.get_running_loop())
        try:
            await sender.prove()
        except ValueError as error:
            return str(error)
        finally:
            await sender.close()
        return ""

    assert DEVICES[0] == "0" * 64
    told = asyncio.run(proved())
    assert told.startswith(said) if said else told == ""


def to(device: str, number: int = 1, **changes: Any) -> Send:
    return a_send(number, address=Address(kind="device", value=device), **changes)


def test_pushys_apns_accepts_what_we_send(
    pushy: Pushy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = [
        to(device, number, expires_at=1_900_000_000_000, collapse_key="k" * 64, priority="low")
        for number, device in enumerate(DEVICES)
    ]
    address = Address(kind="device", value=DEVICES[0])
    sends.append(of_size(4_096, send_id=f"{900:032x}", address=address))
    sends.append(to(DEVICES[1], 901, content=Content(parts={})))
    answers = ask_pushy(pushy, tmp_path, monkeypatch, sends)
    assert {answer.verdict for answer in answers} == {Verdict.OK}
    accepted = pushy.accepted()
    assert accepted.keys() == {answer.provider_id for answer in answers}
    seventh = accepted[answers[7].provider_id]
    assert json.loads(seventh.pop("payload"))["aps"]["alert"]["title"] == "Hello"
    assert seventh.pop("authorization").startswith("bearer ey")
    assert seventh == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": f"127.0.0.1:{pushy.port}",
        ":path": f"/3/device/{DEVICES[7]}",
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "5",
        "apns-id": "00000000-0000-0000-0000-000000000007",
        "apns-expiration": "1900000000",
        "apns-collapse-id": "k" * 64,
    }
    assert accepted[answers[-1].provider_id]["apns-push-type"] == "background"


@pytest.mark.parametrize("push_type", sorted(RULES.keys() - {"widgets", "controls", "mdm"}))
def test_pushys_apns_accepts_every_type_that_it_knows(
    pushy: Pushy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, push_type: PushType
) -> None:
    content = Content(parts={"title": "Hi"})
    number = 800 + sorted(RULES).index(push_type)
    send = to(DEVICES[3], number, content=content, expires_at=1_900_000_000_000)
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [send], push_type=push_type)
    assert answer.verdict is Verdict.OK
    accepted = pushy.accepted()[answer.provider_id]
    assert accepted["apns-push-type"] == push_type
    assert accepted["apns-topic"] == topic(TOPIC, push_type)


def test_pushys_apns_takes_an_mdm_push_by_certificate_for_its_own_topic_alone(
    pushy: Pushy, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"certificate": certificate, "push_type": "mdm"}
    send = to(DEVICES[3], 300, content=Content(parts={}, data={"mdm": "magic"}))
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [send], topic=MDM, **given)
    assert answer.verdict is Verdict.OK
    accepted = pushy.accepted()[answer.provider_id]
    assert (accepted["apns-topic"], accepted["apns-push-type"]) == (MDM, "mdm")
    assert json.loads(accepted["payload"]) == {"mdm": "magic"}
    assert "authorization" not in accepted
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [send], topic=TOPIC, **given)
    assert (answer.verdict, answer.code) == (Verdict.CFG, "BadTopic")


@pytest.mark.parametrize(
    ("send", "changes", "verdict", "code"),
    [
        (to(EXPIRED), {}, Verdict.INV, "Unregistered"),
        (to("ff" * 32), {}, Verdict.INV, "DeviceTokenNotForTopic"),
        (to("nothexadecimal"), {}, Verdict.INV, "BadDeviceToken"),
        (to(DEVICES[0]), {"key_id": "UNKNOWN"}, Verdict.CFG, "InvalidProviderToken"),
        (to(DEVICES[0]), {"topic": "com.other"}, Verdict.INV, "DeviceTokenNotForTopic"),
    ],
    ids=["dead", "another app's", "no token", "unknown key", "another topic"],
)
def test_pushys_apns_refuses_and_we_understand(
    pushy: Pushy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    send: Send,
    changes: dict[str, str],
    verdict: Verdict,
    code: str,
) -> None:
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [send], **changes)
    assert (answer.verdict, answer.code) == (verdict, code)
    if code == "Unregistered":
        assert answer.since == 1_700_000_000_000


def test_pushys_apns_finds_our_token_expired_when_our_clock_is_slow(
    pushy: Pushy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SystemClock(-50 * MINUTE)  # signed 51 to 71 minutes ago: anew, 50 minutes ago
    answers = ask_pushy(pushy, tmp_path, monkeypatch, [to(DEVICES[0])], clock=slow)
    assert [answer.verdict for answer in answers] == [Verdict.OK]
    very_slow = SystemClock(-120 * MINUTE)
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [to(DEVICES[0])], clock=very_slow)
    assert (answer.verdict, answer.code) == (Verdict.CFG, "ExpiredProviderToken")
    assert "clock" in answer.detail
