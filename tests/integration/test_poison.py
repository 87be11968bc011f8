"""Records that are wrong in every way stop nobody: dead letters, and their neighbours go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.quarantine import SCRIPT, quarantine
from tests.chaos.world import Hut, World

RECORDS = 1_200


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_poison_on_sqlite_is_in_the_dead_letters_and_no_neighbour_is_lost(
    tmp_path: Path, seed: int
) -> None:
    with Hut(tmp_path, SCRIPT) as hut:
        fates = quarantine(hut, ("all",), RECORDS, seed)

    assert fates.wrong() == {}
    assert fates.records == RECORDS
    assert fates.letters > RECORDS // 4
    assert fates.sent > RECORDS // 10


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_poison_on_kafka_is_in_the_dead_letters_and_no_neighbour_is_lost(tmp_path: Path) -> None:
    with World(tmp_path, SCRIPT) as world:
        fates = quarantine(world, ("intake", "flow", "lane"), RECORDS, seed=3)

    assert fates.wrong() == {}
    assert fates.records == RECORDS
    assert fates.letters > RECORDS // 4
    assert fates.sent > RECORDS // 10
