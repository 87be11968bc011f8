"""``tidings check``: everything that is wrong with flows, lanes and settings, before it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.options import Config, Files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tidings.problems import Mark, Problems
    from tidings.running.roster import Role


class Format(StrEnum):
    """How problems are printed."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    files: Files = None,
    config: Config = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    form: Annotated[Format, typer.Option("--format", help="For people or for tools.")] = (
        Format.TEXT
    ),
) -> None:
    """Check flows, lanes and settings; all problems at once, each with its place and a hint.

    Exits 1 where there is an error; warnings alone exit 0, or with --strict 1 as well.
    """
    from tidings.running.roster import shipped_files

    paths = list(files or shipped_files())
    problems, _ = survey(paths, config)
    if form is Format.JSON:
        import msgspec

        counts = {"files": len(paths), "errors": len(problems.errors)}
        counts["warnings"] = len(problems.warnings)
        typer.echo(msgspec.json.encode({**counts, "problems": problems.as_dicts()}))
    else:
        if len(problems):
            typer.echo(problems.render() + "\n")
        typer.echo(_summary(len(paths), len(problems.errors), len(problems.warnings)))
    if problems.errors or (strict and len(problems)):
        raise typer.Exit(1)


def survey(files: Sequence[Path], config: Path | None) -> tuple[Problems, list[Role]]:
    """The problems of these files, alone and together, under the settings; and their roles."""
    import os

    from tidings.content import content, content_root
    from tidings.problems import Problems, ProblemsError
    from tidings.records import Priority
    from tidings.review import review, review_settings
    from tidings.running.roster import roles
    from tidings.settings import read_settings, settings_file
    from tidings.stores.clock import SystemClock
    from tidings.stores.templates import FileTemplates

    problems = Problems()
    chosen = roles(files, list(Priority), os.environ, problems)
    try:
        settings = read_settings(config)
    except ProblemsError as error:
        for problem in error.problems:
            problems.add(problem)
        return problems, chosen
    named = settings_file(config) or content_root() / "config" / "tidings.yaml"
    review_settings(settings, named, os.environ, problems)
    try:
        templates = FileTemplates(
            _folder(content(settings.templates)), SystemClock(), settings.default_locale
        )
    except ValueError as error:
        for line in str(error).splitlines():
            problems.error("bad-template", line, _at_start(named), "templates")
        return problems, chosen
    review(chosen, settings, templates, os.environ, problems)
    return problems, chosen


def _folder(path: str) -> Path:
    from pathlib import Path

    return Path(path).expanduser()


def _at_start(file: Path) -> Mark:
    from tidings.problems import Mark

    return Mark(str(file), 1, 1)


def _summary(files: int, errors: int, warnings: int) -> str:
    looked = f"{files} file{'s' * (files != 1)}"
    if not errors and not warnings:
        return f"{looked}: no problems"
    counts = [(errors, "error"), (warnings, "warning")]
    return f"{looked}: " + ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts if n)
