"""Kill -9 of flow, lane and receipts in the midst of rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rounds import PARTS, rounds
from tests.chaos.scenarios import Blast

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_each_event_has_exactly_the_rounds_that_the_log_implies(tmp_path: Path) -> None:
    result = rounds(tmp_path, Blast(events=600, people=200, seconds=6.0, seed=1), PARTS, kills=3)

    assert result.wrong == {}
    assert len(result.rows) == 3
