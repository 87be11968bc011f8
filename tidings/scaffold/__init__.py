"""What ``tidings new`` writes: beginnings that pass ``check`` and ``test`` as they are.

    flow      a flow, its test, its texts, and lanes where there are none
    operator  a package with an operator, found by its entry point, and a flow that shows it
    sender    a package with a provider, a lane that sends by it, and a test

A scaffold is a map of paths to texts; nothing is written that is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

Files = Mapping[str, str]


class Taken(Exception):
    """A file of the scaffold is there already; nothing was written."""


def filled(files: Files, **values: str) -> dict[str, str]:
    """The files with ``$name`` and the like filled in, in paths too."""
    return {
        Template(path).substitute(values): Template(text.lstrip("\n")).substitute(values)
        for path, text in files.items()
    }


def write(files: Files, folder: Path, keep: tuple[str, ...] = ()) -> list[Path]:
    """Write files under ``folder``; those that begin with one of ``keep`` only where they are
    missing. Raises Taken, with nothing written, where another is there."""
    wanted = {folder / path: text for path, text in files.items()}
    kept = {folder / path for path in files if path.startswith(keep)} if keep else set()
    for path in wanted:
        if path.exists() and path not in kept:
            raise Taken(f"{path} is there already; choose another name")
    written = [path for path in wanted if not path.exists()]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    return written
