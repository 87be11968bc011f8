"""``tidings run``: flows and lanes in this process, until a signal stops them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config, Instance, LogAddress
from tidings.cli.rehearse import STDIN, rehearse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidings.compile.units import Ground
    from tidings.problems import Problems
    from tidings.records import Priority
    from tidings.running.roster import Role
    from tidings.runtime.unit import Unit
    from tidings.settings import Settings


class PartChoice(StrEnum):
    """Which part of a flow: both, or one of the two that scale apart."""

    ALL = "all"
    INTAKE = "intake"
    FLOW = "flow"


class PriorityChoice(StrEnum):
    """A priority as the command takes it."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class LevelChoice(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class FormatChoice(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(run)


def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Flows and lanes; with --dry-run also -, for events on stdin."
        ),
    ],
    part: Annotated[
        PartChoice, typer.Option(help="Of flows: the intake, the keyed flow behind it, or both.")
    ] = PartChoice.ALL,
    priority: Annotated[
        list[PriorityChoice] | None,
        typer.Option(
            help="Of lanes, and of what flows deliver without saying; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    log: LogAddress = None,
    name: Annotated[
        str, typer.Option(help="What the process is called in its log lines.")
    ] = "tidings",
    instance: Instance = "",
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Make missing topics, the upstreams' too.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Of one flow, with lanes or without: print what it decides and sends, send and "
            "write nothing. It reads what comes to the flow's topics from now on, or JSON lines "
            "on stdin with -. What is open at EOF or Ctrl-C closes at once, at its time to come. "
            "People and suppressions are the real ones; claims and caps begin empty; every send "
            "is accepted. Addresses and codes are hidden.",
        ),
    ] = False,
    log_format: Annotated[
        FormatChoice, typer.Option(help="How log lines look, and what a dry run prints.")
    ] = FormatChoice.AUTO,
    log_level: Annotated[LevelChoice, typer.Option(help="The least that is logged.")] = (
        LevelChoice.INFO
    ),
) -> None:
    """Run flows and lanes in this process; --dry-run tries one.

    SIGTERM or Ctrl-C drains and ends it, a second one ends it at once. Any process can be killed
    or added at any time: what it had open is done by the others of its group.
    """
    import traceback

    from tidings import logs
    from tidings.problems import Problems
    from tidings.records import Priority
    from tidings.running.ground import open_ground
    from tidings.running.process import end, run_units
    from tidings.settings import read_settings

    logs.set_up(logs.LogFormat(log_format), log_level)
    settings = read_settings(config, log)
    problems = Problems()
    stdin = STDIN in files
    if stdin and not dry_run:
        raise Refusal("- is for events of a dry run: add --dry-run, or use `tidings emit`")
    named = [file for file in files if file != STDIN]
    given = [Priority(each) for each in priority or ()]
    chosen = _roles(named, given, problems, lanes_at_any=dry_run)
    problems.raise_if_any()
    if dry_run:
        rehearse(chosen, settings, stdin=stdin, as_json=log_format is FormatChoice.JSON)
        return
    _provide_topics(chosen, settings, create_topics)
    sheltered = all(role.high() for role in chosen)
    asks = part is not PartChoice.FLOW
    with open_ground(settings, sheltered=sheltered, asks=asks, instance=instance) as ground:
        units = [unit for role in chosen for unit in _units(role, part, ground)]
        try:
            code = run_units(name, units)
        except Exception:  # noqa: BLE001  a bug: its trace, and no waiting for clients
            traceback.print_exc()
            code = 3
        end(code)


def _roles(
    files: Sequence[Path],
    priorities: Sequence[Priority],
    problems: Problems,
    *,
    lanes_at_any: bool = False,
) -> list[Role]:
    import os

    from tidings.plan import LanePlan
    from tidings.records import Priority
    from tidings.running.roster import PRIORITY_VARIABLE, files_of, roles

    named = os.environ.get(PRIORITY_VARIABLE)
    given = priorities or ([Priority.of(named)] if named else [])
    paths = files_of(files) if files else []
    chosen = roles(paths, given or [Priority.NORMAL], os.environ, problems)
    for role in chosen:
        if not given and not lanes_at_any and isinstance(role.plan, LanePlan):
            raise Refusal(
                f"{role.plan.file}: a lane serves one priority, and none was given: "
                f"tidings run {role.plan.file} --priority high|normal|low"
            )
    return chosen


def _provide_topics(chosen: Sequence[Role], settings: Settings, create: bool) -> None:
    from contextlib import closing

    from tidings.log.address import open_log
    from tidings.running.provision import missing, provide

    with closing(open_log(settings.log).admin()) as admin:
        if create:
            provide(admin, chosen, settings)
        elif absent := missing(admin, chosen, settings):
            files = " ".join(dict.fromkeys(str(role.plan.file) for role in chosen))
            raise Refusal(
                f"these topics are missing in {settings.log}: {', '.join(absent)}\n"
                f"make them by: tidings topics apply --sources {files}\n"
                "or start with --create-topics"
            )


def _units(role: Role, part: PartChoice, ground: Ground) -> list[Unit]:
    from tidings.compile.units import intake, keyed, lane
    from tidings.plan import FlowPlan

    plan = role.plan
    if not isinstance(plan, FlowPlan):
        return [lane(plan, role.priority, ground)]
    if part is PartChoice.FLOW and not plan.keyed:
        raise Refusal(f"{plan.file}: {plan.name} keeps no state, its intake is all of it")
    units: list[Unit] = []
    if part is not PartChoice.FLOW:
        units.append(intake(plan, ground, role.priority))
    if part is not PartChoice.INTAKE and plan.keyed:
        units.append(keyed(plan, ground, role.priority))
    return units
