"""Digests in all their modes, through the engine: what the model says, however a log is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operators import digest_model
from tests.unit.operators.digest_model import Rules
from tests.unit.runtime.one_flow import NOW
from tests.unit.runtime.test_decisions import CUTS, Cut, Event, play

CANCEL = "{when: type == 'undo', takes: type == 'like', match: [actor, photo]}"
MODES = {
    "window: 500ms": Rules("fixed", 500),
    "gap: 200ms, max_wait: 700ms, min_items: 2": Rules("sliding", 200, 700, min_items=2),
    "window: 300ms, leading: true": Rules("fixed", 300, leading=True),
    "at: '* * * * *', zone: \"'UTC'\", min_items: 3": Rules("calendar", 60_000, min_items=3),
}

LOGS = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bob"]),
        st.sampled_from("pq"),
        st.sampled_from([0, 1, 99, 100, 200, 300, 499, 500, 20_000]) | st.integers(0, 700),
        st.sampled_from(["like", "like", "comment", "call", "undo"]),
        st.sampled_from(["eve", "sam"]),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("mode", MODES)
@given(rows=LOGS, cut=CUTS)
@settings(max_examples=25)
def test_the_engine_decides_what_the_model_says_however_a_log_is_cut(
    mode: str, rows: list[tuple[str, str, int, str, str]], cut: Cut
) -> None:
    at, events, known = 0, [], []
    for number, (person, photo, after, type_, actor) in enumerate(rows):
        at += after
        more = {"type": type_, "actor": actor}
        events.append(Event(f"e{number}", person, photo, at, more))
        known.append(digest_model.Event(f"e{number}", NOW + at, type_, photo, actor))
    rules = MODES[mode]._replace(max_items=4, flush=True, cancel="likes")
    digest = (
        f"{{by: [photo], {mode}, max_items: 4, actors: actor, counts: type, "
        f"tell_apart: [actor], flush: type == 'call', cancel: {CANCEL}}}"
    )
    steps = f"\n  - digest: {digest}\n  - deliver: {{to: push, template: t}}\n"

    outcomes = play(steps, events, cut)

    expected = []
    for person in ("ana", "bob"):
        theirs = [one for one, event in zip(known, events, strict=True) if event.person == person]
        for told in digest_model.decided(rules, theirs, NOW + at + 100_000):
            kind = "queued" if told.kind == "digest" else told.kind
            expected.append((person, told.at, kind, told.members))
    found = [(one.recipient_id, one.at, str(one.kind), one.members) for one in outcomes]
    assert sorted(found) == sorted(expected)
