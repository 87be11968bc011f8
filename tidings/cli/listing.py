"""``tidings list``: the operators and providers there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tidings.contract import Operator

_PLACES = {"intake": "flow", "keyed": "flow", "tail": "flow", "lane": "lane"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("list")(list_all)


def list_all() -> None:
    """List the operators that flows and lanes are made of, and the kinds of provider."""
    from tidings.registry import operators, senders

    found = operators()
    width = max(map(len, [*found, *senders()]))
    typer.echo("Operators")
    for name, operator in sorted(found.items()):
        typer.echo(f"  {name:<{width}}  {_where(operator):<10}  {_summary(operator.spec)}")
    typer.echo("\nProviders")
    for name, kind in sorted(senders().items()):
        typer.echo(f"  {name:<{width}}  {'':<10}  {_summary(kind.settings)}")


def _where(operator: Operator[Any]) -> str:
    return ", ".join(sorted({_PLACES[part] for part in operator.parts}))


def _summary(documented: type) -> str:
    text = (documented.__doc__ or "").strip()
    return text.split("\n\n")[0].replace("\n    ", " ")
