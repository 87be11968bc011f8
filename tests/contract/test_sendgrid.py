from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.mail_desk import HTML, KEY, NOW, TEXT, Clock, a_send, answers_of, links
from tests.peers.mailbox.peers import sendgrid_description
from tests.peers.prism.peer import Prism
from tests.peers.provider import Got, Provider, Say
from tidings.operators.senders.mail.sendgrid_answer import refusal
from tidings.operators.senders.sendgrid import SendGrid, Settings
from tidings.receipts import Reference
from tidings.sender import Answer, Send, Verdict

TAKEN = Say(202, b"", {"X-Message-Id": "sg-1"})


def a_sender(folder: Path, url: str, **changes: Any) -> SendGrid:
    key = folder / "sendgrid.key"
    key.write_text("SG.key\n")
    given = {"key": f"file:{key}", "sender": "Example <hello@example.com>", "endpoint": url}
    return SendGrid(Settings(**(given | changes)), Clock())


def errors(*found: tuple[str | None, str]) -> bytes:
    return json.dumps(
        {"errors": [{"field": field, "message": said, "help": None} for field, said in found]}
    ).encode()


def addresses(got: Got) -> list[str]:
    return [one["to"][0]["email"] for one in json.loads(got.body)["personalizations"]]


# ── What SendGrid publishes about its API ─────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def prism() -> Iterator[Prism]:
    with Prism(sendgrid_description()) as server:
        yield server


def test_every_kind_of_call_is_what_sendgrid_describes(tmp_path: Path, prism: Prism) -> None:
    """Prism refuses a call that the description does not allow, and has no `/v3` of its own.

    (It asks for content beside a dynamic template too, which SendGrid does not.)
    """
    everything = {
        "reply_to": "help@example.com",
        "pool": "transactional",
        "links": links(tmp_path),
        "callback": {"url": "https://example.com/hooks", "key": f"file:{tmp_path}/link.key"},
    }
    words = {"subject": "Hi", "text": "x" * 20_000}
    calls: dict[str, list[Send]] = {
        "substituted": [a_send(n, marketing=True, campaign_id="c-1") for n in range(30)],
        "by itself": [a_send(31, parts=words)],
        "text alone": [a_send(n, parts={"subject": "Hi", "text": "x"}) for n in (32, 33)],
    }
    for sends in calls.values():
        got = answers_of(a_sender(tmp_path, prism.url, path="/mail/send", **everything), sends)
        assert {one.verdict for one in got} == {Verdict.OK}, got[0]


def test_what_a_key_may_do_is_read_as_sendgrid_describes_it(tmp_path: Path, prism: Prism) -> None:
    async def proved() -> None:
        sender = a_sender(tmp_path, prism.url, path="/mail/send")
        await sender.open(asyncio.get_running_loop())
        try:
            await sender.prove()
        finally:
            await sender.close()

    asyncio.run(proved())


def test_prism_refuses_a_call_that_is_not_as_described(tmp_path: Path, prism: Prism) -> None:
    """So its yes above is one."""
    sender = a_sender(tmp_path, prism.url, path="/mail/send", pool="p")  # too short, it says
    [answer] = answers_of(sender, a_send())
    assert answer.verdict is not Verdict.OK


# ── What SendGrid is asked ────────────────────────────────────────────────────────────────────


def test_mails_of_a_campaign_are_one_call_with_their_own_words(tmp_path: Path) -> None:
    key = tmp_path / "reference.key"
    key.write_text(KEY)
    sends = [a_send(n, campaign_id="summer", category="news") for n in range(3)]
    with Provider(lambda _: TAKEN) as sendgrid:
        answers = answers_of(
            a_sender(
                tmp_path,
                sendgrid.url,
                categories={"news": {"pool": "promo", "reply_to": "Help <help@example.com>"}},
                callback={"url": "https://example.com/hooks", "key": f"file:{key}"},
            ),
            sends,
        )
    assert answers == [Answer(verdict=Verdict.OK, provider_id="sg-1")] * 3
    [got] = sendgrid.got
    assert (got.path, got.headers["authorization"]) == ("/v3/mail/send", "Bearer SG.key")
    asked = json.loads(got.body)
    each = asked.pop("personalizations")
    assert asked == {
        "from": {"email": "hello@example.com", "name": "Example"},
        "subject": "Schöne Grüße",
        "reply_to": {"email": "help@example.com", "name": "Help"},
        "categories": ["news", "summer"],
        "ip_pool_name": "promo",
        "content": [
            {"type": "text/plain", "value": "%tidings-text%"},
            {"type": "text/html", "value": "%tidings-html%"},
        ],
        "tracking_settings": {
            "click_tracking": {"enable": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }
    reference = Reference.read(each[2]["custom_args"].pop("reference"), [KEY.encode()])
    assert (reference.recipient_id, reference.campaign_id) == ("person-2", "summer")
    assert each[2] == {
        "to": [{"email": "user-2@example.org"}],
        "subject": "Schöne Grüße",
        "headers": {"Message-ID": f"<{2:032x}@example.com>"},
        "custom_args": {"send_id": f"{2:032x}"},
        "substitutions": {"%tidings-text%": TEXT, "%tidings-html%": HTML},
    }


@pytest.mark.parametrize("words", ["x" * 10_000, "ü" * 5_000, "about %tidings-text% itself"])
def test_words_that_cannot_be_substituted_go_as_they_are(tmp_path: Path, words: str) -> None:
    parts = {"subject": "Hi", "text": words}
    with Provider(lambda _: TAKEN) as sendgrid:
        answers_of(a_sender(tmp_path, sendgrid.url), [a_send(n, parts=parts) for n in range(2)])
    for got in sendgrid.got:
        asked = json.loads(got.body)
        assert asked["content"] == [{"type": "text/plain", "value": words}]
        assert "substitutions" not in asked["personalizations"][0]
    assert len(sendgrid.got) == 2


def test_a_dynamic_template_takes_words_of_any_length(tmp_path: Path) -> None:
    parts = {"subject": "Hi", "text": "x" * 20_000}
    with Provider(lambda _: TAKEN) as sendgrid:
        sender = a_sender(tmp_path, sendgrid.url, template="d-1")
        answers_of(sender, [a_send(n, parts=parts) for n in range(2)])
    [got] = sendgrid.got
    asked = json.loads(got.body)
    assert (asked["template_id"], "content" in asked) == ("d-1", False)
    assert asked["personalizations"][1]["dynamic_template_data"] == parts | {"html": ""}


def test_a_call_carries_a_thousand_and_campaigns_stay_apart(tmp_path: Path) -> None:
    parts = {"subject": "Hi", "text": "Hello"}
    sends = [a_send(n, parts=parts, campaign_id="a") for n in range(1_200)]
    sends += [a_send(n, parts=parts, campaign_id="b") for n in range(1_200, 1_300)]
    with Provider(lambda _: TAKEN) as sendgrid:
        answers_of(a_sender(tmp_path, sendgrid.url), sends)
    assert sorted(len(addresses(got)) for got in sendgrid.got) == [100, 200, 1_000]


def test_mails_with_and_without_html_are_two_calls(tmp_path: Path) -> None:
    sends = [a_send(1), a_send(2, parts={"subject": "Hi", "text": "Hello"}), a_send(3)]
    with Provider(lambda _: TAKEN) as sendgrid:
        answers_of(a_sender(tmp_path, sendgrid.url), sends)
    calls = {len(addresses(got)): json.loads(got.body)["content"] for got in sendgrid.got}
    assert {count: len(content) for count, content in calls.items()} == {2: 2, 1: 1}


# ── What SendGrid answers ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("linger", "calls"),
    [("20ms", [1_000, 200]), ("1s", [1_000, 200]), ("0s", [400, 400, 400])],
)
def test_what_a_lane_hands_over_in_parts_goes_together(
    tmp_path: Path, linger: str, calls: list[int]
) -> None:
    parts = [[a_send(part * 400 + n) for n in range(400)] for part in range(3)]
    with Provider(lambda got: TAKEN) as provider:
        sender = a_sender(tmp_path, provider.url, linger=linger)
        found = answers_of(sender, *parts)
    assert {one.verdict for one in found} == {Verdict.OK}
    assert len(found) == 1_200
    assert sorted(len(addresses(got)) for got in provider.got) == sorted(calls)


def test_who_closes_lets_nobody_wait(tmp_path: Path) -> None:
    async def run(url: str) -> Answer:
        sender = a_sender(tmp_path, url, linger="1s")
        loop = asyncio.get_running_loop()
        await sender.open(loop)
        answered = loop.create_future()
        sender.send([a_send()], lambda _, answer: answered.set_result(answer))
        await sender.close()
        answer: Answer = answered.result()
        return answer

    with Provider(lambda got: TAKEN) as provider:
        assert asyncio.run(run(provider.url)).verdict is Verdict.OK


def test_the_one_that_is_to_blame_is_answered_and_the_others_go_again(tmp_path: Path) -> None:
    blamed = {"user-3@example.org": "to.0.email", "user-5@example.org": "headers"}

    def answer(got: Got) -> Say:
        guilty = [
            (f"personalizations.{place}.{blamed[to]}", "Does not contain a valid address.")
            for place, to in enumerate(addresses(got))
            if to in blamed
        ]
        return Say(400, errors(*guilty)) if guilty else TAKEN

    with Provider(answer) as sendgrid:
        answers = answers_of(a_sender(tmp_path, sendgrid.url), [a_send(n) for n in range(8)])
    expected = [Verdict.OK] * 8
    expected[3], expected[5] = Verdict.INV, Verdict.DROP
    assert [one.verdict for one in answers] == expected
    assert answers[3].code == "personalizations.3.to.0.email"
    assert [len(addresses(got)) for got in sendgrid.got] == [8, 6]


@pytest.mark.parametrize("status", [400, 413])
def test_a_call_that_is_refused_without_a_name_is_cut_in_two(tmp_path: Path, status: int) -> None:
    def answer(got: Got) -> Say:
        bad = "user-3@example.org" in addresses(got)
        return Say(status, errors((None, "no"))) if bad else TAKEN

    with Provider(answer) as sendgrid:
        answers = answers_of(a_sender(tmp_path, sendgrid.url), [a_send(n) for n in range(8)])
    assert [one.verdict for one in answers] == [
        Verdict.DROP if n == 3 else Verdict.OK for n in range(8)
    ]


@pytest.mark.parametrize(
    ("status", "field", "verdict"),
    [
        (400, "from.email", Verdict.CFG),
        (400, "ip_pool_name", Verdict.CFG),
        (400, "template_id", Verdict.CFG),
        (400, "reply_to.email", Verdict.CFG),
        (400, "content.0.value", Verdict.DROP),
        (400, None, Verdict.DROP),
        (413, None, Verdict.DROP),
        (401, None, Verdict.CFG),
        (403, "from", Verdict.CFG),
        (404, None, Verdict.CFG),
        (418, None, Verdict.CFG),
        (429, None, Verdict.RETRY),
        (500, None, Verdict.RETRY),
        (503, None, Verdict.RETRY),
        (502, None, Verdict.AMB),
        (504, None, Verdict.AMB),
        (599, None, Verdict.AMB),
    ],
)
def test_what_a_refusal_means(status: int, field: str | None, verdict: Verdict) -> None:
    answer = refusal(status, errors((field, "said")), {}, NOW).answer
    assert (answer.verdict, answer.detail) == (verdict, "said")
    assert answer.limited == (status == 429)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x-ratelimit-reset": str(NOW // 1000 + 90)}, 90_000),
        ({"x-ratelimit-reset": str(NOW // 1000 - 90)}, 0),
        ({"x-ratelimit-reset": "soon", "retry-after": "4"}, 4_000),
        ({}, -1),
    ],
)
def test_a_rate_limit_waits_until_it_is_reset(headers: dict[str, str], wait: int) -> None:
    answer = refusal(429, b"", headers, NOW).answer
    assert (answer.limited, answer.retry_after_ms) == (True, wait)


def test_a_call_without_an_answer_is_uncertain_and_one_that_never_left_is_not(
    tmp_path: Path,
) -> None:
    with Provider(lambda _: Say(0)) as sendgrid:
        lost = answers_of(a_sender(tmp_path, sendgrid.url), [a_send(1), a_send(2)])
    assert {(one.verdict, one.code) for one in lost} == {(Verdict.AMB, "NoAnswer")}
    assert len(sendgrid.got) == 1, "nothing is sent twice"
    [unsent] = answers_of(a_sender(tmp_path, sendgrid.url), a_send())
    assert (unsent.verdict, unsent.code) == (Verdict.RETRY, "NotSent")


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    sender = a_sender(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "sendgrid.key").write_text("two words")
    with pytest.raises(ValueError, match="begins with SG"):
        answers_of(sender)
