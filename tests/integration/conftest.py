"""What the tests of whole processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.installation import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An empty folder for `tidings dev` and `tidings run`; what they started ends with the test."""
    installed = Installation(tmp_path)
    yield installed
    installed.close()
