"""Pushy's mock of APNs, which checks tokens, topics, sizes and signatures as Apple does.

Java and Maven run and fetch it; the jars (7 MB) go to the cache, beside Kafka's.
"""

from __future__ import annotations

import datetime
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tidings.services.certificate import self_signed
from tidings.services.kafka.jars import cache_folder, java
from tidings.services.process import Server, ServiceError, answers, free_port

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"
_SHELL = "org.mozilla.javascript.tools.shell.Main"


class Pushy(Server):
    """The server on a free loopback port; it knows one key, these topics, and these devices.

    ``client`` is a certificate that it trusts in place of the key, for the topic that is its UID.
    """

    name = "pushy"

    def __init__(
        self,
        public_key: str,
        *,
        key_id: str,
        team_id: str,
        topics: Sequence[str],
        devices: Sequence[str],
        expired: Sequence[str],
        client: Path,
    ) -> None:
        super().__init__()
        self.port = free_port()
        self.certificate = self_signed(self.folder, now=datetime.datetime.now(datetime.UTC))
        self._public_key = self.folder / "public.pem"
        self._public_key.write_text(public_key)
        self._knows = [key_id, team_id, *(",".join(names) for names in (topics, devices, expired))]
        self._client = client

    def command(self) -> Sequence[str]:
        jars = str(fetch() / "*")
        certificate = (str(self.certificate.certificate), str(self.certificate.key))
        shell = [java(), "-Xmx256m", "-XX:+UseSerialGC", "-cp", jars, _SHELL]
        script = [str(_HERE / "server.js"), str(self.port), *certificate, str(self._public_key)]
        return [*shell, *script, *self._knows, str(self._client)]

    def ready(self) -> bool:
        return answers(self.port)

    def accepted(self) -> dict[str, dict[str, str]]:
        """What it has accepted so far, by `apns-id`: the headers, and the payload."""
        lines = self.log.read_bytes().splitlines()
        found = [msgspec.json.decode(line, type=dict[str, str]) for line in lines]
        return {accepted["apns-id"]: accepted for accepted in found}


def fetch() -> Path:
    """The folder of the jars, fetched first where it is missing. Raises ServiceError."""
    target = cache_folder() / "pushy" / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]
    if target.exists():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceError(
            "There is no `mvn` here, and Pushy is not in the cache yet. Maven fetches it: run "
            "`make system` as root, or install it (Debian: apt-get install maven)."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as work:
        shutil.copy(_POM, work)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={work}/jars"]
        ended = subprocess.run(
            [maven, "--quiet", "--batch-mode", "--strict-checksums", *goal],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if ended.returncode != 0:
            raise ServiceError(f"Maven could not fetch Pushy: {ended.stdout[-2_000:]}")
        try:
            (Path(work) / "jars").rename(target)
        except OSError:
            if not target.exists():  # not because another process was faster
                raise
    return target
