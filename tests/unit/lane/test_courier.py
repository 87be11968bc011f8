from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.unit.lane.paper import NOW
from tidings.ports import Address
from tidings.runtime.lane.courier import LATE, Courier, Load
from tidings.sender import Answer, Content, Done, Send, Verdict
from tidings.services.process import wait_for
from tidings.stores.clock import ManualClock

OK = Answer(verdict=Verdict.OK)


class Echo:
    """Answers at once; tells where it ran."""

    name = "echo"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.threads: set[str] = set()
        self.opened = self.closed = False
        self.unusable = ""
        self.broken = False
        self.held: list[tuple[Send, Done]] = []
        self.holds = False

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.unusable:
            raise ValueError(self.unusable)
        assert loop is asyncio.get_running_loop()
        self.opened = True

    def send(self, sends: Sequence[Send], done: Done) -> None:
        self.threads.add(threading.current_thread().name)
        if self.broken:
            raise ZeroDivisionError("a bug")
        for send in sends:
            self.got.append(send.send_id)
            if self.holds:
                self.held.append((send, done))
            else:
                done(send, OK)

    async def close(self) -> None:
        for send, done in self.held:
            done(send, OK)
        self.closed = True


def a_send(number: int) -> Send:
    return Send(
        send_id=f"s{number}",
        channel="push",
        address=Address(kind="device", value="token"),
        content=Content(parts={}),
        tenant="default",
        category="social",
        priority="normal",
        attempt=1,
        now=0,
    )


@contextmanager
def started(**senders: Echo) -> Iterator[Courier]:
    courier = Courier(senders, ManualClock(NOW))
    courier.start()
    try:
        yield courier
    finally:
        courier.close()


def test_it_carries_sends_to_their_providers_on_a_thread_of_its_own_and_the_answers_back() -> None:
    one, other = Echo(), Echo()
    sends = [a_send(number) for number in range(4)]
    with started(one=one, other=other) as courier:
        courier.hand_over([Load("one", sends[:3]), Load("other", sends[3:])], NOW + 1)
        wait_for(lambda: len(courier.answered) == 4, timeout=5, what="four answers")
        assert [*courier.answered] == [(send, OK, NOW) for send in sends]
    assert (one.got, other.got) == (["s0", "s1", "s2"], ["s3"])
    assert one.threads == {"courier"}
    assert one.opened
    assert one.closed


def test_what_its_lease_no_longer_covers_is_not_sent() -> None:
    echo = Echo()
    with started(echo=echo) as courier:
        courier.hand_over([Load("echo", [a_send(1)])], NOW)
        wait_for(lambda: bool(courier.answered), timeout=5, what="an answer")
        [(_, answer, _)] = courier.answered
    assert answer is LATE
    assert not echo.got


def test_closing_brings_in_the_answers_that_are_still_out() -> None:
    echo = Echo()
    echo.holds = True
    with started(echo=echo) as courier:
        courier.hand_over([Load("echo", [a_send(1), a_send(2)])], NOW + 1)
        courier.close()
        assert len(courier.answered) == 2
        courier.close()


def test_a_sender_whose_settings_are_of_no_use_is_known_at_the_start() -> None:
    echo = Echo()
    echo.unusable = "the key file is not there"
    courier = Courier({"echo": echo}, ManualClock(NOW))
    with pytest.raises(ValueError, match="the key file is not there"):
        courier.start()
    courier.close()


def test_a_bug_in_a_sender_ends_the_lane() -> None:
    echo = Echo()
    echo.broken = True
    with started(echo=echo) as courier:
        courier.hand_over([Load("echo", [a_send(1)])], NOW + 1)

        def failed() -> bool:
            courier.check()
            return False

        with pytest.raises(ZeroDivisionError):
            wait_for(failed, timeout=5, what="the failure")


def test_one_sender_under_two_names_is_opened_and_closed_once() -> None:
    class Once(Echo):
        async def open(self, loop: asyncio.AbstractEventLoop) -> None:
            assert not self.opened
            await super().open(loop)

        async def close(self) -> None:
            assert not self.closed
            await super().close()

    echo = Once()
    with started(one=echo, other=echo):
        pass
    assert echo.closed
