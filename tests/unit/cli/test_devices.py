"""`tidings devices`: who is registered, and who has fallen silent."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from threading import Thread

import pytest

from tests.unit.cli.command import Command
from tidings.ports import A_DAY, Person, Success
from tidings.stores.clock import SystemClock
from tidings.stores.people import FilePeople

ANA = Person("default", "ana")
NOW = int(time.time() * 1000)


@pytest.fixture
def people(here: Path) -> Path:
    """Ana has a phone that is heard of, a tablet that is silent and a watch that is new."""
    folder = here / "config/people"
    folder.mkdir(parents=True)
    ages = {"phone-0001": 200, "tablet-0002": 200, "watch-0003": 3}
    devices = [
        {
            "kind": "device",
            "value": value,
            "platform": "ios",
            "registered_at": NOW - days * A_DAY,
        }
        for value, days in ages.items()
    ]
    line = json.dumps({"recipient_id": "ana", "addresses": devices})
    (folder / "people.jsonl").write_text(line + "\n")
    (here / "config/tidings.yaml").write_text("people: file:config/people\n")
    kept = FilePeople(folder, SystemClock())
    kept.note_successes([Success(ANA, "device", "tablet-0002", NOW - 120 * A_DAY)])
    kept.note_successes([Success(ANA, "device", "phone-0001", NOW - 10 * A_DAY)])
    return folder


def devices(folder: Path) -> list[str]:
    [ana] = FilePeople(folder, SystemClock()).profiles([ANA])
    assert ana is not None
    return [one.value for one in ana.addresses]


def test_silent_devices_are_forgotten(tidings: Command, people: Path) -> None:
    said = tidings("devices", "prune")
    assert said.code == 0
    assert said.out.startswith("1 devices, silent since ")
    assert devices(people) == ["phone-0001", "watch-0003"]
    assert tidings("devices", "prune").out.startswith("0 devices")


def test_a_dry_run_names_them_and_leaves_them(tidings: Command, people: Path) -> None:
    said = tidings("devices", "prune", "--older-than", "5d", "--dry-run")
    assert said.code == 0
    first, second, last = said.out.splitlines()
    assert first.startswith("ana  ios  …0001  last ")
    assert second.startswith("ana  ios  …0002  last ")
    assert last.startswith("2 devices, silent since ")
    assert len(devices(people)) == 3


def test_a_day_is_the_least(tidings: Command, people: Path) -> None:
    said = tidings("devices", "prune", "--older-than", "6h")
    assert (said.code, said.err) == (
        1,
        "--older-than is at least 1d: successes are kept to the day\n",
    )
    assert tidings("devices", "prune", "--older-than", "90").code == 1
    assert len(devices(people)) == 3


def test_every_day_until_it_is_told_to_stop(tidings: Command, people: Path) -> None:
    here = threading.get_ident()

    def stop_it() -> None:
        while len(devices(people)) == 3:
            time.sleep(0.01)
        signal.pthread_kill(here, signal.SIGTERM)

    stopping = Thread(target=stop_it)
    stopping.start()
    said = tidings("devices", "prune", "--every", "1d")
    stopping.join()
    assert said.code == 0
    assert said.out.startswith("1 devices, silent since ")
    assert devices(people) == ["phone-0001", "watch-0003"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--every", "1h"), "--every is at least 1d: no device falls silent sooner"),
        (("--every", "1d", "--dry-run"), "--every and --dry-run do not go together"),
    ],
)
def test_what_it_can_not_do_every_day(
    tidings: Command, people: Path, arguments: tuple[str, ...], says: str
) -> None:
    said = tidings("devices", "prune", *arguments)
    assert said.code == 1
    assert says in said.err
    assert len(devices(people)) == 3


def test_a_registration_takes_the_old_tokens_place(tidings: Command, people: Path) -> None:
    arguments = ("ana", "phone-0009", "--platform", "ios", "--replaces", "phone-0001")
    assert tidings("devices", "register", *arguments).out == "registered\n"
    assert devices(people) == ["phone-0009", "tablet-0002", "watch-0003"]


def test_nobody_registers_for_a_person_nobody_knows(tidings: Command, people: Path) -> None:
    said = tidings("devices", "register", "zoe", "phone-0009", "--platform", "ios")
    assert said.code == 1
    assert "nobody knows `zoe`" in said.err


def test_a_platform_is_one_that_send_tells_apart(tidings: Command, people: Path) -> None:
    said = tidings("devices", "register", "ana", "new", "--platform", "windows")
    assert said.code == 2
    assert "'windows' is not one of 'ios', 'android', 'web'" in said.err


def test_a_token_is_a_text(tidings: Command, people: Path) -> None:
    said = tidings("devices", "register", "ana", " ", "--platform", "ios")
    assert (said.code, said.err) == (1, "the token is empty: nothing could be sent there\n")
    assert len(devices(people)) == 3
