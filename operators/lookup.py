"""lookup: what another system knows, written into the event.

It stands where events come in. What it finds goes into the flow's own topic with the event, so a
replay of what is decided behind it finds the same, whatever the other system would say by then.

A batch asks once: all keys in one query. While an answer is under way the flow holds its batch and
the others of the process go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tidings.contract import (
    Batch,
    Item,
    Operator,
    Part,
    Shape,
    Site,
    Spec,
    Tenant,
    reads_expressions,
)
from tidings.durations import DurationType
from tidings.expressions import EvaluationError, Expression
from tidings.expressions.operations import kind_of
from tidings.load.freedata import Json
from tidings.ports import Io, LookupFailed, Profile, Query, Row, Unavailable, profiles_of
from tidings.problems import ValueProblem, listed, suggestion
from tidings.records import Kind

PROFILE = ("zone", "locale", "quiet")
WHEREVER = ("zone", "quiet")  # what a device or a tenant may say, too
KEYS = re.compile(r":keys\b")
IN_BRACKETS = re.compile(r"\(\s*:keys\s*\)")
READS = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


def _by_name(value: Any) -> Any:
    """``[plan, zone]`` → {"plan": "plan", "zone": "zone"}."""
    return {name: name for name in value} if isinstance(value, list | tuple) else value


class LookupSpec(Spec):
    """Asks a database, a service or the people's profiles, and puts the answers into the event.

    Exactly one of `sql`, `http` and `people` says where. A batch of events asks once; answers are
    remembered for `cache`, those of keys that are not there too. A slow system holds up this flow
    and no other.
    """

    sql: str = ""
    """A query with `:keys` for the keys of a batch: `select id, plan from customers where id in
    :keys`. The keys are bound, never pasted into the text."""

    http: str = ""
    """A path of a service. With `{key}` in it, it is fetched for each key, a few at a time; without
    it the keys are posted as `{"keys": [...]}`, and the answer is an object by key, or a list."""

    people: Annotated[dict[str, str], BeforeValidator(_by_name)] = Field(default={})
    """What of the person's profile to take: `zone`, `locale`, `quiet` (their own quiet hours), as
    `[zone, quiet]` or `{tz: zone}`. Zone and hours that a device tells (of several the one that was
    registered last) come before the person's, and those before their tenant's."""

    connection: str = ""
    """Where `sql` or `http` goes: a name under `connections` in `config/tidings.yaml`."""

    key: Expression | None = None
    """A field or expression for the key, a text or a whole number; by default the recipient.
    Where it gives nothing, there is no row."""

    match: str = ""
    """The column that equals the key; by default the key's own name."""

    fields: Annotated[dict[str, str], BeforeValidator(_by_name)] = Field(default={})
    """What to take of a row: `[plan, zone]`, or `{tier: plan}` to call it otherwise."""

    otherwise: dict[str, Json] = Field(default={})
    """The values of fields for which there is no row, or no value in it; null where none is given.
    """

    missing: Literal["take", "dead", "drop"] = "take"
    """What becomes of an event whose key has no row: `take` what `otherwise` says, a `dead` letter,
    or `drop` it, reason `not_found`."""

    failing: Literal["hold", "take", "dead"] = "hold"
    """What becomes of events while the other system fails or is too slow: `hold` them, and try
    again, `take` what `otherwise` says, or `dead` letters."""

    timeout: Annotated[int, DurationType(at_least="1ms", at_most="1m")] = 2_000
    """How long an answer may take."""

    cache: Annotated[int, DurationType(at_least="5s", at_most="1d")] = 60_000
    """For how long an answer serves; at least 5 s."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("sql", "http", "people") if getattr(self, name)]
        if len(given) != 1:
            what = " and ".join(f"`{name}`" for name in given) or "none of them"
            raise ValueProblem(
                "one-of", f"`lookup` takes exactly one of `sql`, `http` and `people`, got {what}"
            )
        if self.people:
            self._check_people()
        else:
            self._check_asked()
        for name in self.otherwise:
            if name not in self.taken():
                raise ValueProblem(
                    "unknown-field",
                    f"`otherwise` has a value for `{name}`, which is not looked up",
                    suggestion(name, self.taken()),
                    loc=("otherwise", name, "[key]"),
                )
        return self

    def _check_people(self) -> None:
        for name in ("connection", "key", "match", "fields", "timeout", "cache"):
            if name in self.model_fields_set:
                message = f"`{name}` says nothing where people are asked"
                raise ValueProblem("bad-value", message, loc=(name, "[key]"))
        for field, name in self.people.items():
            if name not in PROFILE:
                message = f"a profile has no `{name}` to be looked up"
                hint = f"there is {listed(PROFILE, 'and')}"
                raise ValueProblem("bad-value", message, hint, loc=("people", field))

    def _check_asked(self) -> None:
        for name in ("connection", "fields"):
            if not getattr(self, name):
                raise ValueProblem("missing-field", f"`lookup` needs `{name}`")
        if self.sql:
            if not READS.match(self.sql):
                raise ValueProblem(
                    "bad-sql", "a lookup only reads", "it begins with `select`", loc=("sql",)
                )
            if IN_BRACKETS.search(self.sql):
                raise ValueProblem(
                    "bad-sql",
                    "`:keys` brings its own brackets",
                    "write `where id in :keys`",
                    loc=("sql",),
                )
            if len(KEYS.findall(self.sql)) != 1:
                raise ValueProblem(
                    "bad-sql",
                    "the query needs `:keys` once",
                    "such as: where id in :keys",
                    loc=("sql",),
                )
        if self.key is not None and not self.key.is_field and not self.match:
            raise ValueProblem(
                "missing-field",
                "`lookup` needs `match`, for the key is an expression",
                "the column that equals it",
                loc=("key",),
            )

    def taken(self) -> Mapping[str, str]:
        """The fields that it sets, each with the column or attribute."""
        return self.people or self.fields

    def column(self) -> str:
        """The column that equals the key."""
        if self.match or self.key is None:
            return self.match or "recipient_id"
        return str((self.key.path or (self.key.text,))[-1])


class Lookup:
    """Asks for a batch, and writes into its items what it is told."""

    def __init__(self, spec: LookupSpec, site: Site) -> None:
        if spec.connection:
            kind = site.connections.get(spec.connection)
            wanted = "sql" if spec.sql else "http"
            if kind is None:
                raise ValueProblem(
                    "unknown-connection",
                    f"there is no connection `{spec.connection}` in the settings",
                    suggestion(spec.connection, site.connections)
                    or "add it to `connections` in config/tidings.yaml",
                    loc=("connection",),
                )
            if kind != wanted:
                raise ValueProblem(
                    "bad-value",
                    f"the connection `{spec.connection}` is for {kind}, not {wanted}",
                    loc=("connection",),
                )
        self._query = Query(
            spec.connection, spec.sql or spec.http, spec.column(), spec.timeout, spec.cache
        )
        self._of_people = bool(spec.people)
        self._key = spec.key.or_null() if spec.key is not None else None
        self._taken = [
            (name, column, spec.otherwise.get(name)) for name, column in spec.taken().items()
        ]
        self._missing, self._failing = spec.missing, spec.failing
        self._tenants = site.tenants
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Set the fields of each item. Raises Unavailable, with nothing changed."""
        keyed: list[tuple[Item, str | int | Exception | None]] = []
        for item in batch.items:
            try:
                keyed.append((item, self._key_of(item)))
            except (EvaluationError, ValueError) as error:
                keyed.append((item, error))
        rows: Mapping[Any, Row | None] = {}
        failure = ""
        try:
            if self._of_people:
                rows = self._profiles(io, batch.items)
            else:
                keys = [key for _, key in keyed if isinstance(key, str | int)]
                unique = list(dict.fromkeys(keys))
                rows = dict(zip(unique, io.lookups.rows(self._query, unique), strict=True))
        except LookupFailed as error:
            if self._failing == "hold":
                raise Unavailable(str(error)) from error
            failure = str(error)

        kept: list[Item] = []
        for item, key in keyed:
            if isinstance(key, Exception):
                batch.dead(item, "expression", key, self._site)
            elif failure and self._failing == "dead":
                batch.dead(item, "lookup", failure, self._site)
            else:
                row = rows.get(item.person() if self._of_people else key)
                if self._settle(item, row, bool(failure), key, batch):
                    kept.append(item)
        batch.items = kept

    def _key_of(self, item: Item) -> str | int | None:
        if self._key is None:
            return item.recipient_id or None
        key = self._key(item.data)
        if key is None or key == "":
            return None
        if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
            return key
        raise ValueError(f"a key is a text or a whole number, got {kind_of(key)}")

    def _settle(
        self, item: Item, row: Row | None, failed: bool, key: Any, batch: Batch[Item]
    ) -> bool:
        """Set the fields, or let the item go; tells whether it goes on."""
        if row is None and not failed and self._missing != "take":
            if self._missing == "drop":
                batch.drop(item, Kind.SUPPRESSED, "not_found", self._site)
            else:
                batch.dead(item, "lookup", f"there is no row for the key {key!r}", self._site)
            return False
        item.data = data = dict(item.data)  # another branch may hold the same data
        for name, column, otherwise in self._taken:
            value = row.get(column) if row is not None else None
            data[name] = otherwise if value is None else value
        return True

    def _profiles(self, io: Io, items: Iterable[Item]) -> Mapping[Any, Row | None]:
        profiles = profiles_of(io.people, [item.person() for item in items])
        asked = {column for _, column, _ in self._taken}
        return {
            person: None
            if profile is None
            else {name: _known(name, profile, self._tenants.get(person.tenant)) for name in asked}
            for person, profile in profiles.items()
        }


def _known(name: str, profile: Profile, tenant: Tenant | None) -> str | None:
    """A device's word before the person's, and that before the tenant's; None where nobody has
    said anything."""
    said: str = getattr(profile, name)
    if name in WHEREVER:
        told = [each for each in profile.addresses if getattr(each, name)]
        if told:
            said = getattr(max(told, key=_registered_at), name)
        elif not said and tenant is not None:
            said = getattr(tenant, name)
    return said or None


_registered_at = attrgetter("registered_at")


OPERATOR = Operator(
    name="lookup",
    spec=LookupSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE, Part.TAIL}),
    build=Lookup,
    asks=True,
    names=lambda spec: spec.taken(),
    reads=reads_expressions,
    changes=True,
    timeless=True,
    example="""
step: {lookup: {people: [zone], otherwise: {zone: UTC}}}
people:
  ana: {zone: Europe/Madrid, locale: es}
in:
  - {recipient_id: ana, text: hola}
  - {recipient_id: bob, text: hi}
out:
  - {recipient_id: ana, text: hola, zone: Europe/Madrid}
  - {recipient_id: bob, text: hi, zone: UTC}
""",
)
