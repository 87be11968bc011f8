"""The logs that the contract of the log is held against."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.log_world import World
from tidings.log.memory import MemoryLog
from tidings.log.sqlite.log import epoch_ms
from tidings.services.kafka import Kafka


@pytest.fixture(params=["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each log in turn; the one in memory is of one process, and has no other members to kill."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield World("memory", stack, MemoryLog(epoch_ms))
        elif request.param == "sqlite":
            yield World(f"sqlite:{tmp_path}", stack)
        else:
            broker: Kafka = request.getfixturevalue("kafka")
            yield World(f"kafka:{broker.bootstrap}?session.timeout.ms=3000", stack)


@pytest.fixture
def group() -> str:
    """A consumer group's name that no other test has."""
    return f"group-{uuid.uuid4().hex[:12]}"
