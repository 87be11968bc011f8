"""Twilio's senders against Prism with Twilio's published description, and a provider of ours."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from tests.peers.prism.peer import Prism
from tests.peers.provider import Got, Provider, Say
from tidings.operators.senders import twilio, twilio_voice
from tidings.operators.senders.text.twilio_api import classify
from tidings.ports import Address
from tidings.receipts import Reference
from tidings.records import Delivery, Origin
from tidings.registry import senders
from tidings.sender import Answer, Content, Send, Sender, Verdict
from tidings.services.process import free_port

NOW = 1_800_000_000_000
ACCOUNT = "AC" + "0123456789abcdef" * 2
SERVICE = "MG" + "0123456789abcdef" * 2
KEY = "k" * 32
CREATED = Say(201, json.dumps({"sid": "SM" + "1" * 32, "num_segments": "1"}).encode())


class Clock:
    def now(self) -> int:
        return NOW


def given(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    (folder / "token").write_text("secret\n")
    (folder / "key").write_text(KEY)
    fields = {"account": ACCOUNT, "auth_token": f"file:{folder}/token", "url": url}
    return {**fields, **changes}


def messages(folder: Path, url: str, **changes: Any) -> twilio.Twilio:
    fields = {"service": SERVICE, **changes}
    return twilio.Twilio(twilio.Settings(**given(folder, url, **fields)), Clock())


def calls(folder: Path, url: str, **changes: Any) -> twilio_voice.TwilioVoice:
    fields = {"from": "+15005550006", **changes}
    return twilio_voice.TwilioVoice(twilio_voice.Settings(**given(folder, url, **fields)), Clock())


def a_send(number: str = "+12025550100", body: str = "481516 is your code", **more: Any) -> Send:
    locale = more.pop("locale", "en")
    fields: dict[str, Any] = {
        "send_id": "5f0c1d2e3b4a59687766554433221100",
        "channel": "sms",
        "address": Address(kind="phone", value=number),
        "content": Content(parts={"body": body}, locale=locale),
        "tenant": "default",
        "category": "codes",
        "priority": "high",
        "attempt": 1,
        "now": NOW,
    }
    return Send(**(fields | more))


def of_a_delivery() -> dict[str, Any]:
    """What the lane says of where a send comes from."""
    delivery = Delivery(
        notif_id="n-1",
        recipient_id="ana",
        flow="otp",
        step="otp.deliver",
        version="v1",
        channel="sms",
        template="otp_code",
        category="codes",
        created_at=NOW,
        origin=Origin("otp.events", 0, 1),
    )
    return {"delivery": delivery, "origin": Origin("deliveries.sms.high", 3, 42)}


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def answers(sender: Sender, sends: Sequence[Send]) -> list[Answer]:
    async def run() -> list[Answer]:
        got: list[Answer | None] = [None] * len(sends)
        everything = asyncio.Event()

        def done(send: Send, answer: Answer) -> None:
            place = next(n for n, each in enumerate(sends) if each is send)
            assert got[place] is None, "answered twice"
            got[place] = answer
            if None not in got:
                everything.set()

        await sender.open(asyncio.get_running_loop())
        sender.send(sends, done)
        await asyncio.wait_for(everything.wait(), 20)
        await sender.close()
        return [answer for answer in got if answer is not None]

    return asyncio.run(run())


# ── Against what Twilio publishes ─────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def prism() -> Iterator[Prism]:
    with Prism() as server:
        yield server


@pytest.mark.timeout(400)  # the first run fetches it
def test_a_message_is_as_twilio_describes_it(prism: Prism, tmp_path: Path) -> None:
    callback = {"url": "https://notify.example.com/twilio", "key": f"file:{tmp_path}/key"}
    sender = messages(tmp_path, prism.url, callback=callback, shorten_links=True)
    send = a_send(expires_at=NOW + 120_000, **of_a_delivery())
    [answer] = answers(sender, [send])
    assert answer.verdict is Verdict.OK
    assert answer.segments == 1


@pytest.mark.timeout(400)
def test_a_call_is_as_twilio_describes_it(prism: Prism, tmp_path: Path) -> None:
    callback = {"url": "https://notify.example.com/twilio", "key": f"file:{tmp_path}/key"}
    sender = calls(tmp_path, prism.url, callback=callback, voice="Polly.Joanna")
    [answer] = answers(sender, [a_send(**of_a_delivery())])
    assert answer.verdict is Verdict.OK


@pytest.mark.timeout(400)
def test_the_account_is_read_as_twilio_describes_it(prism: Prism, tmp_path: Path) -> None:
    async def proved() -> None:
        sender = messages(tmp_path, prism.url)
        await sender.open(asyncio.get_running_loop())
        await sender.prove()
        await sender.close()

    asyncio.run(proved())


def test_prism_refuses_what_twilio_does_not_describe(prism: Prism, tmp_path: Path) -> None:
    sender = messages(tmp_path, prism.url)
    sender._same["ValidityPeriod"] = "soon"
    [answer] = answers(sender, [a_send()])
    assert answer.verdict is Verdict.DROP
    assert answer.code == "422"


# ── What goes out ─────────────────────────────────────────────────────────────────────────────


def test_a_message_says_who_what_until_when_and_where_its_receipts_go(tmp_path: Path) -> None:
    callback = {"url": "https://notify.example.com/twilio?tenant=a", "key": f"file:{tmp_path}/key"}
    with Provider(lambda got: CREATED) as provider:
        sender = messages(tmp_path, provider.url, callback=callback, prices={"+1": 0.0079})
        send = a_send(expires_at=NOW + 119_001, **of_a_delivery())
        [answer] = answers(sender, [send])
    [got] = provider.got
    form = got.form
    where = form.pop("StatusCallback")
    assert form == {
        "To": "+12025550100",
        "Body": "481516 is your code",
        "MessagingServiceSid": SERVICE,
        "ValidityPeriod": "120",
    }
    assert got.path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert (
        got.headers["authorization"] == "Basic " + b64encode(f"{ACCOUNT}:secret".encode()).decode()
    )
    query = parse_qs(urlsplit(where).query)
    assert query["tenant"] == ["a"]
    assert Reference.read(query["ref"][0], [KEY.encode()]) == Reference(
        "default", "ana", send.send_id, "n-1", "otp", "sms", "codes", "",
        Origin("deliveries.sms.high", 3, 42),
    )  # fmt: skip
    assert answer == Answer(verdict=Verdict.OK, provider_id="SM" + "1" * 32, segments=1, cost=7_900)


def test_validity_stays_within_what_twilio_takes(tmp_path: Path) -> None:
    with Provider(lambda got: CREATED) as provider:
        days = a_send(expires_at=NOW + 3 * 86_400_000)
        over = a_send(expires_at=NOW - 1)
        answers(messages(tmp_path, provider.url), [days, over, a_send()])
    assert [got.form.get("ValidityPeriod") for got in provider.got].count("36000") == 1
    assert [got.form.get("ValidityPeriod") for got in provider.got].count("1") == 1
    assert [got.form.get("ValidityPeriod") for got in provider.got].count(None) == 1


def test_links_are_shortened_where_that_is_wished_and_only_there(tmp_path: Path) -> None:
    with Provider(lambda got: CREATED) as provider:
        for shorten in (True, False):
            answers(messages(tmp_path, provider.url, shorten_links=shorten), [a_send()])
    assert [got.form.get("ShortenUrls") for got in provider.got] == ["true", None]


@pytest.mark.parametrize(
    ("counted", "segments", "cost"), [("3", 3, 23_700), ("0", 1, 7_900), ("", 1, 7_900)]
)
def test_twilios_own_count_of_segments_is_what_is_paid_where_it_has_one(
    tmp_path: Path, counted: str, segments: int, cost: int
) -> None:
    created = Say(201, json.dumps({"sid": "SM1", "num_segments": counted}).encode())
    with Provider(lambda got: created) as provider:
        sender = messages(tmp_path, provider.url, prices={"+1": 0.0079})
        [answer] = answers(sender, [a_send()])
    assert (answer.segments, answer.cost) == (segments, cost)


def test_a_calls_receipts_go_where_a_messages_do(tmp_path: Path) -> None:
    callback = {"url": "https://notify.example.com/twilio", "key": f"file:{tmp_path}/key"}
    with Provider(lambda got: CREATED) as provider:
        answers(calls(tmp_path, provider.url, callback=callback), [a_send(**of_a_delivery())])
    where = urlsplit(provider.got[0].form["StatusCallback"])
    assert (where.hostname, where.path) == ("notify.example.com", "/twilio")
    reference = Reference.read(parse_qs(where.query)["ref"][0], [KEY.encode()])
    assert (reference.recipient_id, reference.flow) == ("ana", "otp")


def test_a_call_that_says_more_than_twilio_takes_is_not_made(tmp_path: Path) -> None:
    with Provider(lambda got: CREATED) as provider:
        [answer] = answers(calls(tmp_path, provider.url), [a_send(body="word " * 500)])
    assert (answer.verdict, answer.code) == (Verdict.DROP, "TextTooLong")
    assert answer.detail.endswith("characters of TwiML; Twilio takes 4000")
    assert provider.got == []


def test_a_key_of_the_api_takes_the_place_of_the_auth_token(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("other")
    key = "SK" + "f" * 32
    with Provider(lambda got: CREATED) as provider:
        fields = {"api_key": key, "api_secret": f"file:{tmp_path}/api", "auth_token": None}
        answers(messages(tmp_path, provider.url, **fields), [a_send()])
    assert provider.got[0].headers["authorization"] == basic(key, "other")


def test_a_call_spells_codes_says_all_twice_and_speaks_the_language(tmp_path: Path) -> None:
    with Provider(lambda got: CREATED) as provider:
        send = a_send(body="481516 es tu clave & vale 10 minutos", locale="es-AR")
        [answer] = answers(calls(tmp_path, provider.url, cost=0.02), [send])
    assert provider.got[0].form == {
        "To": "+12025550100",
        "From": "+15005550006",
        "Timeout": "30",
        "Twiml": '<?xml version="1.0" encoding="UTF-8"?><Response>'
        '<Say language="es-ES">4, 8, 1, 5, 1, 6 es tu clave &amp; vale 10 minutos</Say>'
        '<Pause length="1" />'
        '<Say language="es-ES">4, 8, 1, 5, 1, 6 es tu clave &amp; vale 10 minutos</Say>'
        "</Response>",
    }
    assert answer.cost == 20_000


@pytest.mark.parametrize(
    ("locale", "own", "expected"),
    [
        ("en", {}, "en-US"),
        ("en-GB", {}, "en-GB"),
        ("es-AR", {}, "es-ES"),
        ("es-AR", {"es": "es-MX"}, "es-MX"),
        ("es-AR", {"es": "es-MX", "es-AR": "es-US"}, "es-US"),
        ("pt_BR", {}, "pt-BR"),
        ("tlh", {}, "en-US"),
        ("", {}, "en-US"),
    ],
)
def test_the_language_of_a_call(locale: str, own: dict[str, str], expected: str) -> None:
    assert twilio_voice.language(locale, own) == expected


# ── What comes back ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "code", "verdict", "limited"),
    [
        *((400, code, Verdict.INV, False) for code in (21211, 21614, 21635, 30004, 30005, 30006)),
        (400, 21610, Verdict.INV, False),
        *((400, code, Verdict.CFG, False) for code in (21606, 20003, 30034)),
        (401, 20003, Verdict.CFG, False),
        (400, 21408, Verdict.DROP, False),
        (400, 21612, Verdict.DROP, False),
        (400, 30007, Verdict.DROP, False),
        (400, 21602, Verdict.DROP, False),
        (400, 21617, Verdict.DROP, False),
        *((429, code, Verdict.RETRY, True) for code in (20429, 0)),
        *((400, code, Verdict.RETRY, True) for code in (30022, 30001)),
        (500, 20500, Verdict.RETRY, False),
        (503, 0, Verdict.RETRY, False),
        (404, 20404, Verdict.CFG, False),
        (302, 0, Verdict.CFG, False),
    ],
)
def test_the_table_of_errors(status: int, code: int, verdict: Verdict, limited: bool) -> None:
    answer = classify(status, code)
    assert (answer.verdict, answer.limited) == (verdict, limited)


def test_who_opted_out_is_suppressed_and_keeps_the_number() -> None:
    assert classify(400, 21610).suppress == "stop"
    assert classify(400, 21211).suppress == ""


def test_what_twilio_says_is_kept_without_the_number() -> None:
    said = "The 'To' number +12025550100 is not a valid phone number"
    assert classify(400, 21211, said).detail == "The 'To' number +…00 is not a valid phone number"


def refusing(status: int, code: int, **headers: str) -> Say:
    body = json.dumps({"code": code, "message": "no", "status": status}).encode()
    return Say(status, body, headers)


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    said = refusing(429, 20429, **{"Retry-After": "7"})
    with Provider(lambda got: said) as provider:
        [answer] = answers(messages(tmp_path, provider.url), [a_send()])
    assert answer.limited
    assert answer.retry_after_ms == 7_000


def test_one_country_that_is_off_drops_its_message_and_many_stop_the_channel(
    tmp_path: Path,
) -> None:
    with Provider(lambda got: refusing(400, 21408)) as provider:
        found = answers(messages(tmp_path, provider.url), [a_send() for _ in range(30)])
    assert [answer.verdict for answer in found].count(Verdict.DROP) == 19
    assert [answer.verdict for answer in found].count(Verdict.CFG) == 11


def test_a_country_that_is_off_among_more_that_are_on_drops_its_messages(tmp_path: Path) -> None:
    with Provider(lambda got: CREATED if len(provider.got) <= 40 else off) as provider:
        off = refusing(400, 21408)
        found = answers(
            messages(tmp_path, provider.url, connections=1), [a_send() for _ in range(70)]
        )
    assert [answer.verdict for answer in found] == [Verdict.OK] * 40 + [Verdict.DROP] * 30


def test_an_answer_that_never_came_is_not_asked_for_again(tmp_path: Path) -> None:
    with Provider(lambda got: Say(0)) as provider:
        [answer] = answers(messages(tmp_path, provider.url), [a_send()])
    assert (answer.verdict, answer.code) == (Verdict.AMB, "NoAnswer")
    assert len(provider.got) == 1


def test_silence_leaves_the_fate_unknown(tmp_path: Path) -> None:
    with Provider(lambda got: CREATED) as provider:
        provider._server.RequestHandlerClass.do_POST = _never  # type: ignore[attr-defined]
        [answer] = answers(
            messages(tmp_path, provider.url, timeout="100ms", wait="200ms"), [a_send()]
        )
    assert (answer.verdict, answer.code) == (Verdict.AMB, "NoAnswer")


def _never(handler: Any) -> None:
    handler.rfile.read(int(handler.headers["content-length"]) + 1)


def test_where_nobody_listens_nothing_was_sent(tmp_path: Path) -> None:
    sender = messages(tmp_path, f"http://127.0.0.1:{free_port()}")
    [answer] = answers(sender, [a_send()])
    assert (answer.verdict, answer.code) == (Verdict.RETRY, "NotSent")


def test_an_answer_that_is_no_json_still_has_its_status(tmp_path: Path) -> None:
    replies = {"+12025550100": Say(201, b"<ok/>"), "+12025550101": Say(502, b"<bad gateway/>")}
    with Provider(lambda got: replies[got.form["To"]]) as provider:
        sends = [a_send(number) for number in replies]
        found = answers(messages(tmp_path, provider.url), sends)
    assert [answer.verdict for answer in found] == [Verdict.OK, Verdict.RETRY]
    assert found[0].segments == 1


# ── Settings ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"service": ""}, "either `service` or `sender`"),
        ({"from": "+15005550006"}, "either `service` or `sender`"),
        ({"service": "", "from": "+15005550006", "shorten_links": True}, "messaging `service`"),
        ({"auth_token": None}, "`auth_token`, or `api_key`"),
        ({"api_key": "SK" + "f" * 32}, "go together"),
        ({"account": "AC1"}, "account"),
    ],
)
def test_settings_that_can_not_work_are_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises((ValidationError, ValueError), match=why):
        messages(tmp_path, "https://api.twilio.com", **changes)


def test_both_are_known_by_their_kind() -> None:
    assert {"twilio", "twilio_voice"} <= senders().keys()


def test_got_reads_a_form() -> None:
    assert Got(0, "/", {}, b"a=1&b=").form == {"a": "1", "b": ""}
