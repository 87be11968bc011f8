"""Who holds a lease: a process's name, by which others on its machine can tell that it is gone.

    <boot id>/<pid namespace>/<pid>/<start in ticks since the boot>

No two processes that ever ran have the same name. What a killed process held can be taken over at
once by one that shares its boot and its namespace; from elsewhere nothing can be told, and a
process that is frozen or slow is not gone. All of it is Linux' ``/proc``.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = ("Z", "X")  # a zombie that nobody has waited for holds nothing any more


@cache
def _machine() -> str:
    """What a process id means something in: this boot, and this namespace."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return f"{_BOOT.read_text().strip()}/{namespace}"


def this_process() -> str:
    """The name of this process. Raises OSError where there is no ``/proc``."""
    started = _started(os.getpid())
    if started is None:
        raise ProcessLookupError("/proc shows the processes of another namespace")
    return f"{_machine()}/{os.getpid()}/{started}"


def is_gone(holder: str) -> bool:
    """Whether the process of that name has surely ended; False wherever that can't be told."""
    known, _, started = holder.rpartition("/")
    machine, _, process = known.rpartition("/")
    if machine != _machine() or not process.isdecimal() or not started.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's, so there is one
    now = _started(int(process))
    return now is not None and now != int(started)


def _started(pid: int) -> int | None:
    """When a process started, 0 for one that has ended; None where ``/proc`` does not show it."""
    try:
        # The name in the second field may hold anything, blanks and brackets too.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    return 0 if state in _ENDED and threads <= 1 else started
