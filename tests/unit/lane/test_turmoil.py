"""Whatever happens to a lane, nothing is lost, little is repeated, and what was decided stays so.

`pytest tests/unit/lane/test_turmoil.py --hypothesis-profile=long` takes minutes, and looks at fifty
times as many days.
"""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.lane.turmoil import NEWS, PLACES, SPEC, Order, Step, Turmoil
from tidings.log.port import Position
from tidings.records import decode_delivery, decode_entry

EMAIL, LETTERS = "deliveries.email.normal", "notif_dlq.push"
TRIES = 1 + len(SPEC.retry.in_place) + len(SPEC.retry.ladder)

ORDERS = st.lists(
    st.builds(
        Order,
        places=st.sampled_from([(), PLACES[:1], PLACES[:1], PLACES[:2], PLACES]),
        chain=st.booleans(),
        full=st.booleans(),
        waits=st.booleans(),
        life=st.sampled_from([0, 0, 3_000, 45_000, 700_000]),
        on_uncertain=st.sampled_from(["", "resend", "ask"]),
    ),
    min_size=1,
    max_size=8,
)
WEIGHTS = {"turn": 2, "serve": 2, "answer": 2, "confirm": 2, "pass": 2, "person": 2, "kill": 2}
ONCE = ("arrive", "mood", "move", "leave", "freeze", "wake", "away", "late")
NAMES = [name for name, weight in WEIGHTS.items() for _ in range(weight)] + [*ONCE]
HOW = st.integers(0, 40) | st.integers(0, 600) | st.integers(0, 3_000)
STEPS = st.lists(st.builds(Step, st.sampled_from(NAMES), st.integers(0, 7), HOW), max_size=60)


@settings(max_examples=2 * settings().max_examples)
@given(ORDERS, STEPS)
def test_whatever_happens_each_delivery_ends_as_it_was_decided(
    orders: list[Order], steps: list[Step]
) -> None:
    day = Turmoil(orders)
    for step in steps:
        day.take(step)
    day.finish()

    check_settled(day)
    check_ends(day)
    check_reasons(day)
    check_repeats(day)
    check_channels(day)
    check_news(day)


def check_settled(day: Turmoil) -> None:
    """Nothing is open, nothing is left unread."""
    for slot in day.slots(SPEC):
        end, position = len(day.records[slot]), day.committed.get(slot, Position(0))
        assert position.offset == end, f"{slot} is settled to {position} of {end}"
    assert not day.leaving
    assert all(process.lane.drained() for process in day.processes)


def check_ends(day: Turmoil) -> None:
    """Each delivery has come to one end; one on which nothing hangs may be told of otherwise by a
    replay that finds another world."""
    found = defaultdict(set)
    for one in day.outcomes("end"):
        found[one.notif_id].add((one.round, one.kind))
    assert set(found) == set(day.orders)
    unsure = {day.notif_of[send] for send in day.notif_of if excused(day, send)}
    for notif_id, ends in found.items():
        if notif_id in day.several:  # what may have gone out to one device can go to another
            ends -= {(number, "unknown") for number, kind in ends if kind == "sent"}
        if day.calm or (day.orders[notif_id].hangs and notif_id not in unsure):
            rounds = [number for number, _ in ends]
            assert len(rounds) == len(set(rounds)), f"{notif_id} ended as {ends}"


def excused(day: Turmoil, send: str) -> bool:
    """Whether Claims were not told that it went out, or may have, when something broke."""
    return day.excused[send] > 0 or send in day.unsure


def check_reasons(day: Turmoil) -> None:
    """What failed has failed for the reason that is told, and is a letter or goes on."""
    letters = {decode_delivery(record.value or b"").notif_id for record in day.of(LETTERS)}
    gone_on = {one.notif_id for one in day.deliveries(EMAIL)}
    sent = {one.notif_id for one in day.outcomes("end") if one.kind != "failed"}
    for one in day.outcomes("end"):
        if one.kind != "failed":
            continue
        assert one.notif_id in letters | gone_on | sent, f"{one.notif_id} has failed in silence"
        given = [
            answers for send, answers in day.given.items() if day.notif_of[send] == one.notif_id
        ]
        if one.reason == "retries_exhausted":
            assert max(answers["retry"] + answers["amb"] for answers in given) >= TRIES
        elif one.reason in ("address_gone", "refused"):
            verdict = {"address_gone": "inv", "refused": "drop"}[one.reason]
            assert any(answers[verdict] for answers in given)
        else:
            removed = any(answers["inv"] for answers in given)
            assert removed or one.notif_id in day.changed or not day.orders[one.notif_id].places
            assert one.reason in ("no_address", "missing_variable", "")


def check_repeats(day: Turmoil) -> None:
    """Nothing is sent twice but what had been accepted and was not marked when something broke."""
    for send, times in day.accepted.items():
        order = day.orders[day.notif_of.get(send, "")] if send in day.notif_of else None
        resent = day.given[send]["amb"] if order and order.on_uncertain == "resend" else 0
        assert times <= 1 + day.excused[send] + resent, f"{send} was sent {times} times"


def check_channels(day: Turmoil) -> None:
    """What went out goes by no other channel, and what is handed over is always the same."""
    handed = defaultdict(set)
    for record in day.of(EMAIL):
        delivery = decode_delivery(record.value or b"")
        handed[delivery.notif_id].add(record.value)
    went_out = defaultdict(list)
    for send, notif_id in day.notif_of.items():
        if day.accepted[send]:
            went_out[notif_id].append(send)
    for notif_id, words in handed.items():
        assert len(words) == 1, f"{notif_id} was handed over in {len(words)} ways"
        for send in went_out[notif_id]:
            resent = day.orders[notif_id].on_uncertain == "resend" and day.given[send]["amb"]
            assert resent or excused(day, send), f"{notif_id} went by push and by mail"


def check_news(day: Turmoil) -> None:
    """A flow that waits hears how it ended, and nothing else."""
    heard = defaultdict(set)
    for record in day.of(NEWS):
        signal = decode_entry(record.value or b"").signal
        assert signal is not None
        heard[signal.wait].add(signal.kind)
    ends = defaultdict(set)
    for one in day.outcomes("end"):
        ends[one.notif_id].add(str(one.kind))
    gone_on = {one.notif_id for one in day.deliveries(EMAIL)}
    unsure = {day.notif_of[send] for send in day.notif_of if excused(day, send)}
    for notif_id, order in day.orders.items():
        if order.waits and notif_id not in unsure | day.several:
            expected = ends[notif_id] - ({"failed", "suppressed"} if notif_id in gone_on else set())
            assert heard[notif_id] == expected, notif_id
