"""Units in a process: until a signal, or until one of them fails."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidings.log.port import LogError
from tidings.running.process import NAP, YOUNG_AT, Housekeeper, run_units
from tidings.runtime.unit import Stage


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    """Leaves the collector as it was."""
    yield
    gc.unfreeze()
    gc.enable()


class Fake:
    """A unit that gives ``batches``, does ``then`` when they are out, and keeps a diary."""

    def __init__(
        self, name: str, batches: list[Any], then: Callable[[], None], drains: int = 0
    ) -> None:
        self.name = name
        self.stages = [Stage(f"{name}.double", lambda batch: batch * 2)]
        self.diary: list[Any] = []
        self._batches = batches
        self._then = then
        self._drains = drains

    def start(self) -> None:
        self.diary.append("start")

    def pull(self) -> Any | None:
        if self._batches:
            return self._batches.pop(0)
        self._then()
        return None

    def push(self, batch: Any) -> None:
        self.diary.append(batch)

    def pause(self) -> float:
        return 0.001

    def stop(self) -> None:
        self.diary.append("stop")

    def drained(self) -> bool:
        self._drains -= 1
        return self._drains < 0

    def close(self) -> None:
        self.diary.append("close")


def terminate() -> Callable[[], None]:
    """What a supervisor does, once: a second signal would end this process."""
    left = [signal.SIGTERM]
    return lambda: os.kill(os.getpid(), left.pop()) if left else None


def test_units_run_until_sigterm_and_are_drained() -> None:
    one = Fake("one", [1, 2, 3], terminate())
    other = Fake("other", ["a"], lambda: None, drains=3)
    assert run_units("test", [one, other]) == 0
    assert one.diary == ["start", 2, 4, 6, "stop", "close"]
    assert other.diary == ["start", "aa", "stop", "close"]


def test_signals_are_as_before_when_it_is_over() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_units("test", [Fake("one", [], terminate())])
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.alarm(0) == 0


def test_what_the_log_refuses_is_a_message_and_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise LogError("there is no topic a.events")

    assert run_units("test", [Fake("one", [], refuse)]) == 1


def test_a_bug_comes_out() -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(Exception, match=r"one.in|next_batch|bug") as caught:
        run_units("test", [Fake("one", [], bug)])
    causes = []
    error: BaseException | None = caught.value
    while error is not None:
        causes.append(type(error))
        error = error.__cause__
    assert ZeroDivisionError in causes


class TestHousekeeper:
    def test_it_tells_that_all_have_started_and_switches_the_collector_off(self) -> None:
        told: list[str] = []
        keeper = Housekeeper(lambda: told.append("ready"))
        keeper.pull()
        keeper.pull()
        assert told == ["ready"]
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0

    def test_it_naps_while_nobody_has_anything_to_do(self) -> None:
        now = 0.0
        naps: list[float] = []
        keeper = Housekeeper(lambda: None, monotonic=lambda: now, sleep=naps.append)
        slept = []
        for now, stirs in ((0.9, False), (1.1, False), (1.2, True), (2.1, False), (2.3, False)):
            if stirs:
                keeper.stir()
            keeper.pull()
            slept.append((now, len(naps), keeper.pause()))
        assert slept == [
            (0.9, 0, 0.02),
            (1.1, 1, 0.0),
            (1.2, 1, 0.02),
            (2.1, 1, 0.02),
            (2.3, 2, 0.0),
        ]
        assert naps == [NAP, NAP]

    def test_young_garbage_is_collected_when_there_is_enough_of_it(self) -> None:
        keeper = Housekeeper(lambda: None)
        keeper.pull()
        kept = [[] for _ in range(YOUNG_AT * 3 // 4)]  # type: ignore[var-annotated]
        keeper.pull()
        assert gc.get_count()[0] >= YOUNG_AT // 2
        kept += [[] for _ in range(YOUNG_AT)]
        keeper.pull()
        assert gc.get_count()[0] < YOUNG_AT // 2

    def test_all_is_collected_in_a_quiet_moment_only(self) -> None:
        now, spent = 0.0, 0.0
        keeper = Housekeeper(lambda: None, monotonic=lambda: now, spent=lambda: spent)
        keeper.pull()
        collected: list[int] = []

        def on_collection(phase: str, info: dict[str, int]) -> None:
            if phase == "start" and info["generation"] == 2:
                collected.append(int(now))

        gc.callbacks.append(on_collection)
        try:
            for _ in range(200):
                now += 5.0
                spent += 2.0 if now < 600 else 0.01
                keeper.pull()
        finally:
            gc.callbacks.remove(on_collection)
        assert collected == [600, 900]
