"""``tidings dev``: all flows and lanes on this machine, in few processes, with nothing else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidings.cli.options import Config, Data, Files, LogAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tidings.running.house import House
    from tidings.running.roster import Role
    from tidings.settings import Settings

_LOOK = 0.2  # seconds between two looks at the children
_REFRESH = 1.0  # seconds between two status tables


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("dev")(dev)


def dev(
    files: Files = None,
    data: Data = Path("data"),
    config: Config = None,
    log: LogAddress = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Status as lines, also at a terminal.")
    ] = False,
) -> None:
    """Run all flows and lanes on this machine.

    What crashes is started again. What is high priority has a process of its own. Valkey, the log
    and the topics are made where they are missing. Ctrl-C drains and stops everything; a second one
    stops it at once.
    """
    from tidings.running.house import House

    chosen, settings = prepare(files or [], data, config, log)
    with House(chosen, settings, data.resolve(), config) as house:
        Watch(house, plain=plain).run()


def prepare(
    files: Sequence[Path], data: Path, config: Path | None, log: str | None
) -> tuple[list[Role], Settings]:
    """The roles and the settings for ``data``; raises ProblemsError with all that is wrong."""
    import os

    from tidings.cli.check import survey
    from tidings.running.house import DATA_VARIABLE
    from tidings.running.roster import files_of
    from tidings.settings import read_settings

    os.environ[DATA_VARIABLE] = str(data.resolve())
    problems, chosen = survey(files_of(files), config)
    problems.raise_if_any()
    return chosen, read_settings(config, log)


class Watch:
    """Looks after a house until a signal, and tells what happens: a live table, or lines."""

    def __init__(self, house: House, *, plain: bool) -> None:
        self._house = house
        self._plain = plain
        self._signals = 0

    def run(self) -> None:
        """Until SIGTERM or SIGINT; exits 1 where something did not end cleanly."""
        import sys

        previous = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            if self._plain or not sys.stdout.isatty():
                self._lines()
            else:
                self._table()
            typer.echo("stopping")
            clean = self._house.stop()
            typer.echo("stopped" if clean else "stopped, not all of it cleanly")
            if not clean:
                raise typer.Exit(1)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._signals += 1
        if self._signals > 1:
            self._house.supervisor.kill()

    def _until_signal(self, tell: Callable[[str], None], refresh: Callable[[], None]) -> None:
        import time

        refresh_at = 0.0
        while not self._signals:
            for child, what in self._house.look():
                tell(f"{child.program.name} {what}")
                if what.startswith("ended"):
                    tell(child.last_words())
            if time.monotonic() >= refresh_at:
                refresh_at = time.monotonic() + _REFRESH
                refresh()
            time.sleep(_LOOK)

    def _lines(self) -> None:
        for child, pack in zip(self._house.supervisor.children, self._house.packs, strict=True):
            typer.echo(f"{pack.name} is starting, pid {child.pid}: {' '.join(pack.roles)}")
        self._until_signal(typer.echo, lambda: None)

    def _table(self) -> None:
        from rich.console import Console
        from rich.live import Live

        from tidings.running.status import Status

        console = Console()
        status = Status(self._house)
        with Live(status.table(), console=console, auto_refresh=False) as live:
            self._until_signal(
                lambda text: console.print(text, highlight=False, markup=False),
                lambda: live.update(status.table(), refresh=True),
            )
