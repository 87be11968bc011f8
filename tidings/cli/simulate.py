"""``tidings simulate provider``: pretended providers on loopback, for rehearsals."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config, LogAddress

if TYPE_CHECKING:
    from tidings.simulator.callbacks import Callbacks
    from tidings.simulator.scenario import Scenario

_app = typer.Typer(help="Pretend to be what Tidings talks to.", no_args_is_help=True)


class To(StrEnum):
    """Where callbacks go."""

    NONE = "none"
    LOG = "log"
    URL = "url"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(_app, name="simulate")


@_app.callback()
def _simulate() -> None:
    """Keeps `provider` a verb of its own."""


@_app.command("provider")
def provider(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="apns, fcm, ses, sendgrid, twilio; all if none is named.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The scenario; without it everything is accepted."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Keys, certificates, and the journal.")
    ] = Path("data/simulator"),
    port: Annotated[int, typer.Option(help="HTTPS; 0 for a free one.", min=0, max=65_535)] = 0,
    plain_port: Annotated[int, typer.Option(help="HTTP; 0 for a free one.", min=0, max=65_535)] = 0,
    callbacks: Annotated[
        To,
        typer.Option(
            help="Receipts: to nobody, to the log's topic `provider_events`, or to the addresses "
            "that the provider would call."
        ),
    ] = To.NONE,
    config: Config = None,
    log: LogAddress = None,
) -> None:
    """Pretend to be APNs, FCM, SES, SendGrid and Twilio.

    It listens on 127.0.0.1 until a signal stops it, and prints what the settings have to say to
    reach it, and keeps what it gets in `journal.jsonl` of its folder. A folder and ports that are
    given again are the same provider again.
    """
    import asyncio
    import os
    import sys

    from tidings import logs
    from tidings.simulator.scenario import Scenario, read_scenario

    try:
        import h2  # noqa: F401
    except ModuleNotFoundError:
        raise Refusal(
            "the simulator speaks HTTP/2 with the library h2, which is not installed: "
            'pip install "tidings[simulate]"'
        ) from None
    logs.set_up(logs.LogFormat.AUTO, "info")
    scenario = read_scenario(script, os.environ) if script else Scenario()
    wanted = _wanted(names or [])
    waiting = _callbacks(callbacks, config, log)
    try:
        counts = asyncio.run(_serve(scenario, wanted, folder, (port, plain_port), waiting))
    except OSError as error:
        if error.errno is None or not str(error).startswith("[Errno"):
            raise
        raise Refusal(f"can't listen on 127.0.0.1: {error.strerror}; name another port") from None
    sys.stderr.write(f"{counts}\n")


def _wanted(names: list[str]) -> frozenset[str]:
    from typing import get_args

    from tidings.problems import suggestion
    from tidings.simulator.scenario import ProviderName

    known = get_args(ProviderName)
    for name in names:
        if name not in known:
            raise Refusal(f"there is no `{name}` to simulate: {suggestion(name, known)}")
    return frozenset(names or known)


def _callbacks(to: To, config: Path | None, log: str | None) -> Callbacks | None:
    import time
    from contextlib import closing

    from tidings.log.address import open_log
    from tidings.receipts import PROVIDER_EVENTS
    from tidings.settings import read_settings
    from tidings.simulator.callbacks import Callbacks, Target, ToLog, ToUrl

    if to is To.NONE:
        return None
    target: Target = ToUrl()
    if to is To.LOG:
        settings = read_settings(config, log)
        opened = open_log(settings.log)
        with closing(opened.admin()) as admin:
            if PROVIDER_EVENTS not in admin.topics():
                raise Refusal(
                    f"the topic {PROVIDER_EVENTS} is missing in {settings.log}; who reads it makes "
                    "it: tidings receipts --create-topics"
                )
        target = ToLog(opened)
    return Callbacks(target, lambda: int(time.time() * 1000))


async def _serve(
    scenario: Scenario,
    wanted: frozenset[str],
    folder: Path,
    ports: tuple[int, int],
    callbacks: Callbacks | None,
) -> str:
    """Until a signal; gives what there is to say of it."""
    import asyncio
    import datetime
    import signal
    import time
    from contextlib import AsyncExitStack, closing

    from tidings.simulator.credentials import Credentials
    from tidings.simulator.journal import Journal
    from tidings.simulator.server import Server
    from tidings.simulator.simulator import Simulator

    credentials = Credentials(folder, datetime.datetime.now(datetime.UTC))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(closing(Journal(folder / "journal.jsonl")))
        if callbacks is not None:
            await stack.enter_async_context(callbacks)
        simulator = Simulator(
            scenario,
            [one for one in credentials.services(scenario) if one.name in wanted],
            journal,
            lambda: int(time.time() * 1000),
            callbacks.later if callbacks is not None else None,
        )
        server = Server(
            simulator,
            credentials.certificate,
            credentials.authority.certificate,
            port=ports[0],
            plain_port=ports[1],
        )
        await stack.enter_async_context(server)
        settings = credentials.settings(scenario, server.port, server.plain_port)
        kinds = {*wanted, *(["twilio_voice"] if "twilio" in wanted else [])}
        typer.echo(_shown({n: one for n, one in settings.items() if one["kind"] in kinds}))
        await stop.wait()
        told = f", {callbacks.sent} callbacks ({callbacks.waiting} not due)" if callbacks else ""
        return f"{simulator.calls} calls{told}; they are in {folder / 'journal.jsonl'}"


def _shown(providers: object) -> str:
    import yaml

    text: str = yaml.safe_dump({"providers": providers}, sort_keys=False, width=1_000)
    return f"# For config/tidings.yaml:\n{text}"
