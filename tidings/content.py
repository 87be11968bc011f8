"""Where the shipped flows and settings are: beside the package, or in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def content_root() -> Path:
    """The folder that holds ``flows/`` and ``config/``."""
    packed = HERE / "content"
    return packed if packed.is_dir() else HERE.parent


def content(path: str) -> str:
    """A path of the settings: here, or among what is shipped where it isn't here."""
    local = Path(path).expanduser()
    if local.is_absolute() or local.exists():
        return path
    shipped = content_root() / local
    return str(shipped) if shipped.exists() else path
