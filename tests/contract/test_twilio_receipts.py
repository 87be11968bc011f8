"""What Twilio's callbacks are read as, with signatures of Twilio's own making."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from tidings.log.port import Record
from tidings.operators.senders.text.twilio_receipts import receipts
from tidings.operators.senders.twilio import Settings
from tidings.receipts import Forged, Receipt, Reference, Reply, Webhook
from tidings.records import Kind, Origin

TOKEN = "12345"
KEY = b"k" * 32
URL = "https://notify.example.com/twilio?ref=abc"
HOUR = 3_600_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "token").write_text(TOKEN)
    return Settings.model_validate(
        {"account": "AC" + "0" * 32, "auth_token": f"file:{tmp_path}/token", "from": "+15005550006"}
    )


def webhook(form: dict[str, str], *, url: str = URL, token: str = TOKEN) -> Webhook:
    signature = RequestValidator(token).compute_signature(url, form)
    body = urlencode(form).encode()
    return Webhook(provider="twilio", url=url, headers={"x-twilio-signature": signature}, body=body)


def message(status: str, **more: str) -> dict[str, str]:
    return {"MessageSid": "SM1", "MessageStatus": status, "To": "+12025550100", **more}


def test_the_example_of_twilios_documentation_is_signed_as_it_says() -> None:
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    signature = RequestValidator(TOKEN).compute_signature(
        "https://mycompany.com/myapp.php?foo=1&bar=2", form
    )
    assert signature == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@pytest.mark.parametrize("status", ["accepted", "scheduled", "queued", "sending", "sent", ""])
def test_what_is_not_final_is_no_receipt(settings: Settings, status: str) -> None:
    assert receipts(settings, webhook(message(status))) == ()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("delivered", Kind.DELIVERED),
        ("read", Kind.OPENED),
        ("undelivered", Kind.FAILED),
        ("failed", Kind.FAILED),
        ("canceled", Kind.FAILED),
    ],
)
def test_what_became_of_a_message(settings: Settings, status: str, kind: Kind) -> None:
    [receipt] = receipts(settings, webhook(message(status)))
    assert receipt == Receipt(
        kind=kind,
        event_id=f"SM1:{status}",
        reference="abc",
        provider_id="SM1",
        address="+12025550100",
        code=status if kind is Kind.FAILED else "",
    )


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ("ringing", []),
        ("in-progress", []),
        ("completed", [Kind.DELIVERED]),
        ("busy", [Kind.FAILED]),
        ("no-answer", [Kind.FAILED]),
        ("failed", [Kind.FAILED]),
        ("canceled", [Kind.FAILED]),
    ],
)
def test_what_became_of_a_call(settings: Settings, status: str, kinds: list[Kind]) -> None:
    found = receipts(settings, webhook({"CallSid": "CA1", "CallStatus": status, "To": "+1"}))
    assert [receipt.kind for receipt in found if isinstance(receipt, Receipt)] == kinds
    assert len(found) == len(kinds)


@pytest.mark.parametrize(
    ("code", "consequence"),
    [
        ("30003", {"again_ms": 3 * HOUR, "tries": 2}),
        ("30004", {"gone": True}),
        ("30005", {"gone": True}),
        ("30006", {"suppress": "landline"}),
        ("30007", {"alert": True, "detail": "carriers filter it: look at its content"}),
        ("30008", {"again_ms": HOUR // 6}),
        ("30022", {"again_ms": HOUR // 2, "tries": 2}),
        ("30034", {"alert": True}),
        ("21610", {"suppress": "stop"}),
        ("99999", {}),
    ],
)
def test_what_is_to_be_done_about_a_failure(
    settings: Settings, code: str, consequence: dict[str, object]
) -> None:
    [receipt] = receipts(settings, webhook(message("undelivered", ErrorCode=code)))
    assert isinstance(receipt, Receipt)
    expected = {"again_ms": 0, "tries": 1, "gone": False, "alert": False, "suppress": ""}
    found = {name: getattr(receipt, name) for name in expected | consequence}
    assert found == expected | consequence
    assert (receipt.kind, receipt.code) == (Kind.FAILED, code)


@pytest.mark.parametrize(
    ("body", "lift"),
    [("STOP", False), (" stop. ", False), ("Opt out", False), ("START", True), ("unstop", True)],
)
def test_a_person_says_stop_or_start(settings: Settings, body: str, lift: bool) -> None:
    form = {"MessageSid": "SM2", "SmsStatus": "received", "From": "+12025550100", "Body": body}
    [receipt] = receipts(settings, webhook(form))
    assert isinstance(receipt, Receipt)
    assert (receipt.kind, receipt.channel, receipt.provider_id) == (
        Kind.UNSUBSCRIBED,
        "sms",
        "SM2",
    )
    assert (receipt.address, receipt.suppress, receipt.lift) == ("+12025550100", "stop", lift)


def answer(body: str, **more: str) -> dict[str, str]:
    return {"MessageSid": "SM2", "SmsStatus": "received", "From": "+1", "Body": body, **more}


@pytest.mark.parametrize("body", ["stop the count!", "  No, Friday\n", "¡Sí!", "help"])
def test_any_other_text_of_a_person_is_a_reply(settings: Settings, body: str) -> None:
    called = webhook(answer(body), url=URL + "&tenant=acme")
    [reply] = receipts(settings, called)
    text = body.strip()
    assert reply == Reply(event_id="SM2", channel="sms", address="+1", text=text, tenant="acme")


def test_a_yes_opts_in_again_as_at_twilio_and_is_a_reply(settings: Settings) -> None:
    receipt, reply = receipts(settings, webhook(answer(" Yes! ")))
    assert isinstance(receipt, Receipt)
    assert (receipt.suppress, receipt.lift) == ("stop", True)
    assert reply == Reply(event_id="SM2", channel="sms", address="+1", text="Yes!")


def test_a_picture_without_a_text_is_no_reply(settings: Settings) -> None:
    assert receipts(settings, webhook(answer("", NumMedia="1"))) == []


def test_a_word_that_twilio_took_for_a_stop_is_one_and_no_reply(settings: Settings) -> None:
    [receipt] = receipts(settings, webhook(answer("basta", OptOutType="STOP")))
    assert isinstance(receipt, Receipt)
    assert (receipt.suppress, receipt.lift) == ("stop", False)


def test_what_twilio_has_not_signed_is_refused(settings: Settings) -> None:
    with pytest.raises(Forged):
        receipts(settings, webhook(message("delivered"), token="other"))
    signed = webhook(message("delivered"))
    other = Webhook(provider="twilio", url=URL + "d", headers=signed.headers, body=signed.body)
    with pytest.raises(Forged):
        receipts(settings, other)
    with pytest.raises(Forged):
        receipts(settings, Webhook(provider="twilio", url=URL, headers={}, body=signed.body))


def test_a_webhook_goes_through_the_log_as_it_came() -> None:
    hook = webhook(message("delivered", Note="ñ"))
    append = hook.append()
    record = Record(append.topic, 0, 0, 0, append.key, append.value, append.headers)
    assert Webhook.of(record) == hook


# ── References ────────────────────────────────────────────────────────────────────────────────

REFERENCE = Reference(
    "acme",
    "5d0f2a58-6f5e-4b0e-9d0a-6a8f3e9b7c11",
    "5f0c1d2e3b4a59687766554433221100",
    "00112233445566778899aabbccddeeff",
    "social",
    "email",
    "social",
    "",
    Origin("deliveries.email.normal", 7, 123_456_789),
)


def test_a_reference_is_read_back_with_the_key_that_signed_it_or_an_older_one() -> None:
    text = REFERENCE.signed(KEY)
    assert Reference.read(text, [KEY]) == REFERENCE
    assert Reference.read(text, [b"new", KEY]) == REFERENCE
    assert len(text) <= 256, "a tag of SES holds it"
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_reference_that_was_changed_is_refused() -> None:
    text = REFERENCE.signed(KEY)
    for place in range(len(text)):
        other = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        if place < len(text) - 1:  # the last letter has bits that stand for nothing
            with pytest.raises(Forged):
                Reference.read(other, [KEY])
    for other in ("", "x", "ñ", text[:-4], text + "AAAA"):
        with pytest.raises(Forged):
            Reference.read(other, [KEY])
