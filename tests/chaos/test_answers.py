"""Kill -9 of the receipts and of Kafka while providers call back and people answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.answers import answers
from tests.chaos.scenarios import Blast

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_no_receipt_and_no_reply_is_lost_or_heard_twice(tmp_path: Path) -> None:
    blast = Blast(events=600, seconds=5.0, seed=1)
    result = answers(tmp_path, blast, ["receipts", "broker"], kills=2)

    assert result.wrong == {}
    assert len(result.rows) == 2
