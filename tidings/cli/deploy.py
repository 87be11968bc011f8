"""``tidings deploy --plan``: what changed flows do to what is running."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Misuse, Refusal
from tidings.cli.options import Config, LogAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tidings.plan import StepPlan
    from tidings.review.standing import Standing


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("deploy")(deploy)


def deploy(
    flows: Annotated[list[Path], typer.Argument(metavar="FLOW...", help="The changed flows.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Only tell: Tidings starts and stops no processes.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="What runs now, a folder, a file or a git revision.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    log: LogAddress = None,
) -> None:
    """Tell what changed flows do to what is running.

    It asks the state in the log. What each step has open, and whether it is kept or dropped; topics
    to create. Nothing is changed. A flow that is deleted is named by its former file, with
    --against. Exits 1 where something is dropped or a topic can't become as it should.
    """
    import os
    from contextlib import closing

    from tidings.log.address import open_log
    from tidings.plan import FlowPlan
    from tidings.problems import Problems
    from tidings.records import Priority
    from tidings.review.changes import flows_of, keyed_steps
    from tidings.review.standing import standing
    from tidings.running.provision import changes
    from tidings.running.roster import files_of, roles
    from tidings.runtime.state import StateError
    from tidings.settings import read_settings

    if not plan:
        raise Misuse("say --plan; docs/deploying.md tells how a flow is rolled out, and back")
    settings = read_settings(config, log)
    problems = Problems()
    flows = files_of(flows)
    there = [file for file in flows if file.exists() or against is None]
    chosen = roles(there, list(Priority), os.environ, problems)
    problems.raise_if_any()
    now, before = flows_of(chosen), dict[str, FlowPlan]()
    if against is not None:
        from tidings.cli.revisions import compare_with

        before = flows_of(compare_with(against, flows, chosen, problems, whole=False))
        known = {each.file.name for each in before.values()}
        if lost := [str(file) for file in flows if file not in there and file.name not in known]:
            raise Refusal(f"there is no {', '.join(lost)}, here or at {against}")
    opened = open_log(settings.log)
    dropped = False
    for name in dict.fromkeys((*now, *before)):
        try:
            found = standing(opened, name, settings.state.buckets)
        except StateError as error:
            raise Refusal(f"{name}: {error}") from None
        has, had = (keyed_steps(each[name]) if name in each else {} for each in (now, before))
        dropped |= _tell(name, has, had, found)
    if len(problems):
        typer.echo(problems.render() + "\n")
    with closing(opened.admin()) as admin:
        steps = changes(admin, chosen, settings, sources=True)
    for step, topic, why in steps:
        typer.echo(f"{step:<7} {topic.name}  {why}")
    if not steps:
        typer.echo("topics: all as wanted")
    if dropped or problems.errors or any(step.step == "refuse" for step in steps):
        raise typer.Exit(1)


def _tell(
    name: str,
    has: Mapping[str, StepPlan],
    had: Mapping[str, StepPlan],
    found: Standing | None,
) -> bool:
    """Print what becomes of the state of a flow that ``has`` these steps now and ``had`` those, as
    far as that is known; True where some of it is dropped."""
    from tidings.review.changes import holdings

    if found is None or not found.steps:
        said = "has no state in the log" if found is None else "has nothing open"
        typer.echo(f"{name}: {said}\n")
        return False
    typer.echo(f"{name}: {_people(found.people)}, {found.behind:,} entries since the last save")
    for path, held in sorted(found.steps.items()):
        step = has.get(path) or had.get(path)
        what = "states" if step is None else holdings(step.operator.name)
        until = f", deadlines up to {_moment(held.last)}" if held.last else ""
        typer.echo(
            f"  {'kept' if path in has else 'dropped':<7} {path}  {held.things:,} {what} "
            f"of {_people(held.people)}{until}"
        )
    for path in has:
        if path not in found.steps:
            typer.echo(f"  {'empty':<7} {path}")
    typer.echo()
    return any(path not in has for path in found.steps)


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count:,} people"


def _moment(at: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
