"""A task's people: their state in use and at rest, and their deadlines in order.

A person is decoded for an entry or a deadline, and packed again at once, while all of it is still
in the processor's cache: to keep many decoded and pack them later costs twice as much. A number of
them is kept nevertheless, so that a flow of few people packs only what it saves: who comes while
there is room stays until nothing was heard of him from one save of his bucket to the next, or until
his last deadline if the room is wanted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from heapq import heapify, heappush

from xxhash import xxh3_64_intdigest

from tidings.runtime.chain import Chain
from tidings.runtime.state import HORIZON, Bucket, Cell, pack_slots

HOT = 40_000  # people of a process kept decoded, some 2 KB each; `most_hot` is a task's share

act_at_of: Callable[[bytes], tuple[int]] = struct.Struct(">Q").unpack_from


class People:
    """The people of one partition. ``heap`` has (deadline, key), also of deadlines that are gone;
    ``hot`` is how many are kept decoded."""

    def __init__(self, buckets: Sequence[Bucket], chain: Chain) -> None:
        self.buckets = buckets
        self.heap = [
            (act_at, key)
            for bucket in buckets
            for key, state in bucket.states.items()
            if (act_at := act_at_of(state)[0])
        ]
        heapify(self.heap)
        self.most_hot = HOT
        self.hot = 0
        self._chain = chain

    def deadline(self) -> int:
        """The next instant of log time at which something may be due, 0 for none."""
        return self.heap[0][0] if self.heap else 0

    def holds(self) -> bool:
        """True when the next deadline is not gone."""
        at, key = self.heap[0]
        bucket = self.buckets[xxh3_64_intdigest(key) % len(self.buckets)]
        cell = bucket.hot.get(key)
        if cell is not None:
            return cell.act_at == at
        state = bucket.states.get(key)
        return state is not None and act_at_of(state)[0] == at

    def rest(self, bucket: Bucket, key: bytes, cell: Cell) -> None:
        """Pack a person's state, and forget one of whom there is none."""
        cell.changed = False
        slots, act_at, forget_at = cell.slots, cell.act_at, 0
        if not act_at:  # who has a deadline is looked at again then
            act_at, forget_at = self._chain.horizon(slots)
            if act_at:
                cell.act_at = act_at
                heappush(self.heap, (act_at, key))
            elif not forget_at and all(slot is None for slot in slots):
                bucket.states.pop(key, None)
                return
        bucket.states[key] = HORIZON.pack(act_at, forget_at) + pack_slots(slots)

    def cool(self, bucket: Bucket, key: bytes) -> None:
        """Keep a person decoded no longer; what has changed is at rest already."""
        if bucket.hot.pop(key, None) is not None:
            self.hot -= 1

    def settle(self, bucket: Bucket, now: int) -> None:
        """Put to rest what has changed since the last time, and let the others go: out of what is
        kept decoded, and at their time out of the state."""
        for key, cell in list(bucket.hot.items()):
            if cell.changed:
                self.rest(bucket, key, cell)
            else:
                self.cool(bucket, key)
        forgotten = [
            key for key, state in bucket.states.items() if 0 < HORIZON.unpack_from(state)[1] <= now
        ]
        for key in forgotten:
            del bucket.states[key]
            self.cool(bucket, key)
