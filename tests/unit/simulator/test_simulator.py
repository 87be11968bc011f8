"""What the simulator makes of a request, by its scenario alone: no socket, no clock of its own."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tidings.simulator.journal import Journal, received
from tidings.simulator.scenario import Scenario
from tidings.simulator.simulator import Deed, Simulator
from tidings.simulator.twilio import Twilio
from tidings.simulator.wire import Request

ACCOUNT = "AC" + "1" * 32
NOW = 1_790_000_000_000


class Desk:
    """A simulated Twilio, asked by hand at instants that the test sets."""

    def __init__(self, journal: Journal, file: Path, scenario: dict[str, Any]) -> None:
        self.now = NOW
        self.file = file
        self.due: list[int] = []
        service = Twilio(ACCOUNT, "secret", "+15005550006", "twilio", "")
        self.authorization = "Basic " + b64encode(f"{ACCOUNT}:secret".encode()).decode()
        self.simulator = Simulator(
            Scenario.model_validate(scenario),
            [service],
            journal,
            lambda: self.now,
            lambda at, make: self.due.append(at - NOW),
        )

    def text(self, to: str = "+12025550100", body: str = "Hello") -> Deed:
        form = {"To": to, "From": "+15005550006", "Body": body, "StatusCallback": "https://x.test"}
        headers = {"authorization": self.authorization}
        path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        return self.simulator.take(Request("POST", path, headers, urlencode(form).encode(), "1.1"))

    def statuses(self, texts: Sequence[str]) -> list[int]:
        deeds = [self.text(body=text) for text in texts]
        return [deed.reply.status for deed in deeds if deed.reply is not None]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Any]:
    file = tmp_path / "journal.jsonl"
    with closing(Journal(file)) as journal:
        yield lambda **scenario: Desk(journal, file, scenario)


def test_without_a_script_all_is_taken_at_once(desk: Any) -> None:
    deed = desk().text()
    assert (deed.reply.status, deed.delay, deed.reset) == (201, 0, False)


def test_latencies_lie_between_their_bounds_and_a_seed_repeats_them(desk: Any) -> None:
    def delays(seed: int) -> list[int]:
        asked = desk(latency=["20ms", "80ms"], seed=seed)
        return [asked.text(body=f"{number}").delay for number in range(100)]

    first = delays(1)
    assert min(first) >= 20
    assert max(first) <= 80
    assert len(set(first)) > 20
    assert delays(1) == first
    assert delays(2) != first


def test_a_share_is_a_share_and_a_seed_repeats_it(desk: Any) -> None:
    script = [{"share": 0.25, "answer": "retry"}]
    texts = [str(number) for number in range(400)]
    found = desk(script=script).statuses(texts)
    assert 60 <= found.count(503) <= 140
    assert desk(script=script).statuses(texts) == found
    assert desk(script=script, seed=7).statuses(texts) != found


def test_the_first_rule_that_fits_decides(desk: Any) -> None:
    asked = desk(
        script=[
            {"provider": "apns", "answer": "drop"},
            {"address": "+1202*", "attempts": 1, "answer": "retry", "limited": True},
            {"address": "+1202*", "answer": "inv"},
        ]
    )
    found = [asked.text().reply.status for _ in range(2)] + [
        asked.text("+12125550100").reply.status
    ]
    assert found == [429, 400, 201]
    kept = [(one.attempt, one.answer, one.status) for one in received(asked.file)]
    assert kept == [(1, "retry", 429), (2, "inv", 400), (1, "ok", 201)]


def test_an_outage_ends_at_its_hour(desk: Any) -> None:
    asked = desk(script=[{"since": "1m", "until": "2m", "answer": "retry"}])
    found = []
    for second in (0, 59, 60, 119, 120):
        asked.now = NOW + second * 1_000
        found.append(asked.text(body=str(second)).reply.status)
    assert found == [201, 201, 503, 503, 201]


def test_receipts_come_late_twice_and_for_a_share(desk: Any) -> None:
    asked = desk(
        receipts=[
            {"event": "delivered", "after": "2s"},
            {"event": "opened", "after": ["1m", "2m"], "times": 2, "share": 0.5},
        ]
    )
    for number in range(100):
        asked.text(body=str(number))
    assert asked.due.count(2_000) == 100
    opened = [at for at in asked.due if at != 2_000]
    assert 60 <= len(opened) <= 140
    assert len(opened) % 2 == 0
    assert all(60_000 <= at <= 120_000 for at in opened)


def test_a_call_that_never_was_answered_is_kept_as_such(desk: Any) -> None:
    asked = desk(script=[{"answer": "amb", "accepted": True}])
    assert asked.text() == Deed(None, 0, reset=False)
    [kept] = received(asked.file)
    assert (kept.answer, kept.status, kept.accepted, bool(kept.id)) == ("amb", 0, True, True)


def test_a_path_of_nobody_is_not_found_and_not_kept(desk: Any) -> None:
    asked = desk()
    deed = asked.simulator.take(Request("GET", "/", {}, b"", "2"))
    assert deed.reply.status == 404
    assert received(asked.file) == []


def test_a_line_that_a_kill_cut_short_is_passed_over(desk: Any) -> None:
    asked = desk()
    asked.text()
    with asked.file.open("ab") as file:
        file.write(b'{"at":1,"provi')
    with closing(Journal(asked.file)) as again:
        Desk(again, asked.file, {}).text(body="after")
    assert [one.parts["body"] for one in received(asked.file)] == ["Hello", "after"]
    assert json.loads(asked.file.read_bytes().splitlines()[-1])["accepted"] is True
