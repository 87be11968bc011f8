"""Kill -9 in a blast, of flow, lane and intake, and frozen and leaving processes: nothing is lost.

The long runs, with all servers and with clocks, are `make chaos`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.scenarios import Blast, crash, elastic, frozen

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


def test_three_kills_in_a_blast_lose_nothing_and_change_no_digest(tmp_path: Path) -> None:
    blast = Blast(events=10_000, people=300, seconds=16.0, seed=1)
    result = crash(tmp_path, blast, ["flow", "lane", "intake"], kills=3)

    assert result.wrong == {}
    assert len(result.rows) == 3


def test_processes_that_come_and_are_killed_split_no_digest(tmp_path: Path) -> None:
    blast = Blast(events=6_000, people=200, seconds=12.0, seed=2)
    result = elastic(tmp_path, blast, ["flow", "lane"], most=2, by="kill")

    assert result.wrong == {}


def test_a_frozen_flow_that_wakes_up_does_no_harm(tmp_path: Path) -> None:
    blast = Blast(events=6_000, people=200, seconds=12.0, seed=3)
    result = frozen(tmp_path, blast, "flow", seconds=5.0)

    assert result.wrong == {}
