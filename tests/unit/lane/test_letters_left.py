"""Letters beyond those in hand stay in the log, hold up nobody, and are read again when they may
go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.lane.paper import NOW, TOPIC, Paper, PaperLane, a_delivery
from tidings.log.port import Record, Slot
from tidings.operators.send import BreakerSpec, SendSpec
from tidings.ports import Address
from tidings.records import DeadLetter, Origin, Priority, encode
from tidings.runtime.lane.letters_held import HeldLetters, Offered
from tidings.runtime.letters import dead_letter
from tidings.sender import Send, Verdict

LETTERS = Slot("notif_dlq.push", 0)
SPEC = SendSpec(ios="apns", android="fcm", breaker=BreakerSpec(volume=20, pause=5_000, probes=2))
PHONES = {
    name: (Address(kind="device", value=name, platform=platform),)
    for name, platform in (("apns", "ios"), ("fcm", "android"))
}
HELD = 100  # of one provider, here
DAY = 86_400_000


@pytest.fixture(autouse=True)
def hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.runtime.lane.letters_held._MANY", HELD)


def letters(paper: Paper, provider: str, names: list[str], **fields: Any) -> None:
    """One for each, which its provider was to blame for."""
    for name in names:
        delivery = a_delivery(name, **fields)
        paper.people.addresses[delivery.recipient_id] = PHONES[provider]
        record = Record(TOPIC, 0, 41, NOW, delivery.recipient_id.encode(), encode(delivery), ())
        paper.write(dead_letter(record, dead(provider, paper.clock.now()), "push"))


def dead(provider: str, at: int) -> DeadLetter:
    return DeadLetter(
        reason="retries_exhausted",
        error="503",
        step="push.send",
        flow="social",
        origin=Origin(TOPIC, 0, 41),
        at=at,
        cause="provider_down",
        provider=provider,
    )


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:04d}" for number in range(count)]


def name_of(send: Send) -> str:
    assert send.delivery is not None
    return send.delivery.notif_id


def play(
    paper: Paper, lane: PaperLane, enough: Callable[[list[str]], bool], away: str = ""
) -> list[str]:
    """Everybody but ``away`` takes all that it gets; gives the names in the order of leaving."""
    went: list[str] = []
    for _ in range(4_000):
        if enough(went):
            return went
        lane.turn()
        for send in [*lane.in_flight]:
            went.append(name_of(send))
            lane.answer(send, Verdict.RETRY if send.provider == away else Verdict.OK)
        paper.confirm()
    raise AssertionError(f"not so far yet: {len(went)} went")


def settled(paper: Paper, lane: PaperLane) -> Callable[[int], bool]:
    """Which letters are settled for whoever takes the partition over, when all is confirmed."""
    for _ in range(50):
        lane.turn()
        paper.confirm()
    return paper.settled(LETTERS)


def proof(paper: Paper, provider: str, name: str) -> None:
    """Something new for a provider to take."""
    paper.deliver(name, *PHONES[provider])


def test_letters_of_a_provider_that_never_comes_back_hold_up_no_other_ones() -> None:
    paper = Paper()
    letters(paper, "apns", named("a", 3 * HELD))
    letters(paper, "fcm", named("f", 20))
    lane = paper.lane(SPEC)
    lane.turn(20)
    proof(paper, "fcm", "new")
    went = play(paper, lane, lambda went: len(went) == 21)
    assert went == ["new", *named("f", 20)]


def test_when_it_is_back_all_go_once_and_in_order_and_are_read_twice_at_most() -> None:
    paper = Paper()
    letters(paper, "apns", named("a", 4 * HELD))
    letters(paper, "fcm", named("f", 20))
    lane = paper.lane(SPEC)
    lane.turn(20)
    proof(paper, "apns", "new")
    went = play(paper, lane, lambda went: len(went) == 4 * HELD + 1)
    assert went == ["new", *named("a", 4 * HELD)]
    back = [offset for slot, offset in lane.consumer.sought if slot == LETTERS]
    assert 1 <= len(back) <= 2 * 4 * HELD // (HELD // 2), "there and back for each half a hand"
    proof(paper, "fcm", "other")
    assert play(paper, lane, lambda went: len(went) == 21) == ["other", *named("f", 20)]
    assert all(map(settled(paper, lane), range(4 * HELD + 20)))


def test_what_comes_while_a_lap_is_on_comes_behind_it() -> None:
    paper = Paper()
    letters(paper, "apns", named("a", 2 * HELD))
    lane = paper.lane(SPEC)
    lane.turn(20)
    proof(paper, "apns", "new")
    went = play(paper, lane, lambda went: len(went) > HELD // 2 + 1)
    letters(paper, "apns", named("b", HELD))
    paper.clock.advance(1_000)
    proof(paper, "apns", "newer")
    went += play(paper, lane, lambda more: len(went) + len(more) == 3 * HELD + 2)
    assert [name for name in went if name not in ("new", "newer")] == [
        *named("a", 2 * HELD),
        *named("b", HELD),
    ]


@pytest.mark.parametrize("sent", [10, HELD - 1, HELD + 60, 3 * HELD - 10])
def test_a_kill_in_the_midst_of_it_loses_none_and_repeats_only_what_was_not_marked(
    sent: int,
) -> None:
    paper = Paper()
    letters(paper, "apns", named("a", 3 * HELD))
    first = paper.lane(SPEC)
    first.turn(20)
    proof(paper, "apns", "new")
    went = play(paper, first, lambda went: len(went) > sent)
    unmarked = {name_of(send) for send, _, _ in first.courier.answered}
    paper.clock.advance(20_000)  # it was killed; its leases have run out

    second = paper.lane(SPEC)
    proof(paper, "apns", "later")
    turns = iter(range(300))
    went += play(paper, second, lambda more: next(turns, None) is None)
    times = Counter(went)
    assert set(times) == {"new", "later", *named("a", 3 * HELD)}
    assert {name for name, count in times.items() if count > 1} == unmarked


def test_what_is_left_is_passed_over_when_it_has_waited_too_long() -> None:
    paper = Paper()
    letters(paper, "apns", named("a", 3 * HELD))
    lane = paper.lane(SPEC)
    lane.turn(20)
    paper.clock.advance(DAY)
    assert all(map(settled(paper, lane), range(3 * HELD)))
    assert not lane.in_flight


def test_a_lane_that_always_has_something_new_to_send_gives_them_half_of_its_room() -> None:
    paper = Paper()
    letters(paper, "apns", named("a", HELD))
    lane = paper.lane(SendSpec(default="apns", in_flight=10))
    lane.turn(20)
    for name in named("new", 10 * HELD):
        paper.deliver(name, *PHONES["apns"])
    went = play(paper, lane, lambda went: len(went) >= 5 * HELD)
    begun, over = went.index("a0000"), went.index(f"a{HELD - 1:04d}")
    assert [name for name in went if name.startswith("a")] == named("a", HELD)
    assert begun < 3 * HELD, "behind what had been read before a send was taken"
    assert over - begun == pytest.approx(2 * HELD, abs=10), "by turns with what is new"


def test_letters_are_in_hand_when_an_outage_is_over_not_behind_all_that_came_meanwhile() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="apns", in_flight=10, breaker=SPEC.breaker))
    for name in named("new", 20):
        paper.deliver(name, *PHONES["apns"])
    play(paper, lane, lambda went: len(went) >= 20, away="apns")
    letters(paper, "apns", named("a", HELD // 2))
    for name in named("more", 5 * HELD):
        paper.deliver(name, *PHONES["apns"])
    lane.turn(300)  # its breaker is open
    assert lane.consumer.next[LETTERS] == HELD // 2
    assert lane.consumer.next[Slot(TOPIC, 0)] < 3 * HELD
    went = play(paper, lane, lambda went: f"a{HELD // 2 - 1:04d}" in went)
    assert sum(name.startswith("more") for name in went) < 3 * HELD, "by turns with what is new"


def test_of_large_ones_fewer_are_in_hand() -> None:
    paper = Paper()
    desk = HeldLetters(DAY, ["apns"], lambda provider: 0)
    letters(paper, "apns", named("a", 12), data={"text": "x" * 1_048_576})
    said = [desk.offer(one, Priority.NORMAL, NOW) for one in paper.records[LETTERS]]
    assert said == [Offered.HELD] * 4 + [Offered.LEFT] * 8


def test_a_partition_that_reaches_too_far_above_its_oldest_letter_is_read_for_laps_alone() -> None:
    paper = Paper()
    letters(paper, "fcm", ["f"])
    letters(paper, "apns", named("a", 3 * HELD))
    lane = paper.lane(SPEC, max_letters=HELD, batch=HELD)
    lane.turn(20)
    assert LETTERS in lane.consumer.paused
    assert lane.consumer.next[LETTERS] == 2 * HELD, "as far as the batch went that was too far"
    proof(paper, "apns", "new")
    turns = iter(range(300))
    went = play(paper, lane, lambda went: next(turns, None) is None)
    assert went == ["new", *named("a", len(went) - 1)]
    assert 2 * HELD <= len(went) < 3 * HELD, "what had been read, and no more than a batch beyond"
    proof(paper, "fcm", "other")
    rest = play(paper, lane, lambda rest: len(went) + len(rest) == 3 * HELD + 3)
    assert rest == ["other", "f", *named("a", 3 * HELD)[len(went) - 1 :]]


@given(st.integers(0, 1 << 32))
def test_however_it_is_read_and_released_each_goes_once_and_what_came_first_first(
    seed: int,
) -> None:
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tidings.runtime.lane.letters_held._MANY", 4)
        providers = ["one", "two", "three"]
        log = [_letter(number, random.choice([*providers, "gone"])) for number in range(60)]
        back: set[str] = set()
        desk = HeldLetters(DAY, providers, lambda provider: NOW + 1 if provider in back else 0)
        settled, read, place = set[int](), Counter[int](), 0
        went: list[int] = []
        for turn in range(600):
            if turn == 100:
                back = {"one", "two"}
            if turn == 300:
                back = {*providers}
            batch = log[place : place + random.randint(0, 7)]
            for record in batch:
                read[record.offset] += 1
                if record.offset in settled:
                    desk.skip(record.offset)
                elif desk.offer(record, Priority.NORMAL, NOW) is Offered.PASSED:
                    settled.add(record.offset)
            place += len(batch)
            if batch:
                place = _moved(desk, place)
            assert len(desk) <= len(providers) * (4 + 7)
            openings = {name: random.randint(1, 3) for name in back if random.random() < 0.5}
            released = [one.offset for one in desk.release(openings, random.randint(0, 5))]
            went += released
            settled |= {offset for offset in released if random.random() < 0.5}  # others are slow
            place = _moved(desk, place)
        kinds = {
            name: [one.offset for one in log if one.key == name.encode()] for name in providers
        }
        for offsets in kinds.values():
            assert [offset for offset in went if offset in offsets] == offsets
        assert max(read.values()) <= 1 + len(providers)


def _moved(desk: HeldLetters, place: int) -> int:
    there = desk.turn()
    return place if there is None else there


def _letter(offset: int, provider: str) -> Record:
    delivery = encode(a_delivery(f"n{offset}"))
    of = Record(TOPIC, 0, offset, NOW, provider.encode(), delivery, ())
    letter = dead_letter(of, dead(provider, NOW), "push")
    return Record(*LETTERS, offset, NOW, letter.key, letter.value, letter.headers)
