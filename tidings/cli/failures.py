"""Failures that people can put right, as the words that say how; everything else is a bug."""

from __future__ import annotations

import errno
import sys

_KNOWN = {
    "tidings.running.ground": "GroundError",
    "tidings.log.port": "LogError",
    "tidings.ports": "Unavailable",
    "tidings.problems": "ProblemsError",
    "tidings.services.process": "ServiceError",
}


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of what has no name, such as stdout


class Refusal(Exception):
    """A verb can't do what it was asked; the message says why and what to do."""


class Misuse(Refusal):
    """A verb was called in a way that it does not know."""


def explained(error: BaseException) -> str | None:
    """What to tell the user; None for what is a bug and needs its trace."""
    if isinstance(error, Refusal) or any(
        isinstance(error, getattr(sys.modules[module], name))
        for module, name in _KNOWN.items()
        if module in sys.modules
    ):
        return str(error)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL):
        return f"{error.filename or 'the output'}: {error.strerror}"
    return None
