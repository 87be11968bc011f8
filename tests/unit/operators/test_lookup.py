"""lookup: what is asked, what is written into the event, and what if nothing can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.unit.operators.support import NOW, Down, Folk, Outbox, built, item, ports, reads
from tidings.contract import Item, Part, Tenant
from tidings.ports import Address, LookupFailed, Profile, Query, Row, Unavailable
from tidings.problems import ProblemsError, ValueProblem

CONNECTIONS = {"crm": "sql", "api": "http"}
SQL = "sql: 'select id, plan, zone from customers where id in :keys', connection: crm"
PLAN = f"lookup: {{{SQL}, key: customer, match: id, fields: [plan, zone]}}"


class Rows:
    """Lookups that answer from a mapping by key; keeps what it was asked."""

    def __init__(self, rows: Mapping[Any, Row], failure: Exception | None = None) -> None:
        self.rows_by_key = rows
        self.failure = failure
        self.asked: list[tuple[Query, list[str | int]]] = []

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        self.asked.append((query, list(keys)))
        if self.failure is not None:
            raise self.failure
        return [self.rows_by_key.get(key) for key in keys]


CUSTOMERS = Rows({"c1": {"id": "c1", "plan": "pro", "zone": "Europe/Madrid"}})


def step(text: str) -> Any:
    return built(text, Part.INTAKE, connections=CONNECTIONS)


def run(text: str, lookups: Any, *events: Mapping[str, Any]) -> Outbox[Item]:
    outbox = Outbox([item(each, offset) for offset, each in enumerate(events)])
    step(text).process(outbox, ports(lookups=lookups), NOW)
    return outbox


def test_a_row_is_written_into_the_event() -> None:
    (one,) = run(PLAN, CUSTOMERS, {"customer": "c1", "n": 1}).items

    assert one.data == {"customer": "c1", "n": 1, "plan": "pro", "zone": "Europe/Madrid"}


PHONE = Address(kind="device", value="p", registered_at=2)
PEOPLE = {
    "ana": Profile(zone="Europe/Madrid", quiet="22:00-08:00", addresses=(PHONE,)),
    "bob": Profile(
        zone="Europe/Madrid",
        quiet="22:00-08:00",
        addresses=(
            Address(kind="device", value="old", zone="Asia/Tokyo", quiet="none", registered_at=1),
            Address(kind="device", value="new", zone="America/Lima", registered_at=3),
        ),
    ),
    "cy": Profile(),
    "dan": Profile(quiet="none"),
}


@pytest.mark.parametrize(
    ("person", "tenant", "zone", "quiet"),
    [
        ("ana", "default", "Europe/Madrid", "22:00-08:00"),
        ("bob", "default", "America/Lima", "none"),  # devices say more, the last one first
        ("cy", "default", None, None),
        ("cy", "acme", "Africa/Accra", "20:00-06:00"),
        ("dan", "acme", "Africa/Accra", "none"),
        ("ana", "acme", "Europe/Madrid", "22:00-08:00"),
        ("nobody", "acme", None, None),
    ],
)
def test_a_device_says_more_of_zone_and_hours_than_the_person_and_a_tenant_says_less(
    person: str, tenant: str, zone: str | None, quiet: str | None
) -> None:
    step = built(
        "lookup: {people: [zone, quiet]}",
        Part.INTAKE,
        tenants={"acme": Tenant(zone="Africa/Accra", quiet="20:00-06:00")},
    )
    outbox = Outbox([item({"recipient_id": person}, tenant=tenant)])

    step.process(outbox, ports(PEOPLE), NOW)

    (one,) = outbox.items
    assert (one.data["zone"], one.data["quiet"]) == (zone, quiet)


def test_fields_may_be_called_otherwise() -> None:
    text = f"lookup: {{{SQL}, key: customer, match: id, fields: {{tier: plan}}}}"

    (one,) = run(text, CUSTOMERS, {"customer": "c1"}).items

    assert one.data == {"customer": "c1", "tier": "pro"}


def test_a_batch_asks_once_and_for_each_key_once() -> None:
    lookups = Rows({})

    run(PLAN, lookups, *({"customer": f"c{n % 10}"} for n in range(1_000)))

    ((query, keys),) = lookups.asked
    assert keys == [f"c{n}" for n in range(10)]
    assert query == Query(
        "crm", "select id, plan, zone from customers where id in :keys", "id", 2_000, 60_000
    )


def test_without_a_key_it_asks_about_the_recipient() -> None:
    text = "lookup: {http: '/users/{key}', connection: api, fields: [plan]}"
    lookups = Rows({"ana": {"plan": "pro"}})

    (one,) = run(text, lookups, {"recipient_id": "ana"}).items

    assert one.data["plan"] == "pro"
    assert lookups.asked[0][0].match == "recipient_id"


@pytest.mark.parametrize("event", [{"customer": "c9"}, {"customer": None}, {"customer": ""}, {}])
def test_what_has_no_row_gets_what_is_said_otherwise(event: dict[str, Any]) -> None:
    text = PLAN.replace("]}", "], otherwise: {plan: free}}")

    (one,) = run(text, CUSTOMERS, event).items

    assert one.data == {**event, "plan": "free", "zone": None}


def test_a_column_that_is_null_or_missing_is_as_no_row() -> None:
    text = PLAN.replace("]}", "], otherwise: {plan: free, zone: UTC}}")

    (one,) = run(text, Rows({"c1": {"id": "c1", "plan": None}}), {"customer": "c1"}).items

    assert (one.data["plan"], one.data["zone"]) == ("free", "UTC")


def test_what_has_no_row_may_be_dropped_or_dead() -> None:
    events = [{"customer": "c9"}, {"customer": "c1"}]

    dropped = run(PLAN.replace("]}", "], missing: drop}"), CUSTOMERS, *events)
    dead = run(PLAN.replace("]}", "], missing: dead}"), CUSTOMERS, *events)

    assert [(each.kind, each.reason) for each in dropped.dropped] == [("suppressed", "not_found")]
    assert [(each.reason, each.error) for each in dead.died] == [
        ("lookup", "there is no row for the key 'c9'")
    ]
    assert [len(each.items) for each in (dropped, dead)] == [1, 1]


@pytest.mark.parametrize("key", [1.5, True, ["c1"], {"id": "c1"}])
def test_what_can_be_no_key_is_dead(key: Any) -> None:
    outbox = run(PLAN, CUSTOMERS, {"customer": key})

    assert [each.reason for each in outbox.died] == ["expression"]


def test_while_the_answer_is_under_way_nothing_is_changed() -> None:
    one, broken = item({"customer": "c1"}), item({"customer": True})
    outbox = Outbox([one, broken])

    with pytest.raises(Unavailable):
        step(PLAN).process(outbox, ports(lookups=Rows({}, Unavailable("soon"))), NOW)

    assert (outbox.items, outbox.died) == ([one, broken], [])
    assert one.data == {"customer": "c1"}


def test_a_system_that_fails_holds_its_flow_unless_told_otherwise() -> None:
    down = Rows({}, LookupFailed("crm: no answer within 2000 ms"))
    event = {"customer": "c1"}

    with pytest.raises(Unavailable, match="no answer"):
        run(PLAN, down, event)
    taken = run(PLAN.replace("]}", "], failing: take, otherwise: {plan: free}}"), down, event)
    dead = run(PLAN.replace("]}", "], failing: dead}"), down, event)

    assert [each.data["plan"] for each in taken.items] == ["free"]
    assert [(each.reason, each.error) for each in dead.died] == [
        ("lookup", "crm: no answer within 2000 ms")
    ]


def test_a_system_that_fails_is_not_taken_for_a_key_that_is_missing() -> None:
    down = Rows({}, LookupFailed("crm: refused"))
    text = PLAN.replace("]}", "], failing: take, missing: drop, otherwise: {plan: free}}")

    assert [each.data["plan"] for each in run(text, down, {"customer": "c1"}).items] == ["free"]


def test_people_are_asked_once_for_a_batch() -> None:
    folk = Folk({"ana": Profile(zone="Europe/Madrid", locale="es"), "bob": Profile(locale="en")})
    events = [{"recipient_id": name} for name in ("ana", "bob", "eve", "ana")]
    outbox = Outbox([item(each) for each in events])

    step("lookup: {people: {tz: zone, locale: locale}, otherwise: {tz: UTC}}").process(
        outbox, ports(people=None, lookups=Down())._replace(people=folk), NOW
    )

    assert [(each.data["tz"], each.data["locale"]) for each in outbox.items] == [
        ("Europe/Madrid", "es"),
        ("UTC", "en"),
        ("UTC", None),
        ("Europe/Madrid", "es"),
    ]
    assert len(folk.asked) == 1


def test_the_data_of_another_way_stays_as_it_is() -> None:
    shared = {"customer": "c1"}
    one = item({})
    one.data = shared

    step(PLAN).process(Outbox([one]), ports(lookups=CUSTOMERS), NOW)

    assert shared == {"customer": "c1"}


def test_it_reads_its_key() -> None:
    assert reads(PLAN) == frozenset({"customer"})
    assert reads("lookup: {people: [zone]}") == frozenset()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{fields: [plan]}", "exactly one of `sql`, `http` and `people`, got none of them"),
        ("{people: [zone], http: /users}", "got `http` and `people`"),
        ("{http: /users, fields: [plan]}", "`lookup` needs `connection`"),
        ("{http: /users, connection: api}", "`lookup` needs `fields`"),
        ("{sql: delete from customers, connection: crm, fields: [a]}", "a lookup only reads"),
        ("{sql: select 1, connection: crm, fields: [a]}", "the query needs `:keys` once"),
        (
            "{sql: select a from t where id in (:keys), connection: crm, fields: [a]}",
            "`:keys` brings its own brackets",
        ),
        (
            "{http: /users, connection: api, fields: [plan], key: lower(name)}",
            "`lookup` needs `match`, for the key is an expression",
        ),
        ("{people: [plan]}", "a profile has no `plan` to be looked up"),
        ("{people: [zone], timeout: 1s}", "`timeout` says nothing where people are asked"),
        (
            "{http: /users, connection: api, fields: [plan], otherwise: {paln: x}}",
            "`otherwise` has a value for `paln`, which is not looked up",
        ),
        ("{http: /users, connection: api, fields: [plan], cache: 1s}", "must be at least 5s"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: str, message: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        step(f"lookup: {fields}")

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "{http: /users, connection: apo, fields: [plan]}",
            "there is no connection `apo` in the settings",
        ),
        (
            "{http: /users, connection: crm, fields: [plan]}",
            "the connection `crm` is for sql, not http",
        ),
    ],
)
def test_a_connection_has_to_be_there_and_fit(fields: str, message: str) -> None:
    with pytest.raises(ValueProblem) as raised:
        step(f"lookup: {fields}")

    assert raised.value.message == message
