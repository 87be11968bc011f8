"""A list of providers: the next one has its turn where the first surely has not sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.sms_lane import Left, SmsLane
from tests.peers.provider import Got, Provider, Say

ANA, BEN = "+12025550100", "+12025550101"
TAKEN = Say(201, b'{"sid":"SM1","num_segments":"1"}')


def refusal(code: int, status: int) -> Say:
    return Say(status, json.dumps({"code": code, "message": "no", "status": status}).encode())


def run(
    folder: Path,
    first: Callable[[Got], Say],
    second: Callable[[Got], Say],
    enough: Callable[[Left], bool],
    people: dict[str, str] | None = None,
    *,
    retry: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[Left, Provider, Provider]:
    (folder / "token").write_text("secret")
    with Provider(first) as one, Provider(second) as two:
        providers = {
            name: {
                "kind": "twilio",
                "account": "AC" + "0" * 32,
                "auth_token": f"file:{folder}/token",
                "from": "+15005550006",
                "url": provider.url,
                "timeout": "300ms",
                "wait": "300ms",
            }
            for name, provider in (("one", one), ("two", two))
        }
        send: dict[str, Any] = {"default": ["one", "two"], "in_flight": 1}
        lane = SmsLane(folder, send if retry is None else send | {"retry": retry}, providers)
        left = lane.run(people or {"ana": ANA}, enough, chain=("voice",), **fields)
    return left, one, two


def always(said: Say) -> Callable[[Got], Say]:
    return lambda got: said


def ended(count: int = 1) -> Callable[[Left], bool]:
    return lambda left: len(left.ends) >= count


@pytest.mark.parametrize(("code", "status"), [(20003, 401), (20500, 500), (20429, 429)])
def test_what_the_first_does_not_take_goes_to_the_second_at_once(
    tmp_path: Path, code: int, status: int
) -> None:
    left, one, two = run(tmp_path, always(refusal(code, status)), always(TAKEN), ended())
    assert left.ends["ana"].kind == "sent"
    assert [(said.provider, said.kind) for said in left.attempts] == [
        ("one", "retried"),
        ("two", "sent"),
    ]
    assert len({said.outcome_id for said in left.attempts}) == 2
    assert two.got[0].at - one.got[0].at < 10_000, "no rung of the ladder"
    assert left.delayed == {}
    assert left.voice == {}


@pytest.mark.parametrize("wait", ["1", "20"])
def test_a_rate_limit_is_not_waited_for_while_the_second_takes_more(
    tmp_path: Path, wait: str
) -> None:
    limited = refusal(20429, 429)._replace(headers={"Retry-After": wait})
    retry = {"in_place": ["50ms", "50ms"], "ladder": ["30s", "5m"]}
    left, one, two = run(tmp_path, always(limited), always(TAKEN), ended(), retry=retry)
    assert left.ends["ana"].kind == "sent"
    assert (len(one.got), len(two.got)) == (1, 1)


def test_a_stopped_provider_is_passed_by(tmp_path: Path) -> None:
    people = {f"p{number}": f"+1202555{100 + number:04d}" for number in range(20)}
    left, one, two = run(tmp_path, always(refusal(20003, 401)), always(TAKEN), ended(20), people)
    assert {end.kind for end in left.ends.values()} == {"sent"}
    assert len(one.got) == 1
    assert len(two.got) == 20


def test_tries_in_place_come_first(tmp_path: Path) -> None:
    retry = {"in_place": ["50ms", "50ms"], "ladder": ["30s", "5m"]}
    left, one, two = run(tmp_path, always(refusal(0, 503)), always(TAKEN), ended(), retry=retry)
    assert left.ends["ana"].kind == "sent"
    assert (len(one.got), len(two.got)) == (3, 1)


def test_what_the_first_may_have_sent_is_not_sent_by_the_second(tmp_path: Path) -> None:
    left, one, two = run(tmp_path, always(Say(0)), always(TAKEN), ended())
    assert left.ends["ana"].kind == "unknown"
    assert (len(one.got), len(two.got)) == (1, 0)


@pytest.mark.parametrize("code", [21211, 21617])
def test_what_the_first_refuses_for_good_is_not_sent_by_the_second(
    tmp_path: Path, code: int
) -> None:
    left, one, two = run(tmp_path, always(refusal(code, 400)), always(TAKEN), ended())
    assert left.ends["ana"].kind == "failed"
    assert (len(one.got), len(two.got)) == (1, 0)
    assert left.voice.keys() == {"ana"}


def test_what_none_takes_waits_on_the_ladder(tmp_path: Path) -> None:
    left, one, two = run(
        tmp_path,
        always(refusal(0, 503)),
        always(refusal(0, 503)),
        lambda left: bool(left.delayed),
    )
    assert left.ends == {}
    assert left.delayed["ana"].attempt == 2
    assert (len(one.got), len(two.got)) == (1, 1)


def test_what_would_expire_before_another_try_still_has_the_second(tmp_path: Path) -> None:
    left, _, two = run(tmp_path, always(refusal(0, 503)), always(TAKEN), ended(), life=20_000)
    assert left.ends["ana"].kind == "sent"
    assert two.got[0].form["ValidityPeriod"] in {"18", "19", "20"}


def test_who_answered_stop_is_suppressed_and_keeps_the_number(tmp_path: Path) -> None:
    def answer(got: Got) -> Say:
        return refusal(21610, 400) if got.form["To"] == ANA else TAKEN

    left, _, two = run(
        tmp_path,
        answer,
        always(TAKEN),
        lambda left: len(left.ends) == 2 and left.suppressed["ana"] is not None,
        {"ana": ANA, "ben": BEN},
    )
    assert left.numbers["ana"] == [ANA]
    found = left.suppressed["ana"]
    assert found is not None
    assert (found.channel, found.reason, found.source) == ("sms", "stop", "one")
    assert left.suppressed["ben"] is None
    assert (left.ends["ana"].kind, left.ends["ana"].reason) == ("failed", "stop")
    assert left.voice.keys() == {"ana"}
    assert two.got == []
