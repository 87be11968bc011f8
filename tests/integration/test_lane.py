"""The lane as a process: killed, stopped, joined by others; and what its script throws at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.lane_stage import DELIVERIES, Stage, a_delivery
from tidings.ids import send_id
from tidings.records import decode_delivery
from tidings.services.kafka import Kafka
from tidings.services.valkey import Valkey

COUNT = 5_000
PEOPLE = 400

LOGS = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, tmp_path: Path, start_valkey: Callable[..., Valkey]
) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(log: str, send: object, **providers: object) -> Stage:
        address = f"sqlite:{tmp_path}/log"
        if log == "kafka":
            start_kafka: Callable[..., Kafka] = request.getfixturevalue("start_kafka")
            address = f"kafka:{start_kafka().bootstrap}"
        made.append(Stage(tmp_path, address, start_valkey().url, send, dict(providers)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def sandbox(stage_folder: Path, name: str = "sandbox", **fields: object) -> dict[str, object]:
    return {"kind": "sandbox", "file": str(stage_folder / f"{name}.jsonl"), **fields}


def blast(stage: Stage) -> None:
    """5,000 deliveries for 400 people, some of whom have two devices, and one dead."""

    def devices(number: int) -> list[dict[str, object]]:
        names = [f"phone-{number}"]
        if number % 10 == 3:
            names.append(f"tablet-{number}")
        if number % 10 == 7:
            names.append(f"dead-{number}")
        return [{"kind": "device", "value": name, "platform": "ios"} for name in names]

    stage.people((f"user-{number}", devices(number)) for number in range(PEOPLE))
    stage.deliver(a_delivery(number, f"user-{number % PEOPLE}") for number in range(COUNT))


ROUGH = [
    {"address": "dead-*", "answer": "inv", "code": "Unregistered"},
    {"share": 0.03, "attempts": 1, "answer": "retry", "code": "503"},
]

# What a killed lane leaves is what had failed, and the script lets it fail once more: a breaker
# would take that for an outage.
PATIENT = {"volume": COUNT}


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.timeout(240)
def test_a_lane_killed_three_times_loses_nothing_and_repeats_what_was_not_marked(
    log: str, stage: Callable[..., Stage], tmp_path: Path
) -> None:
    lane = stage(
        log,
        {"default": "sandbox", "in_flight": 100, "breaker": PATIENT},
        sandbox=sandbox(tmp_path, latency=["20ms", "80ms"], script=ROUGH),
    )
    blast(lane)
    unmarked = 0
    for sent_by_then in (900, 2_000, 3_500):
        process = lane.start()
        lane.until_got(sent_by_then)
        process.kill()
        process.wait()
        unmarked += lane.unmarked(lane.claims)
    last = lane.start()
    lane.until_ended(COUNT)
    lane.terminate(last)

    ends = lane.ends()
    assert {tuple(kind for _, kind in found) for found in ends.values()} == {("sent",)}
    accepted = lane.accepted()
    assert {one.notif_id for one in lane.outcomes("attempt") if one.kind == "sent"} == set(ends)
    for number in range(COUNT):
        phone = f"phone-{number % PEOPLE}"
        assert accepted[send_id(f"n{number:06d}", "push", phone, 0)] >= 1, "lost"
    repeats = sum(times - 1 for times in accepted.values())
    assert repeats <= unmarked
    assert repeats <= 3 * 100, "no more than was in flight at each kill"
    assert lane.lag() == 0


@pytest.mark.parametrize("log", LOGS)
def test_a_lane_that_is_stopped_in_a_blast_repeats_nothing_and_another_goes_on(
    log: str, stage: Callable[..., Stage], tmp_path: Path
) -> None:
    lane = stage(
        log,
        {"default": "sandbox", "in_flight": 100, "breaker": PATIENT},
        sandbox=sandbox(tmp_path, latency=["20ms", "80ms"], script=ROUGH),
    )
    blast(lane)
    for sent_by_then in (900, 2_000):
        process = lane.start()
        lane.until_got(sent_by_then)
        lane.terminate(process)
    last = lane.start()
    lane.until_ended(COUNT)
    lane.terminate(last)
    assert {tuple(kind for _, kind in found) for found in lane.ends().values()} == {("sent",)}
    assert set(lane.accepted().values()) == {1}
    assert lane.lag() == 0


def test_what_a_provider_throws_at_a_lane(stage: Callable[..., Stage], tmp_path: Path) -> None:
    script = [
        {"address": "limited", "attempts": 2, "answer": "retry", "code": "429", "limited": True,
         "retry_after": "300ms"},
        {"address": "flaky", "attempts": 2, "answer": "retry", "code": "503"},
        {"address": "dead-*", "answer": "inv", "code": "Unregistered"},
        {"address": "large", "answer": "drop", "code": "PayloadTooLarge"},
        {"address": "silent", "answer": "amb", "accepted": True},
    ]  # fmt: skip
    lane = stage(
        "sqlite",
        {"default": "sandbox", "retry": {"in_place": ["100ms", "200ms"], "ladder": ["1s"]}},
        sandbox=sandbox(tmp_path, latency="5ms", script=script),
    )
    names = ["fine", "limited", "flaky", "large", "silent"]
    people = [(name, [name]) for name in names] + [("gone", ["dead-1", "dead-2"])]
    people += [("mixed", ["dead-3", "fine-too"]), ("late", ["late"])]
    lane.people(
        (who, [{"kind": "device", "value": value} for value in values]) for who, values in people
    )
    numbers = {who: number for number, (who, _) in enumerate(people)}
    lane.deliver(
        a_delivery(
            number,
            who,
            chain=("email",) if who == "gone" else (),
            expires_at=1 if who == "late" else 0,
        )
        for who, number in numbers.items()
    )
    process = lane.start()
    lane.until_ended(len(people))
    lane.terminate(process)

    ends = {one.recipient_id: one for one in lane.outcomes("end")}
    assert {who: end.kind for who, end in ends.items()} == {
        "fine": "sent",
        "limited": "sent",
        "flaky": "sent",
        "mixed": "sent",
        "silent": "unknown",
        "gone": "failed",
        "large": "failed",
        "late": "expired",
    }
    tries = {one.address: 0 for one in lane.got()}
    for one in lane.got():
        tries[one.address] += 1
    assert tries == {
        "fine": 1, "limited": 3, "flaky": 3, "large": 1, "silent": 1,
        "dead-1": 1, "dead-2": 1, "dead-3": 1, "fine-too": 1,
    }  # fmt: skip
    limited = [one.at for one in lane.got() if one.address == "limited"]
    assert limited[1] - limited[0] >= 300, "as Retry-After asked"
    [following] = lane.records("deliveries.email.normal")
    assert decode_delivery(following.value or b"").recipient_id == "gone"
    [letter] = lane.records("notif_dlq.push")
    assert decode_delivery(letter.value or b"").recipient_id == "large"
    journal = (tmp_path / "people/people.journal.jsonl").read_text()
    assert sorted(name for name in ("dead-1", "dead-2", "dead-3") if name in journal) == [
        "dead-1",
        "dead-2",
        "dead-3",
    ]
    fine = next(one for one in lane.got() if one.address == "fine")
    assert fine.parts == {"title": "Hello fine", "body": "0 likes"}


def test_a_stalled_provider_holds_up_no_other_in_its_lane(
    stage: Callable[..., Stage], tmp_path: Path
) -> None:
    lane = stage(
        "sqlite",
        {"ios": "stalled", "default": "sandbox", "in_flight": 10},
        stalled=sandbox(tmp_path, "stalled", latency="10s"),
        sandbox=sandbox(tmp_path, latency="5ms"),
    )
    platforms = ["ios", "android"]
    lane.people(
        (f"user-{n}", [{"kind": "device", "value": f"d{n}", "platform": platforms[n % 2]}])
        for n in range(1_000)
    )
    lane.deliver(a_delivery(n, f"user-{n}") for n in range(1_000))
    process = lane.start()
    lane.until_got(500)
    lane.until_ended(500)
    assert len(lane.got("stalled")) == 10
    process.kill()
    process.wait()
    assert {kind for found in lane.ends().values() for _, kind in found} == {"sent"}
    spilled = [decode_delivery(one.value or b"") for one in lane.records(f"{DELIVERIES}.retry.30s")]
    assert spilled, "what it could not take waits on the ladder"
    assert {one.attempt for one in spilled} == {0}
