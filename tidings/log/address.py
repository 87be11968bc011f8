"""A log by its address: what `log:` in the configuration says.

sqlite:/var/lib/tidings                                   a folder on this machine
kafka:broker-1:9092,broker-2:9092                         brokers to begin with
kafka:broker-1:9092?security.protocol=SASL_SSL&sasl.…=…   and librdkafka's settings, URL-encoded
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

from tidings.log.port import Log, LogError
from tidings.log.sqlite.log import epoch_ms

_FORMS = "write sqlite:FOLDER, or kafka:HOST:PORT,HOST:PORT?setting=value"


def open_log(address: str, *, instance: str = "", clock: Callable[[], int] = epoch_ms) -> Log:
    """The log at ``address``; nothing is connected yet.

    ``instance`` is a name that this process has to itself and keeps when it is started again: Kafka
    gives it its partitions back at once. On one machine, in SQLite, they are free at once anyhow.
    ``clock`` gives the append times of the SQLite log in epoch ms; Kafka's brokers have their own.
    Raises LogError for an address of another form, and for settings that don't go together.
    """
    kind, _, rest = address.partition(":")
    if kind == "sqlite" and rest:
        from tidings.log.sqlite import SqliteLog

        return SqliteLog(Path(rest).expanduser(), clock)
    if kind == "kafka" and rest:
        from tidings.log.kafka import INSTANCE, KafkaLog

        brokers, _, query = rest.partition("?")
        try:
            settings = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        except ValueError:
            raise LogError(f"the settings in {address!r} can't be read: {_FORMS}") from None
        if instance:
            settings[INSTANCE] = instance
        return KafkaLog(brokers, settings)
    raise LogError(f"{address!r} is no log's address: {_FORMS}")
