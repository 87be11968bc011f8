"""The Valkey of one machine: one process keeps it, the next takes it over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tidings.running.embedded import EmbeddedValkey, folder_of, socket_of
from tidings.services.process import wait_for


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Callable[[], EmbeddedValkey]]:
    """Makes keepers of one folder's server."""
    made: list[EmbeddedValkey] = []

    def make() -> EmbeddedValkey:
        made.append(EmbeddedValkey(tmp_path / "valkey"))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.close()


def read(url: str, key: str) -> object:
    """A key's value; None while nobody answers."""
    try:
        with redis.from_url(url) as client:
            return client.get(key)
    except redis.ConnectionError:
        return None


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("embedded:/var/lib/tidings/valkey", Path("/var/lib/tidings/valkey")),
        ("redis://cache:6379/0", None),
        ("sqlite:data/claims.db", None),
    ],
)
def test_an_address_names_a_folder(address: str, folder: Path | None) -> None:
    assert folder_of(address) == folder


def test_without_a_folder_it_is_in_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of("embedded") == tmp_path / "data" / "valkey"


def test_a_socket_whose_path_the_kernel_would_not_take_is_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    assert len(str(socket_of(deep)).encode()) <= 107
    assert socket_of(deep) == socket_of(deep) != socket_of(tmp_path / ("y" * 120))
    assert socket_of(Path("/data/valkey")) == Path("/data/valkey/valkey.sock")


def test_one_process_keeps_the_server_and_others_use_it(
    keeper: Callable[[], EmbeddedValkey],
) -> None:
    first, second = keeper(), keeper()
    assert first.url == second.url
    assert first.pid is not None
    assert second.pid is None
    with redis.from_url(first.url) as client:
        client.set("a", "1")
    assert read(second.url, "a") == b"1"


def test_the_next_takes_over_with_all_that_was_kept(keeper: Callable[[], EmbeddedValkey]) -> None:
    first, second = keeper(), keeper()
    with redis.from_url(first.url) as client:
        client.set("a", "1")
    first.close()
    wait_for(lambda: second.pid is not None, timeout=20, what="the second to take over")
    wait_for(lambda: read(second.url, "a") == b"1", timeout=20, what="what was kept")


def test_a_server_that_dies_is_started_again(keeper: Callable[[], EmbeddedValkey]) -> None:
    kept = keeper()
    pid = kept.pid
    assert pid is not None
    with redis.from_url(kept.url) as client:
        client.set("a", "1")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: kept.pid not in (None, pid), timeout=20, what="another server")
    wait_for(lambda: read(kept.url, "a") == b"1", timeout=20, what="what was kept")
