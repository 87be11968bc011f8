"""What waits on the ladder for a provider's sake goes when that one is back, not when it is due."""

from __future__ import annotations

from tests.unit.lane.paper import TOPIC, Paper, PaperLane, id_of
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.ports import Address
from tidings.sender import Verdict

RUNG_30S, RUNG_5M = f"{TOPIC}.retry.30s", f"{TOPIC}.retry.5m"
BREAKER = BreakerSpec(volume=4, pause=5_000, probes=2)
BOTH = SendSpec(ios="apns", android="fcm", in_flight=400, breaker=BREAKER)


def deliver(paper: Paper, count: int, **fields: int) -> None:
    for number in range(count):
        phone = Address(kind="device", value="phone", platform="ios")
        paper.deliver(f"n{number:03d}", phone, **fields)


def play(paper: Paper, lane: PaperLane, turns: int, apns: Verdict, **more: object) -> list[int]:
    """Let 10 ms pass so often; gives the number of sends to APNs in each."""
    sends = []
    for _ in range(turns):
        lane.turn()
        sends.append(sum(send.provider == "apns" for send in lane.in_flight))
        for send in [*lane.in_flight]:
            lane.answer(send, apns if send.provider == "apns" else Verdict.OK, **more)
        paper.confirm()
    return sends


def down(paper: Paper, count: int = 60, **fields: int) -> PaperLane:
    """A lane whose APNs has just failed; all that waits for it is on the ladder."""
    lane = paper.lane(BOTH)
    deliver(paper, 4)
    play(paper, lane, 3, Verdict.RETRY)
    for number in range(100, 100 + count):
        phone = Address(kind="device", value="phone", platform="ios")
        paper.deliver(f"n{number}", phone, **fields)
    play(paper, lane, 10, Verdict.RETRY)
    assert len(paper.deliveries(RUNG_30S)) >= count
    return lane


def test_when_the_provider_is_back_all_of_it_goes_long_before_it_is_due_and_in_order() -> None:
    paper = Paper()
    lane = down(paper)
    play(paper, lane, 1_000, Verdict.OK)  # 10 s
    assert set(paper.ends()) >= {(f"n{number}", "push") for number in range(100, 160)}
    assert {tuple(kinds) for kinds in paper.ends().values()} == {("sent",)}
    assert set(paper.accepted.values()) == {1}
    sent = [one.notif_id for one in paper.outcomes("attempt") if one.kind == "sent"]
    late = [name for name in sent if name >= "n100"]
    assert late == sorted(late)


def test_it_comes_back_slowly_four_at_once_and_then_twice_as_many_each_second() -> None:
    paper = Paper()
    lane = down(paper, 3_000)
    sends = play(paper, lane, 510, Verdict.OK)  # answered within 10 ms
    assert max(sends[:490]) <= 2, "probes"
    at_once = [max(play(paper, lane, 100, Verdict.OK)) for _ in range(3)]
    assert [most <= bound for most, bound in zip(at_once, (8, 16, 32), strict=True)] == [True] * 3
    assert at_once == sorted(set(at_once))


def test_a_process_that_knows_nothing_of_the_outage_releases_it_as_well() -> None:
    paper = Paper()
    down(paper)
    paper.clock.advance(16_000)  # the first process was killed; its leases have run out
    fresh = paper.lane(BOTH)
    play(paper, fresh, 100, Verdict.OK)
    assert set(paper.accepted) >= {id_of(f"n{number}", "phone") for number in range(100, 160)}
    assert set(paper.accepted.values()) == {1}


def test_while_it_is_down_one_or_two_are_taken_from_the_ladder_to_try_it() -> None:
    paper = Paper()
    lane = down(paper)
    sends = play(paper, lane, 2_900, Verdict.RETRY)  # 29 s: pauses of 5, 10 and 20 s
    assert sum(sends) == 4
    parked = [one for one in paper.deliveries(RUNG_30S) if one.notif_id >= "n100"]
    assert {one.attempt - one.spared for one in parked} == {0}


def test_what_waits_for_its_own_time_is_not_released_with_it() -> None:
    paper = Paper()
    spec = SendSpec(ios="apns", android="fcm", retry=Retry(in_place=()), breaker=BREAKER)
    lane = paper.lane(spec)
    deliver(paper, 2)
    play(paper, lane, 3, Verdict.RETRY)  # two failures: the breaker stays closed
    assert [one.awaits for one in paper.deliveries(RUNG_30S)] == [(), ()]
    assert sum(play(paper, lane, 2_900, Verdict.OK)) == 0
    assert sum(play(paper, lane, 200, Verdict.OK)) == 2


def test_what_waits_for_a_time_does_not_keep_back_what_stands_behind_it() -> None:
    paper = Paper()
    retry = Retry(in_place=(), ladder=(300_000,))
    spec = SendSpec(ios="apns", android="fcm", in_flight=200, retry=retry, breaker=BREAKER)
    lane = paper.lane(spec)
    deliver(paper, 3)
    play(paper, lane, 3, Verdict.RETRY)
    for number in range(100, 1_000):
        phone = Address(kind="device", value="phone", platform="ios")
        paper.deliver(f"n{number}", phone)
    play(paper, lane, 2, Verdict.RETRY)
    play(paper, lane, 2_000, Verdict.OK)
    assert sum(not one.awaits for one in paper.deliveries(f"{TOPIC}.retry.5m")) > 3
    assert len(paper.accepted) >= 690


def test_what_has_expired_on_the_ladder_is_told_so_and_not_sent() -> None:
    paper = Paper()
    lane = down(paper, 20, expires_at=paper.clock.now() + 4_000)
    play(paper, lane, 1_500, Verdict.OK)
    ends = {name: kinds for (name, _), kinds in paper.ends().items() if name >= "n100"}
    assert len(ends) == 20
    assert {tuple(kinds) for kinds in ends.values()} == {("expired",)}
    assert not set(paper.accepted) & {id_of(name, "phone") for name in ends}


def test_each_time_it_waits_on_a_longer_rung_as_long_as_its_life_allows() -> None:
    for life, rungs in ((0, 1), (400_000, 0)):
        paper = Paper()
        lane = paper.lane(BOTH)
        deliver(paper, 4)
        play(paper, lane, 3, Verdict.CFG)
        expires_at = paper.clock.now() + life if life else 0
        phone = Address(kind="device", value="phone", platform="ios")
        paper.deliver("n100", phone, expires_at=expires_at)
        play(paper, lane, 3, Verdict.CFG)
        assert [one.notif_id for one in paper.deliveries(RUNG_30S)].count("n100") == 1
        lane.lane._dispatch._quotas["apns"].stopped_until += 10**9
        paper.clock.advance(30_000)
        play(paper, lane, 10, Verdict.CFG)
        assert [one.notif_id for one in paper.deliveries(RUNG_5M)].count("n100") == rungs


def test_a_letter_says_when_a_provider_was_to_blame_and_which() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=())))
    for number, verdict in enumerate((Verdict.RETRY, Verdict.DROP)):
        paper.deliver(f"n{number}", "phone")
        lane.serve(verdict)
    paper.confirm()
    headers = [dict(letter.headers) for letter in paper.of("notif_dlq.push")]
    assert [
        (one["tidings-reason"], one.get("tidings-cause"), one.get("tidings-provider"))
        for one in headers
    ] == [
        (b"retries_exhausted", b"provider_down", b"sandbox"),
        (b"refused", None, None),
    ]
