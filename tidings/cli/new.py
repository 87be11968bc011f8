"""``tidings new``: beginnings of flows, operators and senders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config

if TYPE_CHECKING:
    from pathlib import Path

    from tidings.scaffold import Files

new = typer.Typer(help="Begin a flow, an operator or a sender.", no_args_is_help=True)
_LANES = ("push", "email")  # those that a new flow delivers to
Name = Annotated[str, typer.Argument(help="Small letters, digits and `_`.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.add_typer(new, name="new")


@new.command("flow")
def new_flow(name: Name, config: Config = None) -> None:
    """Begin a flow here, with its test and its texts.

    It is written to flows/NAME.yaml; lanes are written where there are none.
    """
    from tidings.content import content_root
    from tidings.scaffold import filled
    from tidings.scaffold.flow import FILES
    from tidings.settings import read_settings

    _check(name, set())
    categories = read_settings(config).categories
    usual = [known for known, one in categories.items() if not (one.critical or one.opt_in)]
    if not usual:
        raise Refusal("there is no category that a flow could ask consent for: add one to settings")
    files = filled(FILES, name=name, category=usual[0])
    for lane in _LANES:
        path = f"flows/lanes/{lane}.yaml"
        files[path] = (content_root() / path).read_text()
    _write(files, keep=("flows/lanes/",))
    typer.echo(f"\ntidings check && tidings test flows/{name}.yaml")


@new.command("operator")
def new_operator(name: Name) -> None:
    """Begin a package with an operator.

    It is written to tidings-NAME/, with a flow that shows it at work.
    """
    from tidings.registry import operators
    from tidings.scaffold.operator import FILES

    _check(name, set(operators()))
    _package(name, FILES)


@new.command("sender")
def new_sender(name: Name) -> None:
    """Begin a package with a sender.

    It is written to tidings-NAME/, with a lane that sends by it.
    """
    from tidings.registry import senders
    from tidings.scaffold.sender import FILES

    _check(name, set(senders()))
    _package(name, FILES)


def _package(name: str, files: Files) -> None:
    from importlib.util import find_spec

    from tidings.scaffold import filled

    dashed = name.replace("_", "-")
    camel = "".join(part.title() for part in name.split("_"))
    _write(filled(files, name=name, dashed=dashed, camel=camel))
    install = "pip" if find_spec("pip") else "uv pip"  # the .venv of a checkout has uv alone
    typer.echo(f"\ncd tidings-{dashed} && {install} install -e . && tidings check && tidings test")


def _check(name: str, taken: set[str]) -> None:
    import keyword
    import re

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or keyword.iskeyword(name):
        raise Refusal(f"{name!r} is no name: use small letters, digits and `_`")
    if name in taken:
        raise Refusal(f"there is a {name!r} already: choose another name")


def _write(files: Files, keep: tuple[str, ...] = ()) -> list[Path]:
    from pathlib import Path

    from tidings.scaffold import Taken, write

    try:
        written = write(files, Path(), keep)
    except Taken as error:
        raise Refusal(str(error)) from None
    for path in written:
        typer.echo(str(path))
    return written
