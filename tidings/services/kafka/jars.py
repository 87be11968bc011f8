"""Where Kafka's jars come from: Maven fetches them once into a cache outside the checkout."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tidings.services.process import ServiceError

POM = Path(__file__).with_name("pom.xml")
LEAST_JAVA = 17  # of Kafka 4's broker
_ANY_JAR = "kafka_*.jar"
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")  # Maven colours even where nobody looks


def cache_folder() -> Path:
    """The cache for what is fetched: $TIDINGS_CACHE, else the user's cache folder."""
    named = os.environ.get("TIDINGS_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tidings"


def java() -> str:
    """The path of a Java that can run Kafka; raises ServiceError saying how to get one."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    found = found or shutil.which("java")
    hint = (
        f"Kafka needs Java {LEAST_JAVA} or newer: run `make system` as root, or install it "
        "(Debian: apt-get install openjdk-17-jre-headless)."
    )
    if found is None:
        raise ServiceError(f"There is no `java` here. {hint}")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < LEAST_JAVA:
        raise ServiceError(f"{found} is too old ({said.strip().splitlines()[0]}). {hint}")
    return found


def fetched() -> Path | None:
    """The folder of Kafka's jars where they are in the cache, else None."""
    folder = _folder()
    return folder if any(folder.glob(_ANY_JAR)) else None


def fetch() -> Path:
    """The folder of Kafka's jars, fetched first where it is missing (54 MB, some seconds).

    Safe to run from several processes at once: each fetches into a folder of its own, and the
    first to finish renames it into place. Raises ServiceError where Maven is missing or fails.
    """
    folder = fetched()
    if folder is not None:
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceError(
            "There is no `mvn` here, and Kafka is not in the cache yet. Maven fetches it: run "
            "`make system` as root, or install it (Debian: apt-get install maven)."
        )
    target = _folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching Apache Kafka by Maven into {target} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as work:
        _run_maven(maven, Path(work))
        try:
            (Path(work) / "jars").rename(target)
        except OSError:
            if fetched() is None:  # not because another process was faster
                raise
    return target


def _folder() -> Path:
    return cache_folder() / "kafka" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def _run_maven(maven: str, work: Path) -> None:
    shutil.copy(POM, work / "pom.xml")  # Maven may write beside its pom
    command = [
        *(maven, "--quiet", "--batch-mode", "--strict-checksums"),
        "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies",
        f"-DoutputDirectory={work / 'jars'}",
    ]
    try:
        ended = subprocess.run(
            command,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(
            "Maven did not fetch Kafka within 15 minutes: is the network up? Maven's settings "
            "(~/.m2/settings.xml) name a mirror or a proxy where one is needed."
        ) from None
    if ended.returncode != 0 or not any((work / "jars").glob(_ANY_JAR)):
        words = [_ESCAPE.sub("", line).strip() for line in ended.stdout.splitlines()]
        said = "\n".join(f"  {line}" for line in words if line not in ("", "[ERROR]"))
        raise ServiceError(
            f"Maven could not fetch Kafka (code {ended.returncode}); its settings "
            f"(~/.m2/settings.xml) name a mirror or a proxy where one is needed. It said:\n{said}"
        )
