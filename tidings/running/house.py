"""All of an installation on one machine: Valkey, topics, and the processes under their supervisor.

Used by ``tidings dev`` and by the demo. Everything is kept in one folder; nothing has to be there
before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from socket import gethostname
from types import TracebackType
from typing import Self

from tidings.log.address import open_log
from tidings.providers import call_back
from tidings.running.embedded import EmbeddedValkey, folder_of
from tidings.running.packing import RECEIPTS, Pack, pack
from tidings.running.provision import provide
from tidings.running.roster import Role
from tidings.running.supervisor import Event, Program, Supervisor
from tidings.settings import Settings

DATA_VARIABLE = "TIDINGS_DATA"


class House:
    """The processes of ``roles``, and what they need. A ``with`` block starts and stops it.

    ``data`` is where everything is kept; the children have this process's environment.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        settings: Settings,
        data: Path,
        config: Path | None = None,
    ) -> None:
        self.settings = settings
        self._receipts = call_back(settings.providers)
        self.packs = pack(roles, receipts=self._receipts)
        self.valkey: EmbeddedValkey | None = None
        self._roles = roles
        self._data = data
        self._config = config
        self._stack = ExitStack()
        self.supervisor: Supervisor

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = folder_of(self.settings.claims)
            claims = self.settings.claims
            if folder is not None:
                self.valkey = EmbeddedValkey(folder)
                stack.callback(self.valkey.close)
                self.valkey.start()
                claims = self.valkey.url
            with closing(open_log(self.settings.log).admin()) as admin:
                provide(admin, self._roles, self.settings, receipts=self._receipts)
            env = {
                DATA_VARIABLE: str(self._data),
                "TIDINGS_LOG": self.settings.log,
                "TIDINGS_CLAIMS": claims,
            }
            programs = [Program(each.name, self._command(each), env) for each in self.packs]
            self.supervisor = Supervisor(programs, self._data / "logs")
            stack.callback(self.supervisor.kill)
            self.supervisor.start()
            self._stack = stack.pop_all()
        return self

    def _command(self, pack: Pack) -> list[str]:
        tidings = (sys.executable, "-m", "tidings.cli")
        instance = ("--instance", f"{gethostname()}.{pack.name}")  # back at once when it is killed
        config = ("--config", str(self._config)) if self._config else ()
        if pack.name == RECEIPTS:
            return [*tidings, RECEIPTS, *instance, *config]
        return [
            *(*tidings, "run", "--name", pack.name),
            *instance,
            *(word for priority in pack.priorities for word in ("--priority", priority)),
            *config,
            *map(str, pack.files),
        ]

    def look(self) -> list[Event]:
        """What has happened to the children since the last look."""
        return self.supervisor.look()

    def stop(self) -> bool:
        """Drain and end the processes; tells whether all ended cleanly."""
        return self.supervisor.stop()

    def pids(self) -> dict[str, int]:
        """The process ids of all that runs, this process included."""
        found = {child.program.name: child.pid for child in self.supervisor.children}
        found["valkey"] = self.valkey.pid if self.valkey else None
        found["supervisor"] = os.getpid()
        return {name: pid for name, pid in found.items() if pid is not None}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
