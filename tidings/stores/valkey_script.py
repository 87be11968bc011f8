"""What a Valkey or Redis is asked: Lua scripts, and that one got no answer."""

from __future__ import annotations

import hashlib
from importlib import resources


class Unanswered(Exception):
    """The server did not answer, or said that it can't now; it may later."""


class Script:
    """A Lua script beside this file, by its name and its hash."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (resources.files(__package__) / "lua" / f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
