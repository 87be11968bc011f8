from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.peers.mail_desk import HTML, NOW, TEXT, Clock, Desk, a_send, answers_of, links, run
from tests.peers.mail_server import MailServer, Says, never
from tests.peers.mailbox.peers import MailDev
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_mime import mime
from tidings.operators.senders.mail.mail_settings import MailSettings
from tidings.operators.senders.mail.smtp_answer import Reply, Stage, classify
from tidings.operators.senders.smtp import Settings, Smtp
from tidings.sender import Answer, Send, Verdict
from tidings.services.certificate import Certificate, self_signed
from tidings.services.process import free_port


def a_sender(port: int, **changes: Any) -> Smtp:
    given = {
        "host": "localhost",
        "port": port,
        "tls": "none",
        "sender": "Example <hello@example.com>",
        "timeout": "1s",
        "helo": "tidings.test",
    }
    return Smtp(Settings(**(given | changes)), Clock())


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return self_signed(tmp_path, now=datetime.datetime.now(datetime.UTC))


def server_side(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


def a_password(folder: Path, text: str = "secret") -> str:
    file = folder / "password"
    file.write_text(text + "\n")
    return f"file:{file}"


# ── Peers that others wrote ───────────────────────────────────────────────────────────────────


def test_a_mail_arrives_as_it_was_written(tmp_path: Path) -> None:
    sends = [a_send(n, marketing=True) for n in range(5)]
    given = {"links": links(tmp_path)}
    with MailServer() as server:
        answers = answers_of(a_sender(server.port, **given), sends)
    assert {one.verdict for one in answers} == {Verdict.OK}
    assert all(one.provider_id.startswith("2.0.0 queued as ") for one in answers)
    taken = {mail.to[0]: mail for mail in server.taken}
    writer = Writer(MailSettings(sender="Example <hello@example.com>", links=given["links"]))
    for send in sends:
        mail = taken[send.address.value]
        assert mail.sender == "hello@example.com"
        expected = writer.write(send, lambda _send, _answer: None)
        assert isinstance(expected, Mail)
        assert mail.content == mime(expected, NOW), "dots at the beginning of lines included"


def test_maildev_reads_it_over_tls_and_with_a_login(
    tmp_path: Path, certificate: Certificate
) -> None:
    options = ("--incoming-user", "ana", "--incoming-pass", "secret", "--incoming-secure")
    files = ("--incoming-cert", certificate.certificate, "--incoming-key", certificate.key)
    given: dict[str, Any] = {
        "tls": "implicit",
        "ca": certificate.certificate,
        "user": "ana",
        "password": a_password(tmp_path),
        "links": links(tmp_path),
    }
    with MailDev(*options, *map(str, files)) as server:
        [answer] = answers_of(a_sender(server.port, **given), a_send(3, marketing=True))
        assert answer.verdict is Verdict.OK, answer
        [mail] = server.mails()
    assert (mail["subject"], mail["text"].strip(), mail["html"].strip()) == (
        "Schöne Grüße",
        TEXT.strip(),
        HTML,
    )
    assert mail["headers"]["message-id"] == f"<{3:032x}@example.com>"


# ── Connections ───────────────────────────────────────────────────────────────────────────────


def test_connections_are_kept_and_replaced_after_so_many_mails() -> None:
    with MailServer() as server:
        sender = a_sender(server.port, connections=2, mails=10)
        answers_of(sender, [a_send(n) for n in range(20)], [a_send(n) for n in range(20, 40)])
    carried = [mail.session for mail in server.taken]
    assert len(carried) == 40
    assert max(carried.count(one) for one in set(carried)) == 10


def test_mails_after_a_silence_get_a_connection_again() -> None:
    with MailServer() as server:
        sender = a_sender(server.port, connections=1, idle="50ms")

        async def test(desk: Desk) -> None:
            for number in range(3):
                [answer] = await desk.send(a_send(number))
                assert answer.verdict is Verdict.OK
                while sender._workers:
                    await asyncio.sleep(0.01)

        run(sender, test)
    assert len({mail.session for mail in server.taken}) == 3


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
def test_a_password_goes_over_tls(tmp_path: Path, certificate: Certificate, mode: str) -> None:
    context = server_side(certificate)
    wrapped: dict[str, Any] = {"tls" if mode == "implicit" else "starttls": context}
    given: dict[str, Any] = {
        "tls": mode,
        "ca": certificate.certificate,
        "user": "ana",
        "password": a_password(tmp_path),
    }
    with MailServer(login=("ana", "secret"), **wrapped) as server:
        [right] = answers_of(a_sender(server.port, **given), a_send())
        given["password"] = a_password(tmp_path, "wrong")
        [wrong] = answers_of(a_sender(server.port, **given), a_send())
        given["ca"] = None
        [stranger] = answers_of(a_sender(server.port, **given), a_send())
    assert right.verdict is Verdict.OK
    assert (wrong.verdict, wrong.code) == (Verdict.CFG, "5.7.8")
    assert stranger.verdict is Verdict.CFG
    assert "certificate" in stranger.detail
    assert len(server.taken) == 1


def test_the_login_is_tried_and_nothing_is_sent(tmp_path: Path, certificate: Certificate) -> None:
    def proved(**changes: Any) -> str:
        given: dict[str, Any] = {"tls": "starttls", "ca": certificate.certificate, **changes}
        given["user"] = "ana"
        sender, told = a_sender(given.pop("port", server.port), **given), ""

        async def test(desk: Desk) -> None:
            nonlocal told
            try:
                await sender.prove()
            except ValueError as error:
                told = str(error)

        run(sender, test)
        return told

    with MailServer(login=("ana", "secret"), starttls=server_side(certificate)) as server:
        assert proved(password=a_password(tmp_path)) == ""
        assert proved(password=a_password(tmp_path, "wrong")).startswith("it answers 535")
        assert "certificate" in proved(password=a_password(tmp_path), ca=None)
        assert proved(password=a_password(tmp_path), port=free_port())
    assert server.taken == []


def test_nothing_is_sent_in_the_clear_where_tls_is_wanted(certificate: Certificate) -> None:
    with MailServer() as server:
        sender = a_sender(server.port, tls="starttls", ca=certificate.certificate)
        [answer] = answers_of(sender, a_send())
    assert (answer.verdict, server.taken) == (Verdict.CFG, [])


def test_a_password_in_the_clear_and_half_a_login_are_refused() -> None:
    with pytest.raises(ValidationError, match="not sent in the clear"):
        a_sender(25, user="ana", password="env:PASSWORD")
    with pytest.raises(ValidationError, match="go together"):
        a_sender(25, tls="starttls", user="ana")


# ── Replies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stage", "code", "text", "verdict"),
    [
        (Stage.RECIPIENT, 550, "5.1.1 no such user", Verdict.INV),
        (Stage.RECIPIENT, 550, "5.1.2 no such domain", Verdict.INV),
        (Stage.RECIPIENT, 553, "5.1.3 bad address", Verdict.INV),
        (Stage.RECIPIENT, 550, "5.1.6 has moved", Verdict.INV),
        (Stage.RECIPIENT, 556, "5.1.10 null MX", Verdict.INV),
        (Stage.RECIPIENT, 550, "5.2.1 mailbox disabled", Verdict.INV),
        (Stage.RECIPIENT, 550, "User unknown", Verdict.INV),
        (Stage.RECIPIENT, 551, "not local", Verdict.INV),
        (Stage.RECIPIENT, 550, "listed at a blocklist", Verdict.DROP),
        (Stage.RECIPIENT, 550, "5.7.1 blocked by policy", Verdict.DROP),
        (Stage.RECIPIENT, 554, "5.7.1 Relay access denied", Verdict.CFG),
        (Stage.RECIPIENT, 552, "5.2.2 mailbox full", Verdict.RETRY),
        (Stage.RECIPIENT, 450, "4.7.1 greylisted, come back later", Verdict.RETRY),
        (Stage.RECIPIENT, 451, "4.3.0 trouble", Verdict.RETRY),
        (Stage.RECIPIENT, 452, "too many", Verdict.RETRY),
        (Stage.SENDER, 550, "5.1.8 who are you?", Verdict.CFG),
        (Stage.SENDER, 530, "5.7.0 authentication required", Verdict.CFG),
        (Stage.SENDER, 421, "4.7.0 slow down", Verdict.RETRY),
        (Stage.CONNECT, 554, "no SMTP service here", Verdict.CFG),
        (Stage.CONNECT, 421, "busy", Verdict.RETRY),
        (Stage.CONTENT, 554, "5.7.1 looks like spam", Verdict.DROP),
        (Stage.CONTENT, 552, "5.3.4 too big", Verdict.DROP),
        (Stage.CONTENT, 451, "4.3.0 disk", Verdict.RETRY),
        (Stage.CONTENT, 554, "Message rejected: Email address is not verified.", Verdict.CFG),
        (Stage.CONTENT, 550, "from does not match a verified Sender Identity", Verdict.CFG),
        (Stage.CONTENT, 550, "5.7.60 no permission to send as this sender", Verdict.CFG),
        (Stage.CONTENT, 550, "5.1.90 your daily limit for recipients", Verdict.CFG),
        (Stage.CONTENT, 550, "5.4.5 Daily sending quota exceeded", Verdict.RETRY),
        (Stage.CONTENT, 250, "2.0.0 queued as 77", Verdict.OK),
    ],
)
def test_what_a_reply_means(stage: Stage, code: int, text: str, verdict: Verdict) -> None:
    assert classify(Reply(stage, code, text)).verdict is verdict


@pytest.mark.parametrize("command", ["sender", "recipient", "content"])
def test_a_refusal_concerns_its_own_mail_and_the_connection_goes_on(command: str) -> None:
    def says(subject: str) -> str:
        guilty = "user-2@" in subject or (command == "sender" and len(server.taken) == 2)
        return "550 5.1.1 no" if guilty else ""

    given: dict[str, Says] = {command: says}
    with MailServer(says=given) as server:
        answers = answers_of(a_sender(server.port, connections=1), [a_send(n) for n in range(5)])
    expected = Verdict.CFG if command == "sender" else Verdict.INV
    if command == "content":
        expected = Verdict.DROP
    kinds = [one.verdict for one in answers]
    if command == "sender":
        assert kinds == [Verdict.OK, Verdict.OK, expected, expected, expected]
    else:
        assert kinds == [Verdict.OK, Verdict.OK, expected, Verdict.OK, Verdict.OK]
    assert len(server.sessions) == 1


# ── Silence ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "verdict"),
    [("sender", Verdict.RETRY), ("recipient", Verdict.RETRY), ("content", Verdict.AMB)],
)
def test_silence_after_the_contents_end_is_uncertain_and_before_it_is_not(
    command: str, verdict: Verdict
) -> None:
    given: dict[str, Says] = {command: never}
    with MailServer(says=given) as server:
        [answer] = answers_of(a_sender(server.port, timeout="300ms"), a_send())
    assert answer.verdict is verdict
    assert answer.code == ("NoAnswer" if verdict is Verdict.AMB else "NotSent")


@contextmanager
def a_server_that_hangs_up(after: bytes) -> Iterator[int]:
    """It says yes to everything, and closes when it has read ``after``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(b"220 hello\r\n")
                seen = b""
                while after not in seen:
                    if not (data := peer.recv(4096)):
                        return
                    seen += data
                    if after not in seen:
                        peer.sendall(b"354 go\r\n" if data.startswith(b"DATA") else b"250 fine\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (b"EHLO", Verdict.RETRY),
        (b"MAIL", Verdict.RETRY),
        (b"DATA\r\n", Verdict.RETRY),
        (b"\r\n.\r\n", Verdict.AMB),
    ],
)
def test_a_connection_that_breaks_is_told_by_where_it_broke(after: bytes, verdict: Verdict) -> None:
    with a_server_that_hangs_up(after) as port:
        [answer] = answers_of(a_sender(port, host="127.0.0.1"), a_send())
    assert answer.verdict is verdict


def test_what_waits_too_long_for_a_connection_is_given_back() -> None:
    with MailServer(says={"recipient": never}) as server:
        sender = a_sender(server.port, connections=1, timeout="400ms", wait="100ms")
        answers = answers_of(sender, [a_send(n) for n in range(5)])
    assert {(one.verdict, one.code) for one in answers} == {(Verdict.RETRY, "NotSent")}
    assert answers[4].detail == "no connection was free in time"


def test_without_a_server_nothing_was_sent() -> None:
    sender = a_sender(9, host="127.0.0.1")
    answers = answers_of(sender, [a_send(n) for n in range(20)])
    assert {(one.verdict, one.code) for one in answers} == {(Verdict.RETRY, "NotSent")}


def test_closing_answers_what_waits_and_what_is_under_way() -> None:
    answers: dict[str, Answer] = {}
    with MailServer(says={"recipient": never}) as server:
        sender = a_sender(server.port, connections=1, timeout="30s")

        async def test(desk: Desk) -> None:
            def done(send: Send, answer: Answer) -> None:
                answers[send.send_id] = answer

            sender.send([a_send(n) for n in range(3)], done)
            while not server.sessions:
                await asyncio.sleep(0.01)

        run(sender, test)
    assert [one.verdict for one in answers.values()] == [Verdict.RETRY] * 3
