"""What Twilio's and Amazon's answers lead to in a lane: each row of their tables of errors, of text
messages and of calls, by what is left behind in the stores and in the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.sms_lane import Left, SmsLane
from tests.peers.provider import SILENCE, Got, Provider, Say
from tidings.ports import Suppression

ANA, BEN = "+12025550100", "+12025550101"
CREATED = Say(201, b'{"sid":"SM1","num_segments":"1"}')


def refusal(code: int, status: int = 400, **headers: str) -> Say:
    body = json.dumps({"code": code, "message": f"about {ANA}", "status": status}).encode()
    return Say(status, body, headers)


def to_ana(said: Say) -> Callable[[Got], Say]:
    """Ana's number gets this, all others are taken."""
    return lambda got: said if got.form["To"] == ANA else CREATED


def twilio(folder: Path, provider: Provider, **changes: Any) -> dict[str, Any]:
    (folder / "token").write_text("secret")
    given = {
        "kind": "twilio",
        "account": "AC" + "0" * 32,
        "auth_token": f"file:{folder}/token",
        "from": "+15005550006",
        "url": provider.url,
    }
    return given | changes


BOTH = {"ana": ANA, "ben": BEN}
SECOND = 1_000


def stopped(code: str) -> set[tuple[str, str, str]]:
    """The one alert that there is."""
    return {("provider_stopped", "open", code)}


def run(
    folder: Path, said: Say, people: dict[str, str] = BOTH, **changes: Any
) -> tuple[Left, Provider]:
    """A code for Ana, who gets this answer, and for Ben, whose phone is fine."""
    with Provider(to_ana(said)) as provider:
        lane = SmsLane(
            folder, {"default": "twilio"}, {"twilio": twilio(folder, provider, **changes)}
        )
        enough = len(people)
        left = lane.run(people, lambda now: len(now.attempts) >= enough, chain=("voice",))
    return left, provider


@pytest.mark.parametrize("code", [21614, 21635, 30006])
def test_a_landline_stays_for_the_voice_and_gets_no_more_texts(tmp_path: Path, code: int) -> None:
    left, provider = run(tmp_path, refusal(code))
    assert left.numbers == {"ana": [ANA], "ben": [BEN]}
    assert left.suppressed["ana"] == Suppression(
        channel="sms", address=ANA, reason="landline", source="twilio"
    )
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "landline")
    assert left.voice.keys() == {"ana"}
    assert left.unsettled == 0
    assert len(provider.got) == 2


@pytest.mark.parametrize("code", [21211, 30004, 30005])
def test_a_number_that_takes_no_texts_goes_and_the_next_channel_has_its_turn(
    tmp_path: Path, code: int
) -> None:
    left, provider = run(tmp_path, refusal(code))
    assert left.numbers == {"ana": [], "ben": [BEN]}
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "address_gone")
    assert left.ends["ben"].kind == "sent"
    assert left.voice.keys() == {"ana"}
    assert left.unsettled == 0
    assert len(provider.got) == 2


@pytest.mark.parametrize("code", [21602, 21617, 30007, 21408, 21612])
def test_a_message_that_is_refused_is_not_tried_again_and_the_number_stays(
    tmp_path: Path, code: int
) -> None:
    left, provider = run(tmp_path, refusal(code))
    assert left.numbers["ana"] == [ANA]
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "refused")
    assert left.voice.keys() == {"ana"}
    assert left.suppressed["ana"] is None
    assert len(provider.got) == 2


@pytest.mark.parametrize(("code", "status"), [(21606, 400), (30034, 400), (20003, 401), (0, 404)])
def test_what_is_wrong_with_us_stops_the_channel_and_keeps_the_message(
    tmp_path: Path, code: int, status: int
) -> None:
    left, provider = run(tmp_path, refusal(code, status), {"ana": ANA})
    assert left.numbers["ana"] == [ANA]
    assert not left.ends
    assert not left.voice
    assert left.unsettled == 1
    assert left.alerts == stopped(str(code or status))
    assert len(provider.got) == 1, "no probe for 30 s"


@pytest.mark.parametrize("code", [21408, 21612])
def test_a_country_that_is_switched_off_stops_the_channel_when_most_messages_fare_so(
    tmp_path: Path, code: int
) -> None:
    people = {f"person-{number}": f"+1202555{100 + number:04d}" for number in range(30)}
    with Provider(lambda got: refusal(code)) as provider:
        given = {"twilio": twilio(tmp_path, provider)}
        lane = SmsLane(tmp_path, {"default": "twilio", "in_flight": 1}, given)
        left = lane.run(people, lambda now: len(now.attempts) >= 20)
    assert len(provider.got) == 20, "the 20th tells, and nothing more was sent"
    assert len(left.ends) == len(left.letters) == 19
    assert left.unsettled == 11
    assert left.alerts == stopped(str(code))
    assert all(left.numbers.values()), "every number stays"


@pytest.mark.parametrize(("code", "status"), [(20500, 500), (0, 502), (0, 503)])
def test_trouble_at_twilio_puts_the_message_on_the_ladder(
    tmp_path: Path, code: int, status: int
) -> None:
    left, _ = run(tmp_path, refusal(code, status))
    assert left.delayed["ana"].attempt == 1
    assert left.delayed["ana"].spared == 0
    assert "ana" not in left.ends
    assert left.unsettled == 0


@pytest.mark.parametrize(("code", "status"), [(20429, 429), (0, 429), (30022, 400), (30001, 400)])
def test_a_limit_uses_up_no_retry(tmp_path: Path, code: int, status: int) -> None:
    left, _ = run(tmp_path, refusal(code, status))
    assert left.delayed["ana"].spared == 1
    assert left.numbers["ana"] == [ANA]


def test_retry_after_sets_the_time_of_the_next_try(tmp_path: Path) -> None:
    left, provider = run(tmp_path, refusal(20429, 429, **{"Retry-After": "120"}))
    asked = next(got.at for got in provider.got if got.form["To"] == ANA)
    wait = left.delayed["ana"].not_before - asked
    assert 119 * SECOND <= wait < 150 * SECOND, "the peer's clock is read in another thread"


@pytest.mark.parametrize("said", [Say(0), SILENCE])
def test_what_may_have_been_sent_ends_as_unknown_and_is_not_sent_again(
    tmp_path: Path, said: Say
) -> None:
    left, provider = run(tmp_path, said, timeout="300ms", wait="300ms")
    assert left.ends["ana"].kind == "unknown"
    assert len(provider.got) == 2
    assert left.voice == {}


def test_a_text_beyond_its_segments_is_dropped_with_the_reason(tmp_path: Path) -> None:
    with Provider(to_ana(CREATED)) as provider:
        given = twilio(tmp_path, provider, max_segments=1)
        left = SmsLane(tmp_path, {"default": "twilio"}, {"twilio": given}).run(
            {"ana": ANA}, lambda now: "ana" in now.ends, data={"code": "x" * 200}
        )
    assert provider.got == []
    assert left.ends["ana"].kind == "failed"
    assert left.ends["ana"].detail == "TextTooLong"
    assert left.letters == {"ana"}
    [attempt] = left.attempts
    assert attempt.detail == "2 segments; `max_segments` is 1"


def test_what_a_message_cost_stands_on_its_outcome(tmp_path: Path) -> None:
    left, _ = run(tmp_path, CREATED, prices={"+1": 0.0079})
    assert {one.cost for one in left.attempts} == {7_900}


def test_no_outcome_names_a_number(tmp_path: Path) -> None:
    left, _ = run(tmp_path, refusal(21211))
    [failed] = [one for one in left.attempts if one.kind == "failed"]
    assert failed.detail == "about +…00"


# ── Calls ─────────────────────────────────────────────────────────────────────────────────────


def run_calls(
    folder: Path, said: Say, people: dict[str, str] = BOTH, **changes: Any
) -> tuple[Left, Provider]:
    """The code is read to Ana, whose call gets this answer, and to Ben."""
    with Provider(to_ana(said)) as provider:
        given = {**twilio(folder, provider, **changes), "kind": "twilio_voice"}
        lane = SmsLane(folder, {"default": "calls"}, {"calls": given})
        enough = len(people)
        left = lane.run(people, lambda now: len(now.attempts) >= enough)
    return left, provider


@pytest.mark.parametrize("code", [21211, 21214, 21217, 13223, 13224])
def test_a_number_that_can_not_be_called_goes(tmp_path: Path, code: int) -> None:
    left, provider = run_calls(tmp_path, refusal(code))
    assert left.numbers == {"ana": [], "ben": [BEN]}
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "address_gone")
    assert left.ends["ben"].kind == "sent"
    assert {got.path.rsplit("/", 1)[1] for got in provider.got} == {"Calls.json"}


@pytest.mark.parametrize("code", [21215, 21205])
def test_a_call_that_is_refused_is_not_made_again_and_the_number_stays(
    tmp_path: Path, code: int
) -> None:
    """A country that we may not call, and TwiML that Twilio can't read."""
    left, provider = run_calls(tmp_path, refusal(code))
    assert left.numbers["ana"] == [ANA]
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "refused")
    assert left.letters == {"ana"}
    assert len(provider.got) == 2


@pytest.mark.parametrize(("code", "status"), [(21210, 400), (21212, 400), (20003, 401)])
def test_what_is_wrong_with_us_stops_the_calls_and_keeps_them(
    tmp_path: Path, code: int, status: int
) -> None:
    left, provider = run_calls(tmp_path, refusal(code, status), {"ana": ANA})
    assert not left.ends
    assert left.unsettled == 1
    assert left.alerts == stopped(str(code))
    assert len(provider.got) == 1


@pytest.mark.parametrize(("code", "status", "spared"), [(20429, 429, 1), (20500, 500, 0)])
def test_a_call_that_can_not_be_made_now_is_made_later(
    tmp_path: Path, code: int, status: int, spared: int
) -> None:
    left, _ = run_calls(tmp_path, refusal(code, status))
    assert (left.delayed["ana"].attempt, left.delayed["ana"].spared) == (1, spared)
    assert left.numbers["ana"] == [ANA]


def test_a_call_that_may_have_been_made_is_not_made_again(tmp_path: Path) -> None:
    left, provider = run_calls(tmp_path, Say(0))
    assert left.ends["ana"].kind == "unknown"
    assert len(provider.got) == 2


# ── Amazon ────────────────────────────────────────────────────────────────────────────────────


def amazon(code: str, status: int = 400, message: str = "no") -> Say:
    error = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Say(status, f"{error}</ErrorResponse>".encode())


PUBLISHED = Say(200, b"<PublishResult><MessageId>m-1</MessageId></PublishResult>")


def sns(folder: Path, provider: Provider) -> dict[str, Any]:
    (folder / "secret").write_text("secret")
    return {
        "kind": "sns",
        "region": "us-east-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": f"file:{folder}/secret",
        "endpoint": provider.url,
    }


def run_sns(folder: Path, said: Say, people: dict[str, str] = BOTH) -> Left:
    def answer(got: Got) -> Say:
        return said if got.form["PhoneNumber"] == ANA else PUBLISHED

    with Provider(answer) as provider:
        lane = SmsLane(folder, {"default": "sns"}, {"sns": sns(folder, provider)})
        enough = len(people)
        return lane.run(people, lambda now: len(now.attempts) >= enough, chain=("voice",))


@pytest.mark.parametrize(
    "said",
    [
        amazon("EndpointDisabled"),
        amazon("NotFound", 404),
        amazon("InvalidParameter", 400, "Invalid parameter: PhoneNumber"),
    ],
)
def test_amazon_knows_no_such_number(tmp_path: Path, said: Say) -> None:
    left = run_sns(tmp_path, said)
    assert left.numbers == {"ana": [], "ben": [BEN]}
    assert left.ends["ana"].reason == "address_gone"
    assert left.voice.keys() == {"ana"}


def test_who_has_opted_out_at_amazon_is_suppressed_and_keeps_the_number(tmp_path: Path) -> None:
    left = run_sns(tmp_path, amazon("OptedOut"))
    assert left.numbers == {"ana": [ANA], "ben": [BEN]}
    found = left.suppressed["ana"]
    assert found is not None
    assert (found.reason, found.source) == ("stop", "sns")
    assert left.suppressed["ben"] is None
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "stop")
    assert left.voice.keys() == {"ana"}


def test_amazon_does_not_take_the_message(tmp_path: Path) -> None:
    left = run_sns(tmp_path, amazon("InvalidParameter", 400, "Invalid parameter: Message"))
    assert left.numbers["ana"] == [ANA]
    assert left.ends["ana"].reason == "refused"
    assert not left.delayed


BAD_NUMBER = "Invalid parameter: PhoneNumber Reason: +1 is not valid to publish to"


@pytest.mark.parametrize("message", [BAD_NUMBER, "Invalid parameter: SenderID"])
def test_where_amazon_takes_hardly_any_number_the_channel_stops_and_the_numbers_stay(
    tmp_path: Path, message: str
) -> None:
    """As in a region that sends no texts: the 20th in a minute tells."""
    people = {f"person-{number}": f"+1202555{100 + number:04d}" for number in range(30)}
    with Provider(lambda got: amazon("InvalidParameter", 400, message)) as provider:
        given = sns(tmp_path, provider)
        lane = SmsLane(tmp_path, {"default": "sns", "in_flight": 1}, {"sns": given})
        left = lane.run(people, lambda now: len(now.attempts) >= 20)
    assert len(provider.got) == 20, "nothing more was sent"
    assert left.unsettled == 11
    assert left.alerts == stopped("InvalidParameter")
    kept = sum(map(bool, left.numbers.values()))
    assert kept == (11 if message is BAD_NUMBER else 30)


@pytest.mark.parametrize("code", ["PlatformApplicationDisabled", "AuthorizationError"])
def test_amazon_refuses_us(tmp_path: Path, code: str) -> None:
    left = run_sns(tmp_path, amazon(code, 403), {"ana": ANA})
    assert not left.ends
    assert not left.voice
    assert left.unsettled == 1
    assert left.alerts == stopped(code)
    assert left.numbers["ana"] == [ANA]


@pytest.mark.parametrize(
    ("said", "spared"), [(amazon("InternalError", 500), 0), (amazon("KMSThrottling"), 1)]
)
def test_amazon_is_in_trouble(tmp_path: Path, said: Say, spared: int) -> None:
    left = run_sns(tmp_path, said)
    assert left.delayed["ana"].spared == spared
