"""``tidings emit``: events into a topic, as an upstream service writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.options import Config, LogAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tidings.log.port import Ack, Producer

_BATCH = 500
_CONFIRM_FOR = 30.0  # seconds
_SHOWN = 20  # bad lines that are named


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("emit")(emit)


def emit(
    topic: Annotated[str, typer.Argument(help="The topic to append to.")],
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON lines; stdin if not given.", show_default=False),
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="FIELD", help="The field whose value is the record's key.")
    ] = "recipient_id",
    config: Config = None,
    log: LogAddress = None,
) -> None:
    """Append JSON lines to a topic.

    It waits until the log has confirmed them. A line that is no JSON object is named and left out,
    the others are sent; the exit code is 1 then. A line without the key field is sent without a
    key.
    """
    import sys
    from contextlib import closing, nullcontext

    from tidings.log.address import open_log
    from tidings.settings import read_settings

    producer = open_log(read_settings(config, log).log).producer()
    name = str(file) if file else "stdin"
    with closing(producer), file.open("rb") if file else nullcontext(sys.stdin.buffer) as lines:
        emission = Emission(producer, topic, key)
        emission.write(lines)
    for number, why in emission.bad[:_SHOWN]:
        place = f"{name}:{number}: " if number else ""
        typer.echo(f"{place}{why}", err=True)
    if len(emission.bad) > _SHOWN:
        typer.echo(f"and {len(emission.bad) - _SHOWN} more", err=True)
    typer.echo(f"{emission.confirmed} confirmed in {topic}")
    if emission.bad:
        raise typer.Exit(1)


class Emission:
    """Lines on their way into a topic: how many the log has confirmed, and which it won't have."""

    def __init__(self, producer: Producer, topic: str, key: str) -> None:
        self.confirmed = 0
        self.bad: list[tuple[int, str]] = []
        self._producer = producer
        self._topic = topic
        self._key = key

    def write(self, lines: Iterable[bytes]) -> None:
        """Append all; returns when each is confirmed or bad."""
        from tidings.log.port import Append

        for number, key, value in self._good(lines):
            self._producer.append([Append(self._topic, key, value)], self._ack(number))
            if number % _BATCH == 0:
                self._producer.poll()
        if not self._producer.flush(_CONFIRM_FOR):
            why = "does it run, and can it be reached from here?"
            self.bad.append((0, f"the log has not confirmed all within {_CONFIRM_FOR:g} s: {why}"))
        self.bad.sort()

    def _ack(self, number: int) -> Ack:
        def acked(error: object | None, receipt: object = None) -> None:
            if error is None:
                self.confirmed += 1
            else:
                self.bad.append((number, str(error)))

        return acked

    def _good(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes | None, bytes]]:
        import msgspec

        from tidings.records import UNDECODABLE

        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text:
                continue
            try:
                event = msgspec.json.decode(text)
            except UNDECODABLE as error:
                self.bad.append((number, f"not JSON: {error}"))
                continue
            if not isinstance(event, dict):
                self.bad.append((number, f"an event is a JSON object, this is {_kind(event)}"))
                continue
            key = event.get(self._key)
            usable = isinstance(key, str | int) and not isinstance(key, bool)
            yield number, str(key).encode() if usable else None, text


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the text {value!r}"
    return "null" if value is None else f"{value!r}"
