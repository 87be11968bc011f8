"""``tidings devices``: registering them, and forgetting those that have fallen silent."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidings.cli.failures import Refusal
from tidings.cli.options import Config

if TYPE_CHECKING:
    from datetime import date

    from tidings.ports import Address, Person
    from tidings.stores.people import FilePeople


class Platform(StrEnum):
    """Those that `send` tells apart."""

    IOS = "ios"
    ANDROID = "android"
    WEB = "web"


_SHOWN = 20  # devices that a dry run names
_app = typer.Typer(help="Look after people's devices.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(_app, name="devices")


@_app.command("prune")
def prune(
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="How long a device has been silent.")
    ] = "90d",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which, and leave them where they are.")
    ] = False,
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="Stay, and do it again so often: 1d.")
    ] = "",
    config: Config = None,
) -> None:
    """Forget devices that have long been silent.

    Such as have neither registered nor taken a message for so long. Meant to be run once a day, by
    a timer or with --every. Nothing is forgotten before successes have been kept for as long.
    """
    from tidings.running.repeat import repeat

    if every and dry_run:
        raise Refusal("--every and --dry-run do not go together: leave one of them out")
    age = _duration("--older-than", older_than, "successes are kept to the day")
    pause = _duration("--every", every, "no device falls silent sooner") if every else 0
    people = _people(config)
    if dry_run:
        _tell_silent(people, age)
    elif every:
        repeat(lambda: _forget_silent(people, age), pause)
    else:
        _forget_silent(people, age)


@_app.command("register")
def register_device(
    recipient: Annotated[str, typer.Argument(help="Whose it is.")],
    token: Annotated[str, typer.Argument(help="What its push service calls it.")],
    platform: Annotated[Platform, typer.Option(help="What it runs.", show_choices=True)],
    app: Annotated[str, typer.Option(help="The app, where there are several.")] = "",
    tenant: Annotated[str, typer.Option(help="The person's tenant.")] = "default",
    replaces: Annotated[
        str, typer.Option(metavar="TOKEN", help="The device's former token, which goes.")
    ] = "",
    config: Config = None,
) -> None:
    """Register a device, as its app does.

    An older token gives it its place; a registration that is later than this one stays.
    """
    from tidings.ports import Address, Person
    from tidings.stores.clock import SystemClock

    if not token.strip():
        raise Refusal("the token is empty: nothing could be sent there")
    now = SystemClock().now()
    people, person = _people(config), Person(tenant, recipient)
    if people.profiles([person]) == [None]:
        raise Refusal(f"nobody knows `{recipient}` of the tenant `{tenant}`; add the person first")
    device = Address(kind="device", value=token, platform=platform, app=app, registered_at=now)
    changed = people.register(person, device, replaces)
    typer.echo("registered" if changed else "a later registration of it is known: left as it is")


def _forget_silent(people: FilePeople, age: int) -> None:
    before, since = _before(age)
    typer.echo(f"{people.prune(before)} devices, silent since {since}, are forgotten")


def _tell_silent(people: FilePeople, age: int) -> None:
    from itertools import islice

    before, since = _before(age)
    silent = people.silent(before)
    shown = [_shown(person, device) for person, device in islice(silent, _SHOWN)]
    rest = sum(1 for _ in silent)
    for line in shown:
        typer.echo(line)
    if rest:
        typer.echo(f"and {rest} more")
    typer.echo(f"{len(shown) + rest} devices, silent since {since}, would be forgotten")


def _before(age: int) -> tuple[int, date]:
    """The moment so many ms ago, and its day."""
    from datetime import UTC, datetime

    from tidings.stores.clock import SystemClock

    before = SystemClock().now() - age
    return before, datetime.fromtimestamp(before / 1000, UTC).date()


def _people(config: Path | None) -> FilePeople:
    from tidings.running.ground import people_address
    from tidings.settings import read_settings
    from tidings.stores.address import open_people
    from tidings.stores.clock import SystemClock

    try:
        return open_people(people_address(read_settings(config)), SystemClock())
    except ValueError as error:
        raise Refusal(str(error)) from None


def _duration(option: str, text: str, why: str) -> int:
    from tidings.durations import UNITS, parse_duration
    from tidings.problems import ValueProblem

    try:
        found = parse_duration(text)
    except ValueProblem as problem:
        raise Refusal(f"{option}: {problem}") from None
    if found < UNITS["d"]:
        raise Refusal(f"{option} is at least 1d: {why}")
    return found


def _shown(person: Person, device: Address) -> str:
    from datetime import UTC, datetime

    last = max(device.last_success_at, device.registered_at)
    day = datetime.fromtimestamp(last / 1000, UTC).date() if last else "never"
    whose = person.recipient_id if person.tenant == "default" else "/".join(person)
    return f"{whose}  {device.platform or 'device'}  …{device.value[-4:]}  last {day}"
