"""What people may see of what passes by."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tidings import logs
from tidings.redaction import redacted


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("ana@example.com", "a…@example.com"),
        ("to <ana.b+c@mail.example.org>, now", "to <a…@mail.example.org>, now"),
        ("call +447700900123 or +12025550100", "call +…23 or +…00"),
        ("a" * 64, "…"),
        ("token-of-app:" + "x" * 120, "…"),
        ("redis://:hunter2@cache:6379/0", "redis://:…@cache:6379/0"),
        ("kafka://user:pass@host/1", "kafka://user:…@host/1"),
        ("7bb309f597bd7f60ccb0dffef88102e4", "7bb309f597bd7f60ccb0dffef88102e4"),
        ("2 + 2 = 4", "2 + 2 = 4"),
        ({"code": "123456"}, {"code": "…"}),
        ({"code": ""}, {"code": ""}),
        ({"Phone": "not even a number"}, {"Phone": "…"}),
        ({"token": ["abc", "def"]}, {"token": ["…", "…"]}),
        ({"to": [{"email": "x@y.zz", "n": 1}]}, {"to": [{"email": "…", "n": 1}]}),
        ({"recipient_id": "ana", "count": 3}, {"recipient_id": "ana", "count": 3}),
        (None, None),
    ],
)
def test_addresses_and_secrets_are_hidden_and_ids_are_not(value: Any, seen: Any) -> None:
    assert redacted(value) == seen


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_log_line_is_json_without_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(logs.LogFormat.JSON)
    structlog.get_logger().info("sent", to="ana@example.com", token="abc", count=2)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "sent",
        "level": "info",
        "to": "a…@example.com",
        "token": "…",
        "count": 2,
    }


def test_a_providers_word_is_no_code_of_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(logs.LogFormat.JSON)
    structlog.get_logger().error("stopped", provider="twilio", code="20003", detail={"code": "481"})
    structlog.get_logger().error("sent", code="481516")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["code"], first["detail"], second["code"]) == ("20003", {"code": "…"}, "…")


def test_what_libraries_log_comes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(logs.LogFormat.JSON)
    logging.getLogger("tidings.kafka").warning("no answer from %s", "ana@example.com")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["logger"], line["level"]) == (
        "no answer from a…@example.com",
        "tidings.kafka",
        "warning",
    )


def test_less_than_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(logs.LogFormat.JSON, "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("any").info("quiet")
    structlog.get_logger().warning("loud")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "loud"


def test_an_exception_is_logged_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(logs.LogFormat.JSON)
    try:
        raise ValueError("for ana@example.com")
    except ValueError:
        structlog.get_logger().exception("failed")
    trace = json.loads(capsys.readouterr().err)["exception"]
    assert trace.startswith("Traceback (most recent call last):")
    assert trace.endswith("ValueError: for a…@example.com")


def test_for_the_eye_it_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(logs.LogFormat.TEXT)
    structlog.get_logger().info("sent", to="ana@example.com")
    assert re.search(r"sent +to=a…@example.com", capsys.readouterr().err)
