"""Outcomes of a lane: made of two parts, read back as one."""

from __future__ import annotations

import msgspec

from tests.unit.lane.paper import NOW, TOPIC, a_delivery
from tidings.log.port import Record
from tidings.records import Origin, Outcome, decode_outcome
from tidings.runtime.lane.outcomes import Said, alike, outcome

RECORD = Record(TOPIC, 3, 41, NOW, b"ana", b"{}")


def test_an_outcome_says_all_that_is_known_of_a_delivery_and_of_an_attempt() -> None:
    delivery = a_delivery(
        "n1", tenant="acme", priority="high", campaign_id="spring", round=2, variant="a.b"
    )
    said = Said(
        outcome_id="o1",
        at=NOW + 5,
        stage="attempt",
        kind="failed",
        step="push.send",
        attempt=3,
        latency_ms=40,
        send_id="s1",
        address="0f0f",
        provider="apns",
        provider_id="p-1",
        code="Unregistered",
        detail='it said "gone" – \u2028',
        reason="address_gone",
        cost=7,
        template_version="t9",
        locale="es-AR",
    )

    assert decode_outcome(outcome(said, alike(delivery, RECORD))) == Outcome(
        outcome_id="o1",
        at=NOW + 5,
        stage="attempt",
        kind="failed",
        recipient_id="person-of-n1",
        flow="social",
        step="push.send",
        version="v1",
        tenant="acme",
        notif_id="n1",
        send_id="s1",
        reason="address_gone",
        detail='it said "gone" – \u2028',
        channel="push",
        priority="high",
        category="social",
        campaign_id="spring",
        address="0f0f",
        attempt=3,
        round=2,
        provider="apns",
        provider_id="p-1",
        code="Unregistered",
        cost=7,
        latency_ms=40,
        template="social_digest",
        template_version="t9",
        locale="es-AR",
        variant="a.b",
        origin=Origin(TOPIC, 3, 41),
    )


def test_what_is_as_usual_is_left_out_as_in_an_outcome_that_is_encoded_whole() -> None:
    said = Said("o1", NOW, "end", "sent", "push.send")

    whole = outcome(said, alike(a_delivery("n1"), RECORD))

    assert msgspec.json.decode(whole) == msgspec.json.decode(
        msgspec.json.encode(decode_outcome(whole))
    )
