"""One Kafka broker, and what Kafka's own tools say about it."""

from __future__ import annotations

import base64
import logging
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tidings.services.kafka import jars
from tidings.services.process import LOOPBACK, Server, ServiceError, answers, free_port

_SETTINGS = Path(__file__).with_name("broker.properties")
_BROKER_MEMORY = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
_TOOL_MEMORY = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class GroupLag:
    """One partition of a consumer group, as Kafka's own group tool describes it."""

    topic: str
    partition: int
    current: int | None  # committed offset; None where there is none
    end: int | None  # log end offset
    lag: int | None
    consumer: str | None  # member id; None where nobody has the partition


class Kafka(Server):
    """A broker on two free loopback ports (or on `port`), with topics only where asked for.

    `settings` override `broker.properties`. The first start fetches Kafka where it is not in the
    cache. Raises ServiceError where Java or Maven are missing, saying how to get them.
    """

    name = "kafka"
    start_timeout = 60.0

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self._controller_port = free_port()
        self._settings = dict(settings or {})
        self._admin: AdminClient | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to: `bootstrap.servers`."""
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        """Java, with Kafka's jars and this broker's settings."""
        options = ("-Dlog4j2.level=WARN", "-Djava.awt.headless=true")
        return self._java(_BROKER_MEMORY + options, "kafka.Kafka", str(self._properties))

    def prepare(self) -> None:
        """Writes the settings, and formats the data folder the first time."""
        if answers(self.port):
            raise ServiceError(
                f"Port {self.port} on 127.0.0.1 is taken: stop what listens there (another "
                "Kafka?), or choose another port."
            )
        jars.fetch()
        data = self.folder / "data"
        settings = {
            "listeners": f"PLAINTEXT://{self.bootstrap},"
            f"CONTROLLER://{LOOPBACK}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{self._controller_port}",
            "log.dirs": str(data),
            **self._settings,
        }
        added = "\n".join(f"{key}={value}" for key, value in settings.items())
        self._properties.write_text(f"{_SETTINGS.read_text()}\n{added}\n")
        if not (data / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().strip("=")
            self._run_tool(
                "kafka.tools.StorageTool",
                *("format", f"--cluster-id={cluster}", "--config", str(self._properties)),
            )

    def ready(self) -> bool:
        """Whether the broker has registered itself and names itself in its metadata."""
        if not answers(self.port):  # asked first: it costs nothing and logs nothing
            return False
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    @property
    def admin(self) -> AdminClient:
        """An admin client of this broker, quiet about the times when the broker is away."""
        if self._admin is None:
            quiet = logging.getLogger("tidings.services.kafka.client")
            quiet.setLevel(logging.CRITICAL)
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap}, logger=quiet)
        return self._admin

    def describe_group(self, group: str) -> list[GroupLag]:
        """What `kafka-consumer-groups --describe` says, by topic and partition (about 1 s).

        Empty where the group is unknown or has committed nothing and holds nothing.
        """
        said = self._run_tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            *("--bootstrap-server", self.bootstrap, "--describe", "--group", group),
        )
        return sorted(_group_rows(said), key=lambda row: (row.topic, row.partition))

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, options: Sequence[str], main: str, *arguments: str) -> list[str]:
        temporary = f"-Djava.io.tmpdir={self.folder}"  # unpacked libraries outlive a kill
        return [
            jars.java(),
            *options,
            temporary,
            "-XX:-UsePerfData",
            "-cp",
            f"{jars.fetch()}/*",
            main,
            *arguments,
        ]

    def _run_tool(self, main: str, *arguments: str) -> str:
        command = self._java((*_TOOL_MEMORY, "-Dlog4j2.level=ERROR"), main, *arguments)
        ended = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if ended.returncode != 0:
            raise ServiceError(
                f"{main} ended with code {ended.returncode}:\n{ended.stdout}{ended.stderr}"
            )
        return ended.stdout


def _group_rows(table: str) -> list[GroupLag]:
    rows: list[GroupLag] = []
    columns: list[str] = []
    for line in table.splitlines():
        words = line.split()
        if words[:1] == ["GROUP"]:
            columns = words
        elif columns and len(words) == len(columns):
            cells = [None if word == "-" else word for word in words]
            rows.append(_group_row(dict(zip(columns, cells, strict=True))))
    return rows


def _group_row(cells: Mapping[str, str | None]) -> GroupLag:
    def number(column: str) -> int | None:
        word = cells[column]
        return None if word is None else int(word)

    partition = number("PARTITION")
    topic = cells["TOPIC"]
    if topic is None or partition is None:
        raise ServiceError(f"the group tool named no topic or partition: {cells}")
    return GroupLag(
        topic=topic,
        partition=partition,
        current=number("CURRENT-OFFSET"),
        end=number("LOG-END-OFFSET"),
        lag=number("LAG"),
        consumer=cells["CONSUMER-ID"],
    )
