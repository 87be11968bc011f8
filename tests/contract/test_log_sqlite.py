"""What is the SQLite log's own: several processes, its clock, retention and compaction."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.contract.log_world import PATIENCE, Watcher, World, gather, into, numbered
from tidings.log.address import open_log
from tidings.log.port import (
    Append,
    Consumer,
    Log,
    LogError,
    OutOfRange,
    OutOfRangeError,
    Slot,
    Span,
    TopicSettings,
)

HOUR = 3_600_000  # ms
NOON = 1_700_000_000_000
TOPIC = "t"
SLOT = Slot(TOPIC, 0)

WRITER = """
import sys
from tidings.log.address import open_log
from tidings.log.port import Append

producer = open_log(sys.argv[1]).producer(linger_ms=0)
for n in range(int(sys.argv[2])):
    say = lambda error, _, n=n: print(n if error is None else error, flush=True)
    producer.append([Append("t", b"k", b"%d" % n, (("writer", sys.argv[3].encode()),))], say)
    producer.poll()
producer.flush(60)
"""


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Log:
    return open_log(f"sqlite:{tmp_path}", clock=clock)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(f"sqlite:{tmp_path}", stack)


def make(log: Log, *, retention_ms: int = -1, compacted: bool = False) -> None:
    settings = TopicSettings(
        name=TOPIC, partitions=1, retention_ms=retention_ms, compacted=compacted
    )
    log.admin().create([settings])


def write(log: Log, *records: Append) -> None:
    acks: list[object | None] = []
    producer = log.producer()
    producer.append(records, into(acks))
    assert producer.flush(PATIENCE)
    producer.close()
    assert acks == [None] * len(records)


def stored(log: Log) -> list[tuple[int, int, bytes | None, bytes | None]]:
    reader = log.reader()
    span = reader.span(SLOT)
    read = [r for batch in reader.read(SLOT, span.first, span.end) for r in batch]
    reader.close()
    return [(r.offset, r.time, r.key, r.value) for r in read]


def writer(address: str, count: int, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, address, str(count), name],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_append_times_do_not_fall_where_the_clock_does(log: Log, clock: Clock) -> None:
    make(log)
    write(log, Append(TOPIC, b"a", b"1"))
    clock.now -= HOUR
    write(log, Append(TOPIC, b"a", b"2"))
    clock.now += 2 * HOUR
    write(log, Append(TOPIC, b"a", b"3"))
    assert [time for _, time, _, _ in stored(log)] == [NOON, NOON, NOON + HOUR]


def test_records_older_than_the_retention_go_as_others_come(log: Log, clock: Clock) -> None:
    make(log, retention_ms=HOUR)
    for n in range(6):
        write(log, Append(TOPIC, b"k", b"%d" % n))
        clock.now += HOUR // 2
    assert [value for _, _, _, value in stored(log)] == [b"3", b"4", b"5"]
    with closing(log.reader()) as reader:
        assert reader.span(SLOT) == Span(3, 6)


def test_the_newest_record_stays_and_holds_the_next_offset(log: Log, clock: Clock) -> None:
    make(log, retention_ms=HOUR)
    write(log, *numbered(TOPIC, 3))
    clock.now += 1_000 * HOUR
    write(log, Append(TOPIC, b"k", b"new"))
    assert stored(log) == [(3, clock.now, b"k", b"new")]


def test_retention_that_was_altered_holds_for_producers_that_are_open(
    log: Log, clock: Clock
) -> None:
    make(log)
    producer = log.producer()
    producer.append(numbered(TOPIC, 1), lambda *_: None)
    producer.flush(PATIENCE)
    log.admin().alter(TopicSettings(name=TOPIC, partitions=1, retention_ms=HOUR))
    clock.now += 2 * HOUR
    producer.append(numbered(TOPIC, 1), lambda *_: None)
    producer.flush(PATIENCE)
    producer.close()
    assert [offset for offset, _, _, _ in stored(log)] == [1]


def overtaken(log: Log, clock: Clock, policy: OutOfRange) -> Consumer:
    """A member that stands at 2 of a partition that holds 8 to 14."""
    make(log, retention_ms=HOUR)
    for n in range(10):
        write(log, Append(TOPIC, b"k", b"%d" % n))
    consumer = log.consumer("g", on_out_of_range=policy)
    consumer.subscribe([TOPIC], Watcher())
    assert [record.offset for record in consumer.poll(2)] == [0, 1]
    clock.now += 2 * HOUR
    for n in range(10, 14):
        write(log, Append(TOPIC, b"k", b"%d" % n))
    return consumer


def test_a_member_that_retention_overtakes_is_told(log: Log, clock: Clock) -> None:
    told = pytest.raises(OutOfRangeError, match=r"stands at 2 in t\[0\], which holds 8 to 14")
    with closing(overtaken(log, clock, OutOfRange.FAIL)) as consumer, told:
        consumer.poll(100)


def test_a_member_that_retention_overtakes_goes_on_from_the_earliest(
    log: Log, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(overtaken(log, clock, OutOfRange.EARLIEST)) as consumer:
        assert [record.offset for record in consumer.poll(100)] == list(range(8, 14))
    assert "going on from the earliest record" in caplog.text


def test_a_member_that_retention_overtakes_goes_on_from_the_latest(log: Log, clock: Clock) -> None:
    with closing(overtaken(log, clock, OutOfRange.LATEST)) as consumer:
        assert consumer.poll(100) == []
        write(log, Append(TOPIC, b"k", b"new"))
        assert [record.offset for record in consumer.poll(100)] == [14]


def test_a_tombstone_goes_after_a_day(log: Log, clock: Clock) -> None:
    make(log, compacted=True)
    write(log, Append(TOPIC, b"a", b"1"), Append(TOPIC, b"b", b"1"), Append(TOPIC, b"a", None))
    assert stored(log) == [(1, NOON, b"b", b"1"), (2, NOON, b"a", None)]
    clock.now += 25 * HOUR
    write(log, Append(TOPIC, b"c", b"1"))
    assert stored(log) == [(1, NOON, b"b", b"1"), (3, clock.now, b"c", b"1")]


def test_compaction_takes_a_partition_by_itself(log: Log, tmp_path: Path) -> None:
    log.admin().create([TopicSettings(name="s", partitions=2, compacted=True)])
    write(log, *(Append("s", b"position", b"%d" % n, (), n) for n in (0, 1)))
    reader = log.reader()
    read = [r.value for n in (0, 1) for batch in reader.read(Slot("s", n), 0, 1) for r in batch]
    reader.close()
    assert read == [b"0", b"1"]


def test_a_compacted_topic_does_not_grow(log: Log, tmp_path: Path) -> None:
    make(log, compacted=True)
    for _ in range(300):
        write(log, *(Append(TOPIC, b"%d" % key, bytes(10_000)) for key in range(5)))
    size = sum(path.stat().st_size for path in (tmp_path / "topics").iterdir())
    assert size < 10_000_000  # 15 MB were written, 50 KB are live, the write-ahead log is 4 MB


def test_what_a_killed_writer_saw_confirmed_is_there(local: World, tmp_path: Path) -> None:
    make(local.log)
    with writer(local.address, 100_000, "w") as process:
        assert process.stdout is not None
        confirmed = [int(process.stdout.readline()) for _ in range(200)]
        process.kill()
        confirmed += [int(line) for line in process.stdout]
    written = [int(value or b"") for _, _, _, value in stored(local.log)]
    assert written[: len(confirmed)] == confirmed
    write(local.log, Append(TOPIC, b"k", b"after"))
    assert stored(local.log)[-1][0] == len(written)


def test_several_processes_write_and_one_reads_at_once(local: World, group: str) -> None:
    make(local.log)
    consumer = local.consumer(group, [TOPIC])
    with ExitStack() as stack:
        for name in "abc":
            process = stack.enter_context(writer(local.address, 200, name))
            stack.callback(process.kill)
        read = gather(consumer, 600)
    assert [record.offset for record in read] == list(range(600))
    for wrote in (b"a", b"b", b"c"):
        mine = [int(r.value or b"") for r in read if r.headers == (("writer", wrote),)]
        assert mine == list(range(200))


def test_a_topic_that_another_process_holds_does_not_stop_a_producer(
    local: World, tmp_path: Path
) -> None:
    make(local.log)
    local.admin.create([TopicSettings(name="free", partitions=1)])
    acks: list[object | None] = []
    free: list[object | None] = []
    producer = local.log.producer(linger_ms=0)
    holder = sqlite3.connect(tmp_path / "topics" / "t.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    producer.append(numbered(TOPIC, 3), into(acks))
    producer.append(numbered("free", 1), into(free))
    assert not producer.flush(0.0)
    assert (acks, free) == ([], [None])
    holder.execute("ROLLBACK")
    holder.close()
    assert producer.flush(PATIENCE)
    producer.close()
    assert acks == [None] * 3
    assert [offset for offset, _, _, _ in stored(local.log)] == [0, 1, 2]


def test_only_one_process_reads_for_a_group(local: World, group: str) -> None:
    make(local.log)
    write(local.log, *numbered(TOPIC, 5))
    with local.member(group, TOPIC, commit_below=0) as process:
        assert process.stdout is not None
        assert "read 0 4\n" in iter(process.stdout.readline, "")
        watcher = Watcher()
        other = local.consumer(group, [TOPIC], watcher)
        assert other.poll(10, 0.3) == []
        assert (watcher.seen, other.assignment()) == ([], frozenset())
        process.kill()
        assert len(gather(other, 5)) == 5


def test_a_file_that_is_no_topic_is_named(local: World, tmp_path: Path) -> None:
    (tmp_path / "topics" / "junk.db").write_bytes(b"junk" * 2_000)
    with pytest.raises(LogError, match=r"junk\.db can't be read as a topic"):
        local.reader().span(Slot("junk", 0))
