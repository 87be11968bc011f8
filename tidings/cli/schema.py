"""``tidings schema``: JSON Schema for editors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Kind(StrEnum):
    """A kind of file."""

    FLOW = "flow"
    LANE = "lane"
    TEST = "test"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("schema")(schema)


def schema(
    kind: Annotated[
        Kind | None, typer.Argument(help="Whose schema to print.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--write", metavar="FOLDER", help="Write all of them into a folder.", show_default=False
        ),
    ] = None,
) -> None:
    """JSON Schema of flows, lanes and tests, for editors.

    In VS Code (with the YAML extension) begin a file with
    `# yaml-language-server: $schema=…/flow.json`. Operators of installed packages are in it.
    """
    from tidings.cli.failures import Misuse

    if (kind is None) == (folder is None):
        raise Misuse("say which: tidings schema flow|lane|test, or --write FOLDER for all")
    if kind is not None:
        typer.echo(text_of(kind), nl=False)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for each in Kind:
            (folder / f"{each}.json").write_text(text_of(each))


def text_of(kind: str) -> str:
    """A schema as it is written."""
    import json

    from tidings.schema import schema_of

    return json.dumps(schema_of(kind), indent=1, ensure_ascii=False) + "\n"
