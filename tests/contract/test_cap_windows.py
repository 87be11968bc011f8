"""No window of a person's channel ever sees one too many, on any adapter: whatever the batches,
the processes and their replays."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operators.support import HOUR, NOW, Outbox, built, item, phone, ports
from tidings.driver.ports import LocalCaps
from tidings.ports import Caps, Profile
from tidings.stores.caps_sqlite import SqliteCaps
from tidings.stores.caps_valkey import ValkeyCaps
from tidings.stores.clock import ManualClock
from tidings.stores.valkey import Valkey

AT_MOST, WITHIN = 2, HOUR
DELIVER = built("deliver: {to: push, template: t, category: social}")
CAP = built(f"cap: {{channel: push, at_most: {AT_MOST}, within: 1h}}")
PHONE = Profile(addresses=(phone(),))


@pytest.fixture(params=["memory", "sqlite", "valkey"])
def caps(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caps]:
    if request.param == "memory":
        yield LocalCaps()
    elif request.param == "sqlite":
        with closing(SqliteCaps(tmp_path / "caps.db")) as file:
            yield file
    else:
        with closing(Valkey(request.getfixturevalue("valkey").url, timeout_ms=5_000)) as valkey:
            yield ValkeyCaps(valkey)


# Steps: how much time passes, how many new events come, of how many batches back one is replayed.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, HOUR // 3, HOUR - 1, HOUR]), st.integers(0, 5), st.integers(0, 3)
    ),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def check_windows(caps: Caps, steps: list[tuple[int, int, int]]) -> None:
    person, clock = uuid.uuid4().hex, ManualClock(NOW)
    io = ports({person: PHONE}, caps=caps, clock=clock)
    batches: list[tuple[int, list[str]]] = []  # when each was decided first, and its events
    passed: dict[str, int] = {}

    def decide(names: list[str]) -> set[str]:
        outbox = Outbox([item({"recipient_id": person}, event_id=name) for name in names])
        CAP.process(outbox, io, NOW)
        DELIVER.process(outbox, io, NOW)
        assert len(outbox.delivered) + len(outbox.dropped) == len(names)
        refused = {each.item.event_id for each in outbox.dropped}
        return {name for name in names if name not in refused}

    for number, (time, events, back) in enumerate(steps):
        clock.advance(time)
        if batches and back:  # a process died and repeats what it had not confirmed
            at, names = batches[max(0, len(batches) - back)]
            if clock.now() - at < 2 * WITHIN:
                earlier = {name for name in names if name in passed}
                again = decide(names)
                assert again >= earlier
                for name in again - earlier:
                    passed[name] = clock.now()
        names = [f"{number}-{n}" for n in range(events)]
        for name in decide(names):
            passed[name] = clock.now()
        batches.append((clock.now(), names))

    times = sorted(passed.values())
    for first, last in zip(times, times[AT_MOST:], strict=False):
        assert last - first >= WITHIN


def test_no_window_sees_one_too_many(caps: Caps) -> None:
    check_windows(caps)
