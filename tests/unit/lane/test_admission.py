"""What is no delivery of a lane, and what of a delivery is too much: nothing stops a lane."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.lane.paper import TOPIC, Paper, a_delivery, id_of
from tidings.log.port import Append
from tidings.operators.send import Retry, SendSpec
from tidings.ports import Address
from tidings.records import Allowance, Delivery, decode_delivery, encode
from tidings.sender import Verdict

DEAD = "notif_dlq.push"


def counted(allowance: Allowance) -> Delivery:
    """A delivery that is to be counted so on the channel behind its own."""
    return a_delivery("n1", chain=("email",), allowances={"email": (allowance,)})


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\xff not JSON",
        b"",
        b"[" * 100_000,
        b'{"notif_id": 7}',
        encode(a_delivery("n1", channel="email")),
        encode(a_delivery("n1", priority="high")),
        encode(a_delivery("")),
        encode(a_delivery("n1", attempt=-3)),
        encode(a_delivery("n1", attempt=1, spared=2)),
        encode(a_delivery("n1", chain=("pigeon",))),
        encode(counted(Allowance("email/all/1d", 0, 86_400_000))),
        encode(counted(Allowance("email/all/1d", 1, 1 << 60))),
        encode(counted(Allowance("e" * 10_000, 1, 86_400_000))),
        encode(a_delivery("n" * 100_000)),
        encode(a_delivery("n1", variant="v" * 1_000_000)),
        encode(a_delivery("n1", data={"text": "x" * 2_000_000})),
        encode(a_delivery("n1", data={"x": 1})).replace(
            b":1}", b":" + b"[" * 600 + b"]" * 600 + b"}"
        ),
        encode(a_delivery("n1")).replace(b'"n1"', b'"\xff"'),
        encode(a_delivery("n1")).replace(b",0,7", b",0,1" + b"0" * 30),
    ],
)
def test_a_record_that_is_no_delivery_of_this_lane_is_a_dead_letter_and_stops_nothing(
    value: bytes,
) -> None:
    paper = Paper()
    lane = paper.lane()
    paper.write(Append(TOPIC, b"k", value, (("h", b"1"),)))
    paper.deliver("good", "phone")
    lane.turn()
    assert len(lane.in_flight) == 1
    lane.answer_all()
    lane.turn()
    paper.confirm()
    paper.clock.advance(300)
    lane.turn()
    [letter] = paper.of(DEAD)
    assert (letter.value, letter.key) == (value, b"k")
    assert dict(letter.headers)["tidings-reason"] == b"undecodable"
    assert dict(letter.headers)["h"] == b"1"
    assert paper.settled()(0)
    assert paper.settled()(1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"\x00",
        b"[" * 100_000,
        encode(a_delivery("n1", awaits=("sandbox",))).replace(b'"sandbox"', b'"\xff"'),
        encode(a_delivery("n1", awaits=("sandbox",))).replace(b'"sandbox"', b"7"),
    ],
)
def test_what_is_held_on_a_rung_and_no_delivery_is_a_dead_letter_when_it_is_due(
    value: bytes | None,
) -> None:
    paper = Paper()
    lane = paper.lane()
    rung = f"{TOPIC}.retry.30s"
    paper.write(Append(rung, b"k", value))
    paper.write(Append(rung, b"k", encode(paper.deliver("good", "phone"))))
    lane.serve()
    assert paper.of(DEAD) == []
    paper.clock.advance(30_000)
    lane.turn()
    paper.confirm()

    [letter] = paper.of(DEAD)
    assert letter.value == value
    assert ("good", "push") in paper.ends()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("push"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = msgspec.json.decode(
    encode(
        a_delivery(
            "n1",
            chain=("email",),
            answers={"s": "ok"},
            allowances={"email": (Allowance("email/all/1d", 1, 86_400_000),)},
        )
    )
)
CHANGED = st.dictionaries(
    st.sampled_from([*FIELDS, "attempt", "spared", "not_before", "expires_at", "round"]), ANYTHING
).map(lambda changes: msgspec.json.encode(FIELDS | changes))


@given(st.lists(st.binary() | CHANGED, min_size=1, max_size=5))
def test_whatever_stands_in_a_record_it_ends_or_is_a_dead_letter_and_its_neighbour_is_sent(
    values: list[bytes],
) -> None:
    paper = Paper()
    lane = paper.lane(SendSpec(default="sandbox", retry=Retry(in_place=(), ladder=())))
    for value in values:
        paper.write(Append(TOPIC, b"person-of-n1", value))
    paper.deliver("neighbour", "phone")
    paper.people.addresses["person-of-n1"] = (Address(kind="device", value="tablet"),)
    for _ in range(10):
        lane.turn()
        lane.answer_all(Verdict.RETRY if len(paper.outcomes()) % 2 else Verdict.OK)
        paper.confirm()
        lane.turn()
        paper.confirm()
        paper.clock.advance(500)
    assert paper.accepted[id_of("neighbour", "phone")] <= 1
    assert ("neighbour", "push") in paper.ends()
    early = sum(1 for value in values if waits(value, paper.clock.now()))
    open_ = [at for at in range(len(values) + 1) if not paper.settled()(at)]
    assert len(open_) <= early, "only what is not due may be open"


def waits(value: bytes, now: int) -> bool:
    """Whether the record is a delivery for later."""
    try:
        return decode_delivery(value).not_before > now - 10_000
    except msgspec.DecodeError:
        return False


def test_a_large_delivery_with_names_of_a_sane_length_is_sent() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone", data={"text": "x" * 1_000_000})
    lane.turn()
    assert len(lane.in_flight) == 1


def test_of_what_a_provider_says_the_beginning_is_kept() -> None:
    paper = Paper()
    lane = paper.lane()
    paper.deliver("n1", "phone")
    lane.turn()
    lane.answer(0, Verdict.DROP, detail="y" * 10_000_000)
    lane.turn()
    paper.confirm()
    assert paper.outcomes("attempt")[0].detail == "y" * 500
