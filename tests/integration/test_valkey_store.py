"""Claims in a Valkey that goes away, comes back, forgets and fills up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tidings.ports import Lease, Leased, Mark, Unavailable, Verdict
from tidings.services.valkey import Valkey as Server
from tidings.stores.claims_local import LocalClaims
from tidings.stores.claims_sheltered import ShelteredClaims
from tidings.stores.claims_valkey import ValkeyClaims
from tidings.stores.clock import ManualClock
from tidings.stores.valkey import Valkey

DAY = 86_400_000
StartValkey = Callable[..., Server]


class Seconds:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_server_it_is_unavailable(start_valkey: StartValkey) -> None:
    server = start_valkey()
    claims = ValkeyClaims(Valkey(server.url, pause_ms=0))
    claims.first([("a", "o1")], DAY)
    server.kill()
    for _ in range(3):
        with pytest.raises(Unavailable, match=f"{server.url} can't answer"):
            claims.first([("a", "o1")], DAY)


def test_a_server_that_answers_nothing_is_unavailable(start_valkey: StartValkey) -> None:
    server = start_valkey()
    claims = ValkeyClaims(Valkey(server.url, timeout_ms=500, pause_ms=0))
    claims.first([("a", "o1")], DAY)
    server.freeze()
    with pytest.raises(Unavailable, match="Timeout"):
        claims.first([("b", "o1")], DAY)
    server.thaw()
    # What the frozen server was asked it did later; its late answer is given to nobody else.
    assert claims.round([Lease("s1", "o1", "lane-a")], [], [], [], 0, 1, 1) == [
        Leased(Verdict.LEASED)
    ]


def test_a_duplicate_of_what_came_while_it_was_away_is_known_to_others_when_it_is_back(
    start_valkey: StartValkey,
) -> None:
    server, clock = start_valkey(), ManualClock(1_760_000_000_000)
    ours = ShelteredClaims(ValkeyClaims(Valkey(server.url, pause_ms=0)), LocalClaims(clock), clock)
    theirs = ValkeyClaims(Valkey(server.url, pause_ms=0))
    assert ours.first([("before", "otp:0:1")], DAY) == ["otp:0:1"]
    server.kill()
    assert ours.first([("code", "otp:0:2"), ("code", "otp:0:3")], DAY) == ["otp:0:2", "otp:0:2"]
    clock.advance(DAY // 2)
    server.start()

    assert ours.first([("after", "otp:0:4")], DAY) == ["otp:0:4"]

    assert theirs.first([("code", "otp:1:1"), ("after", "otp:1:2")], DAY) == ["otp:0:2", "otp:0:4"]
    left = redis.Redis.from_url(server.url.replace("valkey", "redis", 1)).pttl("tidings:first:code")
    assert DAY // 2 - 60_000 < left <= DAY // 2


def test_after_a_failure_nothing_is_asked_for_a_moment(start_valkey: StartValkey) -> None:
    seconds = Seconds()
    server = start_valkey()
    claims = ValkeyClaims(Valkey(server.url, pause_ms=100, monotonic=seconds))
    server.kill()
    with pytest.raises(Unavailable):
        claims.first([("a", "o1")], DAY)
    server.start()
    seconds.now = 0.099
    with pytest.raises(Unavailable):
        claims.first([("a", "o1")], DAY)
    seconds.now = 0.1
    assert claims.first([("a", "o1")], DAY) == ["o1"]


def test_a_restart_between_two_calls_is_not_noticed(start_valkey: StartValkey) -> None:
    server = start_valkey(persistence="appendonly", options={"appendfsync": "always"})
    claims = ValkeyClaims(Valkey(server.url, timeout_ms=5_000))
    claims.first([("a", "o1")], DAY)
    server.kill()
    server.start()  # its scripts are gone, the connection is dead
    assert claims.first([("a", "o2")], DAY) == ["o1"]


def test_scripts_that_were_flushed_are_loaded_again(valkey: Server) -> None:
    claims = ValkeyClaims(Valkey(valkey.url, timeout_ms=5_000))
    with redis.from_url(valkey.url) as client:
        client.script_flush()
        assert claims.first([("a", "o1")], DAY) == ["o1"]
        client.script_flush()
        claims.round([], [Mark("s1", "lane-a", "{}")], [], [], 0, 1, DAY)
        assert claims.round([Lease("s1", "o1", "lane-b")], [], [], [], 0, 1, DAY) == [
            Leased(Verdict.SENT, "{}")
        ]


def test_a_batch_is_one_round_trip_and_no_batch_none(valkey: Server) -> None:
    claims = ValkeyClaims(Valkey(valkey.url, timeout_ms=5_000))
    claims.first([("warm", "up")], DAY)
    claims.round([], [], ["warm up"], [], 0, 1, DAY)
    leases = [Lease(f"s{n}", f"push:0:{n}", "lane-a") for n in range(1_000)]
    marks = [Mark(f"t{n}", "lane-a", "{}") for n in range(1_000)]
    with redis.from_url(valkey.url) as client:
        client.config_resetstat()
        claims.first([(f"event-{n}", f"likes:0:{n}") for n in range(1_000)], DAY)
        claims.round(leases, marks, ["t1"], [("s1", "lane-a")], 0, 1, DAY)
        claims.first([], DAY)
        claims.round([], [], [], [], 0, 1, DAY)
        asked = client.info("commandstats")
    assert asked["cmdstat_evalsha"]["calls"] == 2
    assert "cmdstat_eval" not in asked


def test_a_server_that_is_full_is_unavailable(start_valkey: StartValkey) -> None:
    server = start_valkey(options={"maxmemory": "1mb", "maxmemory-policy": "noeviction"})
    claims = ValkeyClaims(Valkey(server.url, timeout_ms=5_000, pause_ms=0))

    def fill() -> None:
        for start in range(0, 1_000_000, 1_000):
            claims.first([(f"event-{start + n}", "likes:0:1") for n in range(1_000)], DAY)

    with pytest.raises(Unavailable, match="maxmemory"):
        fill()
    with redis.from_url(server.url) as client:
        client.flushall()
        client.config_set("maxmemory", "100mb")
    assert claims.first([("a", "o1")], DAY) == ["o1"]


def test_a_key_of_another_kind_is_an_error_not_an_absence(valkey: Server) -> None:
    claims = ValkeyClaims(Valkey(valkey.url, timeout_ms=5_000))
    with redis.from_url(valkey.url) as client:
        client.lpush("tidings:send:s1", "not ours")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        claims.round([Lease("s1", "o1", "lane-a")], [], [], [], 0, 1, DAY)


def test_a_password_is_not_in_the_message() -> None:
    claims = ValkeyClaims(Valkey("valkey://user:secret@127.0.0.1:1/0"))
    with pytest.raises(Unavailable) as caught:
        claims.first([("a", "o1")], DAY)
    assert "secret" not in str(caught.value)
    assert "valkey://127.0.0.1:1/0" in str(caught.value)
