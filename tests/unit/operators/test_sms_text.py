from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.operators.senders.text.sms import SmsSettings, Text, e164, price, segments, text_of
from tidings.ports import Address
from tidings.sender import Answer, Content, Send, Verdict


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("ñ" * 160, 1),  # in the GSM alphabet
        ("ó" * 70, 1),  # not in it
        ("ó" * 71, 2),
        ("ó" * 134, 2),
        ("ó" * 135, 3),
        ("€" * 80, 1),  # two places each
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 151, 2),
        ("a" * 152 + "€" + "a" * 152, 3),  # 306 places, but the € may not be split
        ("📷" * 35, 1),
        ("📷" * 36, 2),
        ("📷" * 66, 2),  # 33 in each segment: the 67th unit stays empty
        ("📷" * 67, 3),
    ],
)
def test_segments_are_counted_as_networks_bill_them(text: str, count: int) -> None:
    assert segments(text) == count


@pytest.mark.parametrize("character", "\f^{}\\[~]|€")
def test_what_takes_an_escape_in_the_gsm_alphabet_counts_twice(character: str) -> None:
    assert (segments(character * 80), segments(character * 81)) == (1, 2)


@given(st.text(max_size=400))
def test_a_text_that_grows_never_takes_fewer_segments(text: str) -> None:
    assert segments(text) <= segments(text + "a")
    assert segments(text) <= segments(text + "📷")


@pytest.mark.parametrize(
    ("number", "country", "expected"),
    [
        ("+12025550100", "", "+12025550100"),
        ("+44 20 7946 0101", "", "+442079460101"),
        ("(202) 555-0100", "US", "+12025550100"),
        ("(202) 555-0100", "", ""),
        ("+1202555", "", ""),
        ("+1202555010099", "", ""),
        ("ana@example.com", "US", ""),
        ("", "US", ""),
    ],
)
def test_numbers_are_e164_or_none(number: str, country: str, expected: str) -> None:
    assert e164(number, country) == expected


def test_the_longest_prefix_sets_the_price() -> None:
    prices = {"+1": 0.0079, "+1202": 0.01, "+54": 0.05}
    assert price("+12025550100", prices) == 10_000
    assert price("+13105550100", prices) == 7_900
    assert price("+447700900101", prices) == 0


def a_send(body: str, number: str = "+12025550100") -> Send:
    return Send(
        send_id="s",
        channel="sms",
        address=Address(kind="phone", value=number),
        content=Content(parts={"body": body}),
        tenant="default",
        category="codes",
        priority="high",
        attempt=1,
        now=0,
    )


def test_a_text_is_ready_with_its_segments_and_its_cost() -> None:
    settings = SmsSettings(prices={"+1": 0.0079})
    assert text_of(a_send(" Hello " + "o" * 160), settings) == Text(
        "+12025550100", "Hello " + "o" * 160, 2, 15_800
    )


def test_as_many_segments_as_are_allowed_may_go() -> None:
    found = text_of(a_send("a" * 306), SmsSettings(max_segments=2))
    assert isinstance(found, Text)
    assert found.segments == 2


@pytest.mark.parametrize(
    ("send", "verdict", "code"),
    [
        (a_send("Hello", "+12"), Verdict.INV, "InvalidNumber"),
        (a_send("Hello", "202 555 0100"), Verdict.DROP, "NoCountryCode"),
        (a_send(" \n"), Verdict.DROP, "EmptyText"),
        (a_send("a" * 307), Verdict.DROP, "TextTooLong"),
    ],
)
def test_what_can_not_be_sent_is_answered_here(send: Send, verdict: Verdict, code: str) -> None:
    answer = text_of(send, SmsSettings(max_segments=2))
    assert isinstance(answer, Answer)
    assert (answer.verdict, answer.code) == (verdict, code)
