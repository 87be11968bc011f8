from __future__ import annotations

from pathlib import Path

import pytest

from tidings.log.address import open_log
from tidings.log.kafka import KafkaLog
from tidings.log.kafka.client import consumers, member_settings, producers
from tidings.log.port import LogError
from tidings.log.sqlite import SqliteLog


def test_a_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    log = open_log(f"sqlite:{tmp_path}/a/b")
    assert isinstance(log, SqliteLog)
    assert log.admin().topics() == {}
    assert (tmp_path / "a" / "b").is_dir()


def test_brokers_and_settings() -> None:
    log = open_log("kafka:one:9092,two:9092?sasl.password=a%26b&group.protocol=consumer")
    assert isinstance(log, KafkaLog)
    assert log.brokers == "one:9092,two:9092"
    assert log.settings == {"sasl.password": "a&b", "group.protocol": "consumer"}


@pytest.mark.parametrize("address", ["", "sqlite:", "kafka:", "redis://x", "kafka:x:1?junk"])
def test_another_address_is_an_error_that_shows_the_forms(address: str) -> None:
    with pytest.raises(LogError, match="sqlite:FOLDER"):
        open_log(address)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="can't be made"):
        open_log(f"sqlite:{tmp_path}/file/log")


def test_each_kind_of_client_gets_its_settings() -> None:
    settings = {"session.timeout.ms": "3000", "linger.ms": "7", "sasl.username": "me"}
    assert consumers(settings) == {"session.timeout.ms": "3000", "sasl.username": "me"}
    assert producers(settings) == {"linger.ms": "7", "sasl.username": "me"}


def test_the_settings_that_positions_depend_on_are_not_the_addresss_to_change() -> None:
    settings = {"enable.auto.commit": "true", "auto.offset.reset": "earliest", "group.id": "x"}
    member = member_settings("b:1", "mine", settings)
    assert member["group.id"] == "mine"
    assert member["enable.auto.commit"] is False
    assert member["auto.offset.reset"] == "error"


def test_either_group_protocol_gets_what_it_allows() -> None:
    classic = member_settings("b:1", "g", {"session.timeout.ms": "3000"})
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    assert (classic["session.timeout.ms"], classic["heartbeat.interval.ms"]) == ("3000", 500)
    newer = member_settings("b:1", "g", {"group.protocol": "consumer"})
    assert newer.keys().isdisjoint({"session.timeout.ms", "partition.assignment.strategy"})
