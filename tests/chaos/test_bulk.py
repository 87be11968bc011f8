"""Kill -9 of lanes in the midst of calls of many messages, to SendGrid, SES and FCM over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.bulk import bulk

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_two_kills_lose_no_mail_of_a_call_and_repeat_only_what_was_not_marked(
    tmp_path: Path,
) -> None:
    result = bulk(tmp_path, messages=8_000, kills=2, seed=1)

    assert result.wrong == {}
    assert len(result.rows) == 2
