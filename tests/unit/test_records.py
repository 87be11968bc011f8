"""The wire form of each record, held by ``tests/golden/records``: a change there is a migration.

Each file has the record with every field set (``full``) and with as few as it can have (``least``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import records
from tidings.ids import outcome_id
from tidings.log.port import Record
from tidings.records import (
    Alert,
    Allowance,
    DeadLetter,
    Delivery,
    Entry,
    Kind,
    Notification,
    Origin,
    Outcome,
    Priority,
    Signal,
    Stage,
    encode,
)
from tidings.runtime.letters import dead_letter

GOLDEN = Path(__file__).parents[1] / "golden" / "records"

FULL: dict[str, msgspec.Struct] = {
    "notification": Notification(
        recipient_id="ana",
        type="order_shipped",
        tenant="acme",
        notif_id="n-1",
        template_id="order_shipped",
        data={"order": {"id": 17, "items": ["tea", "mug"]}, "price": 9.5, "gift": None},
        campaign_id="autumn",
        priority="high",
        channels=("push", "email"),
        send_at=1_760_000_000_000,
        expires_at=1_760_000_600_000,
        dedup_key="order-17",
        collapse_key="order",
    ),
    "entry": Entry(
        recipient_id="ana",
        event_id="e-1",
        origin=Origin("social.events", 3, 1_234_567, 2),
        event={"type": "like", "actor_id": "bob", "text": "¡qué foto! 📷"},
        tenant="acme",
        expires_at=1_760_000_600_000,
        way="1.",
        signal=Signal("0123456789abcdef", "delivered", 2),
    ),
    "delivery": Delivery(
        notif_id="5f0c1d2e3b4a59687766554433221100",
        recipient_id="ana",
        flow="social",
        step="social.deliver",
        version="2f6e",
        channel="push",
        template="social_digest",
        category="social",
        created_at=1_760_000_000_000,
        origin=Origin("tidings.social", 5, 42),
        tenant="acme",
        priority="high",
        data={"count": 50, "actors": ["Alice", "Bob"]},
        chain=("email", "sms"),
        round=1,
        attempt=3,
        spared=1,
        answers={"s-1": "ok", "s-2": "retry"},
        not_before=1_760_000_030_000,
        expires_at=1_760_021_600_000,
        collapse_key="photo-9",
        campaign_id="autumn",
        reply_to="tidings.social",
        caps=("push/all/1h",),
        variant="tone:bold",
        allowances={
            "email": (Allowance("email/marketing/1d", 1, 86_400_000),),
            "sms": (Allowance("sms/all/1d", 5, 86_400_000, exempt=True),),
        },
        awaits=("apns",),
        wait="0123456789abcdef",
        detour=1,
        supersedes="00112233445566778899aabbccddeeff",
        on_uncertain="ask",
    ),
    "outcome": Outcome(
        outcome_id="00112233445566778899aabbccddeeff",
        at=1_760_000_000_123,
        stage="end",
        kind="sent",
        recipient_id="ana",
        flow="social",
        step="push.send",
        version="2f6e",
        tenant="acme",
        notif_id="5f0c1d2e3b4a59687766554433221100",
        send_id="ffeeddccbbaa99887766554433221100",
        reason="accepted",
        detail="200",
        members=("e-1", "e-2"),
        channel="push",
        priority="high",
        category="social",
        campaign_id="autumn",
        address="0123456789abcdef",
        attempt=3,
        round=1,
        provider="apns",
        provider_id="EC1BF194-B3B2-424A-89E9-5A918A6E6B5F",
        code="200",
        cost=1_200,
        latency_ms=37,
        template="social_digest",
        template_version="9a1b2c3d4e5f6071",
        locale="es-AR",
        variant="b",
        origin=Origin("deliveries.push.high", 7, 99),
        took_ms=12,
    ),
    "alert": Alert(
        alert_id="0123456789abcdef0123456789abcdef",
        at=1_760_000_000_123,
        kind="provider_stopped",
        state="open",
        where="push.high",
        by="host:12:34",
        provider="apns",
        code="InvalidProviderToken",
        fix="check its key",
    ),
}
LEAST: dict[str, msgspec.Struct] = {
    "notification": Notification(recipient_id="ana", type="like"),
    "entry": Entry(
        recipient_id="ana", event_id="e-1", origin=Origin("social.events", 0, 0), event={}
    ),
    "delivery": Delivery(
        notif_id="n-1",
        recipient_id="ana",
        flow="social",
        step="social.deliver",
        version="2f6e",
        channel="push",
        template="social_digest",
        category="social",
        created_at=1_760_000_000_000,
        origin=Origin("tidings.social", 5, 42),
    ),
    "outcome": Outcome(
        outcome_id="o-1",
        at=1_760_000_000_123,
        stage="decision",
        kind="suppressed",
        recipient_id="ana",
        flow="social",
        step="social.dedupe",
    ),
    "alert": Alert(
        alert_id="a-1",
        at=1_760_000_000_123,
        kind="provider_down",
        state="closed",
        where="sms.low",
        by="p",
    ),
}
DECODE = {
    "notification": records.decode_notification,
    "entry": records.decode_entry,
    "delivery": records.decode_delivery,
    "outcome": records.decode_outcome,
    "alert": records.decode_alert,
}
EXAMPLES = [
    pytest.param(name, form, record, id=f"{name}, {form}")
    for form, examples in (("full", FULL), ("least", LEAST))
    for name, record in examples.items()
]


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def on_the_wire(value: Any) -> bytes:
    """JSON as msgspec writes it: fields in order, no blanks, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize(("name", "form", "record"), EXAMPLES)
def test_a_record_is_written_as_the_golden_file_says(
    name: str, form: str, record: msgspec.Struct
) -> None:
    assert encode(record) == on_the_wire(golden(name)[form])


@pytest.mark.parametrize(("name", "form", "record"), EXAMPLES)
def test_the_golden_file_reads_as_the_record(name: str, form: str, record: msgspec.Struct) -> None:
    assert DECODE[name](on_the_wire(golden(name)[form])) == record


def test_an_end_that_names_its_send_is_the_attempt_and_the_end_as_if_written_apart() -> None:
    alike: dict[str, Any] = {
        "at": 1_760_000_000_123,
        "kind": "sent",
        "recipient_id": "ana",
        "flow": "social",
        "step": "push.send",
        "notif_id": "n-1",
        "channel": "push",
        "attempt": 2,
        "template_version": "9a1b",
        "origin": Origin("deliveries.push.high", 7, 99),
    }
    told: dict[str, Any] = {
        "send_id": "s-1",
        "address": "0123",
        "provider": "apns",
        "provider_id": "p-1",
        "code": "200",
        "detail": "taken",
        "cost": 1_200,
    }
    written = Outcome(outcome_id="o-1", stage="end", latency_ms=900, took_ms=37, **alike, **told)

    assert records.outcomes_of(encode(written)) == (
        Outcome(
            outcome_id=outcome_id("s-1", "sent", 2),
            stage="attempt",
            latency_ms=37,
            **alike,
            **told,
        ),
        Outcome(outcome_id="o-1", stage="end", latency_ms=900, **alike),
    )


@pytest.mark.parametrize(
    ("stage", "send_id"), [("attempt", "s-1"), ("receipt", "s-1"), ("end", ""), ("decision", "")]
)
def test_any_other_record_of_outcomes_is_one(stage: str, send_id: str) -> None:
    one = Outcome(
        outcome_id="o-1",
        at=1,
        stage=stage,
        kind="sent",
        recipient_id="ana",
        flow="social",
        step="push.send",
        send_id=send_id,
    )
    assert records.outcomes_of(encode(one)) == (one,)


@pytest.mark.parametrize("name", FULL)
def test_the_full_example_sets_every_field_to_something_else(name: str) -> None:
    full = FULL[name]
    for field in msgspec.structs.fields(full):
        default = None if field.required else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        assert getattr(full, field.name) != default, field.name


@pytest.mark.parametrize(("name", "form", "record"), EXAMPLES)
def test_fields_of_a_newer_version_are_ignored(
    name: str, form: str, record: msgspec.Struct
) -> None:
    newer = {**golden(name)[form], "from_the_future": {"deep": [1, 2]}}
    assert DECODE[name](on_the_wire(newer)) == record


@pytest.mark.parametrize("name", FULL)
def test_a_record_without_a_required_field_is_refused(name: str) -> None:
    for field in msgspec.structs.fields(FULL[name]):
        if field.required:
            short = {key: value for key, value in golden(name)["full"].items() if key != field.name}
            with pytest.raises(msgspec.ValidationError, match=field.name):
                DECODE[name](on_the_wire(short))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
of_type: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    dict[str, Any]: st.dictionaries(st.text(), values, max_size=3),
}
place = st.integers(0, 2**63 - 1)
st.register_type_strategy(Origin, st.builds(Origin, st.text(), place, place, place))


def any_record(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    return st.builds(
        kind,
        **{
            name: of_type[hint] if hint in of_type else st.from_type(hint)
            for name, hint in get_type_hints(kind).items()
            if name in kind.__struct_fields__
        },
    )


@given(
    record=any_record(Notification) | any_record(Entry) | any_record(Delivery) | any_record(Outcome)
)
def test_what_is_written_is_read_as_it_was(record: msgspec.Struct) -> None:
    assert DECODE[type(record).__name__.lower()](encode(record)) == record


def test_a_dead_letter_is_headers_as_the_golden_file_says() -> None:
    letter = dead_letter(
        Record(
            topic="social.events",
            partition=3,
            offset=1_234_567,
            time=1_760_000_000_000,
            key=b"ana",
            value=b'{"type": like}',
            headers=(("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),),
        ),
        DeadLetter(
            reason="undecodable",
            error="JSON is malformed: invalid character (byte 9)",
            step="social",
            flow="social",
            origin=Origin("social.events", 3, 1_234_567, 2),
            at=1_760_000_000_456,
            trace="DecodeError: …",
            cause="provider_down",
            provider="apns",
        ),
        "flow",
    )
    wanted = golden("dead_letter")
    assert [[name, value.decode()] for name, value in letter.headers] == wanted["headers"]
    assert letter.value is not None
    assert letter.value.decode() == wanted["value"]


def test_the_words_are_those_of_the_golden_file() -> None:
    words = {"priority": [*Priority], "stage": [*Stage], "kind": [*Kind]}
    assert words == golden("words")


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin("social.events", 3, 17), "social.events:3:17"),
        (Origin("social.events", 3, 17, 2), "social.events:3:17#2"),
    ],
)
def test_an_origin_is_a_list_on_the_wire_and_a_claims_origin_as_text(
    origin: Origin, text: str
) -> None:
    assert json.loads(encode(origin)) == [*msgspec.structs.astuple(origin)]
    assert str(origin) == text


@pytest.mark.parametrize(
    ("name", "priority"),
    [("critical", "high"), ("standard", "normal"), ("high", "high"), ("low", "low")],
)
def test_a_priority_has_other_names(name: str, priority: str) -> None:
    assert Priority.of(name) == priority


def test_an_unknown_priority_is_refused() -> None:
    with pytest.raises(ValueError, match="urgent"):
        Priority.of("urgent")
