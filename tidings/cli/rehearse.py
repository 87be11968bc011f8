"""``tidings run --dry-run``: what a flow would decide and send now, printed; nothing is sent."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tidings.cli.failures import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from queue import SimpleQueue

    from tidings.driver.driver import Built
    from tidings.driver.outputs import Output
    from tidings.driver.rehearsal import Rehearsal
    from tidings.log.port import Record
    from tidings.plan import FlowPlan
    from tidings.records import Priority
    from tidings.running.roster import Role
    from tidings.settings import Settings

STDIN = Path("-")
_LOOK = 0.05  # seconds between two looks for what is new
_AT_ONCE = 10_000  # lines of stdin


def rehearse(chosen: Sequence[Role], settings: Settings, *, stdin: bool, as_json: bool) -> None:
    """Run one flow, with lanes behind it or none, without a write: until EOF or Ctrl-C."""
    from tempfile import TemporaryDirectory

    from tidings.driver.rehearsal import Rehearsal
    from tidings.running.ground import open_ground
    from tidings.stores.clock import SystemClock

    flow, priority, lanes = _parts(chosen, settings)
    clock = SystemClock()
    with TemporaryDirectory() as folder, _arriving(flow, settings, stdin) as arrived:
        own = settings.model_copy(update={"claims": f"sqlite:{folder}/claims.db"})
        with open_ground(own) as ground:
            rehearsal = Rehearsal(flow, lanes, settings, ground.io, clock.now(), priority)
            _run(rehearsal, arrived, clock.now, _as_json if as_json else _for_the_eye)


def _parts(
    chosen: Sequence[Role], settings: Settings
) -> tuple[FlowPlan, Priority, Sequence[Built]]:
    from tidings.driver.driver import build_lanes
    from tidings.plan import FlowPlan, LanePlan
    from tidings.problems import Problems

    flows = [(role.plan, role.priority) for role in chosen if isinstance(role.plan, FlowPlan)]
    if len(flows) != 1:
        raise Refusal(
            f"a dry run is of one flow, and lanes behind it if you like; {len(flows)} were given"
        )
    (flow, priority) = flows[0]
    plans = {role.plan.file: role.plan for role in chosen if isinstance(role.plan, LanePlan)}
    problems = Problems()
    lanes = build_lanes(flow, list(plans.values()), settings, problems, priority)
    problems.raise_if_any()
    return flow, priority, lanes


def _run(
    rehearsal: Rehearsal,
    arrived: Callable[[], list[Record] | None],
    now: Callable[[], int],
    write: Callable[[Output], None],
) -> None:
    """Feed what arrives as it does; then what is open closes, each at its own time to come."""
    import time

    try:
        records = arrived()
        while records is not None or rehearsal.holds():
            for output in rehearsal.feed(records or (), now()):
                write(output)
            if not records:
                time.sleep(_LOOK)
            records = arrived() if records is not None else None
    except KeyboardInterrupt:
        typer.echo("stopped; what is open is let close", err=True)
    for output in rehearsal.end():
        write(output)


@contextmanager
def _arriving(
    flow: FlowPlan, settings: Settings, stdin: bool
) -> Iterator[Callable[[], list[Record] | None]]:
    """Lines of stdin, or what comes to the flow's topics from now on, read outside any group.

    Gives what tells what has come since it was last asked; None when nothing will come any more.
    """
    from contextlib import closing

    from tidings.following import Follower, slots_of
    from tidings.log.address import open_log

    names = flow.source.names()
    if stdin:
        yield _lines(names[0])
        return
    opened = open_log(settings.log)
    with closing(opened.admin()) as admin:
        slots = slots_of(admin, names)
    if not slots:
        raise Refusal(
            f"there is no topic {' or '.join(names)} in {settings.log}; "
            "give events as JSON lines on stdin with `-` among the files"
        )
    with closing(opened.reader()) as reader:
        follower = Follower(reader, {slot: reader.span(slot).end for slot in slots})
        typer.echo(f"waiting for what comes to {', '.join(names)}; Ctrl-C ends it", err=True)
        yield follower.poll


def _lines(topic: str) -> Callable[[], list[Record] | None]:
    """JSON lines of stdin as records of ``topic``; a thread reads, for time passes meanwhile."""
    import sys
    from queue import SimpleQueue
    from threading import Thread

    from tidings.log.port import Record

    found: SimpleQueue[bytes | None] = SimpleQueue()
    Thread(target=_read, args=(sys.stdin.buffer, found), daemon=True).start()
    count, ended = 0, False

    def arrived() -> list[Record] | None:
        nonlocal count, ended
        records: list[Record] = []
        while not ended and len(records) < _AT_ONCE and not found.empty():
            line = found.get()
            if line is None:
                ended = True
            elif text := line.strip():
                records.append(Record(topic, 0, count, 0, None, text))
                count += 1
        return None if ended and not records else records

    return arrived


def _read(lines: Any, found: SimpleQueue[bytes | None]) -> None:
    for line in lines:
        found.put(line)
    found.put(None)


def _as_json(output: Output) -> None:
    import msgspec

    said = {"at": output.at, "step": output.step, output.what: output.name, "to": output.to}
    typer.echo(msgspec.json.encode(said | _told(output)))


def _for_the_eye(output: Output) -> None:
    from datetime import UTC, datetime

    import msgspec

    at = datetime.fromtimestamp(output.at / 1000, UTC)
    head = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  {output.step}  {output.what} {output.name}"
    typer.echo(f"{head}  to {output.to}" if output.to else head)
    if told := _told(output):
        typer.echo(f"  {msgspec.json.encode(told).decode()}")


def _told(output: Output) -> dict[str, Any]:
    """What is said beside the head, without what is empty."""
    return {name: value for name, value in output.fields.items() if value not in ("", (), [], None)}
