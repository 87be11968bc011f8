"""``tidings backtest``: a recorded log through two versions of a flow."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from rich.console import Console

    from tidings.driver.backtest import Comparison
    from tidings.driver.tally import Fate
    from tidings.log.port import Record
    from tidings.plan import FlowPlan

_SHOWN = 5  # changes of a person that are printed


class Format(StrEnum):
    """How the outcome is printed."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("backtest")(backtest)


def backtest(
    flow: Annotated[Path, typer.Argument(metavar="FLOW", help="The flow as it is now.")],
    against: Annotated[
        str,
        typer.Option(metavar="REF", help="What to compare with: a file, or a git revision of it."),
    ],
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help="From when on, such as 2026-07-01T00:00Z.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to when.")] = "",
    log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|ADDRESS",
            help="A file of `tidings tail --json --show-all`, or a log; by default that of the "
            "settings. What people did with the rounds of an `escalate` is in `notif_events`.",
            show_default=False,
        ),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL=COST",
            help="What a notification on a channel costs, such as sms=0.012; outranks `costs` of "
            "the settings. May be given several times.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many people are shown.", min=0)] = 10,
    form: Annotated[Format, typer.Option("--format", help="For people or for tools.")] = (
        Format.TEXT
    ),
    config: Config = None,
) -> None:
    """Replay a recorded log through two versions of a flow.

    It runs in virtual time, and tells who would have been told more, less, or otherwise, and at
    what cost. Nothing is sent, and no position moves. People and suppressions are those of now;
    claims and caps begin empty. An `escalate` hears what `notif_events` of the log tells of its
    rounds; a round that was never sent there counts as sent at once.
    """
    from tempfile import TemporaryDirectory

    from tidings.driver.aftermath import NoOutcomeError
    from tidings.driver.backtest import LogLineError, as_json
    from tidings.driver.backtest import backtest as run
    from tidings.logs import silenced
    from tidings.running.ground import open_ground
    from tidings.settings import read_settings
    from tidings.topics import EVENTS

    is_file = log is not None and Path(log).is_file()
    settings = read_settings(config, None if is_file else log)
    with TemporaryDirectory() as folder:
        after = _load(flow, flow)
        before = _against(flow, against, Path(folder))
        topics = list(dict.fromkeys([*before.source.names(), *after.source.names()]))
        costs = {**settings.costs, **_costs(cost or [], settings.channels)}
        own = settings.model_copy(update={"claims": f"sqlite:{folder}/claims.db", "costs": costs})
        with open_ground(own) as ground, _progress() as advance, silenced(), collecting_rarely():
            file = Path(log) if log is not None and is_file else None
            try:
                found = run(
                    before,
                    after,
                    _within(_events(file, settings.log, topics), start, end),
                    own,
                    ground.io,
                    outcomes=_within(_records(file, settings.log, [EVENTS], topics[0]), start, ""),
                    samples=samples,
                    progress=advance,
                )
            except (LogLineError, NoOutcomeError) as error:
                raise Refusal(str(error)) from None
    if form is Format.JSON:
        import msgspec

        typer.echo(msgspec.json.encode(as_json(found)))
    else:
        _print(found)


def _load(file: Path, named: Path) -> FlowPlan:
    import os

    from tidings.plan import FlowPlan, load
    from tidings.problems import Problems

    problems = Problems()
    plan = load(file, os.environ, problems)
    problems.raise_if_any()
    if not isinstance(plan, FlowPlan):
        raise Refusal(f"{named} is a lane; a backtest is of a flow")
    return plan


def _against(flow: Path, ref: str, folder: Path) -> FlowPlan:
    """The other version: a file, or the flow's file as it was at a git revision."""
    import subprocess

    if Path(ref).is_file():
        return _load(Path(ref), Path(ref))
    shown = subprocess.run(
        ["git", "show", f"{ref}:./{flow.name}"],
        cwd=flow.resolve().parent,
        capture_output=True,
        check=False,
    )
    if shown.returncode:
        why = shown.stderr.decode(errors="replace").strip().splitlines()
        raise Refusal(f"--against {ref}: no file, and no git revision of {flow}: {why[0]}")
    file = folder / flow.name
    file.write_bytes(shown.stdout)
    return _load(file, flow)


def _events(file: Path | None, address: str, topics: list[str]) -> Iterator[Record]:
    """What the versions read."""
    from contextlib import closing

    from tidings.following import slots_of
    from tidings.log.address import open_log

    if file is None:
        with closing(open_log(address).admin()) as admin:
            if not slots_of(admin, topics):
                raise Refusal(f"there is no topic {' or '.join(topics)} in {address}")
    return _records(file, address, topics, topics[0])


def _records(file: Path | None, address: str, topics: list[str], nameless: str) -> Iterator[Record]:
    """What was recorded of some topics, in order of time; see ``driver.backtest.recorded``."""
    from contextlib import closing

    from tidings.driver.backtest import recorded
    from tidings.following import merged, slots_of
    from tidings.log.address import open_log

    if file is not None:
        yield from recorded(file, topics, nameless)
        return
    opened = open_log(address)
    with closing(opened.admin()) as admin:
        slots = slots_of(admin, topics)
    with closing(opened.reader()) as reader:
        starts = {slot: reader.span(slot).first for slot in slots}
    yield from merged(opened, starts)


def _within(records: Iterable[Record], start: str, end: str) -> Iterator[Record]:
    first, last = _instant(start, "--from"), _instant(end, "--to")
    for record in records:
        if last and record.time >= last:
            return
        if record.time >= first:
            yield record


def _costs(given: Sequence[str], channels: Collection[str]) -> dict[str, float]:
    """The costs named on the command line, by channel."""
    import math

    costs = {}
    for text in given:
        channel, _, number = text.partition("=")
        if channel not in channels:
            raise Refusal(f"--cost {text}: there is no channel {channel}; {' '.join(channels)}")
        try:
            costs[channel] = float(number)
        except ValueError:
            costs[channel] = math.nan
        if not 0 <= costs[channel] < math.inf:
            raise Refusal(f"--cost {text}: write what one costs, such as {channel}=0.012")
    return costs


def _instant(text: str, option: str) -> int:
    from datetime import UTC, datetime

    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(f"{option} {text}: write a time like 2026-07-01T12:00:00Z") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Fates are millions of tuples, which the collector would look at again and again. What is left
    of them at the end goes with the process."""
    import gc

    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 1_000)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*before)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal; gives what is told how many more are through."""
    import sys

    if not sys.stderr.isatty():  # what draws it takes longer to import than a short log to replay
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("replaying", total=None)
        yield lambda count: bar.advance(task, count)


def _print(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    before, after, changed = found.before, found.after, found.difference
    console.print(f"{found.records:,} records through both versions")
    for title, old, new in (
        (("channel", "category"), before.delivered, after.delivered),
        (("step", "dropped for"), before.dropped, after.dropped),
    ):
        keys = sorted({*old, *new})
        if not keys:
            continue
        table = Table(*title, box=None, header_style="bold", pad_edge=False)
        for name in ("before", "after", "change"):
            table.add_column(name, justify="right")
        for key in keys:
            table.add_row(*key, f"{old[key]:,}", f"{new[key]:,}", f"{new[key] - old[key]:+,}")
        console.print()
        console.print(table)
    _print_costs(found, console)
    console.print()
    console.print(f"dead letters: {before.dead:,} before, {after.dead:,} after")
    _print_waits(found, console)
    for word, events, people in (
        ("gained", changed.gained, changed.gaining),
        ("lost", changed.lost, changed.losing),
        ("told otherwise", changed.shifted, changed.shifting),
    ):
        console.print(f"{word}: {events:,} events of {people:,} people")
    for one in changed.samples:
        console.print(f"\n{one.recipient_id}", style="bold")
        for change in one.changes[:_SHOWN]:
            console.print(f"  {change.event}: {_fate(change.before)} → {_fate(change.after)}")
        if len(one.changes) > _SHOWN:
            console.print(f"  and {len(one.changes) - _SHOWN} more")


def _print_costs(found: Comparison, console: Console) -> None:
    """What each version costs, in the account's currency."""
    from rich.table import Table

    if found.costs is None:
        return
    old, new = found.costs
    table = Table("channel", "category", box=None, header_style="bold", pad_edge=False)
    for name in ("cost before", "after", "change"):
        table.add_column(name, justify="right")
    total = ("total", "")
    rows = [(key, old.get(key, 0), new.get(key, 0)) for key in sorted({*old, *new})]
    for key, one, other in (*rows, (total, sum(old.values()), sum(new.values()))):
        table.add_row(
            *key, *(f"{each / 1e6:,.2f}" for each in (one, other)), f"{(other - one) / 1e6:+,.2f}"
        )
    console.print()
    console.print(table)


def _print_waits(found: Comparison, console: Console) -> None:
    """How much of what was waited for is known, and how much is assumed."""
    for name, tally in (("before", found.before), ("after", found.after)):
        if tally.recorded or tally.assumed:
            console.print(
                f"waited for, {name}: {tally.recorded:,} deliveries as recorded, "
                f"{tally.assumed:,} that count as sent at once"
            )


def _fate(fate: Fate | None) -> str:
    from datetime import UTC, datetime

    if fate is None:
        return "not told"
    at = datetime.fromtimestamp(fate.at / 1000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} {' and '.join(fate.channels)}"
