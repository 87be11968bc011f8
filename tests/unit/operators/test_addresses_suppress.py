"""addresses and suppress: where a delivery goes at the moment of sending, and where it must not."""

from __future__ import annotations

import pytest

from tests.unit.operators.support import (
    NOW,
    Folk,
    List,
    Outbox,
    built,
    mailbox,
    mobile,
    phone,
    ports,
    work,
)
from tidings.contract import Part, Work
from tidings.ids import send_id
from tidings.ports import Address, Profile, Suppression
from tidings.problems import ValueProblem


def found(step: str, channel: str, *addresses: Address) -> list[str]:
    """The addresses that a step gives a delivery for a person with these."""
    outbox = Outbox([work("ana", channel=channel)])
    people = {"ana": Profile(addresses=addresses)}
    built(step, Part.LANE, channel=channel).process(outbox, ports(people), NOW)
    return [each.value for one in outbox.items for each in one.addresses]


def test_a_push_goes_to_every_device_of_the_person() -> None:
    devices = phone("t1"), phone("t2", platform="android")

    assert found("addresses: {kind: device}", "push", *devices, mailbox()) == ["t1", "t2"]


@pytest.mark.parametrize(
    ("channel", "expected"), [("email", ["a@example.com"]), ("sms", ["+34600000001"])]
)
def test_mail_and_sms_go_to_the_first_address_of_the_channels_kind(
    channel: str, expected: list[str]
) -> None:
    all_ = phone(), mailbox("a@example.com"), mailbox("b@example.com"), mobile(), mobile("+34")

    assert found("addresses: {}", channel, *all_) == expected


def test_at_most_takes_those_registered_last() -> None:
    devices = [phone(f"t{at}", registered_at=at) for at in (10, 30, 20)]

    assert found("addresses: {at_most: 2}", "push", *devices) == ["t30", "t20"]


def test_ten_devices_are_enough() -> None:
    devices = [phone(f"t{number}") for number in range(12)]

    assert found("addresses: device", "push", *devices) == [f"t{number}" for number in range(10)]


def test_an_address_that_is_not_verified_is_passed_over() -> None:
    stale = Address(kind="email", value="old@example.com", verified=False)

    assert found("addresses: {}", "email", stale, mailbox("new@example.com")) == ["new@example.com"]


def test_a_delivery_without_an_address_ends_so_that_the_next_channel_takes_over() -> None:
    step = built("addresses: {}", Part.LANE, channel="push")
    known, unknown = work("ana"), work("eve")
    outbox = Outbox([known, unknown])

    step.process(outbox, ports({"ana": Profile(addresses=(mailbox(),))}), NOW)

    assert outbox.items == []
    assert outbox.dropped == [
        (known, "suppressed", "no_address", ""),
        (unknown, "suppressed", "no_address", ""),
    ]


@pytest.mark.parametrize(
    ("answers", "left", "ended"),
    [
        ({"t1": "ok"}, ["t2"], []),
        ({"t1": "inv"}, ["t2"], []),
        ({"t9": "ok"}, ["t1", "t2"], []),
        ({"t1": "ok", "t2": "inv"}, [], [("suppressed", "no_address")]),
    ],
)
def test_an_address_that_has_given_its_last_answer_is_left_out(
    answers: dict[str, str], left: list[str], ended: list[tuple[str, str]]
) -> None:
    step = built("addresses: {}", Part.LANE, channel="push")
    told = {send_id("n1", "push", value, 0): answer for value, answer in answers.items()}
    outbox = Outbox([work("ana", answers=told)])

    step.process(outbox, ports({"ana": Profile(addresses=(phone("t1"), phone("t2")))}), NOW)

    assert [each.value for one in outbox.items for each in one.addresses] == left
    assert [(each.kind, each.reason) for each in outbox.dropped] == ended


def test_a_profile_that_consent_has_found_is_not_asked_for_again() -> None:
    step = built("addresses: {}", Part.LANE, channel="push")
    known = work("ana")
    known.profile = Profile(addresses=(phone("t1"),))
    people = Folk({"bob": Profile(addresses=(phone("t2"),))})
    outbox = Outbox([known, work("bob")])

    step.process(outbox, ports()._replace(people=people), NOW)

    assert [[each.value for each in one.addresses] for one in outbox.items] == [["t1"], ["t2"]]
    assert [[each.recipient_id for each in asked] for asked in people.asked] == [["bob"]]


def test_an_unknown_kind_is_a_problem_with_the_likely_word() -> None:
    with pytest.raises(ValueProblem, match="no kind of address `devise`") as caught:
        built("addresses: {kind: devise}", Part.LANE, channel="push")
    assert caught.value.hint == "did you mean `device`?"


def at(*values: str) -> Work:
    """A push in hand, with these addresses."""
    one = work("ana")
    one.addresses = tuple(phone(value) for value in values)
    return one


def test_suppressed_addresses_fall_out_and_a_batch_asks_once() -> None:
    step = built("suppress: {}", Part.LANE)
    free, half, closed = at("t1"), at("t2", "dead"), at("dead", "stop")
    listed = List(
        [
            Suppression(channel="push", address="dead", reason="gone", source="apns"),
            Suppression(channel="push", address="stop", reason="complaint"),
        ]
    )
    outbox = Outbox([free, half, closed])

    step.process(outbox, ports()._replace(suppressions=listed), NOW)

    assert outbox.items == [free, half]
    assert [[each.value for each in one.addresses] for one in outbox.items] == [["t1"], ["t2"]]
    assert outbox.dropped == [(closed, "suppressed", "gone", "all apns")]
    assert [len(asked) for asked in listed.asked] == [5]
