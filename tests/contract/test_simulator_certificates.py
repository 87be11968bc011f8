"""Our APNs sender by certificate against the simulator, which asks for one and looks at it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.contract.push_keys import apns_certificate, apns_key
from tests.contract.simulated import Peer, a_send, against
from tidings.sender import Answer, Content, Verdict
from tidings.simulator.authority import Authority
from tidings.simulator.credentials import APP, KEY_ID, MDM, TEAM_ID

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
A_KEY = {"key_id": KEY_ID, "team_id": TEAM_ID}


async def push(peer: Peer, name: str, *, without: str = "", **changes: Any) -> Answer:
    """What one push is answered by the provider of that name, with other settings."""
    given = {key: value for key, value in peer.settings[name].items() if key != without}
    peer.settings["it"] = given
    send = a_send("apns", 1)
    send.content = Content(parts={"title": "Hello", "body": "There"}, data={"mdm": "magic"})
    answers = await peer.send("it", [send], **changes)
    return answers[send.send_id][0]


def test_an_app_that_shows_its_certificate_is_let_in_and_kept_by_its_topic(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        answer = await push(peer, "apns")
        assert answer.verdict is Verdict.OK
        [got] = peer.got()
        assert (got.client, got.accepted, got.parts) == (
            "com.example.app",
            True,
            {"title": "Hello", "body": "There"},
        )

    against(tmp_path, use, apple_by="certificate")


@pytest.mark.parametrize("apple_by", ["key", "certificate"])
def test_mdm_goes_by_its_own_certificate_however_apps_do(tmp_path: Path, apple_by: str) -> None:
    async def use(peer: Peer) -> None:
        folder = Path(peer.settings["apns"]["ca"]).parent
        mdm = {"certificate": f"{folder}/mdm.pem", "topic": MDM, "push_type": "mdm"}
        here = {name: peer.settings["apns"][name] for name in ("host", "port", "ca")}
        peer.settings["mdm"] = {"kind": "apns", **mdm, **here}
        answer = await push(peer, "mdm")
        assert answer.verdict is Verdict.OK
        [got] = peer.got()
        assert (got.client, got.accepted, got.parts) == (MDM, True, {})

    against(tmp_path, use, apple_by=apple_by)


def test_the_settings_that_are_told_name_both_certificates(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        apns, mdm = peer.settings["apns"], peer.settings["mdm"]
        assert "key" not in apns
        assert (Path(apns["certificate"]).name, apns["topic"]) == ("push.pem", APP)
        assert (Path(mdm["certificate"]).name, mdm["topic"]) == ("mdm.pem", MDM)
        assert (await push(peer, "mdm")).verdict is Verdict.OK

    against(tmp_path, use, apple_by="certificate")


def test_who_shows_a_token_alone_is_refused_where_a_certificate_is_asked_for(
    tmp_path: Path,
) -> None:
    async def use(peer: Peer) -> None:
        key = f"file:{apns_key(tmp_path)}"
        answer = await push(peer, "apns", without="certificate", key=key, **A_KEY)
        assert (answer.verdict, answer.code) == (Verdict.CFG, "BadCertificate")
        [got] = peer.got()
        assert (got.client, got.accepted, got.status) == ("", False, 403)

    against(tmp_path, use, apple_by="certificate")


def test_a_certificate_that_the_authority_has_not_signed_gets_no_connection(
    tmp_path: Path,
) -> None:
    async def use(peer: Peer) -> None:
        forged = str(apns_certificate(tmp_path, APP))
        answer = await push(peer, "apns", certificate=forged, wait="300ms")
        assert (answer.verdict, answer.code) == (Verdict.RETRY, "NotSent")
        assert peer.got() == []

    against(tmp_path, use, apple_by="certificate")


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        ("apns", {"topic": "com.example.other"}, "TopicDisallowed"),
        ("apns", {"topic": "com.example.appendix"}, "TopicDisallowed"),
        ("apns", {"push_type": "voip"}, ""),
        ("apns", {"push_type": "mdm"}, "TopicDisallowed"),
        ("mdm", {"push_type": "alert"}, "TopicDisallowed"),
    ],
    ids=["another app", "a longer name", "a type of the app", "an app's for MDM", "MDM's for apps"],
)
def test_a_certificate_is_for_its_own_topics_alone(
    tmp_path: Path, name: str, changes: dict[str, str], code: str
) -> None:
    async def use(peer: Peer) -> None:
        answer = await push(peer, name, **changes)
        assert (answer.verdict, answer.code) == (Verdict.CFG if code else Verdict.OK, code)

    against(tmp_path, use, apple_by="certificate")


def test_certificates_are_kept_and_made_anew_before_they_end(tmp_path: Path) -> None:
    def ends(file: Path) -> datetime.datetime:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc

    topics = {"push.pem": APP}
    first = Authority(tmp_path, topics, NOW).clients["push.pem"].read_bytes()
    later = Authority(tmp_path, topics, NOW + datetime.timedelta(days=28))
    assert later.clients["push.pem"].read_bytes() == first
    last = Authority(tmp_path, topics, NOW + datetime.timedelta(days=29, hours=1))
    assert last.clients["push.pem"].read_bytes() != first
    assert ends(last.certificate) == ends(last.clients["push.pem"])
    assert last.clients["push.pem"].stat().st_mode & 0o077 == 0
