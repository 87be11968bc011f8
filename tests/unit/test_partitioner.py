from __future__ import annotations

import pytest

from tidings.log.partitioner import partition_of

TWO_31 = 2**31 - 1


# The vectors of Apache Kafka's own UtilsTest.testMurmur2 (and one of librdkafka's rdmurmur2.c),
# made positive as Kafka's partitioner does: hash & 0x7fffffff.
@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_apache_kafkas(key: bytes, murmur2: int) -> None:
    positive = murmur2 & 0x7FFFFFFF
    assert partition_of(key, TWO_31) == positive % TWO_31
    assert partition_of(key, 8) == positive % 8


def test_an_empty_key_is_a_key() -> None:
    assert partition_of(b"", TWO_31) == 275646681
