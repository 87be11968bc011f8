"""``tidings receipts``: reads what providers call back, until a signal stops it."""

from __future__ import annotations

from typing import Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config, Instance, LogAddress


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("receipts")(receipts)


def receipts(
    config: Config = None,
    log: LogAddress = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Make the topics that are missing.")
    ] = False,
    instance: Instance = "",
) -> None:
    """Read what providers call back, and carry it out.

    The webhooks in `provider_events` become outcomes, suppressions, later tries and people's
    replies. As many processes as you like share the work.
    """
    from contextlib import closing

    from tidings import logs
    from tidings.compile.units import receipts as receipts_of
    from tidings.log.address import open_log
    from tidings.receipts import PROVIDER_EVENTS, REPLIES
    from tidings.running.ground import open_ground
    from tidings.running.process import end, run_units
    from tidings.settings import read_settings
    from tidings.topics import ALERTS, EVENTS, dead_letters
    from tidings.topics import settings as topic_settings

    logs.set_up(logs.LogFormat.AUTO, "info")
    settings = read_settings(config, log)
    with closing(open_log(settings.log).admin()) as admin:
        there = admin.topics()
        names = (PROVIDER_EVENTS, REPLIES, EVENTS, ALERTS, dead_letters("flow"))
        wanted = topic_settings(names)
        absent = [topic for topic in wanted if topic.name not in there]
        if absent and not create_topics:
            missing = ", ".join(topic.name for topic in absent)
            raise Refusal(
                f"these topics are missing in {settings.log}: {missing}\nstart with --create-topics"
            )
        admin.create(absent)
    with open_ground(settings, asks=False, instance=instance) as ground:
        end(run_units("receipts", [receipts_of(ground)]))
