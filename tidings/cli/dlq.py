"""``tidings dlq``: what could not go on, and sending it once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config, LogAddress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tidings.running.release import Letter, Wanted
    from tidings.settings import Settings

_app = typer.Typer(
    help="Look at dead letters, and send those of lanes once more.", no_args_is_help=True
)
_FLOWS = "flow"  # beside the channels: what flows could not handle
Channels = Annotated[
    list[str] | None, typer.Option("--channel", help="Only of this one; may be given often.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(_app, name="dlq")


@_app.command("list")
def list_(channel: Channels = None, config: Config = None, log: LogAddress = None) -> None:
    """Count the letters by channel, reason and cause.

    Those of flows, which no lane has seen, are under `flow`. `tidings tail notif_dlq.CHANNEL` shows
    each with its step, error and origin.
    """
    from collections import Counter

    from tidings.log.address import open_log
    from tidings.running.release import letters
    from tidings.settings import read_settings

    settings = read_settings(config, log)
    found: Counter[tuple[str, ...]] = Counter()
    channels = _channels(channel, [*settings.channels, _FLOWS])
    for letter in letters(open_log(settings.log), channels):
        dead = letter.dead
        state = "released" if letter.released else ""
        found[letter.channel, dead.reason, dead.cause, dead.provider, state] += 1
    rows: list[tuple[str, ...]] = [("channel", "reason", "cause", "provider", "", "letters")]
    rows += [(*key, str(count)) for key, count in sorted(found.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if found else ():
        cells = zip(row, widths, strict=True)
        typer.echo("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    if not found:
        typer.echo("there are no letters")


@_app.command("release")
def release(
    cause: Annotated[
        str | None,
        typer.Option(
            "--cause",
            metavar="CAUSE",
            help="What was to blame, as `dlq list` shows it; provider_down by default, and any "
            "with --reason.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="REASON", help="Only those of this one, as of a template mended."
        ),
    ] = "",
    provider: Annotated[
        str, typer.Option("--provider", help="Only those that this provider is to blame for.")
    ] = "",
    channel: Channels = None,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="DURATION", help="Only those of the last so long, as in 2h."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count them, and release none.")
    ] = False,
    config: Config = None,
    log: LogAddress = None,
) -> None:
    """Send letters once more whose cause is over.

    High before normal before low. Their lanes take them like others, at the pace of their
    providers. None goes out twice, however often this is run; what has expired ends as `expired`.
    """
    import time
    from collections import Counter

    from tidings.log.address import open_log
    from tidings.records import PROVIDER_DOWN
    from tidings.running.release import Wanted, letters
    from tidings.running.release import release as release_letters
    from tidings.settings import read_settings

    settings = read_settings(config, log)
    now = int(time.time() * 1000)
    if cause is None and not reason:
        cause = PROVIDER_DOWN
    wanted = Wanted(cause, provider, now - _duration(since) if since else 0, reason)
    channels, opened = _channels(channel, [*settings.channels]), open_log(settings.log)
    _known(wanted, letters(opened, channels), settings)
    if dry_run:
        chosen = [one for one in letters(opened, channels) if wanted.takes(one)]
        counts = Counter(str(one.priority) for one in chosen)
    else:
        counts = release_letters(opened, channels, wanted, now)
    expired = counts.pop("expired", 0)
    told = ", ".join(f"{count} {priority}" for priority, count in counts.items() if count)
    typer.echo(f"{'would release' if dry_run else 'released'} {told or 'none'}")
    if expired:
        typer.echo(f"{expired} of them had expired: their lanes say so, and send none of these")


def _channels(named: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    from tidings.problems import suggestion

    for name in named or ():
        if name not in known:
            raise Refusal(f"there is no channel `{name}`: {suggestion(name, known)}")
    return [*(named or known)]


def _known(wanted: Wanted, letters: Iterator[Letter], settings: Settings) -> None:
    """Raises Refusal for a cause, reason or provider of which nobody has heard: a slip of the pen
    selects nothing, and would say no more than that."""
    from tidings.problems import suggestion
    from tidings.records import PROVIDER_DOWN

    causes: set[str | None] = {None, PROVIDER_DOWN}
    providers, reasons = {*settings.providers, ""}, {""}
    if wanted.cause in causes and wanted.provider in providers and wanted.reason in reasons:
        return
    for letter in letters:
        causes.add(letter.dead.cause)
        providers.add(letter.dead.provider)
        reasons.add(letter.dead.reason)
    if wanted.cause is not None and wanted.cause not in causes:
        if wanted.cause in reasons:
            raise Refusal(f"`{wanted.cause}` is a reason and no cause: say --reason")
        known = suggestion(wanted.cause, sorted(filter(None, causes)))
        raise Refusal(f"no letter has the cause `{wanted.cause}`: {known}")
    if wanted.reason not in reasons:
        known = suggestion(wanted.reason, sorted(filter(None, reasons))) or "there are none"
        raise Refusal(f"no letter has the reason `{wanted.reason}`: {known}")
    if wanted.provider not in providers:
        named = sorted(filter(None, providers))
        known = suggestion(wanted.provider, named) or "no letter names one"
        raise Refusal(f"there is no provider `{wanted.provider}`: {known}")


def _duration(text: str) -> int:
    from tidings.durations import parse_duration
    from tidings.problems import ValueProblem

    try:
        return parse_duration(text)
    except ValueProblem as problem:
        raise Refusal(f"--since: {problem}; {problem.hint}") from None
