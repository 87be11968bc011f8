"""``tidings tap``: one step of a running flow or lane, watched from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config, Files, LogAddress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidings.running.tap import Tap

_LOOK = 0.1  # seconds between two looks for what is new


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tap")(tap)


def tap(
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step, such as social.digest.")],
    files: Files = None,
    rate: Annotated[
        int, typer.Option(help="The most that is printed a second; the rest is counted.", min=1)
    ] = 20,
    config: Config = None,
    log: LogAddress = None,
) -> None:
    """Watch one step of a running flow or lane.

    From now on, one JSON object per line. `seen` says where: `in`, an entry on its way into the
    first keyed step of a flow; `here`, the step dropped, deferred, delivered, sent or made a dead
    letter; `past`, a step behind it did so with what it let by. What a step holds, and what it
    passes on, shows in the log no sooner than that. Of a step in an arm of a branch, only the steps
    of its arm are behind it.

    Addresses, codes and secrets are hidden. It reads the log outside any group and asks nothing of
    the process that runs the step. Ctrl-C ends it.
    """
    import time
    from contextlib import closing, suppress

    import msgspec

    from tidings.cli.tail import shown
    from tidings.following import Follower, slots_of
    from tidings.log.address import open_log
    from tidings.running.tap import Rate
    from tidings.settings import read_settings

    tapped = _tap(step, files)
    opened = open_log(read_settings(config, log).log)
    with closing(opened.admin()) as admin:
        slots = slots_of(admin, tapped.topics)
    if not slots:
        raise Refusal(f"nothing runs {step} here: there is no topic {' or '.join(tapped.topics)}")
    bound = Rate(rate)
    with closing(opened.reader()) as reader, suppress(KeyboardInterrupt, BrokenPipeError):
        follower = Follower(reader, {slot: reader.span(slot).end for slot in slots})
        typer.echo(f"watching {step}; Ctrl-C ends it", err=True)
        while True:
            for record in follower.poll():
                seen = tapped.sees(record)
                if seen and bound.allows(time.monotonic()):
                    line = {"seen": seen, **shown(record, show_all=False)}
                    typer.echo(msgspec.json.encode(line))
            if bound.left_out:
                typer.echo(f"and {bound.left_out} more", err=True)
                bound.left_out = 0
            time.sleep(_LOOK)


def _tap(step: str, files: Sequence[Path] | None) -> Tap:
    import os

    from tidings.plan import FlowPlan
    from tidings.problems import Problems, suggestion
    from tidings.records import Priority
    from tidings.running.roster import files_of, roles
    from tidings.running.tap import Tap

    problems = Problems()
    chosen = roles(files_of(files), list(Priority), os.environ, problems)
    problems.raise_if_any()
    known: list[str] = []
    for role in chosen:
        try:
            return Tap(role.plan, step)
        except LookupError:
            plan = role.plan
            steps = plan.steps() if isinstance(plan, FlowPlan) else plan.steps
            known += [each.path for each in steps]
    hint = suggestion(step, known) or "`tidings graph` shows the steps; name the flow's file"
    raise Refusal(f"there is no step {step}: {hint}")
