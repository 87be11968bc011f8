"""filter and set: what one expression lets pass, and what others add."""

from __future__ import annotations

import pytest

from tests.unit.operators.support import NOW, Outbox, built, item, ports, reads
from tidings.problems import ProblemsError


def test_filter_keeps_what_holds_and_names_its_reason_for_the_rest() -> None:
    step = built("filter: {keep: actor_id != recipient_id, reason: own_action}")
    liked = item({"actor_id": "bob", "recipient_id": "ana"})
    own = item({"actor_id": "ana", "recipient_id": "ana"})
    outbox = Outbox([liked, own])

    step.process(outbox, ports(), NOW)

    assert outbox.items == [liked]
    assert outbox.dropped == [(own, "suppressed", "own_action", "")]


def test_filter_sends_to_the_dead_letters_what_it_cannot_judge_and_goes_on() -> None:
    step = built("filter: amount > 100")
    missing, wrong, fine = item({}), item({"amount": "much"}), item({"amount": 101})
    outbox = Outbox([missing, wrong, fine])

    step.process(outbox, ports(), NOW)

    assert outbox.items == [fine]
    assert [(dead.item, dead.reason) for dead in outbox.died] == [
        (missing, "expression"),
        (wrong, "expression"),
    ]
    assert "amount" in outbox.died[0].error


def test_filter_takes_a_condition_only() -> None:
    with pytest.raises(ProblemsError, match="true or false"):
        built("filter: {keep: amount + 1}")


def test_set_works_fields_out_in_their_order() -> None:
    step = built("set: {total: price * quantity, large: total > 100}")
    outbox = Outbox([item({"price": 30, "quantity": 4})])

    step.process(outbox, ports(), NOW)

    assert outbox.items[0].data == {"price": 30, "quantity": 4, "total": 120, "large": True}


def test_set_tells_which_fields_it_reads() -> None:
    fields = reads("set: {total: price * quantity, large: total > order.limit}")

    assert fields == frozenset({"price", "quantity", "total", "order"})


def test_set_leaves_alone_the_data_that_another_branch_holds() -> None:
    step = built("set: {price: price + 1}")
    one, data = item({}), {"price": 1}
    one.data = data

    step.process(Outbox([one]), ports(), NOW)

    assert data == {"price": 1}
    assert one.data == {"price": 2}


def test_set_sends_to_the_dead_letters_what_it_cannot_work_out() -> None:
    step = built("set: {total: price * quantity}")
    broken = item({"price": 30})
    outbox = Outbox([broken])

    step.process(outbox, ports(), NOW)

    assert outbox.items == []
    assert [(dead.item.data, dead.reason) for dead in outbox.died] == [
        ({"price": 30}, "expression")
    ]
