"""Whatever happens when, to whichever process, each person gets the rounds that the log implies.

The misfortunes are those of `test_keyed_replay`; the news of deliveries come in any order, of any
round, some of them twice.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtime.alerts import AlertWorld, decided, oracle
from tidings.runtime import keyed


@pytest.mark.parametrize("work", [1, 3, 10_000])
@pytest.mark.parametrize("seed", range(15))
def test_no_misfortune_changes_a_round(
    tmp_path: Path, seed: int, work: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "WORK", work)
    world = AlertWorld(tmp_path, seed, processes=1 + seed % 3)
    for _ in range(200):
        world.step()
    world.finish()

    expected = oracle(world.log)
    assert set(decided(world.log)) == expected
    assert {"push", "sms", "engaged", "superseded"} <= {one.what for one in expected}
