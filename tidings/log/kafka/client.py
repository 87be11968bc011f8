"""What all Kafka clients share: settings, librdkafka's log as ours, its errors in our words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cache
from operator import methodcaller
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tidings.log.port import Headers, LogError, Record, Slot, Span

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Settings = Mapping[str, str]

INSTANCE = "group.instance.id"  # the setting by which a member keeps its place in the group
REPLACED = "another process runs under the same instance name; give each one of its own"
_AWAY = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
    }
)
PATIENCE = 30.0  # seconds that a broker may be away before a question to it is an error
ANSWER = 5.0  # seconds for one answer
_UUID = 37  # characters, with the dash before it
_RETRY = 0.05  # seconds between two tries
_QUIET = 10.0  # seconds in which a kind of librdkafka's messages is logged once

# Waiting does not help against these; whatever else fails may pass.
_FINAL = frozenset(
    {
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_ASSIGNOR,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._AUTHENTICATION,
        KafkaError._FATAL,
        KafkaError._INVALID_ARG,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
# The group has moved on without this member. ILLEGAL_GENERATION and its like are not among them:
# they pass as soon as librdkafka has joined again in the background.
FENCED = frozenset(
    {
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._ASSIGNMENT_LOST,
    }
)
_OF_CONSUMERS = ("fetch.", "group.", "heartbeat.", "max.poll.", "queued.", "session.")
_OF_PRODUCERS = ("batch.", "compression.", "linger.", "queue.buffering.")


def consumers(settings: Settings) -> dict[str, Any]:
    """Those of an address's settings that a consumer knows."""
    return {name: value for name, value in settings.items() if not name.startswith(_OF_PRODUCERS)}


def producers(settings: Settings) -> dict[str, Any]:
    """Those of an address's settings that a producer or an admin client knows."""
    return {name: value for name, value in settings.items() if not name.startswith(_OF_CONSUMERS)}


def common(brokers: str) -> dict[str, Any]:
    """What every client gets.

    Left alone librdkafka waits up to 10 s between two tries to connect to a broker that is back.
    """
    return {
        "bootstrap.servers": brokers,
        "client.id": "tidings",
        "reconnect.backoff.max.ms": 1_000,
        "enable.metrics.push": False,
    }


def member_settings(brokers: str, group: str, settings: Settings) -> dict[str, Any]:
    """librdkafka's settings for a member of ``group``; those of the address win where that is safe.

    In the protocol `consumer` the session and the way of assigning are the broker's to say.
    """
    merged = {
        **common(brokers),
        "fetch.queue.backoff.ms": 2,  # the default of 1 s caps reading at 30,000 records/s
        "fetch.wait.max.ms": 100,  # a seek or a new partition waits for the fetch on the road
        "fetch.error.backoff.ms": 100,
        # What is read ahead: with the defaults 60 MB of a process with a backlog before it.
        "queued.max.messages.kbytes": 2_048,
        "fetch.max.bytes": 2_097_152,
        "allow.auto.create.topics": False,
        "session.timeout.ms": "6000",
        **consumers(settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
    }
    if merged.get("group.protocol") == "consumer":
        del merged["session.timeout.ms"]
        return merged
    return {
        "heartbeat.interval.ms": int(merged["session.timeout.ms"]) // 6,
        **merged,
        "partition.assignment.strategy": "cooperative-sticky",
    }


def is_final(error: KafkaError) -> bool:
    """Whether the error stays however long one waits."""
    return bool(error.fatal()) or error.code() in _FINAL


def is_fenced(error: KafkaError) -> bool:
    """Whether the broker takes this process for one that another of its name has replaced.

    A fatal error has lost the code of its cause.
    """
    return is_final(error) and INSTANCE in error.str()


def told(error: KafkaError) -> str:
    """The error for people, with the likely fix where there is one."""
    words = f"{error.str()} ({error.name()})"
    if is_fenced(error):
        words += f": {REPLACED}"
    elif error.code() in _AWAY:
        words += ": does a broker run there, and can it be reached from here?"
    return words


def ask(question: Callable[[], Answer], what: str, at_once: Container[int] = frozenset()) -> Answer:
    """Asks a broker again and again until it answers.

    Raises LogError where it does not within PATIENCE, or at once for the error codes ``at_once``.
    """
    deadline, waits = time.monotonic() + PATIENCE, False
    while True:
        try:
            return question()
        except KafkaException as raised:
            error = raised.args[0]
            if is_final(error) or error.code() in at_once or time.monotonic() > deadline:
                raise LogError(f"{what}: Kafka says {told(error)}") from raised
            if error.code() in _AWAY and not waits:
                waits = True
                _log.warning("%s: nobody answers yet; asked for %.0f s", what, PATIENCE)
        time.sleep(_RETRY)


def holder_of(name: str, brokers: str, group: str, settings: Settings) -> str:
    """The id of the member that has this instance name in the group; "" for nobody, and where the
    broker does not say.

    Not by `describe_consumer_groups`: where its time is over librdkafka fails an assertion, and
    ends the process.
    """
    client = AdminClient({**common(brokers), **producers(settings)}, logger=librdkafka_log())
    try:
        groups = client.list_groups(group, timeout=ANSWER)
    except KafkaException as error:
        _log.warning("%s: it can't be told who is %s: %s", group, name, error)
        return ""
    # A broker calls a named member by its name, a dash and a UUID.
    members = [member.id or "" for one in groups for member in one.members]
    return next((member for member in members if member[:-_UUID] == name), "")


def raise_first_error(partitions: Iterable[TopicPartition]) -> None:
    """Raises KafkaException for the first partition that an answer marks as failed."""
    for partition in partitions:
        if partition.error is not None:
            raise KafkaException(partition.error)


def span_of(client: Consumer, slot: Slot) -> Span:
    """What a partition holds now; asks its leader, about 1 ms."""

    def question() -> tuple[int, int]:
        try:
            found = client.get_watermark_offsets(TopicPartition(*slot), timeout=ANSWER)
        except KafkaException as raised:
            if raised.args[0].code() == KafkaError._UNKNOWN_PARTITION:
                # What the client knows of the topic is older than the partition: ask anew.
                client.list_topics(slot.topic, timeout=ANSWER)
            raise
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return found

    return Span(*ask(question, f"{slot.topic}[{slot.partition}] can't be looked at"))


def records_of(messages: Sequence[Any]) -> list[Record]:
    """The records among librdkafka's ``messages``: events and errors are left out."""
    return [
        Record(
            message.topic(),
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
            _headers(message),
        )
        for message in messages
        if message.error() is None
    ]


# Header names are bytes on the wire. Where one is no UTF-8 the client returns a list with a hole in
# it *and* sets an exception: a call written out does not look at that once CPython has specialised
# it, and what touches the list may end the process. Through a callable it is a SystemError always.
_all_headers = methodcaller("headers")


def _headers(message: Any) -> Headers:
    try:
        headers = _all_headers(message)
    except SystemError:
        place = message.topic(), message.partition(), message.offset()
        librdkafka_log().warning("%s:%s:%s: read without headers: a name is no UTF-8", *place)
        return ()
    return tuple((name, value or b"") for name, value in headers) if headers else ()


def slot_of(partition: TopicPartition) -> Slot:
    """The slot that librdkafka's partition stands for."""
    return Slot(partition.topic, partition.partition)


@cache
def librdkafka_log() -> logging.Logger:
    """Where librdkafka logs: ``tidings.kafka``, each kind of message once in 10 s.

    While a broker is away librdkafka logs each refused connection.
    """
    logger = logging.getLogger("tidings.kafka")
    logger.addFilter(_Calm(time.monotonic))
    return logger


class _Calm(logging.Filter):
    """Passes one record of a kind in a while, and says how many it held back before."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._passed: dict[object, float] = {}
        self._held: dict[object, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.args[0] if isinstance(record.args, tuple) and record.args else record.msg
        now = self._clock()
        if now - self._passed.get(kind, -_QUIET) < _QUIET:
            self._held[kind] = self._held.get(kind, 0) + 1
            return False
        self._passed[kind] = now
        held = self._held.pop(kind, 0)
        if held:
            record.msg = f"{record.getMessage()} (and {held} more like it)"
            record.args = ()
        return True
