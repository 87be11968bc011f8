"""The operators and senders there are: ours, one per file, and those of installed packages.

A package adds its own by an entry point: ``tidings.operators`` names an ``Operator``,
``tidings.senders`` a ``SenderKind``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

import tidings.operators
import tidings.operators.senders
from tidings.contract import Operator
from tidings.sender import SenderKind


@cache
def operators() -> dict[str, Operator[Any]]:
    """All operators by name. Raises ValueError when two have one name."""
    found: dict[str, Operator[Any]] = {}
    for operator in _all("tidings.operators", tidings.operators.__path__, "OPERATOR"):
        _add(found, operator)
    return found


@cache
def senders() -> dict[str, SenderKind[Any]]:
    """All kinds of provider by name. Raises ValueError when two have one name."""
    found: dict[str, SenderKind[Any]] = {}
    for kind in _all("tidings.senders", tidings.operators.senders.__path__, "SENDER"):
        _add(found, kind)
    return found


@cache
def sender(name: str) -> SenderKind[Any] | None:
    """The kind of provider of that name, None where there is none.

    Ours is in a file of its name, and no other sender's file is imported for it: each brings its
    provider's libraries.
    """
    module = f"tidings.operators.senders.{name}"
    if name.isidentifier() and find_spec(module) is not None:
        ours: SenderKind[Any] | None = getattr(import_module(module), "SENDER", None)
        if ours is not None:
            return ours
    return senders().get(name)


def _all(group: str, path: Any, attribute: str) -> list[Any]:
    package = "tidings.operators" if attribute == "OPERATOR" else "tidings.operators.senders"
    modules = (import_module(f"{package}.{module.name}") for module in iter_modules(path))
    ours = [getattr(module, attribute) for module in modules if hasattr(module, attribute)]
    return ours + [point.load() for point in entry_points(group=group)]


def _add(found: dict[str, Any], entry: Any) -> None:
    if entry.name in found:
        raise ValueError(f"two operators or senders are called {entry.name!r}; rename one")
    found[entry.name] = entry
