"""Children that are kept alive: restarted with backoff, stopped together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidings.running.readiness import Ear, tell_ready
from tidings.running.supervisor import Backoff, Event, Phase, Program, Supervisor
from tidings.services.process import wait_for

READY = "from tidings.running.readiness import tell_ready; tell_ready(); "
SLEEPS = READY + "import time; time.sleep(60)"
LISTENS = "import signal, sys; signal.signal(signal.SIGTERM, lambda *caught: {}); " + SLEEPS
DEAF = LISTENS.format("0")


class Time:
    """A clock that is moved by hand, seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def program(code: str, name: str = "one") -> Program:
    return Program(name, (sys.executable, "-c", code))


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors, and kills what is left of their children."""
    made: list[Supervisor] = []

    def make(*programs: Program, **options: object) -> Supervisor:
        supervisor = Supervisor(programs, tmp_path / "logs", **options)  # type: ignore[arg-type]
        made.append(supervisor)
        supervisor.start()
        return supervisor

    yield make
    for supervisor in made:
        supervisor.kill()


def look_until(supervisor: Supervisor, phase: Phase) -> list[Event]:
    """Looks until the first child is in ``phase``; gives what happened."""
    happened: list[Event] = []

    def there() -> bool:
        happened.extend(supervisor.look())
        return supervisor.children[0].phase is phase

    wait_for(there, timeout=20, what=f"the child to be {phase}")
    return happened


def test_the_wait_doubles_up_to_a_limit_and_jitters_by_name() -> None:
    plain = Backoff(first=0.25, most=4.0, jitter=0.0)
    assert [plain.wait(crash, "a") for crash in range(1, 8)] == [0.25, 0.5, 1, 2, 4, 4, 4]
    jittered = Backoff(first=1.0, jitter=0.2)
    waits = {name: jittered.wait(1, name) for name in "abcdefgh"}
    assert len(set(waits.values())) == 8
    assert all(1.0 <= wait < 1.2 for wait in waits.values())
    assert waits == {name: jittered.wait(1, name) for name in "abcdefgh"}


def test_a_child_is_up_when_it_says_so(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(program(SLEEPS))
    [child] = supervisor.children
    assert child.phase is Phase.STARTING
    assert not supervisor.up()
    assert look_until(supervisor, Phase.UP) == [Event(child, "is up")]
    assert supervisor.up()
    assert child.pid is not None


def test_a_child_that_ends_is_started_again_when_its_wait_is_over(
    supervise: Callable[..., Supervisor],
) -> None:
    time = Time()
    backoff = Backoff(first=2.0, jitter=0.0, healthy_after=10.0)
    supervisor = supervise(
        program("print('why', flush=True); raise SystemExit(7)"), backoff=backoff, monotonic=time
    )
    [child] = supervisor.children
    for crash, wait in enumerate((2.0, 4.0, 8.0), 1):
        [event] = look_until(supervisor, Phase.WAITING)
        assert event.what == f"ended with code 7; again in {wait:.1f} s"
        assert (child.last_exit, child.crashes, child.pid) == (7, crash, None)
        time.now += wait - 0.1
        assert supervisor.look() == []
        time.now += 0.2
        assert supervisor.look() == [Event(child, "is started again")]
        assert child.restarts == crash
    assert child.last_words() == "why\nwhy\nwhy"


def test_a_child_that_has_lived_for_a_while_begins_anew_with_the_first_wait(
    supervise: Callable[..., Supervisor],
) -> None:
    time = Time()
    backoff = Backoff(first=1.0, jitter=0.0, healthy_after=10.0)
    supervisor = supervise(program("raise SystemExit(1)"), backoff=backoff, monotonic=time)
    [child] = supervisor.children
    look_until(supervisor, Phase.WAITING)
    time.now += 1.0
    supervisor.look()
    time.now += 10.0  # it is found dead so long after its start
    look_until(supervisor, Phase.WAITING)
    assert child.crashes == 1


def test_a_killed_child_is_named_by_its_signal(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(program(SLEEPS))
    look_until(supervisor, Phase.UP)
    process = supervisor.children[0].process
    assert process is not None
    process.kill()
    [event] = look_until(supervisor, Phase.WAITING)
    assert event.what.startswith("ended by SIGKILL; again in 0.")


def test_stopping_asks_all_and_tells_whether_they_ended_well(
    supervise: Callable[..., Supervisor],
) -> None:
    good = LISTENS.format("sys.exit(0)")
    supervisor = supervise(program(good, "one"), program(good, "two"))
    wait_for(lambda: bool(supervisor.look()) or supervisor.up(), timeout=20, what="a first word")
    wait_for(lambda: [*supervisor.look()] == [] and supervisor.up(), timeout=20, what="both up")
    assert supervisor.stop() is True
    assert [child.phase for child in supervisor.children] == [Phase.STOPPED, Phase.STOPPED]


def test_a_child_may_be_stopped_before_it_listens(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(program("import time; time.sleep(60)"))
    assert supervisor.stop() is True


def test_a_child_that_ends_badly_is_told_of(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(program(LISTENS.format("sys.exit(3)")))
    look_until(supervisor, Phase.UP)
    assert supervisor.stop() is False


def test_a_child_that_does_not_listen_is_killed_when_patience_ends(
    supervise: Callable[..., Supervisor],
) -> None:
    supervisor = supervise(program(DEAF))
    look_until(supervisor, Phase.UP)
    assert supervisor.stop(patience=0.1) is False
    process = supervisor.children[0].process
    assert process is not None
    assert process.returncode == -9


def test_readiness_is_told_by_one_datagram() -> None:
    ear = Ear()
    assert not ear.heard()
    tell_ready({"NOTIFY_SOCKET": ear.address})
    assert ear.heard()
    assert not ear.heard()
    ear.close()
    tell_ready({"NOTIFY_SOCKET": ear.address})  # nobody listens any more
    tell_ready({})  # nobody has asked
