"""``tidings test``: the tests of flows, in virtual time."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tidings.driver.suite import Result, Suite
    from tidings.problems import Problems


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("test")(run_tests)


def run_tests(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Files of tests, the flows that they are about, or folders; all beside the flows "
            "in flows/, or all that are shipped, if none is named.",
            show_default=False,
        ),
    ] = None,
    match: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Only cases with this in their name.")
    ] = "",
    form: Annotated[Format, typer.Option("--format", help="For people or for tools.")] = (
        Format.TEXT
    ),
    config: Config = None,
) -> None:
    """Run the tests of flows, `*.test.yaml`, in virtual time.

    What comes out must be what is listed, to the millisecond, and nothing else. Exits 1 where a
    test fails or a file has a problem; then no test of any file is run.
    """
    import sys

    from rich.console import Console

    from tidings.driver import report
    from tidings.logs import silenced
    from tidings.problems import Problems

    problems = Problems()
    suites = _suites(_test_files(files), config, problems)
    with silenced():  # what a provider does in virtual time alarms nobody
        results = [] if problems.errors else _results(suites, match)
    if match and not results and not problems.errors:
        raise Refusal(f"no case has {match!r} in its name")
    if form is Format.JSON:
        typer.echo(report.as_json(results, problems.as_dicts()))
    elif form is Format.JUNIT:
        typer.echo(report.as_junit(results, problems.as_dicts()))
    elif problems.errors:
        typer.echo(problems.render())
    else:
        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        report.as_text(results, console)
    if problems.errors or not all(result.passed for result in results):
        raise typer.Exit(1)


def _test_files(files: Sequence[Path] | None) -> list[Path]:
    from tidings.driver.suite import ENDING
    from tidings.running.roster import files_of, shipped_files

    found = []
    for file in files or ():
        if file.is_dir():
            found += _beside(files_of([file]))
            continue
        tests = file if file.name.endswith(ENDING) else file.with_suffix(ENDING)
        if file.exists() and not tests.exists():
            raise Refusal(f"there is no test of {file}: write {tests}")
        found.append(tests)
    found = found if files else _beside(shipped_files())
    if not found:
        raise Refusal(f"there is no test: write flows/<flow>{ENDING}, or name a file")
    return found


def _beside(flows: Iterable[Path]) -> list[Path]:
    from tidings.driver.suite import ENDING

    folders = dict.fromkeys(file.parent for file in flows)
    return [each for folder in folders for each in sorted(folder.glob(f"*{ENDING}"))]


def _suites(files: Sequence[Path], config: Path | None, problems: Problems) -> list[Suite]:
    from tidings.content import content
    from tidings.driver.suite import load_suite
    from tidings.settings import read_settings
    from tidings.stores.clock import ManualClock
    from tidings.stores.templates import FileTemplates

    settings = read_settings(config)
    folder = Path(content(settings.templates)).expanduser()
    try:
        # A clock that stands still: the folder is read once.
        templates = FileTemplates(folder, ManualClock(), settings.default_locale)
    except ValueError as error:
        raise Refusal(str(error)) from None
    loaded = [load_suite(file, settings, templates, problems) for file in files]
    return [suite for suite in loaded if suite is not None]


def _results(suites: Sequence[Suite], match: str) -> list[Result]:
    return [result for suite in suites for result in suite.run(lambda name: match in name)]
