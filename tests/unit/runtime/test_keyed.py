"""The keyed part as a member: what it restores, replays, saves and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtime.one_flow import ENTRIES, SLOT, STATE, OneFlow
from tidings.log.port import OutOfRangeError

NOTES = "\n  - limit: {at_most: 100, within: 1h}\n  - deliver: {to: push, template: t}\n"
EARLIEST = "{topic: social.events, key: recipient_id, on_out_of_range: earliest}"


# ── Logs that have changed under it ───────────────────────────────────────────────────────────


def test_entries_that_the_state_needs_and_that_are_gone_are_an_error(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES, save_rate=10_000)
    for _ in range(5):
        flow.enter("ana", {})
        flow.enter("bob", {})
        flow.pass_time(0)
    flow.kill()
    flow.log.expire(SLOT, 9)
    flow.start()

    with pytest.raises(OutOfRangeError, match=r"entries are gone.*on_out_of_range: earliest"):
        flow.turn()


def test_a_flow_that_was_never_saved_begins_where_the_log_does(tmp_path: Path) -> None:
    flow = OneFlow(tmp_path, NOTES)
    for number in range(5):
        flow.enter("ana", {}, id=f"e{number}")
    flow.log.expire(SLOT, 3)
    flow.settle()

    assert flow.members() == [("e3",), ("e4",)]


@pytest.mark.parametrize("state_too", [False, True])
def test_a_topic_that_was_made_anew_is_an_error_and_no_silence(
    tmp_path: Path, state_too: bool
) -> None:
    flow = OneFlow(tmp_path, NOTES)
    for _ in range(5):
        flow.enter("ana", {})
    flow.pass_time(300)
    flow.stop()
    flow.log.clear(ENTRIES)
    if state_too:
        flow.log.clear(STATE)
    flow.start()

    with pytest.raises(OutOfRangeError, match=r"made anew.*on_out_of_range: earliest"):
        flow.turn()


@pytest.mark.parametrize("state_too", [False, True])
def test_a_topic_that_was_made_anew_is_read_from_its_beginning_where_that_is_wanted(
    tmp_path: Path, state_too: bool
) -> None:
    flow = OneFlow(tmp_path, NOTES, source=EARLIEST)
    for number in range(5):
        flow.enter("ana", {}, id=f"old{number}")
    flow.pass_time(300)
    flow.stop()
    flow.log.clear(ENTRIES)
    if state_too:
        flow.log.clear(STATE)
    for number in range(3):
        flow.enter("ana", {}, id=f"new{number}")
    for _ in range(2):
        flow.start()
        flow.settle()
        flow.pass_time(300)
        flow.stop()

    assert flow.members()[5:] == [("new0",), ("new1",), ("new2",)]
    assert flow.committed() == 3
