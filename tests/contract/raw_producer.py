"""Writes to Kafka what confluent-kafka's own producer can't: a header whose name is no text.

By librdkafka's C functions, as a client in Go or C would.
"""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import CDLL, POINTER, Structure, Union, c_char, c_char_p, c_int, c_size_t, c_void_p
from ctypes import c_ssize_t as length
from pathlib import Path

import confluent_kafka

_TOPIC, _VALUE, _FLAGS, _HEADERS = 1, 4, 7, 10  # rd_kafka_vtype_t
_COPY = 2  # RD_KAFKA_MSG_F_COPY
_PRODUCER = 0


class _Bytes(Structure):
    _fields_ = (("at", c_char_p), ("size", c_size_t))


class _Argument(Union):
    _fields_ = (
        ("text", c_char_p),
        ("bytes", _Bytes),
        ("number", c_int),
        ("headers", c_void_p),
        ("size", c_char * 64),
    )


class _Tagged(Structure):
    _fields_ = (("kind", c_int), ("value", _Argument))


def write(bootstrap: str, topic: str, values: Iterable[bytes], header: tuple[bytes, bytes]) -> None:
    """Append a record for each value, confirmed."""
    kafka = _librdkafka()
    settings = kafka.rd_kafka_conf_new()
    kafka.rd_kafka_conf_set(settings, b"bootstrap.servers", bootstrap.encode(), None, 0)
    client = kafka.rd_kafka_new(_PRODUCER, settings, None, 0)
    name, content = header
    for value in values:
        headers = kafka.rd_kafka_headers_new(1)
        kafka.rd_kafka_header_add(headers, name, len(name), content, len(content))
        arguments = (_Tagged * 4)()
        for argument, kind in zip(arguments, (_TOPIC, _VALUE, _FLAGS, _HEADERS), strict=True):
            argument.kind = kind
        arguments[0].value.text = topic.encode()
        arguments[1].value.bytes = _Bytes(value, len(value))
        arguments[2].value.number = _COPY
        arguments[3].value.headers = headers
        assert kafka.rd_kafka_produceva(client, arguments, len(arguments)) is None
    assert kafka.rd_kafka_flush(client, 10_000) == 0
    kafka.rd_kafka_destroy(client)


def _librdkafka() -> CDLL:
    """The library that confluent-kafka's wheel brings along."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    kafka = CDLL(str(next(folder.glob("librdkafka-*"))))
    for name, takes in {
        "conf_new": (),
        "conf_set": (c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
        "new": (c_int, c_void_p, c_char_p, c_size_t),
        "headers_new": (c_size_t,),
        "header_add": (c_void_p, c_char_p, length, c_char_p, length),
        "produceva": (c_void_p, POINTER(_Tagged), c_size_t),
        "flush": (c_void_p, c_int),
        "destroy": (c_void_p,),
    }.items():
        getattr(kafka, f"rd_kafka_{name}").argtypes = takes
    for name in ("conf_new", "new", "headers_new", "produceva"):
        getattr(kafka, f"rd_kafka_{name}").restype = c_void_p
    return kafka
