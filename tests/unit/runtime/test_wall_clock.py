"""A process whose clock is wrong, or jumps, decides what one with a right clock does."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.runtime.one_flow import DIGEST, ENTRIES, NOW, OneFlow
from tests.unit.runtime.test_decisions import ALL, LOGS, Event, plan_of
from tidings.log.port import Append
from tidings.records import Origin, Outcome

HOUR = 3_600_000
HOLD = """
  - hold: {delay: 1s}
  - deliver: {to: push, template: t}
"""


@pytest.mark.parametrize("steps", [DIGEST, HOLD], ids=["digest", "hold"])
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_deadline_passes_by_the_logs_time_however_the_clock_jumps(
    tmp_path: Path, steps: str, jump: int
) -> None:
    flow = OneFlow(tmp_path, steps)
    opened = flow.enter("ana", {"photo": "p"}, id="first").time
    flow.wait(300)
    flow.wall.skew = jump
    for _ in range(6):  # up to 900 ms
        flow.enter("eve", {"photo": "q"})  # the partition is not quiet
        flow.wait(100)
    assert sent(flow, "first") == []
    flow.wall.skew = 0
    flow.wait(99)
    assert sent(flow, "first") == []
    flow.pass_time(1)
    assert sent(flow, "first") == [opened + 1_000]
    for skew in (jump, 0, -jump, 0):
        flow.wall.skew = skew
        flow.pass_time(5_000)
    assert sent(flow, "first") == [opened + 1_000]


def test_a_clock_that_is_an_hour_fast_closes_nothing_early_where_nothing_comes(
    tmp_path: Path,
) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    opened = flow.enter("ana", {"photo": "p"}, id="first").time
    flow.settle()
    flow.wall.skew = HOUR
    for _ in range(9):
        flow.wait(111)  # 999 ms in all: markers are written, and the log says that it is early
    assert sent(flow, "first") == []
    flow.wait(1_000)
    assert sent(flow, "first") == [opened + 1_000]


def test_a_clock_that_is_set_back_holds_up_no_deadline(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, DIGEST)
    opened = flow.enter("ana", {"photo": "p"}, id="first").time
    flow.wall.skew = HOUR
    flow.wait(500)  # a marker that the log says is early
    flow.wall.skew = 0
    flow.pass_time(1_000)
    assert sent(flow, "first") == [opened + 1_000]


def sent(flow: OneFlow, event: str) -> list[int]:
    """When what covers this event was queued."""
    return [one.at for one in flow.outcomes() if one.kind == "queued" and event in one.members]


@given(
    events=LOGS,
    jumps=st.lists(st.sampled_from([0, HOUR, -HOUR, 30_000, -30_000]), min_size=50, max_size=50),
)
@settings(max_examples=30)
def test_what_is_decided_does_not_depend_on_the_clock_of_the_process(
    events: list[Event], jumps: list[int]
) -> None:
    assert decided(events, jumps) == decided(events, [0] * len(jumps))


def decided(events: list[Event], skews: list[int]) -> dict[str, Outcome]:
    """The outcomes by their ids, of a process whose clock is wrong by so much at each event."""
    with TemporaryDirectory() as folder:
        flow = OneFlow(Path(folder), plan=plan_of(ALL))
        for event, skew in zip(events, skews, strict=False):
            flow.clock.set(NOW + event.at)
            flow.wall.skew = skew
            data = {"photo": event.photo, "until": NOW + event.at // 100 * 100 + 150}
            flow.enter(event.person, data, id=event.id)
            flow.settle()
        flow.clock.advance(100_000)
        flow.log.write(Append(ENTRIES, None, None, (), 0))
        flow.settle()
        flow.wait()
        outcomes = flow.outcomes()
    # Markers are records too: where one stands depends on the clock, what is decided does not.
    nowhere = Origin("", 0, 0)
    found = {one.outcome_id: replace(one, origin=nowhere) for one in outcomes}
    assert len(found) == len(outcomes)
    return found
