"""The topics that Tidings needs: their names, what each is to be, and how to get there.

    names(…) ──► settings(names, rules) ──► plan(existing, wanted) ──► apply(admin, changes)

What a topic is to be comes from the first rule of DEFAULTS whose pattern fits its name, with the
rules of `topics:` in `config/tidings.yaml` laid over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, NamedTuple

import msgspec

from tidings.log.port import Admin, LogError, TopicSettings
from tidings.receipts import PROVIDER_EVENTS, REPLIES
from tidings.records import Priority

DAY = 86_400_000  # ms
MIB = 1_048_576  # bytes

EVENTS = "notif_events"  # outcomes
RELEASED = "notif_dlq.released"  # which dead letters were sent once more
ALERTS = "notif_alerts"  # what the people who run this should know of
RETRY_DELAYS = ("30s", "5m", "30m")  # the rungs of the retry ladder, where a lane names no others


def entries(flow: str) -> str:
    """What the intake of ``flow`` writes and its keyed part reads."""
    return f"tidings.{flow}"


def is_entries(name: str) -> bool:
    """Whether a topic may be what a flow's keyed part reads."""
    return fnmatchcase(name, "tidings.*") and not is_state(name)


def state(flow: str) -> str:
    """The state of ``flow``'s buckets, compacted."""
    return f"tidings.{flow}.state"


def notifications(priority: Priority) -> str:
    """Ready notifications: the body of ``POST /v1/notify``, and campaigns."""
    return f"notifications.{priority}"


@cache
def deliveries(channel: str, priority: str) -> str:
    """What one lane reads."""
    return f"deliveries.{channel}.{Priority(priority)}"


def retry(channel: str, priority: Priority, delay: str) -> str:
    """Deliveries of one lane that wait for ``delay``, a rung of its ladder."""
    return f"deliveries.{channel}.{priority}.retry.{delay}"


def dead_letters(channel: str) -> str:
    """What a lane of ``channel`` could not send; with "flow" what a flow could not read."""
    return f"notif_dlq.{channel}"


def lane_topics(
    channel: str, priority: Priority, delays: Sequence[str] = RETRY_DELAYS
) -> list[str]:
    """All that one lane reads and writes, the outcomes excepted; ``delays`` are its ladder's."""
    return [
        deliveries(channel, priority),
        *(retry(channel, priority, delay) for delay in delays),
        dead_letters(channel),
        RELEASED,
        ALERTS,
    ]


def flow_topics(flow: str, *, keyed: bool) -> list[str]:
    """All that one flow writes, its deliveries excepted; ``keyed`` where it keeps state."""
    own = [entries(flow), state(flow)] if keyed else []
    return [*own, dead_letters("flow"), EVENTS]


class TopicRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings for the topics whose name fits ``pattern`` (`*` any text); None says nothing.

    A topic that takes less than a producer's batch (1 MB) would refuse a batch of small records.
    """

    pattern: str
    partitions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    replication: int | None = None
    retention_ms: int | None = None
    max_record_bytes: Annotated[int, msgspec.Meta(ge=MIB)] | None = None
    compacted: bool | None = None


def _rule(
    pattern: str, partitions: int, retention_ms: int, mib: int, *, compacted: bool = False
) -> TopicRule:
    return TopicRule(
        pattern=pattern,
        partitions=partitions,
        replication=1,
        retention_ms=retention_ms,
        max_record_bytes=mib * MIB,
        compacted=compacted,
    )


# A record that its source could hold (1 MiB) fits with what is stamped on it, hence 2 MiB.
DEFAULTS = (
    _rule("tidings.*.state", 8, -1, 8, compacted=True),
    _rule("tidings.*", 8, 7 * DAY, 2),
    _rule("deliveries.*.retry.*", 4, 7 * DAY, 2),
    _rule("deliveries.*", 8, 7 * DAY, 2),
    _rule("notifications.*", 8, 7 * DAY, 1),
    _rule(EVENTS, 8, 7 * DAY, 1),
    _rule(PROVIDER_EVENTS, 8, 7 * DAY, 1),
    _rule(REPLIES, 8, 7 * DAY, 1),
    _rule(ALERTS, 1, 30 * DAY, 1),
    _rule("notif_dlq.*", 4, 30 * DAY, 16),
)
_UPSTREAM = _rule("*", 8, 7 * DAY, 1)


def is_ours(name: str) -> bool:
    """Whether Tidings writes the topic; what upstream services write is theirs to change."""
    return any(fnmatchcase(name, rule.pattern) for rule in DEFAULTS)


def settings(names: Iterable[str], rules: Sequence[TopicRule] = ()) -> list[TopicSettings]:
    """What the topics ``names`` are to be, by name; of several rules that fit the last one wins.

    A flow's state has as many partitions as its entries, whatever the rules say.
    """
    return [_settings(name, rules) for name in sorted(set(names))]


def _settings(name: str, rules: Sequence[TopicRule]) -> TopicSettings:
    default = next((rule for rule in DEFAULTS if fnmatchcase(name, rule.pattern)), _UPSTREAM)
    merged: dict[str, object] = {}
    for rule in (default, *(rule for rule in rules if fnmatchcase(name, rule.pattern))):
        merged |= {
            field: value
            for field, value in msgspec.structs.asdict(rule).items()
            if value is not None
        }
    del merged["pattern"]
    if is_state(name):
        merged["partitions"] = _settings(name.removesuffix(".state"), rules).partitions
    return msgspec.convert({"name": name, **merged}, TopicSettings)


def is_state(name: str) -> bool:
    """Whether the topic holds a flow's state."""
    return fnmatchcase(name, "tidings.*.state")


class Step(StrEnum):
    """What is to be done about a topic."""

    CREATE = "create"
    ALTER = "alter"
    REFUSE = "refuse"


class Change(NamedTuple):
    """One step from what exists to what is wanted; ``why`` is for people."""

    step: Step
    topic: TopicSettings
    why: str


def plan(existing: Mapping[str, TopicSettings], wanted: Iterable[TopicSettings]) -> list[Change]:
    """What to do so that the topics become as wanted; nothing about those that are.

    Topics of upstream services are made where they are missing, and else left alone. Replication
    is Kafka's to change.
    """
    changes: list[Change] = []
    for topic in wanted:
        found = existing.get(topic.name)
        if found is None:
            changes.append(Change(Step.CREATE, topic, _describe(topic)))
        elif is_ours(topic.name):
            changes += _difference(found, topic)
    return changes


def _difference(found: TopicSettings, topic: TopicSettings) -> Iterable[Change]:
    if found.partitions != topic.partitions:
        yield Change(Step.REFUSE, topic, _partitions_stay(found, topic))
    elif found.compacted != topic.compacted:
        yield Change(
            Step.REFUSE,
            topic,
            f"it is {_kind(found)} and would become {_kind(topic)}, which loses records; "
            "delete the topic first if that is meant",
        )
    else:
        differing = [
            f"{field} {old} → {new}"
            for field, old, new in (
                ("retention_ms", found.retention_ms, topic.retention_ms),
                ("max_record_bytes", found.max_record_bytes, topic.max_record_bytes),
            )
            if old != new and not (topic.compacted and field == "retention_ms")
        ]
        if differing:
            yield Change(Step.ALTER, topic, ", ".join(differing))


def _partitions_stay(found: TopicSettings, topic: TopicSettings) -> str:
    what = f"it has {found.partitions} partitions and would have {topic.partitions}"
    if topic.name.startswith("tidings."):
        return (
            f"{what}; a flow's partitions are fixed when it is made, because the state of a "
            "recipient lives in the partition of his key and would be left behind. Set "
            f"partitions: {found.partitions} in the table of topics, or give the flow a new name"
        )
    return (
        f"{what}; the order of the records of a key would be lost while both are read. Set "
        f"partitions: {found.partitions} in the table of topics, or change the topic by Kafka's "
        "own tools while nothing writes to it"
    )


def _describe(topic: TopicSettings) -> str:
    kept = "for ever" if topic.retention_ms < 0 else f"for {topic.retention_ms / DAY:g} days"
    return (
        f"{topic.partitions} partitions x {topic.replication}, {_kind(topic)}, kept {kept}, "
        f"records up to {topic.max_record_bytes / MIB:g} MiB"
    )


def _kind(topic: TopicSettings) -> str:
    return "compacted" if topic.compacted else "not compacted"


def apply(admin: Admin, changes: Sequence[Change]) -> None:
    """Carries the changes out; raises LogError, with nothing done, where one is refused."""
    refused = [f"  {topic.name}: {why}" for step, topic, why in changes if step is Step.REFUSE]
    if refused:
        raise LogError("\n".join(["these topics can't be changed, so none was:", *refused]))
    admin.create([topic for step, topic, _ in changes if step is Step.CREATE])
    for step, topic, _ in changes:
        if step is Step.ALTER:
            admin.alter(topic)
