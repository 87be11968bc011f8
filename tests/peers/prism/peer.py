"""Prism, which checks each request against a published description and answers as it says.

npm fetches it, and Twilio's own description of its API with Twilio's command line; both go to the
cache, beside Kafka's jars.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tidings.services.kafka.jars import cache_folder
from tidings.services.process import LOOPBACK, Server, ServiceError, answers, free_port

_HERE = Path(__file__).parent
_FILES = ("package.json", "package-lock.json")
_TWILIO = "@twilio/cli-core/src/services/twilio-api/twilio_api_v2010.json"


class Prism(Server):
    """The server on a free loopback port; it refuses what the description does not allow."""

    name = "prism"
    start_timeout = 90.0  # it reads two megabytes of description first

    def __init__(self, description: Path | None = None) -> None:
        super().__init__()
        self.port = free_port()
        self._description = description

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        """Prism, with errors for whatever violates the description."""
        modules = fetch()
        description = self._description or modules / _TWILIO
        listen = ["--host", LOOPBACK, "--port", str(self.port)]
        return [node(), str(modules / ".bin/prism"), "mock", str(description), "--errors", *listen]

    def ready(self) -> bool:
        """Whether it accepts connections."""
        return answers(self.port)


def node() -> str:
    """The path of Node. Raises ServiceError saying how to get it."""
    return _program("node", "nodejs")


def fetch() -> Path:
    """The folder of npm's modules, fetched first where it is missing. Raises ServiceError."""
    wanted = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _FILES))
    target = cache_folder() / "prism" / wanted.hexdigest()[:16]
    if target.exists():
        return target / "node_modules"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as work:
        for name in _FILES:
            shutil.copy(_HERE / name, work)
        ended = subprocess.run(
            [_program("npm", "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if ended.returncode != 0:
            raise ServiceError(f"npm could not fetch Prism: {ended.stderr[-2_000:]}")
        ready = Path(work) / "ready"
        ready.mkdir()
        (Path(work) / "node_modules").rename(ready / "node_modules")
        try:
            ready.rename(target)
        except OSError:
            if not target.exists():  # not because another process was faster
                raise
    return target / "node_modules"


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ServiceError(
            f"There is no `{name}` here, which Prism needs: run `make system` as root, or install "
            f"it (Debian: apt-get install {package})."
        )
    return found
