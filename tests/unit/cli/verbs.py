"""The verbs of the command, as its help lists them."""

from __future__ import annotations

import typer

from tidings.cli import app


def verbs() -> set[str]:
    """``run``, ``topics``, ``topics apply`` and so on."""
    group = typer.main.get_group(app)
    found = set(group.commands)
    for name, command in group.commands.items():
        found |= {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    return found
