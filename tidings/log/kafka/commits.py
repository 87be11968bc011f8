"""A group's positions in Kafka: saved, saved again where a rebalance came between, read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence, Set

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tidings.log.kafka.client import ANSWER, FENCED, ask, raise_first_error, slot_of
from tidings.log.port import METADATA_LIMIT, LogError, Position, Slot

_RETRY = 0.05  # seconds between two tries
_log = logging.getLogger(__name__)


class Commits:
    """Saves positions of the partitions in ``held``, which its owner keeps up to date.

    Kafka takes a position from any member of the group; so that nobody moves another's, only what
    is held is saved.
    """

    def __init__(self, client: Client, group: str, held: Set[Slot]) -> None:
        self._client = client
        self._group = group
        self._held = held
        self._latest: dict[Slot, Position] = {}  # the last position asked to be saved
        self._unsaved: set[Slot] = set()  # of these saving failed
        self._again = 0.0  # when to try it again, monotonic

    def save(self, positions: Mapping[Slot, Position], *, wait: bool) -> None:
        """Saves positions; see the port.

        With ``wait`` a rebalance is waited for, up to 30 s: librdkafka joins in the background.
        """
        held = {slot: position for slot, position in positions.items() if slot in self._held}
        if wait and len(held) < len(positions):
            others = ", ".join(f"{s.topic}[{s.partition}]" for s in positions if s not in held)
            raise LogError(f"{self._group}'s position was not saved: {others} is not held here")
        for slot, position in held.items():
            if len(position.metadata.encode()) > METADATA_LIMIT:
                raise LogError(f"the metadata of {slot} is longer than {METADATA_LIMIT} bytes")
        if not held:
            return
        self._latest.update(held)
        self._unsaved.difference_update(held)
        partitions = [TopicPartition(*slot, *position) for slot, position in held.items()]
        if wait:
            self._save_and_wait(partitions)
        else:
            self._save(partitions)

    def _save_and_wait(self, partitions: list[TopicPartition]) -> None:
        def question() -> None:
            raise_first_error(self._client.commit(offsets=partitions, asynchronous=False))

        ask(question, f"{self._group}'s position was not saved", FENCED)

    def _save(self, partitions: list[TopicPartition]) -> None:
        try:
            self._client.commit(offsets=partitions, asynchronous=True)
        except KafkaException as error:
            self.answered(error.args[0], partitions)

    def answered(self, failed: KafkaError | None, partitions: Iterable[TopicPartition]) -> None:
        """Librdkafka's word on a commit that nobody waited for."""
        for partition in partitions:
            error = failed or partition.error
            slot = slot_of(partition)
            if error is not None and slot in self._held:
                _log.debug("the position of %s was not saved, again soon: %s", slot, error)
                self._unsaved.add(slot)
                self._again = time.monotonic() + _RETRY

    def retry(self) -> None:
        """Saves again what failed a moment ago."""
        if self._unsaved and time.monotonic() >= self._again:
            unsaved = [TopicPartition(*slot, *self._latest[slot]) for slot in self._unsaved]
            self._unsaved.clear()
            self._save(unsaved)

    def drop(self, slots: Iterable[Slot]) -> None:
        """Saves nothing more of ``slots``."""
        for slot in slots:
            self._latest.pop(slot, None)
            self._unsaved.discard(slot)

    def saved(self, slots: Sequence[Slot]) -> dict[Slot, Position | None]:
        """The group's positions; tried again where the group is new and has no coordinator yet."""

        def question() -> list[TopicPartition]:
            found = self._client.committed([TopicPartition(*slot) for slot in slots], ANSWER)
            raise_first_error(found)
            return found

        answer = ask(question, f"{self._group}'s positions can't be read")
        return {slot_of(found): _position(found) for found in answer}


def _position(found: TopicPartition) -> Position | None:
    return Position(found.offset, found.metadata or "") if found.offset >= 0 else None
