"""assign: lots that are a function of the person, fair, and independent of each other."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.operators.support import NOW, Outbox, built, item, ports
from tidings.contract import Item
from tidings.problems import ProblemsError

HALVES = "assign: {experiment: tone, arms: {plain: 1, bold: 1}}"
PEOPLE = [f"p{n}" for n in range(20_000)]


def drawn(step: str, *people: str, tenant: str = "default") -> Outbox[Item]:
    outbox = Outbox([item({"recipient_id": person}, tenant=tenant) for person in people])
    built(step).process(outbox, ports(), NOW)
    return outbox


def arms(step: str, tenant: str = "default") -> dict[str, str]:
    """Everybody's arm."""
    outbox = drawn(step, *PEOPLE, tenant=tenant)
    return {each.recipient_id: each.data["variant"] for each in outbox.items}


def test_the_arm_is_in_the_field_and_the_exposure_on_the_item() -> None:
    step = "assign: {experiment: tone, arms: {plain: 0, bold: 3}, as: tone}"

    (one,) = drawn(step, "ana").items

    assert one.data == {"recipient_id": "ana", "tone": "bold"}
    assert one.variant == "tone:bold"


def test_a_person_is_always_in_the_same_arm() -> None:
    assert arms(HALVES) == arms(HALVES)
    assert arms(HALVES)["p1"] == "bold"  # and stays there: this is a promise


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ("{plain: 1, bold: 1}", {"plain": 0.5, "bold": 0.5}),
        ("{a: 80, b: 15, c: 5}", {"a": 0.8, "b": 0.15, "c": 0.05}),
        ("{a: 1, b: 0, c: 1}", {"a": 0.5, "c": 0.5}),
    ],
)
def test_the_arms_are_as_large_as_their_weights(weights: str, shares: dict[str, float]) -> None:
    counts = Counter(arms(f"assign: {{experiment: tone, arms: {weights}}}").values())

    assert set(counts) == set(shares)
    for name, share in shares.items():  # 5 standard deviations
        bound = 5 * (share * (1 - share) * len(PEOPLE)) ** 0.5
        assert abs(counts[name] - share * len(PEOPLE)) < bound


def test_two_experiments_know_nothing_of_each_other() -> None:
    tone, size = arms(HALVES), arms(HALVES.replace("tone", "size"))

    both = Counter((tone[person], size[person]) for person in PEOPLE)

    assert len(both) == 4
    assert all(abs(count - len(PEOPLE) / 4) < 5 * 61 for count in both.values())


def test_a_person_of_another_tenant_is_another_person() -> None:
    assert arms(HALVES) != arms(HALVES, tenant="acme")


def test_who_is_held_out_gets_nothing_and_is_told_of() -> None:
    outbox = drawn("assign: {experiment: tone, arms: {bold: 1}, holdout: 0.1}", *PEOPLE)

    assert abs(len(outbox.dropped) - 2_000) < 5 * 43
    one = outbox.dropped[0]
    assert (one.kind, one.reason, one.detail) == ("suppressed", "holdout", "tone")
    assert one.item.variant == "tone:holdout"
    assert len(outbox.items) + len(outbox.dropped) == len(PEOPLE)


def test_a_larger_holdout_takes_more_and_moves_nobody_else() -> None:
    small = arms(HALVES.replace("1}", "1}, holdout: 0.1"))
    large = arms(HALVES.replace("1}", "1}, holdout: 0.3"))

    assert large.items() < small.items() < arms(HALVES).items()


def test_a_larger_arm_moves_only_those_who_go_into_it() -> None:
    before = arms("assign: {experiment: tone, arms: {plain: 90, bold: 10}}")
    after = arms("assign: {experiment: tone, arms: {plain: 80, bold: 20}}")

    moved = {(before[person], after[person]) for person in PEOPLE}
    assert moved == {("plain", "plain"), ("bold", "bold"), ("plain", "bold")}


def test_who_is_held_out_is_not_drawn_by_the_lot_of_the_arms() -> None:
    counts = Counter(arms(HALVES.replace("1}", "1}, holdout: 0.3")).values())

    assert abs(counts["plain"] - counts["bold"]) < 5 * 118  # 14,000 in halves: 5 deviations


@pytest.mark.parametrize(
    ("weights", "lot", "arm"),
    [
        ("{plain: 1, bold: 1}", 0.0, "plain"),
        ("{plain: 1, bold: 1}", 0.5, "bold"),
        ("{plain: 1, bold: 1}, holdout: 0.5", 0.5, "bold"),  # the share of 0.5 ends below it
        ("{none: 0, bold: 1}, holdout: 0.1", 0.1, "bold"),
        # The ends of ten tenths are sums that fall short of 1.
        (f"{{{', '.join(f'a{n}: 1' for n in range(10))}, none: 0}}", 1 - 2**-53, "a9"),
    ],
)
def test_a_lot_at_an_edge_is_in_the_arm_that_begins_there(
    monkeypatch: pytest.MonkeyPatch, weights: str, lot: float, arm: str
) -> None:
    monkeypatch.setattr("tidings.operators.assign.unit", lambda seed: lot)

    (one,) = drawn(f"assign: {{experiment: tone, arms: {weights}}}", "ana").items

    assert one.data["variant"] == arm


def test_several_experiments_are_all_told_of() -> None:
    outbox = drawn("assign: {experiment: tone, arms: {bold: 1, plain: 0}}", "ana")
    built("assign: {experiment: size, arms: {large: 1, small: 0}, as: size}").process(
        outbox, ports(), NOW
    )

    (one,) = outbox.items
    assert one.variant == "tone:bold size:large"
    assert (one.data["variant"], one.data["size"]) == ("bold", "large")


def test_the_data_of_another_way_stays_as_it_is() -> None:
    shared = {"recipient_id": "ana"}
    one = item(shared)
    one.data = shared
    outbox = Outbox([one])

    built(HALVES).process(outbox, ports(), NOW)

    assert shared == {"recipient_id": "ana"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{arms: {a: 1, b: 1}}", "`assign` needs `experiment`"),
        ("{experiment: tone}", "`assign` needs `arms`"),
        ("{experiment: tone, arms: {}}", "arms"),
        ("{experiment: tone, arms: {a: 0, b: 0}}", "all arms have the weight 0"),
        ("{experiment: tone, arms: {a: 1}}", "one arm and no `holdout` compare nothing"),
        ("{experiment: tone, arms: {a: 1, b: -1}}", "must be at least 0"),
        ("{experiment: tone, arms: {a: 1, holdout: 1}}", "an arm can't be called `holdout`"),
        ("{experiment: tone, arms: {a: 1}, holdout: 5}", "must be less than 1"),
        ("{experiment: 'a b', arms: {a: 1, b: 1}}", "experiment"),
        ("{experiment: tone, arms: {a: 1, b: 1}, as: 1x}", "1x"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: str, message: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        built(f"assign: {fields}")

    assert message in str(raised.value)
