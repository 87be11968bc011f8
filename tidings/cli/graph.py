"""``tidings graph``: flows and lanes as a picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.options import Config, Files


class Format(StrEnum):
    """What the picture is written as."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("graph")(graph)


def graph(
    files: Files = None,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="Mermaid for Markdown, DOT for Graphviz, SVG to look at as it is."
        ),
    ] = Format.MERMAID,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to; stdout if not given.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Draw flows and lanes as a picture.

    It shows topics, intake, steps, branches and providers. Of the lanes that are named, those that
    the named flows lead to. Outcomes and dead letters, which every part writes, are left out.
    """
    import os

    from tidings.graph.dot import dot
    from tidings.graph.mermaid import mermaid
    from tidings.graph.model import graph as graph_of
    from tidings.graph.svg import svg
    from tidings.problems import Problems
    from tidings.records import Priority
    from tidings.running.roster import files_of, roles
    from tidings.settings import read_settings

    problems = Problems()
    chosen = roles(files_of(files), list(Priority), os.environ, problems)
    problems.raise_if_any()
    picture = graph_of(chosen, read_settings(config))
    text = {Format.MERMAID: mermaid, Format.DOT: dot, Format.SVG: svg}[form](picture)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)
