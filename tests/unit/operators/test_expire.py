"""expire: the earliest moment counts, and what is past it goes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.operators.support import HOUR, NOW, Outbox, built, item, ports, work
from tidings.contract import Part
from tidings.problems import ValueProblem


def test_life_is_counted_from_when_the_event_came_into_the_log() -> None:
    step = built("expire: {after: 6h}")
    outbox = Outbox([item({}, time=NOW - HOUR)])

    step.process(outbox, ports(), NOW)

    assert outbox.items[0].expires_at == NOW + 5 * HOUR


@pytest.mark.parametrize(
    ("time", "passes"), [(NOW - 1, True), (NOW, False), (NOW + HOUR, False), (0, True)]
)
@pytest.mark.parametrize("now", [0, NOW, NOW + 24 * HOUR], ids=["", "", "cut elsewhere"])
def test_what_came_into_the_log_past_its_moment_ends_as_expired_whatever_it_is_batched_with(
    time: int, passes: bool, now: int
) -> None:
    by_field = item({"valid_until": NOW}, time=time)
    from_before_the_cut = item({}, time=time, expires_at=NOW)
    outbox = Outbox([by_field, from_before_the_cut])

    built("expire: {after: 6h, at: valid_until}").process(outbox, ports(), now)

    assert outbox.items == ([by_field, from_before_the_cut] if passes else [])
    assert [(each.kind, each.reason) for each in outbox.dropped] == (
        [] if passes else [("expired", "expired")] * 2
    )


@pytest.mark.parametrize(
    ("valid_until", "expires_at"),
    [
        (NOW + HOUR, NOW + HOUR),
        ("2026-07-01T13:00:00Z", NOW + HOUR),
        ("2026-07-01T15:30:00+02:00", NOW + HOUR + HOUR // 2),
        ("2026-07-02T12:00:00Z", NOW + 6 * HOUR),  # later than `after` allows
        (None, NOW + 6 * HOUR),
        (0, NOW + 6 * HOUR),
        (0.0, NOW + 6 * HOUR),
        (10**14, NOW + 6 * HOUR),  # the last moment that there is
    ],
)
def test_the_earliest_of_all_moments_counts(valid_until: Any, expires_at: int) -> None:
    step = built("expire: {after: 6h, at: valid_until}")
    outbox = Outbox([item({"valid_until": valid_until})])

    step.process(outbox, ports(), NOW)

    assert outbox.items[0].expires_at == expires_at


def test_the_earliest_moment_that_there_is_has_passed() -> None:
    outbox = Outbox([item({"valid_until": 10**11})])

    built("expire: {at: valid_until}").process(outbox, ports(), NOW)

    assert [each.kind for each in outbox.dropped] == ["expired"]


@pytest.mark.parametrize("valid_until", ["1970-01-01T00:00:00Z", "1970-01-01T01:00:00+01:00"])
def test_a_text_of_the_first_instant_that_counts_is_a_moment_that_has_passed(
    valid_until: str,
) -> None:
    outbox = Outbox([item({"valid_until": valid_until})])

    built("expire: {after: 6h, at: valid_until}").process(outbox, ports(), NOW)

    assert (outbox.items, [each.reason for each in outbox.dropped]) == ([], ["expired"])


def test_an_earlier_expire_is_never_put_off() -> None:
    step = built("expire: {after: 6h}")
    outbox = Outbox([item({}, expires_at=NOW + HOUR)])

    step.process(outbox, ports(), NOW)

    assert outbox.items[0].expires_at == NOW + HOUR


def test_an_event_without_the_field_lives_on() -> None:
    step = built("expire: {at: valid_until}")
    outbox = Outbox([item({})])

    step.process(outbox, ports(), NOW)

    assert outbox.items[0].expires_at == 0


@pytest.mark.parametrize(
    "valid_until",
    [
        NOW // 1000,  # seconds
        "2026-07-01T13:00:00",  # in which zone?
        "tomorrow",
        True,
        False,
        10**11 - 1,
        10**14 + 1,
        1e300,
        -5,
        ["2026-07-01T13:00:00Z"],
    ],
)
def test_what_is_no_moment_goes_to_the_dead_letters(valid_until: Any) -> None:
    step = built("expire: {at: valid_until}")
    outbox = Outbox([item({"valid_until": valid_until})])

    step.process(outbox, ports(), NOW)

    assert outbox.items == []
    assert [dead.reason for dead in outbox.died] == ["expression"]


def test_a_lane_ends_the_deliveries_whose_moment_has_passed() -> None:
    step = built("expire: {}", Part.LANE)
    endless, alive, gone = work(), work(expires_at=NOW + 1), work(expires_at=NOW)
    outbox = Outbox([endless, alive, gone])

    step.process(outbox, ports(), NOW)

    assert outbox.items == [endless, alive]
    assert outbox.dropped == [(gone, "expired", "expired", "")]


def test_in_a_lane_it_takes_no_fields() -> None:
    with pytest.raises(ValueProblem, match="no fields in a lane"):
        built("expire: {after: 6h}", Part.LANE)
