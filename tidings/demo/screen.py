"""The scene, drawn by rich: phones, mailboxes and handsets above, what Tidings did below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tidings.demo.scene import Arrival, Scene

WIDE = 100  # columns in which a table of processes can be read beside the rest
_PACES = 32  # columns that a pace needs
_HEADINGS = {"push": "Phones", "email": "Mailboxes", "sms": "Handsets"}
_COLOURS = {"high": "red", "normal": "cyan", "low": "blue"}


def screen(
    scene: Scene,
    *,
    state: str,
    seconds: float,
    events: int,
    rate: float,
    now: int,
    processes: Table,
    columns: int = WIDE,
) -> Layout:
    """One picture. ``now`` in epoch ms, ``rate`` in events a second; of less than WIDE columns it
    leaves out the processes."""
    layout = Layout()
    layout.split_column(
        Layout(name="head", size=1), Layout(name="people", ratio=3), Layout(name="machine", ratio=2)
    )
    sent = sum(scene.got.values())
    head = Text.assemble(
        ("Tidings", "bold"),
        f"  {state}  {seconds:.0f} s   Ctrl-C stops   {events} events in ({rate:.0f}/s)   "
        f"{sent} messages out",
    )
    layout["head"].update(head)
    layout["people"].split_row(
        *(Layout(_place(scene, channel), name=channel) for channel in _HEADINGS)
    )
    paces = Layout(_paces(scene, now))
    machine = [Layout(_digests(scene)), Layout(_held(scene)), paces]
    if columns < WIDE:
        paces.minimum_size = _PACES
    else:
        machine.append(Layout(Panel(processes, title="Processes", title_align="left"), ratio=2))
    layout["machine"].split_row(*machine)
    return layout


def _place(scene: Scene, channel: str) -> Panel:
    text = Text(overflow="ellipsis", no_wrap=True)
    for arrival in reversed(scene.places[channel]):
        text.append(f"{arrival.who}\n", "bold")
        if arrival.title:
            text.append(f"  {arrival.title}\n")
        text.append(f"  {arrival.body}\n", "dim" if arrival.title else "")
    return _panel(text, f"{_HEADINGS[channel]}  {scene.got[channel]}")


def _digests(scene: Scene) -> Panel:
    lines = [f"{each.who}: {each.events} events, one message" for each in reversed(scene.digests)]
    return _panel(_lines(lines), f"Digests  {scene.gathered} → {scene.formed}")


def _held(scene: Scene) -> Panel:
    lines = [f"{each.who}  {each.flow}: {each.why}" for each in reversed(scene.held)]
    return _panel(_lines(lines), f"Held  {sum(scene.reasons.values())}")


def _paces(scene: Scene, now: int) -> Panel:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for heading in ("/s", "p50", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for priority, colour in _COLOURS.items():
        if priority in scene.paces:
            rate, middle, most = scene.paces[priority].recent(now)
            table.add_row(Text(priority, colour), f"{rate:.1f}", _ms(middle), _ms(most))
    return Panel(table, title="To the provider's yes", title_align="left")


def line_of(channel: str, arrival: Arrival) -> str:
    """An arrival as one line, for where there is no terminal."""
    words = " / ".join(filter(None, (arrival.title, arrival.body)))
    return f"{channel:<5}  {arrival.who:<18}  {words}"


def _lines(lines: Sequence[str]) -> Text:
    return Text("\n".join(lines), overflow="ellipsis", no_wrap=True)


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(content, title=title.rstrip(), title_align="left")


def _ms(value: int | None) -> str:
    if value is None:
        return ""
    return f"{value} ms" if value < 1_000 else f"{value / 1_000:.1f} s"
