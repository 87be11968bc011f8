from __future__ import annotations

import datetime
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from moto.server import ThreadedMotoServer

from tests.peers.mail_desk import HTML, KEY, TEXT, Clock, Desk, a_send, answers_of, links, run
from tests.peers.mailbox.peers import SesLocal
from tests.peers.provider import Got, Provider, Say
from tidings.operators.senders.aws_signer import Signer
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_settings import MailSettings
from tidings.operators.senders.mail.ses_answer import entries, refusal
from tidings.operators.senders.mail.ses_request import Requests
from tidings.operators.senders.ses import Ses, Settings
from tidings.receipts import Reference
from tidings.sender import Answer, Provable, Verdict


def a_sender(folder: Path, url: str, **changes: Any) -> Ses:
    secret = folder / "aws.secret"
    secret.write_text("secret\n")
    given: dict[str, Any] = {
        "region": "eu-west-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": f"file:{secret}",
        "sender": "Zoë, of Example <hello@example.com>",
        "endpoint": url,
    }
    return Ses(Settings(**(given | changes)), Clock())


def a_bulk_answer(*results: dict[str, str]) -> Say:
    return Say(200, json.dumps({"BulkEmailEntryResults": results}).encode())


def success(number: int) -> dict[str, str]:
    return {"Status": "SUCCESS", "MessageId": f"m-{number}"}


def takes_all(got: Got) -> Say:
    asked = json.loads(got.body)
    if got.path.endswith("bulk-emails"):
        return a_bulk_answer(*(success(n) for n in range(len(asked["BulkEmailEntries"]))))
    return Say(200, b'{"MessageId": "m-single"}')


# ── Peers that others wrote ───────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def ses_local() -> Iterator[SesLocal]:
    with SesLocal() as server:
        yield server


def test_the_account_is_read_as_ses_local_shows_it(tmp_path: Path, ses_local: SesLocal) -> None:
    async def test(desk: Desk) -> None:
        assert isinstance(desk.sender, Provable)
        await desk.sender.prove()

    run(a_sender(tmp_path, ses_local.url), test)


def test_ses_local_takes_a_bulk_and_hands_the_words_through(
    tmp_path: Path, ses_local: SesLocal
) -> None:
    sender = a_sender(tmp_path, ses_local.url, reply_to="help@example.com", links=links(tmp_path))
    words = {"subject": "{{subject}} <&\"'> ü", "text": "{{#each}}\n" + TEXT, "html": HTML + "{{{x"}
    sends = [a_send(n, parts=words, marketing=True) for n in range(120)]
    answers = answers_of(sender, sends)
    assert {answer.verdict for answer in answers} == {Verdict.OK}
    stored = {mail["messageId"]: mail for mail in ses_local.store()}
    for send, answer in zip(sends, answers, strict=True):
        mail = stored[answer.provider_id]
        assert mail["destination"]["to"] == [send.address.value]
        assert (mail["subject"], mail["body"]["text"], mail["body"]["html"]) == (
            words["subject"],
            words["text"],
            words["html"],
        )
        headers = {one["name"]: one["value"] for one in mail["headers"]}
        assert headers["List-Unsubscribe"].startswith("<https://mail.example.com/u/")
        assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert len({json.dumps(mail["headers"]) for mail in stored.values()}) == 120
    assert mail["replyTo"] == ["help@example.com"]


def test_ses_local_renders_a_stored_template_as_it_does_an_inline_one(
    tmp_path: Path, ses_local: SesLocal
) -> None:
    client = boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=ses_local.url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    client.create_email_template(
        TemplateName="words",
        TemplateContent={"Subject": "{{subject}}", "Text": "{{text}}", "Html": "{{html}}"},
    )
    sends = [a_send(1), a_send(2)]
    answers = answers_of(a_sender(tmp_path, ses_local.url, template="words"), sends)
    stored = {mail["messageId"]: mail for mail in ses_local.store()}
    assert [stored[one.provider_id]["body"] for one in answers] == [
        {"text": TEXT, "html": HTML}
    ] * 2
    [missing, _] = answers_of(a_sender(tmp_path, ses_local.url, template="gone"), sends)
    assert missing.verdict is Verdict.CFG


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_moto_takes_a_single_mail_of_a_verified_sender_and_stops_another(
    tmp_path: Path, moto_url: str
) -> None:
    client = boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=moto_url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    client.create_email_identity(EmailIdentity="hello@example.com")
    [good] = answers_of(a_sender(tmp_path, moto_url, sender="hello@example.com"), a_send())
    assert good.verdict is Verdict.OK
    with urllib.request.urlopen(f"{moto_url}/moto-api/data.json", timeout=10) as answer:
        assert good.provider_id in answer.read().decode()
    [bad] = answers_of(a_sender(tmp_path, moto_url, sender="other@example.com"), a_send())
    assert (bad.verdict, bad.code) == (Verdict.CFG, "MessageRejected")
    assert "not verified" in bad.detail


# ── What SES is asked ─────────────────────────────────────────────────────────────────────────


def test_a_single_mail_is_signed_and_carries_what_it_is_to_bring_back(tmp_path: Path) -> None:
    reference_key = tmp_path / "reference.key"
    reference_key.write_text(KEY)
    with Provider(takes_all) as ses:
        [answer] = answers_of(
            a_sender(
                tmp_path,
                ses.url,
                pool="everything",
                categories={"social": {"pool": "social", "reply_to": "Help <help@example.com>"}},
                callback={"url": "https://example.com/hooks/ses", "key": f"file:{reference_key}"},
            ),
            a_send(7),
        )
    assert answer == Answer(verdict=Verdict.OK, provider_id="m-single")
    [got] = ses.got
    assert got.path == "/v2/email/outbound-emails"
    assert got.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/ses/aws4_request" in got.headers["authorization"]
    asked = json.loads(got.body)
    tags = {tag["Name"]: tag["Value"] for tag in asked.pop("EmailTags")}
    assert asked == {
        "FromEmailAddress": "=?utf-8?q?Zo=C3=AB=2C_of_Example?= <hello@example.com>",
        "ReplyToAddresses": ['"Help" <help@example.com>'],
        "ConfigurationSetName": "social",
        "Destination": {"ToAddresses": ["user-7@example.org"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "Schöne Grüße", "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": TEXT, "Charset": "UTF-8"},
                    "Html": {"Data": HTML, "Charset": "UTF-8"},
                },
            }
        },
    }
    reference = Reference.read(tags.pop("reference"), [KEY.encode()])
    assert (reference.recipient_id, reference.send_id, reference.origin.offset) == (
        "person-7",
        f"{7:032x}",
        7,
    )
    assert tags == {"category": "social", "send_id": f"{7:032x}"}


def test_what_is_handed_over_together_is_merged_by_sender_and_configuration_set(
    tmp_path: Path,
) -> None:
    changes = {
        "categories": {"news": {"pool": "promo"}},
        "tenants": {"acme": {"sender": "Acme <hello@acme.example>"}},
    }
    sends = [a_send(n) for n in range(70)]
    sends += [a_send(n, category="news") for n in range(70, 80)]
    sends += [a_send(n, tenant="acme") for n in range(80, 90)]
    sends.append(a_send(90, parts={"subject": "Hi", "text": "x" * 300_000}))
    with Provider(takes_all) as ses:
        answers = answers_of(a_sender(tmp_path, ses.url, **changes), sends)
    assert {answer.verdict for answer in answers} == {Verdict.OK}
    asked = [json.loads(got.body) for got in ses.got]
    shapes = sorted(
        (
            len(one.get("BulkEmailEntries", [1])),
            one.get("ConfigurationSetName", ""),
            one["FromEmailAddress"].partition("<")[2],
        )
        for one in asked
    )
    assert shapes == [
        (1, "", "hello@example.com>"),
        (10, "", "hello@acme.example>"),
        (10, "promo", "hello@example.com>"),
        (20, "", "hello@example.com>"),
        (50, "", "hello@example.com>"),
    ]


@pytest.mark.parametrize(
    ("length", "calls"),
    [(1_000, [2]), (124_000, [2]), (126_000, [1, 1])],
    ids=["short", "just as long as an entry may be", "too long for an entry"],
)
def test_a_mail_with_more_words_than_an_entry_takes_goes_by_itself(
    tmp_path: Path, length: int, calls: list[int]
) -> None:
    parts = {"subject": "Hi", "text": "x" * length}
    with Provider(takes_all) as ses:
        answers_of(a_sender(tmp_path, ses.url), [a_send(n, parts=parts) for n in (1, 2)])
    held = [len(json.loads(got.body).get("BulkEmailEntries", [1])) for got in ses.got]
    assert held == calls


def test_a_call_stays_below_the_megabyte_that_ses_takes(tmp_path: Path) -> None:
    parts = {"subject": "Hi", "text": "x" * 100_000}
    with Provider(takes_all) as ses:
        answers_of(a_sender(tmp_path, ses.url), [a_send(n, parts=parts) for n in range(12)])
    assert len(ses.got) == 3
    assert max(len(got.body) for got in ses.got) < 1_000_000


@pytest.mark.parametrize(
    ("campaign", "names"),
    [
        ("short", ["reference"]),
        ("c" * 200, ["reference", "reference_2"]),
        ("c" * 500, ["reference", "reference_2", "reference_3", "reference_4"]),
        ("c" * 1_500, []),
    ],
    ids=["200 characters", "two tags", "four tags", "too long for eight"],
)
def test_a_reference_takes_as_many_tags_as_it_is_long(campaign: str, names: list[str]) -> None:
    writer = Writer(MailSettings(sender="hello@example.com"), b"k" * 32)
    mail = writer.write(a_send(campaign_id=campaign), print)
    assert isinstance(mail, Mail)
    call = json.loads(Requests().single(mail))
    tags = {tag["Name"]: tag["Value"] for tag in call["EmailTags"]}
    assert [*tags] == ["category", "send_id", *names]
    assert {len(tags[name]) for name in names[:-1]} <= {256}
    assert "".join(tags[name] for name in names) == (mail.reference if names else "")
    [entry] = json.loads(Requests().bulk([mail]))["BulkEmailEntries"]
    assert [tag["Name"] for tag in entry["ReplacementTags"]] == ["send_id", *names]


def test_ses_local_takes_a_reference_of_four_tags(tmp_path: Path, ses_local: SesLocal) -> None:
    (tmp_path / "reference.key").write_text(KEY)
    callback = {"url": "https://example.com/hooks", "key": f"file:{tmp_path}/reference.key"}
    sender = a_sender(tmp_path, ses_local.url, callback=callback)
    sends = [a_send(n, campaign_id="c" * 500) for n in range(3)]
    assert {one.verdict for one in answers_of(sender, sends)} == {Verdict.OK}


def test_an_address_is_not_twice_in_a_call(tmp_path: Path) -> None:
    sends = [a_send(n, to=f"user-{n % 2}@example.org") for n in range(4)]
    with Provider(takes_all) as ses:
        answers_of(a_sender(tmp_path, ses.url), sends)
    for got in ses.got:
        entries_ = json.loads(got.body)["BulkEmailEntries"]
        assert len({entry["Destination"]["ToAddresses"][0] for entry in entries_}) == len(entries_)


# ── What SES answers ──────────────────────────────────────────────────────────────────────────


def test_each_status_of_a_bulk_is_its_own_sends_answer(tmp_path: Path) -> None:
    expected = {
        "SUCCESS": Verdict.OK,
        "MESSAGE_REJECTED": Verdict.DROP,
        "MAIL_FROM_DOMAIN_NOT_VERIFIED": Verdict.CFG,
        "CONFIGURATION_SET_NOT_FOUND": Verdict.CFG,
        "TEMPLATE_NOT_FOUND": Verdict.CFG,
        "ACCOUNT_SUSPENDED": Verdict.CFG,
        "ACCOUNT_THROTTLED": Verdict.RETRY,
        "ACCOUNT_DAILY_QUOTA_EXCEEDED": Verdict.CFG,
        "INVALID_SENDING_POOL_NAME": Verdict.CFG,
        "ACCOUNT_SENDING_PAUSED": Verdict.CFG,
        "CONFIGURATION_SET_SENDING_PAUSED": Verdict.CFG,
        "INVALID_PARAMETER": Verdict.DROP,
        "TRANSIENT_FAILURE": Verdict.RETRY,
        "FAILED": Verdict.DROP,
        "SOMETHING_NEW": Verdict.AMB,
    }
    model = boto3.client("sesv2", region_name="eu-west-1").meta.service_model
    known = model.shape_for("BulkEmailStatus").metadata["enum"]
    assert expected.keys() - {"SOMETHING_NEW"} == set(known)
    results = [{"Status": status, "Error": "why", "MessageId": "m"} for status in expected]
    with Provider(lambda _: a_bulk_answer(*results)) as ses:
        answers = answers_of(a_sender(tmp_path, ses.url), [a_send(n) for n in range(len(expected))])
    assert [one.verdict for one in answers] == list(expected.values())
    limited = [one.code for one in answers if one.limited]
    assert limited == ["ACCOUNT_THROTTLED"]


@pytest.mark.parametrize(
    ("status", "kind", "message", "verdict", "limited"),
    [
        (429, "TooManyRequestsException", "slow down", Verdict.RETRY, True),
        (400, "ThrottlingException", "Rate exceeded", Verdict.RETRY, True),
        (400, "LimitExceededException", "", Verdict.CFG, False),
        (429, "TooManyRequestsException", "Daily message quota exceeded.", Verdict.CFG, False),
        (400, "ThrottlingException", "Daily sending quota exceeded", Verdict.CFG, False),
        (400, "AccountSuspendedException", "", Verdict.CFG, False),
        (400, "SendingPausedException", "", Verdict.CFG, False),
        (400, "MessageRejected", "Email address is not verified.", Verdict.CFG, False),
        (400, "MessageRejected", "it holds a virus", Verdict.DROP, False),
        (400, "MailFromDomainNotVerifiedException", "", Verdict.CFG, False),
        (404, "NotFoundException", "no such set", Verdict.CFG, False),
        (400, "BadRequestException", "Illegal address", Verdict.DROP, False),
        (403, "SignatureDoesNotMatch", "", Verdict.CFG, False),
        (403, "AccessDeniedException:http://internal.amazon.com/", "", Verdict.CFG, False),
        (403, "com.amazonaws#ExpiredTokenException", "", Verdict.CFG, False),
        (500, "InternalServiceErrorException", "", Verdict.RETRY, False),
        (503, "", "<html>", Verdict.RETRY, False),
        (418, "", "", Verdict.CFG, False),
    ],
)
def test_what_a_refusal_means(
    status: int, kind: str, message: str, verdict: Verdict, limited: bool
) -> None:
    answer = refusal(status, kind, json.dumps({"message": message}).encode())
    assert (answer.verdict, answer.limited) == (verdict, limited)


def test_too_many_requests_by_the_status_alone_are_a_limit() -> None:
    answer = refusal(429, "", b"<html>")
    assert (answer.verdict, answer.limited, answer.code) == (Verdict.RETRY, True, "429")


def test_a_bulk_that_is_answered_for_fewer_than_it_held_is_uncertain_for_all() -> None:
    one = b'{"BulkEmailEntryResults": [{"Status": "SUCCESS", "MessageId": "m-1"}]}'
    assert [answer.verdict for answer in entries(one, 1)] == [Verdict.OK]
    assert [answer.verdict for answer in entries(one, 2)] == [Verdict.AMB] * 2


def test_every_error_that_ses_documents_is_classified() -> None:
    model = boto3.client("sesv2", region_name="eu-west-1").meta.service_model
    errors = {
        shape.name
        for name in ("SendEmail", "SendBulkEmail")
        for shape in model.operation_model(name).error_shapes
    }
    assert len(errors) == 8
    for name in errors:
        answer = refusal(400, name, b"{}")
        assert answer.code == name.removesuffix("Exception")


def test_throttling_waits_as_long_as_ses_says(tmp_path: Path) -> None:
    slow = Say(
        429,
        b'{"message": "slow down"}',
        {"x-amzn-errortype": "TooManyRequestsException", "retry-after": "7"},
    )
    with Provider(lambda _: slow) as ses:
        answers = answers_of(a_sender(tmp_path, ses.url), [a_send(1), a_send(2)])
    assert (
        answers
        == [
            Answer(
                verdict=Verdict.RETRY,
                code="TooManyRequests",
                detail="slow down",
                limited=True,
                retry_after_ms=7_000,
            )
        ]
        * 2
    )


def test_one_mail_that_spoils_a_call_is_found_and_the_others_go(tmp_path: Path) -> None:
    def answer(got: Got) -> Say:
        if b"user-13@" in got.body:
            return Say(400, b'{"message": "bad"}', {"x-amzn-errortype": "BadRequestException"})
        return takes_all(got)

    with Provider(answer) as ses:
        answers = answers_of(a_sender(tmp_path, ses.url), [a_send(n) for n in range(50)])
    verdicts = [one.verdict for one in answers]
    assert verdicts == [Verdict.DROP if n == 13 else Verdict.OK for n in range(50)]
    assert len(ses.got) <= 13, "in halves, not one by one"


def test_a_call_without_an_answer_is_uncertain_and_one_that_never_left_is_not(
    tmp_path: Path,
) -> None:
    with Provider(lambda _: Say(0)) as ses:
        lost = answers_of(a_sender(tmp_path, ses.url), [a_send(1), a_send(2)])
    assert {(one.verdict, one.code) for one in lost} == {(Verdict.AMB, "NoAnswer")}
    assert len(ses.got) == 1, "nothing is sent twice"
    [unsent] = answers_of(a_sender(tmp_path, ses.url), a_send())
    assert (unsent.verdict, unsent.code) == (Verdict.RETRY, "NotSent")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"BulkEmailEntryResults": []}', b"\xff"])
def test_a_yes_that_cannot_be_read_is_uncertain(body: bytes) -> None:
    assert {one.verdict for one in entries(body, 2)} == {Verdict.AMB}


def test_without_credentials_it_says_how_to_give_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sender = a_sender(tmp_path, "http://127.0.0.1:9", access_key_id="", secret_access_key=None)
    with pytest.raises(ValueError, match="there are no AWS credentials"):
        answers_of(sender, a_send())


def test_the_endpoint_is_the_regions_own(tmp_path: Path) -> None:
    sender = a_sender(tmp_path, "", region="cn-north-1")
    answers_of(sender)
    assert sender._signer.endpoint == "https://email.cn-north-1.amazonaws.com.cn"


# ── Credentials that expire ───────────────────────────────────────────────────────────────────


def expiring(fetch: Callable[[], dict[str, str]]) -> RefreshableCredentials:
    """Credentials that have just expired; ``fetch`` gets new ones, from wherever it may block."""
    return RefreshableCredentials(
        access_key="OLD",
        secret_key="old",
        token="old",
        expiry_time=datetime.datetime.now(datetime.UTC),
        refresh_using=fetch,
        method="test",
    )


def with_credentials(sender: Ses, credentials: RefreshableCredentials, *sends: Any) -> list[Answer]:
    found: list[Answer] = []

    async def test(desk: Desk) -> None:
        sender._signer = Signer("ses", "eu-west-1", sender._signer.endpoint, credentials)
        found.extend(await desk.send(*sends))

    run(sender, test)
    return found


def test_expired_credentials_are_fetched_off_the_loop_and_the_mails_wait_for_them(
    tmp_path: Path,
) -> None:
    fetched_on: list[str] = []

    def fetch() -> dict[str, str]:
        fetched_on.append(threading.current_thread().name)
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        new = {"access_key": "NEW", "secret_key": "new", "token": "new-token"}
        return {**new, "expiry_time": until.isoformat()}

    with Provider(takes_all) as ses:
        sender = a_sender(tmp_path, ses.url)
        answers = with_credentials(sender, expiring(fetch), [a_send(1)], [a_send(2), a_send(3)])
    assert {one.verdict for one in answers} == {Verdict.OK}
    [thread] = fetched_on
    assert thread != threading.main_thread().name
    assert {got.headers["x-amz-security-token"] for got in ses.got} == {"new-token"}
    assert all("Credential=NEW/" in got.headers["authorization"] for got in ses.got)


def test_credentials_that_cannot_be_had_stop_the_provider(tmp_path: Path) -> None:
    def fetch() -> dict[str, str]:
        raise CredentialRetrievalError(provider="test", error_msg="no role here")

    with Provider(takes_all) as ses:
        sender = a_sender(tmp_path, ses.url)
        answers = with_credentials(sender, expiring(fetch), [a_send(1), a_send(2)])
    assert {(one.verdict, one.code) for one in answers} == {(Verdict.CFG, "NoCredentials")}
    assert "no role here" in answers[0].detail
    assert ses.got == []
