from __future__ import annotations

import html as markup
import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.peers.mail_desk import HTML, KEY, NOW, TEXT, a_send, links
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_links import Links, clicked, key_for
from tidings.operators.senders.mail.mail_mime import mime
from tidings.operators.senders.mail.mail_plain import plain
from tidings.operators.senders.mail.mail_settings import MailSettings
from tidings.receipts import Forged, Reference
from tidings.sender import Answer, Send, Verdict


def settings(**changes: Any) -> MailSettings:
    return MailSettings(**({"sender": "Example <hello@example.com>"} | changes))


def written(send: Send, given: MailSettings | None = None, key: bytes = b"") -> Mail:
    mail = Writer(given or settings(), key).write(send, lambda _send, _answer: None)
    assert isinstance(mail, Mail), mail
    return mail


def refused(send: Send, given: MailSettings | None = None) -> Answer:
    answer = Writer(given or settings()).write(send, lambda _send, _answer: None)
    assert isinstance(answer, Answer)
    return answer


def read(message: bytes) -> EmailMessage:
    parsed = BytesParser(policy=policy.default).parsebytes(message)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def body(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    assert not found.defects
    content: str = found.get_content()
    return content.replace("\r\n", "\n").rstrip("\n")


# ── Whom it is from and for ───────────────────────────────────────────────────────────────────


def test_a_tenants_sender_outranks_a_categorys_and_that_the_providers_own() -> None:
    given = settings(
        reply_to="help@example.com",
        pool="all",
        categories={
            "news": {
                "sender": "News <news@example.com>",
                "reply_to": "desk@example.com",
                "pool": "promo",
            }
        },
        tenants={
            "acme": {"sender": "Acme, Inc. <hello@acme.example>", "reply_to": "help@acme.example"}
        },
    )

    def said(**changes: Any) -> tuple[str, str, str]:
        manner = written(a_send(**changes), given).manner
        assert manner.reply_to is not None
        return manner.sender.header, manner.reply_to.header, manner.pool

    assert said() == ('"Example" <hello@example.com>', "help@example.com", "all")
    assert said(category="news") == ('"News" <news@example.com>', "desk@example.com", "promo")
    assert said(category="news", tenant="acme") == (
        '"Acme, Inc." <hello@acme.example>',
        "help@acme.example",
        "promo",
    )


@pytest.mark.parametrize(
    "address",
    ["", "ana", "@example.org", "ana@", "a b@example.org", "ana@exa mple.org", "ana@-.org",
     "ana@example.org\nBcc: eve@example.org", "ana@example.org\r\n", "ana@example..org",
     "ana@example.org,eve@example.org", "<ana@example.org>", "a" * 65 + "@example.org",
     "ana@" + "x" * 64 + ".org", "ana@" + "x." * 130 + "org"],
)  # fmt: skip
def test_an_address_that_is_none_is_dead(address: str) -> None:
    assert refused(a_send(to=address or " ")).verdict is Verdict.INV


def test_a_domain_in_any_script_is_written_as_the_wire_has_it() -> None:
    assert written(a_send(to="ana@bücher.example")).to == "ana@xn--bcher-kva.example"


def test_a_mailbox_that_only_some_servers_understand_is_refused_and_kept() -> None:
    answer = refused(a_send(to="zoë@example.org"))
    assert (answer.verdict, answer.code) == (Verdict.DROP, "NotAscii")


@pytest.mark.parametrize("sender", ["", "Example", "a@b@c", "Eve <e@x.org>\nBcc: a@b.c", "<>"])
def test_a_sender_that_is_no_mailbox_is_refused_with_an_example(sender: str) -> None:
    with pytest.raises(ValidationError, match=r"Example <hello@example\.com>"):
        settings(sender=sender)


def test_links_that_a_category_wants_need_settings() -> None:
    with pytest.raises(ValidationError, match="the category `news` wants links of ours"):
        settings(categories={"news": {"opens": True}})


# ── Headers ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"subject": "Hi\r\nBcc: eve@example.org", "text": "x"}, "BadHeader"),
        ({"subject": "Hi\nthere", "text": "x"}, "BadHeader"),
        ({"subject": "Hi\x00", "text": "x"}, "BadHeader"),
        ({"subject": "", "text": "x"}, "NoSubject"),
        ({"subject": "x" * 999, "text": "x"}, "NoSubject"),
        ({"subject": "Hi"}, "NoBody"),
    ],
)
def test_what_would_break_a_message_is_refused(parts: dict[str, str], code: str) -> None:
    answer = refused(a_send(parts=parts))
    assert (answer.verdict, answer.code) == (Verdict.DROP, code)


def test_marketing_carries_the_one_click_link_and_other_mail_does_not(tmp_path: Path) -> None:
    given = settings(links=links(tmp_path))
    assert written(a_send(marketing=False), given).headers == ()
    (name, value), post = written(a_send(marketing=True), given).headers
    assert name == "List-Unsubscribe"
    assert post == ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    token = value.removeprefix("<https://mail.example.com/u/").removesuffix(">")
    reference = Reference.read(token, [key_for("unsubscribe", KEY)])
    assert (reference.tenant, reference.recipient_id, reference.category) == (
        "default",
        "person-1",
        "social",
    )


def test_a_category_that_is_marketing_in_one_flow_alone_carries_the_link_there_alone(
    tmp_path: Path,
) -> None:
    writer = Writer(settings(links=links(tmp_path)))
    mails = [writer.write(a_send(marketing=marketing), print) for marketing in (True, False, True)]
    assert [bool(mail.headers) for mail in mails if isinstance(mail, Mail)] == [True, False, True]


def test_without_a_key_nothing_goes_along_that_anybody_could_have_signed() -> None:
    assert written(a_send()).reference == ""
    signed = Reference.read(written(a_send(), key=b"k" * 32).reference, [b"k" * 32])
    assert signed.recipient_id == "person-1"


def test_a_category_may_say_otherwise(tmp_path: Path) -> None:
    given = settings(
        links=links(tmp_path),
        categories={"digest": {"unsubscribe": True}, "law": {"unsubscribe": False}},
    )
    assert written(a_send(category="digest"), given).headers
    assert not written(a_send(category="law", marketing=True), given).headers


def test_marketing_that_nobody_could_unsubscribe_from_does_not_go_out() -> None:
    answer = refused(a_send(marketing=True))
    assert (answer.verdict, answer.code) == (Verdict.DROP, "NoUnsubscribe")
    assert "set `links`" in answer.detail


def test_a_link_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    given = links(tmp_path)
    (tmp_path / "link.key").write_text("short")
    with pytest.raises(ValueError, match="openssl rand -hex 32"):
        Writer(settings(links=given))


# ── Links ─────────────────────────────────────────────────────────────────────────────────────


def reference() -> Reference:
    mail = written(a_send(5), key=KEY.encode())
    return Reference.read(mail.reference, [KEY.encode()])


def test_a_pixel_and_redirected_links_stand_where_the_category_asks(tmp_path: Path) -> None:
    given = settings(links=links(tmp_path), categories={"news": {"opens": True, "clicks": True}})
    document = f"<html><body>{HTML}</body></html>"
    parts = {"subject": "Hi", "text": TEXT, "html": document}
    assert written(a_send(parts=parts), given).html == document
    changed = written(a_send(parts=parts, category="news"), given).html
    [pixel] = re.findall(r'<img src="https://mail\.example\.com/o/([^"]+)" ', changed)
    assert Reference.read(pixel, [key_for("open", KEY)]).send_id == f"{1:032x}"
    assert changed.index("<img") < changed.index("</body>")
    [link] = re.findall(r'<a href="([^"]+)"', changed)
    address = urlsplit(markup.unescape(link))
    _, kind, token, mark = address.path.split("/")
    [to] = parse_qs(address.query)["to"]
    assert (kind, to) == ("c", "https://example.com/a?b=1&c=2")
    assert clicked(token, mark, to, [KEY]).recipient_id == "person-1"


def test_a_redirection_leads_nowhere_but_where_it_was_signed_to() -> None:
    html = Links("https://m.example", KEY).with_redirects(
        '<a href="https://good.example/">', reference()
    )
    address = urlsplit(re.findall('href="([^"]+)"', html)[0])
    _, _, token, mark = address.path.split("/")
    assert clicked(token, mark, "https://good.example/", ["o" * 32, KEY]).send_id == f"{5:032x}"
    for forged in (
        (token, mark, "https://evil.example/", [KEY]),
        (token, mark[:-2], "https://good.example/", [KEY]),
        (token, mark, "https://good.example/", ["o" * 32]),
        ("x" + token[1:], mark, "https://good.example/", [KEY]),
    ):
        with pytest.raises(Forged):
            clicked(*forged)


def test_a_token_for_one_purpose_is_worth_nothing_for_another() -> None:
    token = reference().signed(key_for("open", KEY))
    with pytest.raises(Forged):
        Reference.read(token, [key_for("unsubscribe", KEY)])


@pytest.mark.parametrize(
    "html",
    [
        '<a href="mailto:ana@example.org">', '<a href="#top">', '<a name="x">', "<a href=''>",
        '<link href="https://example.com/style.css">', '<img src="https://example.com/x.png">',
        "https://example.com",
    ],
)  # fmt: skip
def test_what_is_no_link_to_the_web_stays(html: str) -> None:
    assert Links("https://m.example", KEY).with_redirects(html, reference()) == html


# ── MIME ──────────────────────────────────────────────────────────────────────────────────────


def test_a_message_reads_as_it_was_written(tmp_path: Path) -> None:
    given = settings(
        sender="Zoë Groß <hello@example.com>",
        reply_to="help@example.com",
        links=links(tmp_path),
    )
    message = read(mime(written(a_send(9, marketing=True), given), NOW))
    assert {name: str(message[name]) for name in ("From", "To", "Reply-To", "Subject", "Date")} == {
        "From": "Zoë Groß <hello@example.com>",
        "To": "user-9@example.org",
        "Reply-To": "help@example.com",
        "Subject": "Schöne Grüße",
        "Date": "Fri, 15 Jan 2027 08:00:00 -0000",
    }
    assert message["Message-ID"] == f"<{9:032x}@example.com>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "text/html",
    ]
    assert body(message, "plain") == TEXT.rstrip("\n")
    assert body(message, "html") == HTML


def test_a_subject_that_looks_encoded_and_lines_that_end_in_any_way_read_as_written() -> None:
    parts = {"subject": "=?utf-8?q?Free?= money", "text": "one\rtwo\r\nthree\nfour"}
    message = read(mime(written(a_send(parts=parts)), NOW))
    assert str(message["Subject"]) == "=?utf-8?q?Free?= money"
    assert body(message, "plain") == "one\ntwo\nthree\nfour"


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
_BODY = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=["Cs"],
        exclude_characters="\r\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
    )
)


@given(
    subject=_WORDS.filter(lambda text: text.strip() != "" and len(text) < 300),
    text=_BODY,
    html=_BODY,
)
def test_any_words_come_through_and_no_line_is_too_long(subject: str, text: str, html: str) -> None:
    parts = {"subject": subject, "text": text or "-", "html": html}
    message = mime(written(a_send(parts=parts)), NOW)
    assert message.isascii()
    assert all(line.endswith(b"\r") and len(line) < 999 for line in message.split(b"\n")[:-1])
    parsed = read(message)
    assert " ".join(str(parsed["Subject"]).split()) == " ".join(subject.split())
    assert body(parsed, "plain") == (text or "-").rstrip("\n")
    assert not html or body(parsed, "html") == html.rstrip("\n")
    assert len([name for name in parsed if name.lower() in ("bcc", "cc", "to")]) == 1


# ── The text of HTML ──────────────────────────────────────────────────────────────────────────


def test_an_html_mail_without_a_text_gets_one() -> None:
    assert written(a_send(parts={"subject": "Hi", "html": HTML})).text == (
        "Grüße, Ana (https://example.com/a?b=1&c=2)"
    )


def test_what_stands_behind_a_style_in_the_head_is_not_read_either() -> None:
    assert plain("<head><style>p {}</style> for machines</head><p>For people</p>") == "For people"


def test_the_text_of_html_has_a_line_for_each_block_and_nothing_that_is_not_read() -> None:
    assert plain(
        "<html><head><title>T</title><style>p {}</style></head><body><h1>Hello  there</h1>\n"
        "<p>One &amp;\n two<br>three <b>bold</b>ly</p><ul><li>a</li><li>b</li></ul>"
        "<script>alert(1)</script></body></html>"
    ) == "Hello there\nOne & two\nthree boldly\na\nb"  # fmt: skip
