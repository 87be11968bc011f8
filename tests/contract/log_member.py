"""A member of a group in a process of its own, to be killed: says what it reads, line by line.

    python log_member.py ADDRESS GROUP TOPIC COMMIT_BELOW [INSTANCE]

It commits the positions that it has read below the offset COMMIT_BELOW, and then reads on.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from tidings.log.address import open_log
from tidings.log.port import Position, Slot


class Speaker:
    def assigned(self, positions: Mapping[Slot, Position | None]) -> Mapping[Slot, int]:
        say(f"assigned {len(positions)}")
        return {}

    def revoked(self, slots: Sequence[Slot]) -> None:
        say(f"revoked {len(slots)}")

    def lost(self, slots: Sequence[Slot]) -> None:
        say(f"lost {len(slots)}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(address: str, group: str, topic: str, commit_below: str, instance: str = "") -> None:
    consumer = open_log(address, instance=instance).consumer(group)
    consumer.subscribe([topic], Speaker())
    while True:
        for record in consumer.poll(1, 0.5):
            if record.offset < int(commit_below):
                slot = Slot(record.topic, record.partition)
                consumer.commit({slot: Position(record.offset + 1, "noted")}, wait=True)
            say(f"read {record.partition} {record.offset}")


if __name__ == "__main__":
    main(*sys.argv[1:])
