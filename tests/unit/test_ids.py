"""Ids stay what they are: a change makes every replay after it a duplicate."""

from __future__ import annotations

import pytest

from tidings import ids


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (ids.id_of("a", "b"), "d565f29ad8964a7cd671f8867f47bbb9"),
        (
            ids.notification_id("acme", "social", "e-1", "ana", "social.deliver"),
            "382405f6c295b5281367ed98e513fffb",
        ),
        (
            ids.digest_id("acme", "social", "social.digest", "ana", "like", ["e-1", "e-2"]),
            "995c0ccf4379eba795627c02eef0c0a1",
        ),
        (ids.send_id("n-1", "push", "token", 0), "a96bf95e1ad850bc3b7ad6a4f282677e"),
        (ids.outcome_id("s-1", "sent", 2), "634b7c0e44db6d03e5672cebbba3e7d7"),
        (ids.address_hash("acme", "email", "ana@example.com"), "fad016812deee74f"),
    ],
)
def test_an_id_is_what_it_always_was(made: str, wanted: str) -> None:
    assert made == wanted


def test_parts_do_not_run_into_each_other() -> None:
    assert len({ids.id_of("ab", "c"), ids.id_of("a", "bc"), ids.id_of("abc")}) == 3


@pytest.mark.parametrize(
    "other",
    [
        ids.digest_id("acme", "social", "social.digest", "ana", "like", ["e-1", "e-2", "e-3"]),
        ids.digest_id("acme", "social", "social.digest", "ana", "like", ["e-2", "e-1"]),
        ids.digest_id("acme", "social", "social.digest", "ana", "comment", ["e-1", "e-2"]),
        ids.digest_id("acme", "social", "social.digest", "bob", "like", ["e-1", "e-2"]),
    ],
)
def test_another_digest_has_another_id(other: str) -> None:
    assert other != ids.digest_id("acme", "social", "social.digest", "ana", "like", ["e-1", "e-2"])


def test_a_send_of_another_round_is_another_send() -> None:
    assert ids.send_id("n-1", "push", "token", 0) != ids.send_id("n-1", "push", "token", 1)


def test_a_unit_is_a_repeatable_number_from_0_to_1() -> None:
    drawn = [ids.unit(f"s-{n}") for n in range(1_000)]
    assert drawn == [ids.unit(f"s-{n}") for n in range(1_000)]
    assert all(0 <= number < 1 for number in drawn)
    assert 450 < sum(number < 0.5 for number in drawn) < 550


def test_buckets_are_stable_and_even() -> None:
    assert [ids.bucket_of(name, 64) for name in ("ana", "bob", "cy")] == [58, 37, 28]
    filled = [ids.bucket_of(f"user-{n}", 8) for n in range(8_000)]
    assert {bucket: 850 < filled.count(bucket) < 1_150 for bucket in range(8)} == dict.fromkeys(
        range(8), True
    )


def test_a_tenants_recipients_are_keyed_apart() -> None:
    assert ids.person_key("default", "ana") == "ana"
    assert ids.person_key("acme", "ana") == "acme\x1fana"
