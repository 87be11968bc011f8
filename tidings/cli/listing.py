"""``tidings list``: the operators and providers there are, and the page of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidings.cli.failures import Refusal

if TYPE_CHECKING:
    from tidings.contract import Operator

_PLACES = {"intake": "flow", "keyed": "flow", "tail": "flow", "lane": "lane"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("list")(list_)


def list_(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="An operator or a kind of provider.", show_default=False
        ),
    ] = None,
) -> None:
    """List operators and kinds of provider, or show one.

    With a name all there is to know of it: what it does, its fields, an example. Those of installed
    packages are among them.
    """
    from tidings.reference import page_of
    from tidings.registry import operators, senders

    if name is None:
        _all()
        return
    page = page_of(name)
    if page is None:
        from tidings.problems import suggestion

        raise Refusal(f"there is no `{name}`: {suggestion(name, [*operators(), *senders()])}")
    _show(page)


def _all() -> None:
    from tidings.reference import summary
    from tidings.registry import operators, senders

    found = operators()
    width = max(map(len, [*found, *senders()]))
    typer.echo("Operators")
    for name, operator in sorted(found.items()):
        typer.echo(f"  {name:<{width}}  {_where(operator):<10}  {summary(operator.spec)}")
    typer.echo("\nProviders")
    for name, kind in sorted(senders().items()):
        typer.echo(f"  {name:<{width}}  {'':<10}  {summary(kind.settings)}")


def _show(page: str) -> None:
    """Set for a terminal; as Markdown for what else reads it."""
    import sys

    if not sys.stdout.isatty():
        typer.echo(page, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(page))


def _where(operator: Operator[Any]) -> str:
    return ", ".join(sorted({_PLACES[part] for part in operator.parts}))
