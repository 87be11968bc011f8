"""Options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="Flows and lanes, or folders of them; all in flows/, or all that are shipped, if none "
        "is named.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The settings; by default $TIDINGS_CONFIG, config/tidings.yaml, or those shipped.",
        show_default=False,
    ),
]
LogAddress = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="ADDRESS",
        help="sqlite:FOLDER or kafka:HOST:PORT,…; by default $TIDINGS_LOG or the settings.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data", metavar="FOLDER", envvar="TIDINGS_DATA", help="Where everything is kept."
    ),
]

Instance = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        envvar="TIDINGS_INSTANCE",
        help="A name that no other process has, and that this one has again after a restart: "
        "Kafka then gives it its partitions back at once, even after kill -9. When it ends for "
        "good the others wait for the session's time-out.",
        show_default=False,
    ),
]
