from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tidings.services.valkey import Valkey


def test_it_answers_at_its_url(valkey: Valkey) -> None:
    with redis.from_url(valkey.url) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"


def test_each_test_finds_the_shared_one_empty(valkey: Valkey) -> None:
    with redis.from_url(valkey.url) as client:
        assert client.dbsize() == 0


def test_on_a_unix_socket_no_port_is_open(
    start_valkey: Callable[..., Valkey], tmp_path: Path
) -> None:
    socket = tmp_path / "valkey.sock"
    server = start_valkey(socket=socket)
    with redis.from_url(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
    assert server.url == f"unix://{socket}"


def test_a_socket_path_beyond_the_kernels_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer than 107 bytes"):
        Valkey(socket=tmp_path / ("x" * 107))


@pytest.mark.parametrize(("persistence", "kept"), [("off", None), ("appendonly", b"value")])
def test_after_a_kill_it_is_back_on_its_port_with_what_it_was_told_to_keep(
    start_valkey: Callable[..., Valkey], persistence: str, kept: bytes | None
) -> None:
    server = start_valkey(persistence=persistence, options={"appendfsync": "always"})
    before = server.url
    with redis.from_url(server.url) as client:
        client.set("key", "value")
    server.kill()
    server.start()
    assert server.url == before
    with redis.from_url(server.url) as client:
        assert client.get("key") == kept
