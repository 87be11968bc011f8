"""SNS against moto, its requests against botocore's own, its refusals by a provider of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import botocore.serialize
import botocore.session
import pytest

from tests.peers.moto import Moto
from tests.peers.provider import Provider, Say
from tidings.operators.senders.sns import Settings, Sns, classify, form
from tidings.operators.senders.text.sms import Text
from tidings.ports import Address
from tidings.sender import Answer, Content, Send, Verdict
from tidings.services.process import free_port
from tidings.stores.clock import SystemClock

NUMBER = "+12025550100"
OK = b"""<PublishResponse><PublishResult><MessageId>567910cd-659e-55d4-8ccb-5aaf14679dc0</MessageId>
</PublishResult></PublishResponse>"""


def settings(folder: Path, **changes: Any) -> Settings:
    (folder / "secret").write_text("secret\n")
    given = {
        "region": "us-east-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": f"file:{folder}/secret",
    }
    return Settings.model_validate(given | changes)


def a_send(number: str = NUMBER, category: str = "codes") -> Send:
    return Send(
        send_id="5f0c1d2e3b4a59687766554433221100",
        channel="sms",
        address=Address(kind="phone", value=number),
        content=Content(parts={"body": "481516 is your code: ñ & more"}),
        tenant="default",
        category=category,
        priority="high",
        attempt=1,
        now=0,
    )


def answers(given: Settings, sends: Sequence[Send]) -> list[Answer]:
    async def run() -> list[Answer]:
        got: list[Answer] = []
        everything = asyncio.Event()

        def done(send: Send, answer: Answer) -> None:
            got.append(answer)
            if len(got) == len(sends):
                everything.set()

        sender = Sns(given, SystemClock())
        await sender.open(asyncio.get_running_loop())
        sender.send(sends, done)
        await asyncio.wait_for(everything.wait(), 20)
        await sender.close()
        return got

    return asyncio.run(run())


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with Moto() as server:
        yield server


def test_amazon_takes_a_message(moto: Moto, tmp_path: Path) -> None:
    given = settings(tmp_path, endpoint=moto.url, sender_id="Example", prices={"+1": 0.006})
    [answer] = answers(given, [a_send()])
    assert answer.verdict is Verdict.OK
    assert len(answer.provider_id) == 36
    assert (answer.segments, answer.cost) == (1, 6_000)


def test_amazon_refuses_a_number_that_is_none(
    moto: Moto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tidings.operators.senders.sns.text_of",
        lambda send, given: Text("+not-a-number", "hello", 1, 0),
    )
    [answer] = answers(settings(tmp_path, endpoint=moto.url), [a_send()])
    assert (answer.verdict, answer.code) == (Verdict.INV, "InvalidParameter")


def test_amazon_proves_the_credentials_and_is_sent_nothing(moto: Moto, tmp_path: Path) -> None:
    """moto knows no sandbox, as a key may not have the right to ask for it."""

    async def proved() -> None:
        sender = Sns(settings(tmp_path, endpoint=moto.url), SystemClock())
        await sender.open(asyncio.get_running_loop())
        try:
            await sender.prove()
        finally:
            await sender.close()

    asyncio.run(proved())


def test_a_call_is_what_botocore_makes_of_it(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        sender_id="Example",
        origination="+15005550006",
        max_price=0.05,
        promotional=["marketing"],
    )
    model = botocore.session.get_session().get_service_model("sns")
    serializer = botocore.serialize.create_serializer("query")

    def attribute(value: str, kind: str = "String") -> dict[str, str]:
        return {"DataType": kind, "StringValue": value}

    for category, kind in (("codes", "Transactional"), ("marketing", "Promotional")):
        request = {
            "PhoneNumber": NUMBER,
            "Message": "hello & ñ",
            "MessageAttributes": {
                "AWS.SNS.SMS.SMSType": attribute(kind),
                "AWS.SNS.SMS.SenderID": attribute("Example"),
                "AWS.MM.SMS.OriginationNumber": attribute("+15005550006"),
                "AWS.SNS.SMS.MaxPrice": attribute("0.05000", "Number"),
            },
        }
        made = serializer.serialize_to_request(request, model.operation_model("Publish"))
        ours = form(Text(NUMBER, "hello & ñ", 1, 0), category, given)
        assert dict(parse_qsl(ours.decode())) == dict(parse_qsl(urlencode(made["body"])))


def test_a_call_is_signed(tmp_path: Path) -> None:
    with Provider(lambda got: Say(200, OK)) as provider:
        [answer] = answers(settings(tmp_path, endpoint=provider.url), [a_send()])
    assert answer.provider_id == "567910cd-659e-55d4-8ccb-5aaf14679dc0"
    [got] = provider.got
    signature = got.headers["authorization"]
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-east-1/sns/aws4_request" in signature
    assert got.form["Message"] == "481516 is your code: ñ & more"


def refusal(code: str, message: str = "no") -> bytes:
    return (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error></ErrorResponse>"
    ).encode()


@pytest.mark.parametrize(
    ("status", "code", "message", "verdict", "limited"),
    [
        (400, "EndpointDisabled", "", Verdict.INV, False),
        (404, "NotFound", "", Verdict.INV, False),
        (400, "InvalidParameter", "Invalid parameter: PhoneNumber", Verdict.INV, False),
        (400, "InvalidParameter", "Invalid parameter: Message too long", Verdict.DROP, False),
        (400, "PlatformApplicationDisabled", "", Verdict.CFG, False),
        (403, "AuthorizationError", "", Verdict.CFG, False),
        (403, "InvalidClientTokenId", "", Verdict.CFG, False),
        (500, "InternalError", "", Verdict.RETRY, False),
        (503, "ServiceUnavailable", "", Verdict.RETRY, False),
        (400, "KMSThrottling", "", Verdict.RETRY, True),
        (400, "Throttling", "Rate exceeded", Verdict.RETRY, True),
        (429, "Throttled", "", Verdict.RETRY, True),
        (400, "OptedOut", "", Verdict.INV, False),
        (400, "InvalidParameter", "Phone number is opted out", Verdict.INV, False),
    ],
)
def test_the_table_of_errors(
    status: int, code: str, message: str, verdict: Verdict, limited: bool
) -> None:
    answer = classify(status, refusal(code, message))
    assert (answer.verdict, answer.limited, answer.code) == (verdict, limited, code)


def test_what_is_no_xml_goes_by_its_status() -> None:
    assert classify(502, b"bad gateway").verdict is Verdict.RETRY
    assert classify(403, b"{}").verdict is Verdict.CFG


@pytest.mark.parametrize(
    ("code", "message"),
    [("OptedOut", ""), ("InvalidParameter", "Invalid parameter: Phone number is opted out")],
)
def test_who_opted_out_is_suppressed(code: str, message: str) -> None:
    assert classify(400, refusal(code, message)).suppress == "stop"


def test_many_who_opted_out_are_no_mix_up(tmp_path: Path) -> None:
    said = Say(400, refusal("InvalidParameter", "Phone number is opted out"))
    with Provider(lambda got: said) as provider:
        found = answers(settings(tmp_path, endpoint=provider.url), [a_send()] * 25)
    assert {(one.verdict, one.suppress) for one in found} == {(Verdict.INV, "stop")}


def test_bad_parameters_behind_more_good_ones_drop_their_messages(tmp_path: Path) -> None:
    bad = Say(400, refusal("InvalidParameter", "Invalid parameter: Message too long"))
    with Provider(lambda got: Say(200, OK) if len(provider.got) <= 40 else bad) as provider:
        given = settings(tmp_path, endpoint=provider.url, connections=1)
        found = answers(given, [a_send()] * 70)
    assert [one.verdict for one in found] == [Verdict.OK] * 40 + [Verdict.DROP] * 30


def test_who_opted_out_is_suppressed_and_what_amazon_says_names_no_number() -> None:
    answer = classify(400, refusal("OptedOut", "The number +12025550100 has opted &quot;out&quot;"))
    assert answer.suppress == "stop"
    assert answer.detail == 'The number +…00 has opted "out"'


def test_an_answer_that_never_came_is_not_asked_for_again(tmp_path: Path) -> None:
    with Provider(lambda got: Say(0)) as provider:
        [answer] = answers(settings(tmp_path, endpoint=provider.url), [a_send()])
    assert (answer.verdict, answer.code) == (Verdict.AMB, "NoAnswer")
    assert len(provider.got) == 1


def test_where_nobody_listens_nothing_was_sent(tmp_path: Path) -> None:
    given = settings(tmp_path, endpoint=f"http://127.0.0.1:{free_port()}")
    [answer] = answers(given, [a_send()])
    assert (answer.verdict, answer.code) == (Verdict.RETRY, "NotSent")


def test_what_can_not_be_sent_is_answered_without_a_call(tmp_path: Path) -> None:
    with Provider(lambda got: Say(200, OK)) as provider:
        [answer] = answers(settings(tmp_path, endpoint=provider.url), [a_send("+12")])
    assert (answer.verdict, answer.code) == (Verdict.INV, "InvalidNumber")
    assert provider.got == []
