"""``tidings tail``: what a topic holds, and what comes to it, for the eye or for a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config, LogAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidings.log.port import Admin, Reader, Record, Slot

_LOOK = 0.1  # seconds between two looks for what is new


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tail")(tail)


def tail(
    topic: Annotated[str, typer.Argument(help="The topic to read.")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="earliest|latest|OFFSET",
            help="Where to begin, in each partition. By default earliest, with --follow latest.",
            show_default=False,
        ),
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per record.")] = False,
    show_all: Annotated[
        bool, typer.Option("--show-all", help="Addresses and codes too, which are hidden else.")
    ] = False,
    config: Config = None,
    log: LogAddress = None,
) -> None:
    """Print the records of a topic.

    Addresses, codes and secrets are hidden. It reads outside any group: nobody's position moves.
    """
    import time
    from contextlib import closing, suppress

    from tidings.following import Follower, merged
    from tidings.log.address import open_log
    from tidings.log.port import Slot
    from tidings.settings import read_settings

    opened = open_log(read_settings(config, log).log)
    with closing(opened.admin()) as admin:
        slots = _slots(admin, topic)
    write = _as_json if as_json else _for_the_eye()
    with closing(opened.reader()) as reader, suppress(KeyboardInterrupt, BrokenPipeError):
        starts = _starts(reader, slots, start or ("latest" if follow else "earliest"))
        for record in merged(opened, starts):
            write(shown(record, show_all=show_all))
            starts[Slot(record.topic, record.partition)] = record.offset + 1
        follower = Follower(reader, starts)
        while follow:
            found = follower.poll()
            for record in found:
                write(shown(record, show_all=show_all))
            if not found:
                time.sleep(_LOOK)


def _slots(admin: Admin, topic: str) -> list[Slot]:
    from tidings.following import slots_of
    from tidings.problems import suggestion

    slots = slots_of(admin, [topic])
    if not slots:
        hint = suggestion(topic, admin.topics())
        raise Refusal(
            f"there is no topic {topic}: "
            + (hint or "`tidings topics apply --sources` makes those of the flows")
        )
    return slots


def _starts(reader: Reader, slots: list[Slot], start: str) -> dict[Slot, int]:
    if start == "earliest":
        return {slot: reader.span(slot).first for slot in slots}
    if start == "latest":
        return {slot: reader.span(slot).end for slot in slots}
    if not start.isdigit():
        raise Refusal(f"--from takes earliest, latest or an offset, not {start!r}")
    return {slot: max(int(start), reader.span(slot).first) for slot in slots}


def shown(record: Record, *, show_all: bool) -> dict[str, Any]:
    """A record as JSON values; its value decoded where it is JSON, else as text."""
    import msgspec

    from tidings.records import UNDECODABLE
    from tidings.redaction import redacted, text_redacted
    from tidings.topics import ALERTS, EVENTS

    value: Any = None
    if record.value is not None:
        try:
            value = msgspec.json.decode(record.value)
        except UNDECODABLE:
            value = record.value.decode(errors="backslashreplace")
    key = None if record.key is None else record.key.decode(errors="backslashreplace")
    headers = {name: content.decode(errors="backslashreplace") for name, content in record.headers}
    if not show_all:
        if record.topic in (EVENTS, ALERTS) and isinstance(value, dict):
            # They name addresses by their hash or not at all; their `code` is the provider's word.
            open_fields = {name: value[name] for name in ("address", "code") if name in value}
            value = {**redacted(value), **open_fields}
        else:
            value = redacted(value)
        key = key and text_redacted(key)
        headers = redacted(headers)
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": record.time,
        "key": key,
        "headers": headers,
        "value": value,
    }


def _as_json(line: dict[str, Any]) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(line))


def _clock(time: int) -> str:
    """Epoch ms as a time of day; as the number where no calendar has it: upstreams may set it."""
    from datetime import UTC, datetime

    try:
        at = datetime.fromtimestamp(time / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(time)
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def _for_the_eye() -> Callable[[dict[str, Any]], None]:
    import msgspec
    from rich.console import Console
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    colour = JSONHighlighter()

    def write(line: dict[str, Any]) -> None:
        head = Text(_clock(line["time"]), style="dim")
        head.append(f"  {line['topic']}:{line['partition']}:{line['offset']}", style="cyan")
        if line["key"] is not None:
            head.append(f"  {line['key']}", style="bold")
        console.print(head)
        for name, content in line["headers"].items():
            console.print(Text(f"  {name}: {content}", style="dim"))
        value = line["value"]
        text = Text("  ∅" if value is None else f"  {msgspec.json.encode(value).decode()}")
        colour.highlight(text)
        console.print(text)

    return write
