"""What providers do in a test of a flow: answers, latencies, outages and receipts, to the ms."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.driver.report import written
from tidings.driver.suite import Result, load_suite
from tidings.problems import Problems
from tidings.settings import CategorySettings, Settings
from tidings.stores.clock import ManualClock
from tidings.stores.templates import FileTemplates

FLOW = """\
flow: shop
source: {topic: shop.events, key: recipient_id, id: event_id}
steps:
  - deliver:
      first_of: [push, email]
      template: note
      category: orders
      expires: 1h
"""
LANE = """\
lane: CHANNEL
steps:
  - addresses
  - suppress
  - render
  - send: {SEND}
"""
PUSH = "default: apns, retry: {in_place: [], ladder: [30s, 5m]}"
EMAIL = "default: ses, retry: {in_place: [], ladder: [30s, 5m]}"
GIVEN = """\
given:
  people:
    ana:
      addresses:
        - {kind: device, value: phone-ana}
        - {kind: email, value: ana@example.com}
    bob: {addresses: [{kind: device, value: phone-bob}]}
  event: {type: order, recipient_id: ana}
  templates:
    note: {push: {title: Hello, body: Bob}, email: {subject: Hello, text: Bob}}
"""


TWILIO = {
    "kind": "twilio",
    "account": f"AC{0:032}",
    "auth_token": "env:NOT_SET",
    "from": "Shop",
}
SETTINGS = Settings(categories={"orders": CategorySettings()}, providers={"texts": TWILIO})


def run(folder: Path, case: str, push: str = PUSH, email: str = EMAIL) -> tuple[Result, Problems]:
    """The result of one case, with both lanes behind the flow."""
    (folder / "lanes").mkdir(exist_ok=True)
    (folder / "shop.yaml").write_text(FLOW)
    for channel, send in (("push", push), ("email", email)):
        lane = LANE.replace("CHANNEL", channel).replace("SEND", send)
        (folder / "lanes" / f"{channel}.yaml").write_text(lane)
    file = folder / "shop.test.yaml"
    file.write_text(f"{GIVEN}cases:\n{case}")
    problems = Problems()
    templates = FileTemplates(folder, ManualClock(), "en")
    suite = load_suite(file, SETTINGS, templates, problems)
    result = next(suite.run()) if suite is not None else Result(str(file), "", None, ())  # type: ignore[arg-type]
    return result, problems


def assert_passes(folder: Path, case: str, **lanes: str) -> None:
    result, problems = run(folder, case, **lanes)
    assert problems.render() == ""
    assert [
        (each.step, written(each.expected or {}), written(each.got or {}))
        for each in result.mismatches
    ] == []


def test_an_answer_that_takes_two_seconds_comes_two_seconds_later(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: the next channel takes over when the answer is there
    given:
      lanes: [push, email]
      providers: {apns: [{answer: inv, code: Unregistered, latency: 2s}]}
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, provider: apns, answer: inv}
        - {at: 2s, to: ana, failed: address_gone}
      email.send: [{at: 2s, to: ana, sent: ana@example.com, answer: ok}]
""",
    )


def test_each_lane_gets_the_answers_to_its_own_sends(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: the lane that stands last has a slow provider
    given:
      lanes: [push, email]
      providers:
        apns: [{answer: drop}]
        ses: [{answer: inv, latency: 3s}]
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: drop}
        - {at: 0s, to: ana, failed: refused}
      email.send:
        - {at: 0s, to: ana, sent: ana@example.com, answer: inv}
        - {at: 3s, to: ana, failed: address_gone}
""",
    )


TIMEOUT = """\
  - name: taken, and never heard of again
    given:
      lanes: [push, email]
      providers: {apns: [{attempts: 1, answer: timeout}]}
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: amb}
"""


def test_a_time_out_after_the_provider_took_it_ends_as_unknown(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        f"{TIMEOUT}        - {{at: 10s, to: ana, unknown: no_answer, detail: NoAnswer}}\n",
    )


def test_a_time_out_is_sent_again_where_the_lane_says_so(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        f"{TIMEOUT}        - {{at: 40s, to: ana, sent: phone-ana, answer: ok, attempt: 2}}\n",
        push=f"{PUSH}, on_uncertain: resend",
    )


ASK = "default: texts, on_uncertain: ask, retry: {in_place: [], ladder: [30s, 5m]}"
DOUBT = """\
  - name: nobody knows at first
    given:
      lanes: [push, email]
      providers: {texts: [LINES]}
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: amb}
"""


@pytest.mark.parametrize(
    ("lines", "then"),
    [
        # It took the message, and says so after 2 s: nothing more is sent.
        ("{answer: timeout}", ""),
        # The connection broke before it had it. That is believed when it would list the message,
        # 15 s after the call, and then it is tried again as after any failure.
        (
            "{attempts: 1, answer: amb}",
            "{at: 45s, to: ana, sent: phone-ana, answer: ok, attempt: 2}",
        ),
        # Its list is late: what it did not know of at first it has.
        ("{answer: amb, asked: [none, has]}", ""),
        ("{answer: amb, asked: [silent, silent, has]}", ""),
        # It does not answer as long as that could help.
        (
            "{answer: timeout, latency: 1s, asked: [silent]}",
            "{at: 34m9s, to: ana, unknown: no_answer, detail: NoAnswer}",
        ),
        # It can't tell, and never will.
        ("{answer: amb, asked: [never]}", "{at: 2s, to: ana, unknown: no_answer, detail: NotTold}"),
        # It can't be reached when it is asked at 2 s and at 4 s, but at 8 s.
        ("{since: 1s, until: 5s, answer: down}, {answer: timeout, latency: 0s}", ""),
        # The second attempt is not answered either; it is asked about as well.
        (
            "{attempts: 1, answer: amb}, {attempts: 2, answer: amb, asked: [silent, has]}",
            "{at: 45s, to: ana, sent: phone-ana, answer: amb, attempt: 2}",
        ),
    ],
)
def test_a_provider_is_asked_whether_it_has_what_it_did_not_answer_for(
    tmp_path: Path, lines: str, then: str
) -> None:
    case = DOUBT.replace("LINES", lines) + (f"        - {then}\n" if then else "")
    assert_passes(tmp_path, case, push=ASK)


def test_what_is_to_be_said_to_a_question_that_nobody_asks_fails_the_case(tmp_path: Path) -> None:
    case = DOUBT.replace("LINES", "{answer: amb, asked: [has]}")
    unknown = "        - {at: 0s, to: ana, unknown: no_answer}\n"
    result, _ = run(tmp_path, case + unknown, push=ASK.replace("ask", "drop"))
    assert [(each.step, written(each.unused)) for each in result.mismatches] == [
        ("given.providers", "{answer: amb, asked: [has]}")
    ]


DOWN = "providers: {apns: [{since: 10s, until: 10m, answer: down}]}"


def test_an_outage_sends_over_the_ladder_until_it_ends(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        f"""\
  - name: before, within and after
    given:
      lanes: [push]
      {DOWN}
    in:
      - {{at: 9999ms, event: {{event_id: e1}}}}
      - {{at: 10s, event: {{event_id: e2}}}}
      - {{at: 10m, event: {{event_id: e3}}}}
    out:
      shop.deliver:
        - {{at: 9999ms, to: ana, delivered: push, members: [e1]}}
        - {{at: 10s, to: ana, delivered: push, members: [e2]}}
        - {{at: 10m, to: ana, delivered: push, members: [e3]}}
      push.send:
        - {{at: 9999ms, to: ana, sent: phone-ana, answer: ok}}
        - {{at: 10s, to: ana, sent: phone-ana, answer: retry, attempt: 1}}
        - {{at: 40s, to: ana, sent: phone-ana, answer: retry, attempt: 2}}
        - {{at: 5m40s, to: ana, sent: phone-ana, answer: retry, attempt: 3}}
        - {{at: 10m, to: ana, sent: phone-ana, answer: ok, attempt: 1}}
        - {{at: 10m40s, to: ana, sent: phone-ana, answer: ok, attempt: 4}}
""",
    )


def test_an_outage_sends_by_the_next_provider_at_once(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        f"""\
  - name: fail-over
    given:
      lanes: [push]
      {DOWN}
    in: [{{at: 10s, event: {{event_id: e1}}}}]
    out:
      shop.deliver: [{{at: 10s, to: ana, delivered: push}}]
      push.send:
        - {{at: 10s, to: ana, sent: phone-ana, provider: apns, answer: retry, attempt: 1}}
        - {{at: 10s, to: ana, sent: phone-ana, provider: fcm, answer: ok, attempt: 2}}
""",
        push="default: [apns, fcm], retry: {in_place: [], ladder: [30s]}",
    )


def test_what_can_not_be_tried_in_time_expires(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: down for good
    given:
      lanes: [push]
      providers: {apns: [{answer: down}]}
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push, expires: 1h}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: retry}
        - {at: 30m, to: ana, sent: phone-ana, answer: retry}
        - {at: 30m, to: ana, dropped: no_retry_in_time, kind: expired}
""",
        push="default: apns, retry: {in_place: [], ladder: [30m]}",
    )


def test_a_provider_that_refuses_us_is_asked_every_half_minute(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: the credentials are put right after a minute
    given:
      lanes: [push]
      providers: {apns: [{until: 1m, answer: cfg, code: InvalidProviderToken, latency: 1s}]}
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: cfg}
        - {at: 31s, to: ana, sent: phone-ana, answer: cfg}
        - {at: 1m2s, to: ana, sent: phone-ana, answer: ok}
""",
    )


def test_a_provider_is_scripted_by_channel(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: one provider, two channels
    given:
      lanes: [push, email]
      providers: {sandbox: [{channel: push, answer: drop, code: TooLarge}]}
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: push}]
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: drop}
        - {at: 0s, to: ana, failed: refused}
      email.send: [{at: 0s, to: ana, sent: ana@example.com, answer: ok}]
""",
        push="default: sandbox",
        email="default: sandbox",
    )


TWO_AT_ONCE = """\
  - name: one place, an answer that takes 3 s
    given:
      lanes: [push]
      providers: {apns: [{latency: 3s}]}
    in:
      - {at: 0s, event: {event_id: e1}}
      - {at: 1s, event: {event_id: e2, recipient_id: bob}}
    out:
      shop.deliver:
        - {at: 0s, to: ana, delivered: push}
        - {at: 1s, to: bob, delivered: push}
      push.send:
        - {at: 0s, to: ana, sent: phone-ana, answer: ok}
"""


def test_what_has_no_place_waits_for_an_answer(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        f"{TWO_AT_ONCE}        - {{at: 3s, to: bob, sent: phone-bob, answer: ok}}\n",
        push=f"{PUSH}, in_flight: 1",
    )


def test_what_waits_for_a_slow_provider_for_a_second_goes_to_the_next(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        f"{TWO_AT_ONCE}        - {{at: 2001ms, to: bob, sent: phone-bob, provider: fcm}}\n",
        push="default: [apns, fcm], in_flight: 1, retry: {in_place: [], ladder: [30s]}",
    )


# ── Receipts ──────────────────────────────────────────────────────────────────────────────────


def test_a_receipt_of_a_bounce_has_its_consequence(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: the mailbox is not written to again
    given:
      lanes: [push, email]
      people: {ana: {addresses: [{kind: email, value: ana@example.com}]}}
      receipts: [{after: 5m, kind: bounced, channel: email, suppress: hard_bounce}]
    in:
      - {at: 0s, event: {event_id: e1}}
      - {at: 4m59s999ms, event: {event_id: e2}}
      - {at: 5m, event: {event_id: e3}}
    out:
      shop.deliver:
        - {at: 0s, to: ana, delivered: email}
        - {at: 4m59s999ms, to: ana, delivered: email}
        - {at: 5m, to: ana, delivered: email}
      email.send:
        - {at: 0s, to: ana, sent: ana@example.com}
        - {at: 4m59s999ms, to: ana, sent: ana@example.com}
      email.suppress: [{at: 5m, to: ana, dropped: hard_bounce}]
""",
    )


def test_a_receipt_may_have_it_tried_once_more(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: a full mailbox
    given:
      lanes: [push, email]
      people: {ana: {addresses: [{kind: email, value: ana@example.com}]}}
      receipts: [{after: 10s, kind: bounced, code: "4.2.2", again: 20m}]
    in: [{at: 0s, event: {event_id: e1}}]
    out:
      shop.deliver: [{at: 0s, to: ana, delivered: email}]
      email.send:
        - {at: 0s, to: ana, sent: ana@example.com}
        - {at: 20m10s, to: ana, sent: ana@example.com}
      receipts: [{at: 10s, to: ana, deferred: failed_after_it_was_sent}]
""",
    )


def test_a_receipt_at_a_time_is_of_the_last_send_before(tmp_path: Path) -> None:
    assert_passes(
        tmp_path,
        """\
  - name: the phone of the second event is gone
    given:
      lanes: [push]
      receipts: [{at: 2m, kind: failed, address: "phone-*", gone: true}]
    in:
      - {at: 0s, event: {event_id: e1}}
      - {at: 1m, event: {event_id: e2, recipient_id: bob}}
      - {at: 3m, event: {event_id: e3}}
      - {at: 3m, event: {event_id: e4, recipient_id: bob}}
    out:
      shop.deliver:
        - {at: 0s, to: ana, delivered: push}
        - {at: 1m, to: bob, delivered: push}
        - {at: 3m, to: ana, delivered: push}
        - {at: 3m, to: bob, dropped: unreachable}
      push.send:
        - {at: 0s, to: ana, sent: phone-ana}
        - {at: 1m, to: bob, sent: phone-bob}
        - {at: 3m, to: ana, sent: phone-ana}
""",
    )


def test_a_message_that_timed_out_has_receipts_too(tmp_path: Path) -> None:
    case = TIMEOUT.replace(
        "lanes:", "receipts: [{after: 1m, kind: failed, again: 1m}]\n      lanes:"
    )
    assert_passes(
        tmp_path,
        f"""\
{case}        - {{at: 10s, to: ana, unknown: no_answer}}
        - {{at: 2m10s, to: ana, sent: phone-ana, answer: amb}}
        - {{at: 2m20s, to: ana, unknown: no_answer}}
      receipts: [{{at: 1m10s, to: ana, deferred: failed_after_it_was_sent}}]
""",
    )


# ── What is wrong with a file, or was given in vain ───────────────────────────────────────────

NOTHING = """\
  - name: nothing is sent
    given:
      lanes: [push]
      LINE
    in: [{at: 0s, event: {event_id: e1, recipient_id: zoe}}]
    out: {shop.deliver: [{at: 0s, dropped: unreachable}]}
"""


@pytest.mark.parametrize(
    ("line", "step", "said"),
    [
        (
            "providers: {apns: [{answer: down, since: 10s, until: 10m}]}",
            "given.providers",
            "{since: 10s, until: 10m, answer: down}",
        ),
        (
            "receipts: [{kind: opened, after: 1m30s, address: 'phone-*'}]",
            "given.receipts",
            '{address: "phone-*", kind: opened, after: 1m30s}',
        ),
        ("receipts: [{kind: opened, at: 2m}]", "given.receipts", "{kind: opened, at: 2m}"),
    ],
)
def test_what_is_given_in_vain_fails_the_case(
    tmp_path: Path, line: str, step: str, said: str
) -> None:
    result, problems = run(tmp_path, NOTHING.replace("LINE", line))
    assert not problems.errors
    assert [(each.step, written(each.unused)) for each in result.mismatches] == [(step, said)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "providers: {apns: [{answer: down, since: 10m, until: 10m}]}",
            "15:60  error[bad-value]  `until` is not after `since`",
        ),
        (
            "providers: {apns: [{latency: 20s}]}",
            "15:36  error[bad-value]  no sender waits 20s for an answer",
        ),
        (
            "providers: {apns: [{answer: dwn}]}",
            "15:35  error[not-a-choice]  expected ok, inv, retry, cfg, drop, amb, down or timeout",
        ),
        (
            "providers: {apns: [{channel: sms, answer: down}]}",
            "15:36  error[unknown-channel]  no lane of this case sends on `sms`",
        ),
        (
            "providers: {apns: [{answer: down, asked: [has]}]}",
            "15:48  error[bad-value]  nobody asks about what was answered `down`",
        ),
        (
            "providers: {apns: [{answer: timeout, asked: [has]}]}",
            "15:51  error[cannot-ask]  `apns` can't be asked whether it has a message",
        ),
        (
            "providers: {apns: [{answer: timeout, asked: [yes]}]}",
            "15:52  error[not-a-choice]  expected has, none, silent or never",
        ),
        (
            "receipts: [{kind: opened, after: 1s, provider: ses}]",
            "15:54  error[unknown-provider]  no lane of this case sends to `ses`",
        ),
        (
            "receipts: [{kind: opened}]",
            "15:18  error[one-of]  a receipt comes either `after` the provider took the message or "
            "`at` a time",
        ),
        (
            "receipts: [{kind: read, after: 1s}]",
            "15:25  error[not-a-choice]  expected",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, line: str, said: str) -> None:
    _, problems = run(tmp_path, NOTHING.replace("LINE", line))
    (problem,) = problems.errors
    where = f"{problem.where.line}:{problem.where.column}"
    assert f"{where}  error[{problem.code}]  {problem.message}".startswith(said)
