"""A recorded log through two versions of a flow, in virtual time: what would have been different.

Both versions read the same records at the times at which they were appended, in one pass, so that
a long log goes through a small memory; where they differ behind the cut alone, one intake serves
both. Nobody is sent anything: what is counted is what the flows decide. People and suppressions are
those of now; claims and caps begin empty, for both alike. What waits for its deliveries hears what
the log tells of them, as far as it does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tidings.driver.aftermath import Aftermath
from tidings.driver.decided import AT_ONCE
from tidings.driver.tally import Costs, Difference, Tally, costs_of, difference
from tidings.driver.version import Versions, awaited
from tidings.log.port import Record
from tidings.plan import FlowPlan
from tidings.ports import Io
from tidings.records import UNDECODABLE
from tidings.settings import Settings


class LogLineError(Exception):
    """A line of a recorded log can't be used; the message names it."""


class Comparison(msgspec.Struct, frozen=True):
    """The outcome: how many records were read, what each version decided, who differs.

    ``costs`` are those of before and after, by channel and category in millionths of the account's
    currency; None where nobody has said what a channel costs.
    """

    records: int
    before: Tally
    after: Tally
    difference: Difference
    costs: tuple[Costs, Costs] | None = None


def backtest(
    before: FlowPlan,
    after: FlowPlan,
    records: Iterable[Record],
    settings: Settings,
    io: Io,
    *,
    outcomes: Iterable[Record] = (),
    samples: int = 10,
    progress: Callable[[int], None] = lambda count: None,
) -> Comparison:
    """Replay ``records``, in order of time, through both versions.

    ``outcomes`` are those of the log, in order of time; they are read if something waits for them.
    ``progress`` is told how many more were read. The same input gives the same outcome.
    """
    rest = iter(records)
    part = list(islice(rest, AT_ONCE))
    start, count = part[0].time if part else 0, 0
    aftermath = Aftermath(awaited(before) | awaited(after))
    if awaited(before) or awaited(after):
        aftermath.take(outcomes)
    versions = Versions((before, after), settings, io, start, aftermath)
    while part:
        versions.feed(part)
        count += len(part)
        progress(len(part))
        part = list(islice(rest, AT_ONCE))
    old, new = versions.end()
    prices = settings.costs
    costs = (costs_of(old, prices), costs_of(new, prices)) if prices else None
    return Comparison(count, old, new, difference(old, new, samples), costs)


# ── A recorded log ────────────────────────────────────────────────────────────────────────────


class _Line(msgspec.Struct):
    """A record as ``tidings tail --json --show-all`` prints it."""

    time: int
    value: msgspec.Raw
    topic: str = ""
    partition: int = 0
    offset: int = -1
    key: str | None = None


def recorded(file: Path, topics: Collection[str], nameless: str) -> Iterator[Record]:
    """The records of ``topics`` in a file of JSON lines, as ``tidings tail --json --show-all``
    prints them; lines that name no topic are of ``nameless``.

    Raises LogLineError for a line that is no record, and for one that is older than the one before
    it.
    """
    decode, last = msgspec.json.Decoder(_Line).decode, 0
    with file.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                line = decode(text)
            except UNDECODABLE as error:
                raise LogLineError(
                    f"{file}:{number}: no record: {error}; write it as tidings tail --json "
                    "--show-all does"
                ) from None
            if line.time < last:
                raise LogLineError(
                    f"{file}:{number}: older than the line before it: sort the lines by `time`"
                )
            last = line.time
            topic = line.topic or nameless
            if topic in topics:
                key = None if line.key is None else line.key.encode()
                place = number if line.offset < 0 else line.offset
                yield Record(topic, line.partition, place, last, key, _bytes(line.value))


def _bytes(value: msgspec.Raw) -> bytes | None:
    """A record's value: JSON as it stands, a text without its quotes, nothing for null."""
    raw = bytes(value)
    if raw == b"null":
        return None
    return msgspec.json.decode(raw, type=str).encode() if raw[:1] == b'"' else raw


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The outcome as JSON values; costs are in millionths of the account's currency."""
    before, after = comparison.costs or (None, None)
    return {
        "records": comparison.records,
        "before": _tally(comparison.before, before),
        "after": _tally(comparison.after, after),
        "difference": _cost_of_change(before, after)
        | msgspec.to_builtins(comparison.difference._replace(samples=())._asdict())
        | {
            "samples": [
                {
                    "tenant": one.tenant,
                    "recipient_id": one.recipient_id,
                    "changes": [
                        {
                            "event": change.event,
                            "before": change.before and change.before._asdict(),
                            "after": change.after and change.after._asdict(),
                        }
                        for change in one.changes
                    ],
                }
                for one in comparison.difference.samples
            ]
        },
    }


def _cost_of_change(before: Costs | None, after: Costs | None) -> dict[str, int]:
    if before is None or after is None:
        return {}
    return {"cost": sum(after.values()) - sum(before.values())}


def _tally(tally: Tally, costs: Costs | None) -> dict[str, Any]:
    delivered: list[dict[str, Any]] = []
    for key, count in sorted(tally.delivered.items()):
        channel, category = key
        delivered.append({"channel": channel, "category": category, "count": count})
        if costs is not None:
            delivered[-1]["cost"] = costs[key]
    return {
        "delivered": delivered,
        **({} if costs is None else {"cost": sum(costs.values())}),
        "dropped": [
            {"step": step, "reason": reason, "count": count}
            for (step, reason), count in sorted(tally.dropped.items())
        ],
        "dead": tally.dead,
        "waited_for": {"recorded": tally.recorded, "assumed": tally.assumed},
    }
