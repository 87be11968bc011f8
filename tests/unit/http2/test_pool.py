from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import h2.events
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.peers.eventually import eventually
from tests.peers.h2_server import Exchange, H2Server
from tidings.http2 import Failure, Fate, Head, Limits, Origin, Pool, Request, Response, Result
from tidings.http2.link import Link
from tidings.services.nginx import Nginx
from tidings.services.process import free_port

HEAD = Head(b"push.example", ((b"apns-topic", b"com.example.app"),))


class Client:
    """A pool, and what its requests came to."""

    def __init__(
        self, port: int, tls: ssl.SSLContext, limits: Limits, host: str = "127.0.0.1"
    ) -> None:
        self.pool = Pool(
            Origin(host, port, tls),
            limits,
            loop=asyncio.get_running_loop(),
            random=lambda: 0.5,
        )
        self.results: dict[Any, Result] = {}
        self._changed = asyncio.Event()

    def submit(self, tokens: Sequence[Any], body: bytes = b"{}") -> None:
        self.pool.submit(
            [Request(HEAD, b"/%d" % token, b"", body, token, self._done) for token in tokens]
        )

    def _done(self, token: Any, result: Result) -> None:
        assert token not in self.results, f"{token} was answered twice"
        self.results[token] = result
        self._changed.set()

    async def until_answered(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.results) < count:
                self._changed.clear()
                await self._changed.wait()

    def statuses(self) -> dict[Any, int | str]:
        return {
            token: result.status if isinstance(result, Response) else result.fate.value
            for token, result in sorted(self.results.items())
        }

    def failure(self, token: Any) -> Failure:
        result = self.results[token]
        assert isinstance(result, Failure)
        return result


Test = Callable[[H2Server, Client], Awaitable[None]]


def run(
    folder: Path,
    test: Test,
    limits: Limits | None = None,
    answer: Callable[[Exchange], None] = Exchange.respond,
    **options: Any,
) -> None:
    """Runs ``test`` with a strict server and a pool that is open."""

    async def whole() -> None:
        async with H2Server(folder, answer, **options) as server:
            client = Client(server.port, server.client_tls(), limits or Limits(connections=1))
            await client.pool.open()
            try:
                await test(server, client)
            finally:
                await client.pool.close(grace=0.2)
            await server.until(lambda: not server.open_peers)

    asyncio.run(whole())


def echo(exchange: Exchange) -> None:
    exchange.respond(400, exchange.body)


def never(exchange: Exchange) -> None:
    """Answers nothing."""


@pytest.mark.parametrize("split", [0, 1])
def test_bodies_and_error_bodies_arrive_exactly(tmp_path: Path, split: int) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit(range(50), b'{"aps":{"alert":"\xc3\xa9"}}')
        await client.until_answered(50)
        assert {(r.status, r.body) for r in client.results.values() if isinstance(r, Response)} == {
            (400, b'{"aps":{"alert":"\xc3\xa9"}}')
        }
        assert sorted(exchange.headers[":path"] for exchange in server.exchanges) == sorted(
            f"/{number}" for number in range(50)
        )

    run(tmp_path, test, answer=echo, split=split)


def test_a_batch_is_spread_over_the_connections(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        await eventually(lambda: client.pool.free == 300)
        client.submit(range(90))
        await client.until_answered(90)
        assert [len(peer.exchanges) for peer in server.peers] == [30, 30, 30]

    run(tmp_path, test, Limits(connections=3, streams=100))


def test_a_small_batch_stays_together(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        await eventually(lambda: client.pool.free == 300)
        client.submit(range(10))
        await client.until_answered(10)
        assert sorted(len(peer.exchanges) for peer in server.peers) == [0, 0, 10]

    run(tmp_path, test, Limits(connections=3, streams=100))


def test_a_server_that_takes_one_at_a_time_gets_one_at_a_time(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit(range(40))
        await client.until_answered(40)
        assert set(client.statuses().values()) == {200}

    run(tmp_path, test, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})


def test_small_windows_slow_down_and_lose_nothing(tmp_path: Path) -> None:
    body = bytes(range(256)) * 10

    async def test(server: H2Server, client: Client) -> None:
        client.submit(range(60), body)
        await client.until_answered(60)
        assert set(client.statuses().values()) == {200}
        assert {exchange.body for exchange in server.exchanges} == {body}

    run(tmp_path, test, settings={SettingCodes.INITIAL_WINDOW_SIZE: 100})


def test_many_error_bodies_on_one_connection_do_not_freeze_it(tmp_path: Path) -> None:
    body = b'{"reason":"Unregistered","timestamp":1700000000000}'

    async def test(server: H2Server, client: Client) -> None:
        for start in range(0, 2_000, 100):  # 102,000 bytes; stock windows are 65,535
            client.submit(range(start, start + 100))
            await client.until_answered(start + 100)
        assert set(client.statuses().values()) == {410}
        assert len(server.peers) == 1

    run(tmp_path, test, answer=lambda exchange: exchange.respond(410, body))


def test_goaway_in_the_middle_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        peer = exchange.peer
        if peer is not exchange.peer.server.peers[0] or exchange.stream <= 41:
            exchange.respond()
        elif exchange.stream == 43:
            peer.goaway(41)

    async def test(server: H2Server, client: Client) -> None:
        client.submit(range(100))
        await client.until_answered(100)
        assert set(client.statuses().values()) == {200}
        first, second = server.peers
        assert [len(first.exchanges), len(second.exchanges)] == [100, 79]
        await server.until(lambda: first.closed)

    run(tmp_path, test, answer=answer)


def test_a_refused_stream_is_sent_once_more_and_not_twice(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(exchange: Exchange) -> None:
        path = exchange.headers[":path"]
        seen.append(path)
        if path == "/1" or seen.count(path) == 1:
            exchange.reset(ErrorCodes.REFUSED_STREAM)
        else:
            exchange.respond()

    async def test(server: H2Server, client: Client) -> None:
        client.submit([1, 2])
        await client.until_answered(2)
        assert client.statuses() == {1: "not sent", 2: 200}
        assert client.failure(1).why == "RST_STREAM REFUSED_STREAM"
        assert sorted(seen) == ["/1", "/1", "/2", "/2"]

    run(tmp_path, test, answer=answer)


def test_a_connection_lost_in_the_middle_leaves_what_was_written_unknown(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit([1, 2])
        await server.until(lambda: len(server.exchanges) == 2)
        server.peers[0].transport.abort()
        await client.until_answered(2)
        assert client.statuses() == {1: "unknown", 2: "unknown"}
        server.answer = Exchange.respond
        client.submit([3])
        await client.until_answered(3)
        assert client.statuses()[3] == 200

    run(tmp_path, test, answer=never, limits=Limits(connections=1, wait=20.0))


def test_a_request_without_an_answer_is_given_up(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit([1])
        await client.until_answered(1)
        assert client.failure(1) == Failure(Fate.UNKNOWN, "no answer within 0.5 s")
        await server.until(
            lambda: any(isinstance(event, h2.events.StreamReset) for event in server.events)
        )

    run(tmp_path, test, Limits(connections=1, timeout=0.5), answer=never)


def test_what_finds_no_free_stream_is_given_back_after_a_while(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit(range(7))
        assert (client.pool.under_way, client.pool.waiting) == (2, 3)
        await client.until_answered(5)
        assert {client.failure(n).why for n in (2, 3, 4)} == {"no free stream"}
        assert {client.failure(n).why for n in (5, 6)} == {"too many requests wait"}
        assert set(client.statuses().values()) == {"not sent"}

    run(tmp_path, test, Limits(connections=1, streams=2, queue=3, wait=0.3), answer=never)


def test_what_waits_goes_out_when_streams_become_free(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit(range(500))
        await client.until_answered(500)
        assert set(client.statuses().values()) == {200}

    run(tmp_path, test, Limits(connections=2, streams=3, wait=30.0))


def test_a_retired_connection_finishes_its_work_and_is_replaced(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.headers[":path"] == "/1":
            exchange.respond(503)
        elif exchange.headers[":path"] != "/2":
            exchange.respond()

    async def test(server: H2Server, client: Client) -> None:
        client.submit([0, 1, 2])
        await client.until_answered(2)
        result = client.results[1]
        assert isinstance(result, Response)
        result.connection.retire("it said 503")
        client.submit([3])
        await client.until_answered(3)
        assert client.statuses() == {0: 200, 1: 503, 3: 200}
        first, second = server.peers
        assert not first.closed
        assert [exchange.headers[":path"] for exchange in second.exchanges.values()] == ["/3"]
        first.exchanges[5].respond(200)
        await client.until_answered(4)
        await server.until(lambda: first.closed)

    run(tmp_path, test, Limits(connections=1, wait=20.0), answer=answer)


def test_a_server_that_comes_back_is_found_again(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit([1])
        await client.until_answered(1)
        await server.stop()
        await eventually(lambda: client.pool.free == 0)
        client.submit([2])
        await client.until_answered(2)
        assert client.statuses() == {1: 200, 2: "not sent"}
        assert f"127.0.0.1:{server.port}" in client.failure(2).why
        await server.start()
        await eventually(lambda: client.pool.free > 0)
        client.submit([3])
        await client.until_answered(3)
        assert client.statuses()[3] == 200

    run(tmp_path, test, Limits(connections=1, wait=0.2))


def test_nobody_there_says_so(tmp_path: Path) -> None:
    async def whole() -> None:
        port = free_port()
        client = Client(port, ssl.create_default_context(), Limits(connections=2, wait=0.1))
        await client.pool.open()
        assert client.pool.free == 0
        client.submit([1])
        await client.until_answered(1)
        failure = client.failure(1)
        assert failure.fate is Fate.NOT_SENT
        assert f"127.0.0.1:{port}" in failure.why
        assert "Connect call failed" in failure.why
        await client.pool.close(grace=0.1)

    asyncio.run(whole())


def test_a_name_that_can_be_none_says_so() -> None:
    async def whole() -> None:
        client = Client(443, ssl.create_default_context(), Limits(wait=0.1), host="push..example")
        await client.pool.open()
        client.submit([1])
        await client.until_answered(1)
        assert "push..example:443: encoding with 'idna' codec failed" in client.failure(1).why
        await client.pool.close(grace=0.1)

    asyncio.run(whole())


def test_a_server_that_we_do_not_trust_gets_nothing(tmp_path: Path) -> None:
    async def whole() -> None:
        async with H2Server(tmp_path) as server:
            client = Client(server.port, ssl.create_default_context(), Limits(wait=0.1))
            await client.pool.open()
            client.submit([1])
            await client.until_answered(1)
            assert "certificate verify failed" in client.failure(1).why
            assert server.events == []
            await client.pool.close(grace=0.1)

    asyncio.run(whole())


def test_a_server_that_speaks_no_http2_gets_nothing(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit([1])
        await client.until_answered(1)
        assert "does not speak HTTP/2" in client.failure(1).why

    run(tmp_path, test, Limits(connections=1, wait=0.1), alpn="http/1.1", silent=True)


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async def test(server: H2Server, client: Client) -> None:
        client.submit([1])
        await client.until_answered(1)
        assert "no SETTINGS within 0.3 s" in client.failure(1).why

    run(tmp_path, test, Limits(connections=1, connect_timeout=0.3, wait=0.1), silent=True)


def test_closing_waits_for_answers_under_way_and_gives_the_rest_back(tmp_path: Path) -> None:
    held: list[Exchange] = []

    async def whole() -> None:
        async with H2Server(tmp_path, held.append) as server:
            client = Client(server.port, server.client_tls(), Limits(connections=1, streams=2))
            await client.pool.open()
            client.submit([1, 2, 3])
            await server.until(lambda: len(held) == 2)
            closing = asyncio.create_task(client.pool.close(grace=0.5))
            held[0].respond(200)
            await closing
            assert client.statuses() == {1: 200, 2: "unknown", 3: "not sent"}
            client.submit([4])
            await client.until_answered(4)
            assert client.failure(4) == Failure(Fate.NOT_SENT, "the pool is closed")

    asyncio.run(whole())


def test_closing_before_there_is_a_connection_is_clean(tmp_path: Path) -> None:
    async def whole() -> None:
        async with H2Server(tmp_path, silent=True) as server:
            client = Client(server.port, server.client_tls(), Limits(connect_timeout=30.0))
            opening = asyncio.create_task(client.pool.open())
            await server.until(lambda: bool(server.open_peers))
            await client.pool.close(grace=0.0)
            await opening
            await server.until(lambda: not server.open_peers)

    asyncio.run(whole())


@pytest.mark.parametrize("somebody", [False, True], ids=["nobody there", "it would not have us"])
def test_failures_are_followed_by_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, somebody: bool
) -> None:
    pauses: list[float] = []

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def hurried(delay: float, callback: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(getattr(callback, "__self__", None), Link):
                pauses.append(delay)
                delay = 0.0
            return call_later(delay, callback, *arguments, **options)

        monkeypatch.setattr(loop, "call_later", hurried)
        async with H2Server(tmp_path, alpn="http/1.1", silent=True) as server:
            port = server.port if somebody else free_port()
            client = Client(port, server.client_tls(), Limits(connections=1))
            await client.pool.open()
            await eventually(lambda: len(pauses) >= 11)
            await client.pool.close(grace=0.0)

    asyncio.run(whole())
    # 0.1 s doubled each time up to 30 s, times 0.75 for a draw of 0.5
    expected = [0.075, 0.15, 0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 22.5, 22.5]
    assert pauses[:11] == pytest.approx(expected)


def test_nginx_is_served_well(start_nginx: Callable[..., Nginx]) -> None:
    nginx = start_nginx(
        """
        keepalive_requests 300;  # a GOAWAY every now and then
        location / { return 200; }
        location = /7 { return 410 '{"reason":"Unregistered","timestamp":1}'; }
        """
    )

    async def whole() -> None:
        tls = ssl.create_default_context(cafile=nginx.certificate.certificate)
        tls.set_alpn_protocols(["h2"])
        client = Client(nginx.port, tls, Limits(wait=20.0))
        await client.pool.open()
        for start in range(0, 2_000, 100):
            client.submit(range(start, start + 100), b'{"aps":{}}')
            await client.until_answered(start + 100)
        await client.pool.close(grace=1.0)
        assert client.statuses() == {n: 410 if n == 7 else 200 for n in range(2_000)}

    asyncio.run(whole())
