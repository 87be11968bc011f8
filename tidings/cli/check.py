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
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="What runs now, a folder, a file or a git revision: tells what becomes of its "
            "state.",
            show_default=False,
        ),
    ] = None,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Ask log, stores, connections and providers; nothing is sent."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds that each of them has to answer.", min=0.1)
    ] = 5.0,
    form: Annotated[Format, typer.Option("--format", help="For people or for tools.")] = (
        Format.TEXT
    ),
) -> None:
    """Check flows, lanes, tests and settings.

    All problems at once, each with its place and a hint. Exits 1 where there is an error; warnings
    alone exit 0, or with --strict 1 as well.
    """
    from tidings.running.roster import files_of

    paths = files_of(files)
    problems, found = survey(paths, config)
    fresh: list[str] = []
    if against is not None:
        from tidings.cli.revisions import compare_with

        before = compare_with(against, paths, found, problems, whole=not files)
        fresh = [] if problems.errors else _fresh(before, found, config)
    answered = None
    if connect and not problems.errors:
        answered = _reach(found, config, timeout, problems, whole=not files)
    if form is Format.JSON:
        import msgspec

        counts = {"files": len(paths), "errors": len(problems.errors)}
        counts["warnings"] = len(problems.warnings)
        more = {"topics": fresh} if against is not None else {}
        if answered is not None:
            more["answered"] = answered
        typer.echo(msgspec.json.encode({**counts, **more, "problems": problems.as_dicts()}))
    else:
        if len(problems):
            typer.echo(problems.render() + "\n")
        if fresh:
            typer.echo(f"topics that it needs on top: {', '.join(fresh)}\n")
        if answered:
            typer.echo(f"answered: {', '.join(answered)}")
        typer.echo(_summary(len(paths), len(problems.errors), len(problems.warnings)))
    if problems.errors or (strict and len(problems)):
        raise typer.Exit(1)


def survey(files: Sequence[Path], config: Path | None) -> tuple[Problems, list[Role]]:
    """The problems of these files, alone and together, under the settings; and their roles.

    Files of tests are looked at beside their flows, and not run.
    """
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
    tests = [file for file in files if file.name.endswith(".test.yaml")]
    plans = [file for file in files if file not in tests]
    chosen = roles(plans, list(Priority), os.environ, problems)
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
    if tests:
        from tidings.driver.suite import load_suite

        for file in tests:
            load_suite(file, settings, templates, problems)
    return problems, chosen


def _fresh(before: Sequence[Role], after: Sequence[Role], config: Path | None) -> list[str]:
    """The topics that these roles need and the former ones did not."""
    from tidings.plan import FlowPlan
    from tidings.running.provision import needs
    from tidings.settings import read_settings

    settings = read_settings(config)
    flows = [role for role in after if isinstance(role.plan, FlowPlan)]
    old, new = needs(before, settings), needs(flows, settings)
    return sorted((new.ours | new.sources) - (old.ours | old.sources))


def _reach(
    roles: Sequence[Role], config: Path | None, timeout: float, problems: Problems, *, whole: bool
) -> list[str]:
    """Add what does not answer, and topics that are not as they should be, to ``problems``; gives
    what has answered. ``whole`` tells that ``roles`` are all that there are."""
    from contextlib import closing

    from tidings.content import content_root
    from tidings.log.address import open_log
    from tidings.problems import listed
    from tidings.providers import call_back
    from tidings.review.files import place_in
    from tidings.review.reach import asked, probes
    from tidings.running.provision import changes
    from tidings.settings import read_settings, settings_file

    settings = read_settings(config)
    file = settings_file(config) or content_root() / "config" / "tidings.yaml"
    answered = []
    all_ = probes(settings)
    for probe, trouble in zip(all_, asked(all_, timeout), strict=True):
        path = ".".join(probe.keys)
        if trouble is None:
            answered.append(path)
        else:
            said = f"`{path}`: {trouble.why}"
            problems.error("unreachable", said, place_in(file, *probe.keys), path, trouble.hint)
    if "log" not in answered:
        return answered
    receipts = whole and call_back(settings.providers)
    with closing(open_log(settings.log).admin()) as admin:
        found = changes(admin, roles, settings, sources=True, receipts=receipts)
    place, apply = place_in(file, "log"), "`tidings topics apply --sources`"
    missing = [change.topic.name for change in found if change.step == "create"]
    if missing:
        count = f"{len(missing)} topics are" if len(missing) > 1 else "a topic is"
        said = f"{count} missing in the log: {listed(missing)}"
        problems.error("missing-topic", said, place, "log", f"{apply} makes what is missing")
    for step, topic, why in found:
        if step != "create":
            report = problems.warning if step == "alter" else problems.error
            fix = f"{apply} makes it so" if step == "alter" else None
            report("wrong-topic", f"`{topic.name}`: {why}", place, "log", fix)
    return answered


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
