"""Callbacks on their way: when they are made, and what happens to those that nobody takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tests.peers.provider import Got, Provider, Say
from tidings.receipts import Webhook
from tidings.simulator.callbacks import Callbacks, ToUrl

NOW = 1_790_000_000_000


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at


class Shelf:
    """A target that keeps what it is given, and takes none of the first ``refuses``."""

    def __init__(self, refuses: int = 0) -> None:
        self.got: list[Webhook] = []
        self._refuses = refuses

    async def open(self) -> None:
        """Nothing is opened."""

    async def send(self, webhooks: Sequence[Webhook]) -> list[Webhook]:
        self.got += webhooks
        self._refuses -= len(webhooks)
        return list(webhooks) if self._refuses >= 0 else []

    def tick(self) -> None:
        """It keeps nothing back."""

    async def close(self) -> None:
        """Nothing is open."""


def _more_than(shelf: Shelf, count: int) -> Callable[[], bool]:
    return lambda: len(shelf.got) > count


def made(name: str) -> Callable[[int], Webhook]:
    return lambda now: Webhook(provider=name, url=str(now - NOW), headers={}, body=b"")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_each_is_made_when_it_is_due_and_not_before() -> None:
    clock, shelf = Clock(), Shelf()

    async def run() -> None:
        async with Callbacks(shelf, clock.now) as callbacks:
            callbacks.later(NOW + 5_000, made("late"))
            callbacks.later(NOW, made("early"))
            await until(lambda: len(shelf.got) == 1)
            assert callbacks.waiting == 1
            clock.at += 5_000
            await until(lambda: len(shelf.got) == 2)
            assert callbacks.sent == 2

    asyncio.run(run())
    assert [(one.provider, one.url) for one in shelf.got] == [("early", "0"), ("late", "5000")]


def test_one_that_is_refused_comes_again_after_a_second_and_after_five() -> None:
    clock, shelf = Clock(), Shelf(refuses=2)

    async def run() -> None:
        async with Callbacks(shelf, clock.now) as callbacks:
            callbacks.later(NOW, made("again"))
            for wait in (0, 1_000, 5_000):
                clock.at += wait
                await until(_more_than(shelf, len(shelf.got)))
            assert (callbacks.sent, callbacks.waiting) == (1, 0)

    asyncio.run(run())
    assert [one.url for one in shelf.got] == ["0", "1000", "6000"]


def test_what_is_posted_arrives_as_it_was_signed() -> None:
    def answer(got: Got) -> Say:
        return Say(204 if got.path == "/yes" else 503)

    async def run(url: str) -> list[Webhook]:
        target = ToUrl()
        await target.open()
        hooks = [
            Webhook(
                provider="p", url=f"{url}/{path}", headers={"x-signature": path}, body=b"a=b\r\n"
            )
            for path in ("yes", "no")
        ]
        away = Webhook(provider="p", url="http://127.0.0.1:1/", headers={}, body=b"")
        try:
            return await target.send([*hooks, away])
        finally:
            await target.close()

    with Provider(answer) as provider:
        refused = asyncio.run(run(provider.url))
    assert [one.url.rsplit("/", 1)[1] for one in refused] == ["no", ""]
    [taken] = [got for got in provider.got if got.path == "/yes"]
    assert (taken.headers["x-signature"], taken.body) == ("yes", b"a=b\r\n")
