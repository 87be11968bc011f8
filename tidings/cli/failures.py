"""Failures that people can put right, as the words that say how; everything else is a bug."""

from __future__ import annotations


class Refusal(Exception):
    """A verb can't do what it was asked; the message says why and what to do."""


def explained(error: BaseException) -> str | None:
    """What to tell the user; None for what is a bug and needs its trace."""
    from tidings.ground import GroundError
    from tidings.log.port import LogError
    from tidings.ports import Unavailable
    from tidings.problems import ProblemsError
    from tidings.services.process import ServiceError

    known = (ProblemsError, LogError, ServiceError, Unavailable, GroundError, Refusal)
    if isinstance(error, known):
        return str(error)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return f"{error.filename}: {error.strerror}"
    return None
