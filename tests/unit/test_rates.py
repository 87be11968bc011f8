"""Rates as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tidings.problems import ValueProblem
from tidings.rates import Rate, RateText, RateType, parse_rate, rate


class Holder(BaseModel):
    rate: RateText


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("100/s", Rate(100, 1_000, 2)),
        ("100 / second", Rate(100, 1_000, 2)),
        ("600000/min", Rate(600_000, 60_000, 1_000)),
        ("14/s", Rate(14, 1_000, 1)),
        ("200/1d", Rate(200, 86_400_000, 1)),
        ("1/10s", Rate(1, 10_000, 1)),
        ({"at_most": 100, "within": "1s", "burst": 20}, Rate(100, 1_000, 20)),
        ({"at_most": 100, "within": "1s"}, Rate(100, 1_000, 2)),
    ],
)
def test_what_is_meant(given: Any, meant: Rate) -> None:
    assert Holder(rate=given).rate == meant


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("100", "`100` is not a rate"),
        ("100/fortnight", "`100/fortnight` has an unknown unit `fortnight`"),
        ("0/s", "`at_most` is from 1 to 10000000, got 0"),
        (100, "expected a rate such as 100/s"),
        ({"at_most": 5, "within": "1s", "burst": 6}, "`burst` is from 1 to `at_most`, 5; got 6"),
        ({"at_most": 5, "within": "1s", "bursts": 6}, "a rate has no `bursts`"),
        ({"at_most": "5", "within": "1s"}, "`at_most` and `burst` are whole numbers"),
        ({"at_most": 5, "within": "0s"}, "`within` is longer than nothing"),
    ],
)
def test_what_is_wrong_is_said(given: Any, complaint: str) -> None:
    with pytest.raises(ValueProblem, match=f"^{complaint}"):
        RateType().validate(given)


@pytest.mark.parametrize("text", ["100/s", "600000/m", "1/10s"])
def test_a_rate_is_shown_as_it_is_written(text: str) -> None:
    assert str(parse_rate(text)) == text


def test_a_burst_costs_a_pause() -> None:
    """Of 10 in a second 1 at once are 100 ms apart; 10 at once are a second apart."""
    assert rate(10, 1_000, 1).apart == 100
    assert rate(10, 1_000, 10).apart == 1_000
