"""The end of a demo in numbers: as JSON, and as words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from tidings.demo.account import Account
from tidings.demo.scene import quantile
from tidings.records import Kind, Outcome, Priority


class Latency(msgspec.Struct, kw_only=True):
    """Milliseconds from the event's append (of a digest: from its close) to the provider's yes."""

    count: int
    p50: int | None
    p99: int | None


class Summary(msgspec.Struct, kw_only=True):
    """All of it. ``outcomes`` are by kind and then by channel; a decision has none: ``-``.

    ``pending`` and ``lost`` count events (for each recipient) and deliveries without an answer,
    ``repeated`` sends that the provider accepted twice.
    """

    seconds: float
    first_notification_s: float | None
    events: int
    notifications: int
    digests: int
    digested_events: int
    outcomes: Mapping[str, Mapping[str, int]]
    held: Mapping[str, int]
    dead_letters: Mapping[str, int]
    latency_ms: Mapping[str, Latency]
    restarts: int
    pending: int
    lost: int
    repeated: int


def summarise(
    account: Account,
    *,
    appended: Mapping[str, int],
    windowed: Collection[str],
    accepted: Sequence[str],
    balance: tuple[int, int],
    seconds: float,
    first: float | None,
    restarts: int,
) -> Summary:
    """``appended`` gives an event's append time (epoch ms) by its id, ``windowed`` the flows that
    gather, ``accepted`` the send ids that the provider took, in order."""
    decisions, ends = account.decisions.values(), account.ended.values()
    queued = [outcome for outcome in decisions if outcome.kind == Kind.QUEUED]
    digests = {each.notif_id: each for each in queued if len(each.members) > 1}
    outcomes: dict[str, Counter[str]] = {}
    for outcome in (*(each for each in decisions if each.kind != Kind.QUEUED), *ends):
        outcomes.setdefault(outcome.kind, Counter())[outcome.channel or "-"] += 1
    held = Counter(each.reason for each in decisions if each.kind == Kind.SUPPRESSED)
    pending, lost = balance
    return Summary(
        seconds=round(seconds, 1),
        first_notification_s=None if first is None else round(first, 2),
        events=account.events,
        notifications=len({outcome.notif_id for outcome in queued}),
        digests=len(digests),
        digested_events=sum(len(each.members) for each in digests.values()),
        outcomes=outcomes,
        held=held,
        dead_letters=account.letters,
        latency_ms=_latencies(queued, ends, appended, windowed),
        restarts=restarts,
        pending=pending,
        lost=lost,
        repeated=len(accepted) - len(set(accepted)),
    )


def _latencies(
    queued: Iterable[Outcome],
    ends: Iterable[Outcome],
    appended: Mapping[str, int],
    windowed: Collection[str],
) -> dict[str, Latency]:
    began: dict[str, int] = {}
    for outcome in queued:
        event = "" if outcome.flow in windowed else outcome.members[0]
        began[outcome.notif_id] = appended.get(event, outcome.at)
    found: dict[str, list[int]] = {str(priority): [] for priority in Priority}
    for end in ends:
        if end.kind == Kind.SENT and end.notif_id in began:
            found[end.priority].append(end.at - began[end.notif_id])
    return {
        priority: Latency(count=len(values), p50=quantile(values, 0.5), p99=quantile(values, 0.99))
        for priority, values in found.items()
        if values
    }


def in_words(summary: Summary) -> str:
    """The summary for people."""
    sent = sum(summary.outcomes.get(Kind.SENT, {}).values())
    lines = [
        f"{summary.events} events in {summary.seconds:g} s became {summary.notifications} "
        f"notifications; {sent} deliveries were sent",
        f"{summary.digests} digests stand for {summary.digested_events} events",
    ]
    if summary.held:
        held = ", ".join(f"{reason} {count}" for reason, count in sorted(summary.held.items()))
        lines.append(f"people were spared {sum(summary.held.values())}: {held}")
    for priority, latency in summary.latency_ms.items():
        lines.append(
            f"{priority}: {latency.count} sent, p50 {latency.p50} ms, p99 {latency.p99} ms"
        )
    if summary.dead_letters:
        letters = ", ".join(f"{why} {count}" for why, count in summary.dead_letters.items())
        lines.append(f"dead letters: {letters}")
    lines.append(f"pending {summary.pending}, lost {summary.lost}, repeated {summary.repeated}")
    return "\n".join(lines)
