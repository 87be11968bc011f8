"""Caps in one Valkey: several clients with one key, a server that is killed and comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
import redis

from tidings.ports import Count, Unavailable
from tidings.services.valkey import Valkey as Server
from tidings.stores.caps_valkey import ValkeyCaps
from tidings.stores.valkey import Valkey

NOW = 1_760_000_000_000
HOUR = 3_600_000
StartValkey = Callable[..., Server]


def client(server: Server) -> ValkeyCaps:
    """A client with a connection of its own."""
    return ValkeyCaps(Valkey(server.url, timeout_ms=5_000, pause_ms=0))


def push(number: int, key: str = "ana/push", at_most: int = 10) -> Count:
    return Count(key, f"n{number}", at_most, HOUR)


def tied(number: int) -> list[Count]:
    """At most ten an hour and, with it, at most 15 a day."""
    return [push(number), Count("ana/day", f"n{number}", 15, 24 * HOUR, together=True)]


def counted(server: Server, key: str = "ana/push") -> set[str]:
    """The ids that stand in the server's count."""
    with redis.from_url(server.url, decode_responses=True) as connection:
        return set(connection.zrange(f"tidings:cap:{key}", 0, -1))


def durable(start_valkey: StartValkey) -> Server:
    return start_valkey(persistence="appendonly", options={"appendfsync": "always"})


def patiently(caps: ValkeyCaps, counts: Sequence[Count], now: int) -> list[bool]:
    """As a flow of normal priority does it: the whole batch again until it is answered."""
    while True:
        try:
            return caps.count(counts, now)
        except Unavailable:
            continue


def test_of_several_clients_at_once_no_more_pass_than_one_would_let(valkey: Server) -> None:
    together = Barrier(4)

    def of_a_client(number: int) -> list[int]:
        caps, passed = client(valkey), []
        together.wait()
        for batch in range(20):  # every other id is asked by all of the clients
            mine = range(batch * 6, batch * 6 + 3)
            ids = [*mine, *(1_000 * (number + 1) + each for each in mine)]
            counts = [each for one in ids for each in tied(one)]
            verdicts = iter(caps.count(counts, NOW + batch * HOUR // 20))
            passed += [one for one in ids if all([next(verdicts), next(verdicts)])]
        return passed

    with ThreadPoolExecutor(4) as threads:
        passed = [each for some in threads.map(of_a_client, range(4)) for each in some]

    assert len(set(passed)) == 10
    assert counted(valkey) == counted(valkey, "ana/day") == {f"n{number}" for number in passed}


def test_what_one_client_has_counted_passes_at_another_for_two_windows(valkey: Server) -> None:
    one, other = client(valkey), client(valkey)
    first = one.count([push(number) for number in range(12)], NOW)

    assert first == [True] * 10 + [False] * 2
    later = NOW + HOUR + HOUR // 2  # a replay by the partition's next owner, its window is empty
    assert other.count([push(number) for number in range(12)], later) == [True] * 12
    assert one.count([push(number) for number in range(12, 21)], later) == [True] * 8 + [False]
    assert len(counted(valkey)) == 20  # ten of the first window, and ten of this one


def test_what_was_not_counted_is_not_given_back_whoever_does_it(valkey: Server) -> None:
    one, other = client(valkey), client(valkey)
    one.count([push(number) for number in range(12)], NOW)

    other.give_back([("ana/push", "n10"), ("ana/push", "n11"), ("bob/push", "n1")])
    assert one.count([push(12)], NOW) == [False]
    for _ in range(2):  # a lane that was killed says it once more
        other.give_back([("ana/push", "n1")])
    assert one.count([push(12), push(13)], NOW) == [True, False]


def test_a_server_that_kept_its_data_decides_as_before(start_valkey: StartValkey) -> None:
    server = durable(start_valkey)
    caps = client(server)
    batch = [each for number in range(12) for each in tied(number)]
    before = caps.count(batch, NOW)
    server.kill()
    server.start()

    assert caps.count(batch, NOW + 1) == before
    assert client(server).count([push(12)], NOW + 1) == [False]
    assert len(counted(server)) == len(counted(server, "ana/day")) == 10
    caps.give_back([("ana/push", "n0")])
    assert caps.count([push(13), push(14)], NOW + 2) == [True, False]


def test_a_server_that_lost_its_data_lets_as_many_pass_once_more_and_no_more(
    start_valkey: StartValkey,
) -> None:
    server = start_valkey()
    one, other = client(server), client(server)
    batch = [push(number) for number in range(12)]
    before = one.count(batch, NOW)
    server.kill()
    server.start()

    other.give_back([("ana/push", "n0")])  # of a count that is gone
    assert one.count(batch, NOW + 1) == before  # what is replayed is decided as before
    verdicts = other.count([push(number) for number in range(20, 40)], NOW + 2)
    assert verdicts == [False] * 20
    assert len(counted(server)) == 10


@pytest.mark.parametrize("kills", [6])
def test_a_server_that_is_killed_while_two_clients_count_lets_none_too_many_pass(
    start_valkey: StartValkey, kills: int
) -> None:
    server = durable(start_valkey)
    done = [False]

    def of_a_client(number: int) -> dict[int, bool]:
        verdicts: dict[int, bool] = {}
        with closing(Valkey(server.url, timeout_ms=1_000, pause_ms=0)) as connection:
            caps, batch = ValkeyCaps(connection), 0
            while not done[0] or batch < 10:
                ids = range(number * 100_000 + batch * 4, number * 100_000 + batch * 4 + 4)
                counts = [push(one, at_most=50) for one in ids]
                first = patiently(caps, counts, NOW + batch)
                assert patiently(caps, counts, NOW + batch + 1) == first
                verdicts |= dict(zip(ids, first, strict=True))
                batch += 1
        return verdicts

    with ThreadPoolExecutor(2) as threads:
        clients = [threads.submit(of_a_client, number) for number in range(2)]
        for _ in range(kills):
            server.kill()
            server.start()
        done[0] = True
        verdicts = clients[0].result() | clients[1].result()

    passed = {f"n{number}" for number, passes in verdicts.items() if passes}
    assert passed == counted(server)
    assert len(passed) == 50
