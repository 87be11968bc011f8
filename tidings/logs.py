"""Our own log: structlog, one line per thing that happened, JSON or for the eye, on stderr.

What libraries log through ``logging`` (librdkafka's messages among it) comes the same way.
Addresses and secrets are taken out at this edge, so that no caller has to think of it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import structlog

from tidings.redaction import redacted


class LogFormat(StrEnum):
    """How log lines look: ``json`` for machines, ``text`` for people, ``auto`` by the terminal."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def set_up(form: LogFormat = LogFormat.AUTO, level: str = "info") -> None:
    """Direct all log lines of this process to stderr; ``level`` is the least that is written."""
    text = form is LogFormat.TEXT or (form is LogFormat.AUTO and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = (
        [_redact, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="at")]
        if text
        else [
            structlog.processors.format_exc_info,
            _redact,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


@contextmanager
def silenced() -> Iterator[None]:
    """Log nothing meanwhile: for what is played in virtual time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _redact(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any] | str | bytes:
    kept = {"exc_info"}
    if "provider" in event:
        kept.add("code")  # the provider's word for its answer, and nobody's secret
    return {name: value if name in kept else redacted(value, name) for name, value in event.items()}
