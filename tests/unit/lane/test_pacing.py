"""A lane and the pace of its providers: rates, breakers, fewer places at a time."""

from __future__ import annotations

from tests.unit.lane.paper import TOPIC, Paper, PaperLane
from tidings.log.port import Slot
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.ports import Address
from tidings.rates import parse_rate
from tidings.sender import Terms, Verdict

RUNG_30S = f"{TOPIC}.retry.30s"
BREAKER = BreakerSpec(volume=4, window=10_000, pause=5_000, probes=2)
NOT_IN_PLACE = Retry(in_place=())


def filled(paper: Paper, count: int, **fields: int) -> None:
    for number in range(count):
        paper.deliver(f"n{number}", "phone", **fields)


def answered(lane: PaperLane, seconds: float, verdict: Verdict = Verdict.OK) -> int:
    """Let time pass; every send is answered within 10 ms. Gives how many there were."""
    count = 0
    for _ in range(round(seconds * 100)):
        lane.turn()
        count += len(lane.in_flight)
        lane.answer_all(verdict)
    return count


# ── Rate ──────────────────────────────────────────────────────────────────────────────────────


def test_a_provider_gets_no_more_than_its_rate_and_the_rest_waits_in_the_lane() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", rate="50/s"))
    filled(paper, 300)
    assert [answered(lane, 1) for _ in range(4)] == [50, 49, 49, 49]
    lane.turn()
    paper.confirm()
    assert not paper.of(RUNG_30S)


def test_a_rate_may_be_one_providers_alone() -> None:
    paper = Paper()
    spec = SendSpec(ios="apns", android="fcm", rate={"fcm": "10/s"})
    lane = paper.lane(spec)
    for number in range(50):
        paper.deliver(f"i{number}", Address(kind="device", value="i", platform="ios"))
        paper.deliver(f"a{number}", Address(kind="device", value="a", platform="android"))
    for _ in range(90):
        lane.turn()
    providers = [send.provider for send in lane.in_flight]
    assert (providers.count("apns"), providers.count("fcm")) == (50, 9)


def test_a_provider_brings_its_rate_along_and_the_yaml_outranks_it() -> None:
    terms = {"sandbox": Terms(parse_rate("20/s"))}
    for spec, expected in (
        (SendSpec(default="sandbox"), 20),
        (SendSpec(default="sandbox", rate="40/s"), 40),
    ):
        paper = Paper()
        lane = paper.lane(spec, terms=terms)
        filled(paper, 100)
        assert answered(lane, 1) == expected


def test_what_was_refused_as_too_many_counts_or_not_as_the_provider_has_it() -> None:
    for counts, expected in ((True, 0), (False, 10)):
        paper = Paper()
        spec = SendSpec(default="sandbox", rate={"at_most": 10, "within": "1h", "burst": 10})
        lane = paper.lane(spec, terms={"sandbox": Terms(counts_limited=counts)})
        filled(paper, 30)
        lane.turn()
        lane.answer_all(Verdict.RETRY, limited=True, retry_after_ms=3_000_000)
        lane.turn(2)
        assert len(lane.in_flight) == expected


def test_processes_share_a_rate_by_their_partitions() -> None:
    paper = Paper(partitions=5)
    spec = SendSpec(default="sandbox", rate="90/s")  # 5 partitions, 3 of the ladder, 1 of letters
    rungs = [slot for slot in paper.slots(spec) if slot.topic != TOPIC]
    first = paper.lane(spec, take=[Slot(TOPIC, number) for number in range(3)] + rungs)
    second = paper.lane(spec, take=[Slot(TOPIC, number) for number in (3, 4)])
    filled(paper, 500)
    assert (answered(first, 1), answered(second, 1)) == (70, 20)


def test_what_expires_while_it_waits_for_its_turn_is_not_sent() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", rate="10/s"))
    filled(paper, 30, expires_at=paper.clock.now() + 1_000)
    sent = answered(lane, 3)
    lane.turn()
    paper.confirm()
    kinds = [kind for [kind] in paper.ends().values()]
    assert (sent, kinds.count("sent"), kinds.count("expired")) == (10, 10, 20)


# ── Places ────────────────────────────────────────────────────────────────────────────────────


def test_a_provider_that_says_too_many_gets_fewer_at_once_and_soon_all_again() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=64))
    filled(paper, 2_000)
    at_once = []
    for _ in range(12):
        lane.turn(pass_ms=200)
        at_once.append(len(lane.in_flight))
        too_many = len(lane.in_flight) > 40
        lane.answer_all(Verdict.RETRY if too_many else Verdict.OK, limited=too_many)
        paper.confirm()
    assert at_once[:3] == [64, 48, 36]
    assert max(at_once[3:]) <= 64
    assert sum(at_once[3:]) / 9 > 30


def test_a_provider_that_takes_a_thousand_in_a_call_is_handed_them_at_once() -> None:
    paper = Paper()
    lane = paper.lane(terms={"sandbox": Terms(bulk=1_000)}, batch=1_000)
    filled(paper, 2_500)
    lane.turn()
    assert len(lane.in_flight) == 1_000
    lane.turn(2)
    assert len(lane.in_flight) == 2_000, "two calls"


# ── Breaker ───────────────────────────────────────────────────────────────────────────────────


def broken(paper: Paper, count: int = 20, spec: SendSpec | None = None) -> PaperLane:
    """A lane whose provider has just failed four sends at once."""
    spec = spec or SendSpec(default="sandbox", in_flight=4, breaker=BREAKER)
    lane = paper.lane(spec)
    filled(paper, count)
    lane.turn()
    assert len(lane.in_flight) == 4
    lane.answer_all(Verdict.RETRY, code="503")
    lane.turn()
    return lane


def test_while_the_breaker_is_open_nothing_is_sent_and_then_two_probes() -> None:
    paper = Paper()
    lane = broken(paper)
    lane.turn(490)
    assert not lane.in_flight
    lane.turn(20)
    assert len(lane.in_flight) == 2


def test_probes_that_are_taken_close_it_and_all_is_sent() -> None:
    paper = Paper()
    lane = broken(paper)
    lane.turn(500)
    answered(lane, 20)
    lane.turn()
    paper.confirm()
    assert len(paper.accepted) == 20
    assert {tuple(kinds) for kinds in paper.ends().values()} == {("sent",)}


def test_a_probe_that_fails_uses_up_no_retry_and_another_one_is_next() -> None:
    paper = Paper()
    lane = broken(paper)
    lane.turn(500)
    probes = {send.send_id for send in lane.in_flight}
    lane.answer_all(Verdict.RETRY, code="503")
    lane.turn(1_001)
    following = {send.send_id for send in lane.in_flight}
    assert len(following) == 2
    assert not following & probes, "what brings it down can't stand in the way of all others"
    answered(lane, 30)
    lane.turn()
    paper.confirm()
    tried = [one for one in paper.outcomes("attempt") if one.send_id in probes]
    assert sorted(one.attempt for one in tried) == [1, 1, 2, 2]
    assert len(paper.accepted) == 20


def test_an_outage_uses_up_only_the_retries_that_came_before_it_was_known() -> None:
    paper = Paper()
    spec = SendSpec(default="sandbox", in_flight=4, breaker=BREAKER, retry=NOT_IN_PLACE)
    lane = broken(paper, 4, spec)
    for _ in range(10):
        lane.turn(6_100)
        lane.answer_all(Verdict.RETRY, code="503")
        lane.turn()
        paper.confirm()
    parked = paper.deliveries(RUNG_30S)
    assert {one.attempt - one.spared for one in parked} == {1}


def test_addresses_that_are_gone_and_bad_messages_are_no_failure_of_the_provider() -> None:
    for verdict in (Verdict.INV, Verdict.DROP):
        paper = Paper()
        lane = paper.lane(SendSpec(default="sandbox", in_flight=4, breaker=BREAKER))
        filled(paper, 40)
        assert answered(lane, 1, verdict) == 40


def test_silence_is_a_failure_of_the_provider() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", in_flight=4, breaker=BREAKER))
    filled(paper, 40)
    assert answered(lane, 1, Verdict.AMB) == 4


def test_beside_another_provider_what_waits_for_one_that_is_down_takes_the_ladder() -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(ios="apns", android="fcm", in_flight=4, breaker=BREAKER))
    for number in range(30):
        paper.deliver(f"i{number}", Address(kind="device", value="i", platform="ios"))
        paper.deliver(f"a{number}", Address(kind="device", value="a", platform="android"))
    for _ in range(300):
        lane.turn()
        for send in [*lane.in_flight]:
            lane.answer(send, Verdict.RETRY if send.provider == "apns" else Verdict.OK)
    paper.confirm()
    assert len(paper.accepted) == 30
    spilled = paper.deliveries(RUNG_30S)
    assert len(spilled) >= 26
    deferred = paper.outcomes("decision")
    assert {(one.kind, one.reason, one.provider) for one in deferred} == {
        ("deferred", "provider_down", "apns")
    }
    assert len(deferred) == len(spilled)


def test_of_a_list_the_next_provider_sends_while_the_first_is_down() -> None:
    paper = Paper()
    spec = SendSpec(default=("twilio", "sns"), in_flight=4, breaker=BREAKER)
    lane = paper.lane(spec)
    filled(paper, 40)
    for _ in range(2_000):
        lane.turn()
        for send in [*lane.in_flight]:
            lane.answer(send, Verdict.RETRY if send.provider == "twilio" else Verdict.OK)
    lane.turn()
    paper.confirm()
    assert len(paper.accepted) == 40
    by = [one.provider for one in paper.outcomes("attempt")]
    assert by.count("sns") == 40
    assert by.count("twilio") <= 12, "four, each tried in place, until it was known"


def test_when_a_provider_is_back_it_gets_four_at_once_and_twice_as_many_each_second() -> None:
    paper = Paper()
    spec = SendSpec(default="sandbox", in_flight=400, breaker=BREAKER)
    lane = paper.lane(spec)
    filled(paper, 2_000)
    lane.turn()
    lane.answer_all(Verdict.RETRY, code="503")
    lane.turn(501)
    lane.answer_all()
    at_once = []
    for _ in range(6):
        lane.turn()
        at_once.append(len(lane.in_flight))
        lane.answer_all()
        paper.clock.advance(990)
    assert at_once == [4, 8, 16, 32, 64, 128]
