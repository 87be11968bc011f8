"""``tidings topics``: what topics the flows and lanes need, and making them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.options import Config, Files, LogAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidings.topics import Change

_app = typer.Typer(
    help="Look at the topics that flows and lanes need, and make them.", no_args_is_help=True
)
Sources = Annotated[
    bool, typer.Option("--sources", help="Also the topics that upstream services write.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(_app, name="topics")


@_app.command("plan")
def plan(
    files: Files = None, config: Config = None, log: LogAddress = None, sources: Sources = False
) -> None:
    """Show what `apply` would do; exits 1 where it would refuse."""
    changes = _changes(files, config, log, sources, carry_out=False)
    if any(change.step == "refuse" for change in changes):
        raise typer.Exit(1)


@_app.command("apply")
def apply(
    files: Files = None, config: Config = None, log: LogAddress = None, sources: Sources = False
) -> None:
    """Make what is missing; bring retention and sizes up to date.

    Without files for all that is shipped or in `flows/`, and for what providers call back. A change
    of partitions is refused, and then nothing is done: a key would land in another partition than
    its past.
    """
    _changes(files, config, log, sources, carry_out=True)


def _changes(
    files: Files, config: Config, log: LogAddress, sources: bool, *, carry_out: bool
) -> Sequence[Change]:
    import os
    from contextlib import closing

    from tidings import topics
    from tidings.log.address import open_log
    from tidings.problems import Problems
    from tidings.records import Priority
    from tidings.running.provision import changes, wanted
    from tidings.running.roster import files_of, roles
    from tidings.settings import read_settings

    settings = read_settings(config, log)
    problems = Problems()
    chosen = roles(files_of(files), list(Priority), os.environ, problems)
    problems.raise_if_any()
    whole = not files  # the whole installation: what providers call back has a topic too
    with closing(open_log(settings.log).admin()) as admin:
        found = changes(admin, chosen, settings, sources=sources, receipts=whole)
        all_ = wanted(chosen, settings, sources=sources, receipts=whole)
        _show(found, len(all_), settings.log)
        if carry_out:
            topics.apply(admin, found)
    return found


def _show(changes: Sequence[Change], all_: int, log: str) -> None:
    width = max((len(change.topic.name) for change in changes), default=0)
    for step, topic, why in changes:
        typer.echo(f"{step:<7} {topic.name:<{width}}  {why}")
    if changes:
        typer.echo()
    counts = {
        name: sum(change.step == step for change in changes)
        for name, step in (("to create", "create"), ("to alter", "alter"), ("refused", "refuse"))
    }
    said = [f"{count} {name}" for name, count in counts.items() if count]
    said.append(f"{all_ - len({change.topic.name for change in changes})} as wanted")
    typer.echo(f"{log}: {', '.join(said)}")
