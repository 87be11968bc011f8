"""digest in all its modes together, against a model that is written apart from it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operators.digest_model import Event, Rules, Told, decided
from tests.unit.operators.one_person import START, Played
from tests.unit.operators.support import built, item
from tidings.contract import Item, Part, Who
from tidings.records import Kind

MINUTE = 60_000
CANCELS = {
    "actor": "{when: type == 'undo', match: [actor, photo]}",
    "likes": "{when: type == 'undo', takes: type == 'like', match: [actor, photo]}",
    "window": "type == 'undo'",
    "id": "[{when: type == 'undo', event: undone}]",
}

Row = tuple[int, str, str, str, int, int]


def rows_of(lives: list[int]) -> st.SearchStrategy[list[Row]]:
    """Rows of which each lives so long."""
    after = [0, 0, 1, 1, 2_000, 5_000, 10_000, 15_000, 29_999, 30_000]
    return st.lists(
        st.tuples(
            st.sampled_from(after) | st.integers(0, 9_000),
            st.sampled_from(["like", "like", "comment", "call", "undo"]),
            st.sampled_from("ppq"),
            st.sampled_from(["bob", "bob", "eve", "ana"]),
            st.integers(0, 12),
            st.sampled_from(lives),
        ),
        min_size=8,
        max_size=30,
    )


ROWS = st.one_of(
    rows_of([0]), rows_of([31_000, 45_000, 200_000]), rows_of([0, 0, 1, 25_000, 45_000, 200_000])
)
MODES = st.sampled_from(
    [("fixed", 30_000, 0), ("sliding", 20_000, 50_000), ("calendar", MINUTE, 0)]
)
RULES = st.builds(
    lambda mode, *rest: Rules(*mode, *rest),
    MODES,
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([4, 5, 500]),
    st.tuples(st.sampled_from(["first", "last", "top"]), st.integers(0, 3)),
    st.booleans(),
    st.sampled_from(["", "actor", "likes", "window", "id"]),
)


def events_of(rows: list[Row]) -> list[Event]:
    """Events that come one after the other, each so long after the last."""
    at, found = START, []
    for number, (after, type_, photo, actor, score, lives) in enumerate(rows):
        at += after
        expires = at + lives if lives else 0
        found.append(Event(f"e{number}", at, type_, photo, actor, score, expires))
    return found


def step_of(rules: Rules, **more: str) -> Any:
    """The step with these settings."""
    window = {
        "fixed": f"window: {rules.wait}ms",
        "sliding": f"gap: {rules.wait}ms, max_wait: {rules.max_wait}ms",
        "calendar": "at: '* * * * *', zone: \"'UTC'\"",
    }[rules.mode]
    which, most = rules.keep
    fields = {
        "by": "[photo]",
        "keep": f"{which} {most}" + (" by score" if which == "top" else ""),
        "fields": "[id]",
        "actors": "actor",
        **({"leading": "true"} if rules.leading else {}),
        **({"min_items": str(rules.min_items)} if rules.min_items > 1 else {}),
        **({"max_items": str(rules.max_items)} if rules.max_items < 500 else {}),
        **({"flush": "type == 'call'"} if rules.flush else {}),
        **({"cancel": CANCELS[rules.cancel]} if rules.cancel else {}),
        **more,
    }
    said = ", ".join(f"{name}: {value}" for name, value in fields.items())
    return built(f"digest: {{{window}, {said}}}", Part.KEYED)


class Recorded(Played):
    """What a step says, in order, as the model says it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []

    def down(self, passed: Item) -> None:
        super().down(passed)
        self.told.append(Told(self.now, passed.covers(), "digest", passed.data, passed.expires_at))

    def drop(self, let_go: Item, kind: Kind, reason: str, detail: str = "") -> None:
        told = detail if detail.startswith("took") else None
        self.told.append(Told(self.now, let_go.covers(), str(kind), told))


def played(step: Any, events: list[Event], until: int, restarts: frozenset[int]) -> Recorded:
    """The step's run; before the events in ``restarts`` its state goes to rest and comes back."""
    out = Recorded()
    for number, event in enumerate(events):
        if number in restarts:
            at_rest = msgspec.msgpack.encode(out.state)
            out.state = msgspec.msgpack.decode(at_rest, type=step.state | None)
        pass_time(step, out, event.at)
        out.now = event.at
        data = {
            "id": event.id,
            "type": event.type,
            "photo": event.photo,
            "actor": event.actor,
            "score": event.score,
            "undone": f"e{event.score}",
        }
        one = item(
            data,
            number,
            recipient_id="ana",
            event_id=event.id,
            time=event.at,
            expires_at=event.expires,
        )
        out.state = step.on_item(out.state, one, event.at, out)
    pass_time(step, out, until)
    return out


def pass_time(step: Any, out: Recorded, now: int) -> None:
    """Let deadlines act, each at its moment."""
    while out.state is not None and 0 < (due := step.horizon(out.state).act_at) <= now:
        out.now = due
        out.state = step.on_time(out.state, Who("default", "ana", "tidings.f", 0), due, out)


RESTARTS = st.frozensets(st.integers(0, 30), max_size=5)


@given(rules=RULES, rows=ROWS, restarts=RESTARTS)
@settings(max_examples=300)
def test_a_digest_says_what_the_model_says_and_knows_of_each_member_what_it_was(
    rules: Rules, rows: list[Row], restarts: frozenset[int]
) -> None:
    events = events_of(rows)
    until = START + sum(row[0] for row in rows) + 10 * MINUTE
    step = step_of(rules, counts="type", tell_apart="[actor]")

    out = played(step, events, until, restarts)

    assert out.told == decided(rules, events, until)
    assert out.state is None
    known = {event.id: event for event in events}
    assert sorted(name for told in out.told for name in told.members) == sorted(known)
    for one in out.items:
        assert one.gathered is not None
        members = [known[name] for name in one.members]
        assert one.gathered.columns["type"].texts() == [event.type for event in members]
        assert one.gathered.columns["actor"].texts() == [event.actor for event in members]
        assert one.gathered.expires == [event.expires for event in members]
        told = [known[each["id"]] for each in one.data["items"]]
        assert [members[place] for place in one.gathered.items] == told


@given(rules=RULES, rows=ROWS, restarts=RESTARTS)
@settings(max_examples=100)
def test_a_digest_that_tells_nothing_apart_says_the_same(
    rules: Rules, rows: list[Row], restarts: frozenset[int]
) -> None:
    plain = rules._replace(cancel="")
    events, until = events_of(rows), START + 60 * MINUTE

    out = played(step_of(plain), events, until, restarts)

    expected = decided(plain, events, until)
    for told in expected:
        if told.kind == "digest":
            del told.data["counts"]
    assert out.told == expected
