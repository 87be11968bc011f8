"""What the simulator calls back, read by our own parsers: signed, leading back to its send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.contract.simulated import ADDRESSES, KINDS, Peer, a_send, against, now_ms
from tidings.providers import desks
from tidings.receipts import Receipt, Reference, Reply
from tidings.records import Kind
from tidings.sender import Verdict
from tidings.simulator.credentials import NUMBER

SECOND = 1_000
SERVICE = "MG" + "0" * 32


def read(peer: Peer, kind: str) -> list[Any]:
    """The receipts that our own parsers make of the callbacks, in the order of their coming."""
    desk = desks({kind: peer.settings[kind]})[kind]
    found = []
    for webhook in peer.webhooks():
        for receipt in desk.read(webhook):
            assert isinstance(receipt, Receipt)
            reference = Reference.read(receipt.reference, desk.keys) if receipt.reference else None
            found.append((receipt, reference))
    return found


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "twilio"])
def test_callbacks_are_signed_and_lead_back_to_the_send(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        await peer.send(kind, [a_send(kind, 7)])
        (receipt, reference), (opened, _) = read(peer, kind)
        assert (receipt.kind, opened.kind) == (Kind.DELIVERED, Kind.OPENED)
        assert receipt.address == ADDRESSES[kind].format(7)
        assert (reference.send_id, reference.recipient_id) == (a_send(kind, 7).send_id, "user-7")
        assert reference.origin.offset == 7

    events = [{"event": "opened", "after": "9s"}, {"event": "delivered", "after": "2s"}]
    against(tmp_path, use, receipts=events)


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "in a bulk"])
def test_a_reference_that_takes_several_tags_of_ses_comes_back_whole(
    tmp_path: Path, count: int
) -> None:
    async def use(peer: Peer) -> None:
        sends = [a_send("ses", n, recipient_id="r" * 600) for n in range(count)]
        await peer.send("ses", sends)
        found = [reference for _, reference in read(peer, "ses")]
        assert [(one.recipient_id, one.send_id) for one in found] == [
            ("r" * 600, send.send_id) for send in sends
        ]

    against(tmp_path, use, receipts=[{"event": "delivered"}])


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "twilio"])
def test_what_is_told_twice_happened_once(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        before = now_ms()
        await peer.send(kind, [a_send(kind, 1)])
        receipts = [receipt for receipt, _ in read(peer, kind)]
        assert len(receipts) == 3
        assert len({one.event_id for one in receipts}) == 1
        late = sorted(at - before for at, _ in peer.later)
        assert 2 * SECOND <= late[0] <= late[-1] <= 3_600 * SECOND + 5 * SECOND

    against(tmp_path, use, receipts=[{"event": "delivered", "times": 3, "after": ["2s", "1h"]}])


@pytest.mark.parametrize(
    ("kind", "event", "expected"),
    [
        ("ses", {"event": "bounced"}, {"kind": "bounced", "suppress": "hard_bounce"}),
        (
            "ses",
            {"event": "bounced", "code": "Transient/MailboxFull"},
            {"kind": "bounced", "suppress": "", "again_ms": 3_600_000},
        ),
        ("ses", {"event": "complained"}, {"kind": "complained", "suppress": "complaint"}),
        ("ses", {"event": "failed"}, {"kind": "failed", "alert": True}),
        ("sendgrid", {"event": "bounced"}, {"kind": "bounced", "suppress": "hard_bounce"}),
        (
            "sendgrid",
            {"event": "bounced", "code": "blocked"},
            {"kind": "bounced", "suppress": "", "again_ms": 3_600_000},
        ),
        ("sendgrid", {"event": "complained"}, {"kind": "complained", "suppress": "complaint"}),
        ("sendgrid", {"event": "unsubscribed"}, {"suppress": "unsubscribe"}),
        ("sendgrid", {"event": "failed"}, {"kind": "failed", "suppress": "hard_bounce"}),
        ("twilio", {"event": "failed", "code": "30005"}, {"kind": "failed", "gone": True}),
        ("twilio", {"event": "failed", "code": "30003"}, {"again_ms": 10_800_000, "tries": 2}),
        ("twilio", {"event": "unsubscribed"}, {"kind": "unsubscribed", "suppress": "stop"}),
        (
            "twilio",
            {"event": "unsubscribed", "code": "Quit"},
            {"kind": "unsubscribed", "suppress": "stop", "detail": "QUIT"},
        ),
    ],
)
def test_bad_news_is_what_our_parsers_take_it_for(
    tmp_path: Path, kind: str, event: dict[str, str], expected: dict[str, Any]
) -> None:
    async def use(peer: Peer) -> None:
        await peer.send(kind, [a_send(kind, 1)])
        [(receipt, _)] = read(peer, kind)
        assert {name: getattr(receipt, name) for name in expected} == expected
        assert receipt.address == ADDRESSES[kind].format(1)

    against(tmp_path, use, {"receipts": [event]})


@pytest.mark.parametrize("changes", [{}, {"from": "", "service": SERVICE}])
def test_what_people_text_back_comes_from_their_number_to_the_one_that_wrote_to_them(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    async def use(peer: Peer) -> None:
        callback = {**peer.settings["twilio"]["callback"]}
        callback["url"] += "?tenant=acme"
        await peer.send("twilio", [a_send("twilio", 1)], callback=callback, **changes)
        desk = desks({"twilio": peer.settings["twilio"]})["twilio"]
        hooks = peer.webhooks()
        assert {hook.url for hook in hooks} == {callback["url"]}
        forms = [dict(parse_qsl(hook.body.decode())) for hook in hooks]
        assert {form["To"] for form in forms} == {NUMBER}
        assert {form.get("MessagingServiceSid") for form in forms} == {changes.get("service")}
        found = [reply for hook in hooks for reply in desk.read(hook)]
        assert [(type(one), one.address, one.tenant) for one in found] == 3 * [
            (Reply, "+12025550101", "acme")
        ]
        assert [one.text for one in found if isinstance(one, Reply)] == ["Who?", "Here", "Here"]
        who, first, again = (one.event_id for one in found)
        assert who != first == again, "one text that Twilio told twice"

    events = [
        {"event": "replied", "text": "Here", "after": "9s", "times": 2},
        {"event": "replied", "text": "Who?", "after": "2s"},
    ]
    against(tmp_path, use, receipts=events)


@pytest.mark.parametrize("kind", ["ses", "sendgrid"])
def test_who_brings_no_texts_tells_of_none(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        await peer.one(kind)
        assert peer.webhooks() == []

    against(tmp_path, use, receipts=[{"event": "replied", "text": "Yes"}])


def test_a_mail_to_a_dead_address_is_taken_and_bounces(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        assert (await peer.one("ses")).verdict is Verdict.OK
        [(receipt, _)] = read(peer, "ses")
        assert (receipt.kind, receipt.suppress) == (Kind.BOUNCED, "hard_bounce")

    against(tmp_path, use, {"answer": "inv"}, receipts=[{"event": "delivered"}])


def test_nothing_is_told_of_what_was_not_accepted(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        for kind in KINDS:
            await peer.one(kind)
        assert len(peer.got()) == len(KINDS)
        assert peer.later == []

    against(tmp_path, use, {"answer": "drop"}, receipts=[{"event": "delivered"}])


def test_apple_and_google_tell_nothing(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        for kind in ("apns", "fcm"):
            await peer.one(kind)
        assert peer.webhooks() == []

    against(tmp_path, use, receipts=[{"event": "delivered"}])


def test_a_provider_goes_by_its_name_in_the_settings(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        assert peer.settings["mail"]["kind"] == "ses"
        assert peer.settings["mail"]["callback"]["url"] == "https://hooks.example.com/ses"
        await peer.send("mail", [a_send("ses", 1)])
        [webhook] = peer.webhooks()
        assert (webhook.provider, webhook.url) == ("mail", "https://hooks.example.com/ses")
        assert json.loads(webhook.body)["Type"] == "Notification"

    against(
        tmp_path,
        use,
        names={"ses": "mail"},
        urls={"ses": "https://hooks.example.com/ses"},
        receipts=[{"event": "delivered"}],
    )
