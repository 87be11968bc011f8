"""``tidings demo``: the whole road on sample traffic, live, and counted at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tidings.demo.show import Show
    from tidings.demo.summary import Summary

_LOOK = 0.05  # seconds between two looks
_FRAME = 0.25  # seconds between two pictures
_WINDOW = "5s"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    for_: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="DURATION",
            help="Emit so long, drain, and end; e.g. 30s.",
            show_default=False,
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="The summary as JSON, alone on stdout.")
    ] = False,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Over a real Kafka, started for it.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed emits other events.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep everything there; else it is removed.", show_default=False
        ),
    ] = None,
) -> None:
    """Run everything on sample traffic and watch what people get.

    Ctrl-C stops emitting and drains, a second one does not wait for that. Exits 1 if anything was
    lost.
    """
    import tempfile
    import time

    began = time.monotonic()
    from tidings.durations import parse_duration
    from tidings.problems import ValueProblem

    try:
        seconds = parse_duration(for_) / 1000 if for_ else 0.0
    except ValueProblem as problem:
        raise typer.BadParameter(f"{problem.message}: {problem.hint}", param_hint="--for") from None
    with tempfile.TemporaryDirectory(prefix="tidings-demo-") as temporary:
        folder = (data or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        summary = _perform(folder, seconds, seed, began, kafka=kafka, quiet=as_json)
    _tell(summary, as_json)
    if summary.lost:
        raise typer.Exit(1)


def _perform(
    folder: Path, seconds: float, seed: int, began: float, *, kafka: bool, quiet: bool
) -> Summary:
    import os
    from contextlib import ExitStack

    from tidings.cli.dev import prepare
    from tidings.content import content_root
    from tidings.demo.show import Show, stop_on_signal
    from tidings.running.roster import shipped_files
    from tidings.services.kafka import Kafka

    root = content_root()
    os.chdir(root)  # what is shipped, not what happens to lie where we are
    os.environ["TIDINGS_SOCIAL_WINDOW"] = _WINDOW
    for name in ("TIDINGS_LOG", "TIDINGS_CLAIMS", "TIDINGS_CONFIG"):
        os.environ.pop(name, None)
    config = root / "config" / "tidings.yaml"
    with ExitStack() as stack:
        signals = stack.enter_context(stop_on_signal())
        log = None
        if kafka:
            broker = stack.enter_context(Kafka(folder / "kafka"))
            log = f"kafka:{broker.bootstrap}"
        roles, settings = prepare(shipped_files(root / "flows"), folder, config, log)
        people = root / "config" / "people" / "people.jsonl"
        show = stack.enter_context(Show(roles, settings, folder, config, people, began))
        with _view(show, quiet=quiet) as draw:
            return _run(show, seconds, seed, draw, signals)


def _run(
    show: Show, seconds: float, seed: int, draw: Callable[[str], None], signals: Callable[[], int]
) -> Summary:
    import time

    from tidings.cli.failures import Refusal
    from tidings.demo.show import PATIENCE
    from tidings.demo.summary import summarise

    while not show.house.supervisor.up() and not signals():
        draw("starting")
        time.sleep(_LOOK)
    emitting_since = time.monotonic()
    show.emit(seconds, seed)
    while show.emitting() and not signals():
        draw("live")
        time.sleep(_LOOK)
    show.stop_emitting()
    if failure := show.upstreams_failed():
        raise Refusal(f"the upstreams failed:\n{failure}")
    lasted = time.monotonic() - emitting_since
    deadline = time.monotonic() + PATIENCE
    draw("draining")
    while not show.account.settled() and time.monotonic() < deadline and signals() < 2:
        time.sleep(_LOOK)
        draw("draining")
    draw("stopping")
    show.house.stop()
    draw("stopped")
    return summarise(
        show.account,
        appended=show.appended(),
        windowed=show.windowed(),
        accepted=show.accepted,
        balance=show.balance(),
        seconds=lasted,
        first=show.first,
        restarts=sum(child.restarts for child in show.house.supervisor.children),
    )


def _view(show: Show, *, quiet: bool) -> AbstractContextManager[Callable[[str], None]]:
    """What takes the show in and draws it: live at a terminal, else a line for each message."""
    terminal = sys.stderr if quiet else sys.stdout
    if terminal.isatty():
        return _live(show, terminal is sys.stderr)
    return _lines(show, quiet=quiet)


def _lines(show: Show, *, quiet: bool) -> AbstractContextManager[Callable[[str], None]]:
    from contextlib import nullcontext

    from tidings.demo.screen import line_of

    def draw(state: str) -> None:
        for channel, arrival in show.look():
            if not quiet:
                typer.echo(line_of(channel, arrival))

    return nullcontext(draw)


def _live(show: Show, on_stderr: bool) -> AbstractContextManager[Callable[[str], None]]:
    import time
    from collections import deque
    from contextlib import contextmanager

    from rich.console import Console
    from rich.live import Live

    from tidings.demo.screen import screen
    from tidings.running.status import Status

    status = Status(show.house, roles=False)
    counts: deque[tuple[float, int]] = deque(maxlen=20)  # of events, for the rate

    @contextmanager
    def live() -> Iterator[Callable[[str], None]]:
        drawn_at = 0.0
        console = Console(stderr=on_stderr)
        with Live(console=console, screen=True, auto_refresh=False) as picture:

            def draw(state: str) -> None:
                nonlocal drawn_at
                show.look()
                now = time.monotonic()
                if now - drawn_at < _FRAME:
                    return
                drawn_at = now
                counts.append((now, show.account.events))
                (since, before), (until, after) = counts[0], counts[-1]
                picture.update(
                    screen(
                        show.scene,
                        state=state,
                        seconds=now - show.began,
                        events=after,
                        rate=(after - before) / (until - since) if until > since else 0.0,
                        now=time.time_ns() // 1_000_000,
                        processes=status.table(),
                        columns=console.width,
                    ),
                    refresh=True,
                )

            yield draw

    return live()


def _tell(summary: Summary, as_json: bool) -> None:
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2))
    else:
        from tidings.demo.summary import in_words

        typer.echo(in_words(summary))
