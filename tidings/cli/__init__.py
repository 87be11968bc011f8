"""The command ``tidings``: one file per verb, which imports what it needs when it is called.

Exit codes: 0 done, or stopped by a signal and drained; 1 something is wrong with what was given or
found, and the message says what; 2 the command was used wrongly; 3 a bug, with its trace; 128 + n
after a second signal n.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tidings.cli import (
    backtest,
    check,
    demo,
    deploy,
    dev,
    devices,
    dlq,
    emit,
    graph,
    listing,
    new,
    receipts,
    run,
    schema,
    simulate,
    tail,
    tap,
    test,
    topics,
)
from tidings.cli.failures import Misuse, explained

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    *(demo, dev, check, test, backtest, graph),
    *(deploy, run, receipts, devices, topics, dlq, emit, tail, tap, listing, schema, new),
    simulate,
):
    verb.register(app)


def _version(asked: bool) -> None:
    if asked:
        from tidings import __version__

        typer.echo(f"tidings {__version__}")
        raise typer.Exit


@app.callback()
def tidings(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Say which.")
    ] = False,
) -> None:
    """Notifications as a stream: a flow decides, a lane delivers, the ledger proves."""


def main() -> None:
    """The console command."""
    try:
        app(prog_name="tidings")
    except Exception as error:  # noqa: BLE001  the last resort
        message = explained(error)
        if message is None:
            _crash(error)
        typer.echo(message, err=True)
        sys.exit(2 if isinstance(error, Misuse) else 1)


def _crash(error: Exception) -> None:
    import traceback

    traceback.print_exception(error)
    sys.exit(3)
