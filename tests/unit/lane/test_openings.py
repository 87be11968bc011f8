"""How many of those that wait for a provider's sake come before they are due."""

from __future__ import annotations

from tests.unit.lane.paper import NOW
from tests.unit.lane.test_breaker import SPEC
from tidings.ports import Address
from tidings.runtime.alerts import Alerts
from tidings.runtime.lane.quota import Quota
from tidings.sender import Content, Send

SHARE = 40


def a_quota(*, waiting: int, in_flight: int) -> Quota:
    """Of a hundred places."""
    alerts = Alerts("push.normal", "host")
    quota = Quota("fcm", 100, 1_000, spills=True, breaker=SPEC, alerts=alerts)
    quota.in_flight = in_flight
    quota.waiting.extend(a_send(number) for number in range(waiting))
    return quota


def a_send(number: int) -> Send:
    address = Address(kind="device", value=f"token-{number}", platform="android")
    content = Content(parts={"title": "T"})
    return Send(f"{number:032x}", "push", address, content, "default", "social", "normal", 1, NOW)


def answered(quota: Quota, count: int) -> None:
    quota.answers = quota.good = count
    quota.heard(NOW)


def test_as_many_as_there_are_places_where_nothing_new_waits() -> None:
    assert a_quota(waiting=0, in_flight=70).opening(NOW, SHARE) == 30


def test_none_of_a_provider_that_hangs_for_they_would_be_put_off_again() -> None:
    quota = a_quota(waiting=20, in_flight=100)
    assert [quota.opening(NOW, SHARE) for _ in range(3)] == [0, 0, 0]


def test_half_of_what_a_busy_one_answers_and_a_share_of_the_room_at_most() -> None:
    quota = a_quota(waiting=20, in_flight=100)
    answered(quota, 11)
    assert [quota.opening(NOW, SHARE) for _ in range(2)] == [6, 0]
    answered(quota, 90)
    assert quota.opening(NOW, SHARE) == SHARE


def test_what_it_answered_while_there_was_no_room_counts_when_there_is() -> None:
    quota = a_quota(waiting=20, in_flight=100)
    answered(quota, 10)
    assert [quota.opening(NOW, share) for share in (-3, 0, SHARE)] == [0, 0, 5]
