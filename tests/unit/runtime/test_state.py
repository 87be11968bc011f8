"""State in the log: what was saved is restored, and the position record raises what it may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.paper_log import PaperLog
from tidings.log.port import Append, Slot
from tidings.runtime import state
from tidings.runtime.flight import Label
from tidings.runtime.state import (
    HORIZON,
    Bucket,
    Saved,
    Slots,
    StateError,
    StateStore,
    pack_slots,
)

HOME = Slot("tidings.social.state", 0)
STEPS = ("social.digest", "social.limit")


class Shelf:
    """A state topic, and one bucket or more that are saved to it."""

    def __init__(self, steps: tuple[str, ...] = STEPS, log: PaperLog | None = None) -> None:
        self.log = log or PaperLog(lambda: 0, {HOME.topic: 1})
        self.producer = self.log.producer()
        self.store = StateStore(HOME, steps, self.producer)

    def save(self, number: int, bucket: Bucket, offset: int) -> Saved:
        """Encoded and written, true at ``offset``."""
        saved = self.store.save(number, bucket, Label(offset, offset * 10))
        self.write(saved)
        return saved

    def write(self, saved: Saved) -> None:
        self.store.write(saved)
        self.producer.poll()

    def mark(self, buckets: list[Bucket], offset: int) -> None:
        self.store.mark(buckets, Label(offset, offset * 10))
        self.producer.poll()

    def restore(self, count: int = 1, steps: tuple[str, ...] = STEPS) -> list[Bucket]:
        """What the next owner finds."""
        store = StateStore(HOME, steps, self.log.producer())
        return store.restore(self.log.reader(), count)

    def keys(self) -> set[bytes]:
        """The keys that compaction keeps."""
        self.log.compact(HOME.topic)
        span = self.log.span(HOME)
        return {record.key or b"" for record in self.log.between(HOME, *span)}


def bucket_of(states: Mapping[bytes, bytes]) -> Bucket:
    bucket = Bucket()
    bucket.states = dict(states)
    bucket.changed = True
    return bucket


def at_rest(*slots: Any, act_at: int = 7, forget_at: int = 9) -> bytes:
    return HORIZON.pack(act_at, forget_at) + pack_slots(slots)


# ── Round trips ───────────────────────────────────────────────────────────────────────────────


@given(
    states=st.dictionaries(st.binary(max_size=20), st.binary(max_size=200), max_size=20),
    chunk=st.integers(1, 2_000),
    marks=st.dictionaries(
        st.text(max_size=5),
        st.dictionaries(st.integers(0, 99), st.tuples(st.integers(0), st.integers(0)), max_size=3),
        max_size=3,
    ).map(
        lambda marks: {
            t: {p: (o % 2**63, i % 2**63) for p, (o, i) in m.items()} for t, m in marks.items()
        }
    ),
)
def test_a_bucket_is_restored_as_it_was_saved_in_chunks_of_any_size(
    states: dict[bytes, bytes], chunk: int, marks: dict[str, dict[int, tuple[int, int]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "CHUNK", chunk)
        shelf = Shelf()
        bucket = bucket_of(states)
        bucket.marks = marks
        shelf.save(0, bucket, 41)
        (restored,) = shelf.restore()

    assert (restored.states, restored.marks) == (states, marks)
    assert bucket.covered == Label(41, 410)  # what a restart would have to read begins there
    assert (restored.covered, restored.seen, restored.version) == (
        Label(41, 410),
        41,
        bucket.version,
    )
    assert not restored.changed


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(slots=st.lists(JSON, min_size=1, max_size=4))
def test_slots_of_any_json_are_unpacked_as_they_were(slots: list[Any]) -> None:
    assert Slots().unpack(HORIZON.pack(0, 0) + pack_slots(slots)) == slots


@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=8))
def test_no_chunk_of_an_older_blob_is_left_behind(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "CHUNK", 100)
        shelf = Shelf()
        bucket = Bucket()
        for offset, size in enumerate(sizes, 1):
            bucket.states = {b"ana": b"x" * size}
            saved = shelf.save(0, bucket, offset)
        written = {append.key for append in saved.appends if append.value is not None}

        assert shelf.keys() == written
        assert shelf.restore()[0].states == {b"ana": b"x" * sizes[-1]}


def test_a_large_bucket_that_is_saved_twice_as_it_is_keeps_its_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "CHUNK", 100)
    shelf = Shelf()
    bucket = bucket_of({b"ana": b"x" * 500})
    first, second = shelf.save(0, bucket, 5), shelf.save(0, bucket, 5)

    assert first.version == second.version
    assert shelf.restore()[0].states == {b"ana": b"x" * 500}


def test_the_next_owner_clears_the_chunks_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "CHUNK", 100)
    shelf = Shelf()
    shelf.save(0, bucket_of({b"ana": b"x" * 500}), 1)
    after = Shelf(log=shelf.log)
    (bucket,) = after.store.restore(after.log.reader(), 1)
    bucket.states = {}
    after.save(0, bucket, 2)

    assert after.keys() == {b"0"}


def test_a_head_whose_chunks_are_gone_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "CHUNK", 100)
    shelf = Shelf()
    saved = shelf.save(0, bucket_of({b"ana": b"x" * 500}), 5)
    shelf.mark([saved.bucket], 6)
    shelf.log.write(Append(HOME.topic, saved.appends[0].key, None, (), 0))
    (restored,) = shelf.restore()

    assert (restored.states, restored.covered, restored.version) == ({}, Label(0, 0), 0)


# ── The position record ───────────────────────────────────────────────────────────────────────


def test_the_position_record_raises_a_bucket_that_is_as_its_blob() -> None:
    shelf = Shelf()
    bucket = bucket_of({})
    shelf.save(0, bucket, 10)
    shelf.mark([bucket], 50)

    assert shelf.restore()[0].covered == Label(50, 500)


def test_it_raises_a_bucket_that_was_never_touched() -> None:
    shelf = Shelf()
    shelf.mark([Bucket()], 50)

    assert shelf.restore()[0].covered == Label(50, 500)


def test_it_raises_none_that_has_changed_since() -> None:
    shelf = Shelf()
    bucket = bucket_of({})
    shelf.save(0, bucket, 10)
    bucket.changed = True
    shelf.mark([bucket], 50)

    assert shelf.restore()[0].covered == Label(10, 100)


def test_a_bucket_that_was_raised_and_then_changed_stays_where_it_was() -> None:
    shelf = Shelf()
    bucket = bucket_of({})
    shelf.save(0, bucket, 10)
    shelf.mark([bucket], 50)
    bucket.changed = True
    shelf.mark([bucket], 60)

    assert shelf.restore()[0].covered == Label(50, 500)


def test_a_bucket_that_is_ahead_of_the_others_is_not_taken_back_to_them() -> None:
    shelf = Shelf()
    ahead, behind = bucket_of({}), bucket_of({})
    shelf.save(0, ahead, 50)
    shelf.save(1, behind, 10)
    shelf.mark([ahead, behind], 20)  # a replay has got so far

    assert [each.covered.offset for each in shelf.restore(2)] == [50, 20]


def test_it_says_nothing_of_a_blob_that_is_held_back() -> None:
    shelf = Shelf()
    bucket = bucket_of({})
    shelf.save(0, bucket, 10)
    shelf.mark([bucket], 50)
    saved = shelf.store.save(0, bucket, Label(55, 550))
    shelf.mark([bucket], 60)
    assert shelf.restore()[0].covered == Label(50, 500)

    shelf.write(saved)
    shelf.mark([bucket], 70)
    assert shelf.restore()[0].covered == Label(70, 700)


def test_it_raises_only_the_very_blob_that_it_names() -> None:
    shelf = Shelf()
    bucket = bucket_of({b"ana": b"old"})
    old = shelf.save(0, bucket, 10)
    bucket.states = {b"ana": b"new"}
    shelf.save(0, bucket, 20)
    shelf.mark([bucket], 50)
    for append in old.appends:  # a frozen process wakes up and writes what it had
        shelf.log.write(append)
    (restored,) = shelf.restore()

    assert (restored.states, restored.covered) == ({b"ana": b"old"}, Label(10, 100))


def test_a_version_is_of_all_that_a_bucket_is() -> None:
    marked = bucket_of({})
    marked.marks = {"social.events": {0: (1, 0)}}
    shelf = Shelf()
    versions = {
        shelf.save(0, bucket_of({}), 1).version,
        shelf.save(0, bucket_of({}), 2).version,
        shelf.save(0, bucket_of({b"ana": b"x"}), 1).version,
        shelf.save(0, marked, 1).version,
        Shelf(("other",)).save(0, bucket_of({}), 1).version,
    }

    assert len(versions) == 5


# ── Flows that have changed ───────────────────────────────────────────────────────────────────


def test_a_state_goes_with_its_step_wherever_that_stands_now() -> None:
    shelf = Shelf(("digest", "gone", "limit"))
    states = {b"ana": at_rest([1], [2], [3]), b"bob": at_rest(None, [2], None)}
    shelf.save(0, bucket_of(states), 1)
    (restored,) = shelf.restore(steps=("new", "limit", "digest"))

    assert restored.states == {b"ana": at_rest(None, [3], [1])}


def test_numbers_of_any_size_go_with_their_step() -> None:
    shelf = Shelf(("digest", "limit"))
    shelf.save(0, bucket_of({b"ana": at_rest([10**30], [3])}), 1)
    (restored,) = shelf.restore(steps=("limit", "digest"))

    assert Slots().unpack(restored.states[b"ana"]) == [[3], [10**30]]


@pytest.mark.parametrize(("count", "marked"), [(1, True), (1, False), (3, True)])
def test_another_number_of_buckets_is_refused(count: int, marked: bool) -> None:
    shelf = Shelf()
    buckets = [bucket_of({}), bucket_of({})]
    for number, bucket in enumerate(buckets):
        shelf.save(number, bucket, 1)
    if marked:
        shelf.mark(buckets, 1)

    with pytest.raises(StateError, match="another bucket count"):
        shelf.restore(count)


def test_the_state_of_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    monkeypatch.setattr(state, "FORMAT", 2)
    shelf.save(0, bucket_of({}), 1)
    monkeypatch.undo()

    with pytest.raises(StateError, match="format"):
        shelf.restore()


def test_an_empty_topic_is_empty_state() -> None:
    buckets = Shelf().restore(2)

    assert [(bucket.states, bucket.seen) for bucket in buckets] == [({}, 0), ({}, 0)]
