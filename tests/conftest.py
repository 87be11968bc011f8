"""The real servers that tests run against, each started by the first test that asks for it.

One Kafka and one Valkey serve the whole session; a test that kills its server asks for one of its
own by `start_kafka` or `start_valkey`. Where Kafka can't be had, the tests that need it fail with
the sentence that says how to get it; TIDINGS_TEST_KAFKA=off deselects them instead.

The whole suite is run by two workers, each with servers of its own: a file of tests, or one test of
whole processes, goes to the worker that is free. What names files, `-k` or `-m` runs without.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import hypothesis
import pytest
import redis
from confluent_kafka.admin import NewTopic
from xdist.scheduler import LoadScopeScheduling

from tidings.services.kafka import Kafka
from tidings.services.nginx import Nginx
from tidings.services.process import Server, ServiceError, wait_for
from tidings.services.valkey import Valkey

AnyServer = TypeVar("AnyServer", bound=Server)

hypothesis.settings.register_profile("tidings", deadline=None)  # tests never time things
hypothesis.settings.register_profile("long", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile("tidings")

_ROOT = Path(__file__).parent
_FASTEST_FIRST = ("unit", "contract", "services", "integration", "chaos")
_LONG = ("integration", "chaos")  # one of their tests takes as long as a file of others
_WORKERS = 2  # each waits for servers half of its time, and has a Kafka in memory
_KAFKA_FIXTURES = {"kafka", "topic", "start_kafka"}
_KAFKA_IS_OFF = os.environ.get("TIDINGS_TEST_KAFKA", "") == "off"


class MakeTopic(Protocol):
    """What the `topic` fixture gives."""

    def __call__(
        self,
        partitions: int = 1,
        name: str | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> str:
        """Makes a topic on the session's Kafka and gives its name."""


class OneFileToOneWorker(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out files in their order, so that their fixtures are set up once; long tests singly."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return nodeid if Path(file).parts[1] in _LONG else file


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers where nothing was named: a part of the suite is back sooner than they are up."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return 0 if not whole or config.option.keyword or config.option.markexpr else _WORKERS


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneFileToOneWorker:
    """Ours, whatever `--dist` says."""
    return OneFileToOneWorker(config, log)


def pytest_report_header() -> str | None:
    """Says so where the tests against Kafka are off."""
    return "TIDINGS_TEST_KAFKA=off: no test runs against Kafka" if _KAFKA_IS_OFF else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs the fastest folder first, and drops the tests against Kafka where they are off."""
    items.sort(key=_folder_rank)
    if _KAFKA_IS_OFF:
        off = [item for item in items if _needs_kafka(item)]
        config.hook.pytest_deselected(items=off)
        items[:] = [item for item in items if not _needs_kafka(item)]


def _folder_rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(_ROOT).parts[0]
    return _FASTEST_FIRST.index(folder) if folder in _FASTEST_FIRST else len(_FASTEST_FIRST)


def _needs_kafka(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("kafka") is not None or not _KAFKA_FIXTURES.isdisjoint(fixtures)


def _started(stack: ExitStack, server: AnyServer) -> AnyServer:
    try:
        stack.enter_context(server)
    except ServiceError as error:
        pytest.fail(str(error), pytrace=False)
    return server


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The session's Kafka; a test makes topics of its own on it (`topic`)."""
    with ExitStack() as stack:
        yield _started(stack, Kafka())


@pytest.fixture
def start_kafka() -> Iterator[Callable[..., Kafka]]:
    """Starts a Kafka of the test's own, to kill; takes the arguments of `Kafka`."""
    with ExitStack() as stack:
        yield lambda **options: _started(stack, Kafka(**options))


@pytest.fixture
def topic(kafka: Kafka, request: pytest.FixtureRequest) -> MakeTopic:
    """Makes fresh topics, `topic(partitions=4, config={"cleanup.policy": "compact"})`.

    The name says which test it was; the time of a record is its append time unless asked
    otherwise. It returns when every partition has a leader.
    """

    def make(
        partitions: int = 1,
        name: str | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> str:
        stem = name or re.sub(r"[^A-Za-z0-9.-]+", "-", request.node.name)[:80].strip("-")
        fresh = f"{stem}.{uuid.uuid4().hex[:8]}"
        settings = {"message.timestamp.type": "LogAppendTime", **(config or {})}
        wanted = NewTopic(
            fresh,
            num_partitions=partitions,
            replication_factor=1,
            config={key: str(value) for key, value in settings.items()},
        )
        kafka.admin.create_topics([wanted])[fresh].result(timeout=30)
        wait_for(
            lambda: _has_leaders(kafka, fresh, partitions),
            timeout=30,
            what=f"leaders of {fresh}",
        )
        return fresh

    return make


def _has_leaders(kafka: Kafka, topic: str, partitions: int) -> bool:
    found = kafka.admin.list_topics(topic, timeout=10).topics[topic].partitions
    return len(found) == partitions and all(one.leader >= 0 for one in found.values())


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    """The session's Valkey, with whatever earlier tests left in it; most want `valkey`."""
    with ExitStack() as stack:
        yield _started(stack, Valkey())


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """The session's Valkey, emptied."""
    with redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def start_valkey() -> Iterator[Callable[..., Valkey]]:
    """Starts a Valkey of the test's own, to kill; takes the arguments of `Valkey`."""
    with ExitStack() as stack:
        yield lambda **options: _started(stack, Valkey(**options))


@pytest.fixture
def start_nginx() -> Iterator[Callable[..., Nginx]]:
    """Starts an nginx with HTTP/2 over TLS; takes the arguments of `Nginx`."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: _started(stack, Nginx(*arguments, **options))
