from __future__ import annotations

import json

from tidings.contract import Item, Part, Site
from tidings.records import Delivery, Kind, Origin, decode_outcome
from tidings.runtime.batch import LARGEST_DELIVERY, LARGEST_OUTCOME, FlowBatch
from tidings.runtime.flight import Flight

SITE = Site("social.deliver", "social", Part.TAIL, "v1")
ORIGIN = Origin("tidings.social", 2, 40)


def digest(members: tuple[str, ...], **data: object) -> Item:
    return Item(data=data, origin=ORIGIN, time=5_000, recipient_id="ana", members=members)


def delivery(**data: object) -> Delivery:
    return Delivery(
        notif_id="n1",
        recipient_id="ana",
        flow="social",
        step="social.deliver",
        version="v1",
        channel="push",
        template="t",
        category="",
        created_at=5_000,
        origin=ORIGIN,
        data=data,
    )


def fresh() -> FlowBatch:
    return FlowBatch([], 5_000, Flight(), {})


def test_a_delivery_larger_than_its_topic_takes_is_a_dead_letter_with_the_members() -> None:
    batch = fresh()
    batch.deliver(digest(("e1", "e2"), count=2), delivery(text="x" * LARGEST_DELIVERY), SITE)

    [letter] = batch.appends
    assert letter.topic == "notif_dlq.flow"
    assert letter.value is not None
    assert json.loads(letter.value) == {"members": ["e1", "e2"], "data": {"count": 2}}
    assert dict(letter.headers)["tidings-reason"] == b"too_large"


def test_an_outcome_with_too_many_members_for_one_record_is_several_with_ids_of_their_own() -> None:
    batch = fresh()
    members = tuple(f"{number}-" + "ü" * 1_000 for number in range(1_000))
    batch.drop(digest(members), Kind.SUPPRESSED, "limit", SITE)

    outcomes = [decode_outcome(append.value or b"") for append in batch.appends]
    assert len(outcomes) > 1
    assert tuple(member for outcome in outcomes for member in outcome.members) == members
    assert len({outcome.outcome_id for outcome in outcomes}) == len(outcomes)
    assert max(len(append.value or b"") for append in batch.appends) <= LARGEST_OUTCOME


def test_a_detail_that_is_too_long_is_cut() -> None:
    batch = fresh()
    batch.drop(digest(()), Kind.SUPPRESSED, "limit", SITE, detail="x" * LARGEST_OUTCOME)

    [append] = batch.appends
    assert len(decode_outcome(append.value or b"").detail) < 10_000
