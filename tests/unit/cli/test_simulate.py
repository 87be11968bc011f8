"""What `tidings simulate provider` refuses, and how it says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.contract.simulated import credentials_of_all
from tests.unit.cli.command import Command
from tidings.cli.simulate import _shown
from tidings.providers import own_settings
from tidings.settings import read_settings
from tidings.simulator.scenario import Scenario


def test_a_provider_that_there_is_not(tidings: Command) -> None:
    said = tidings("simulate", "provider", "twillio")
    assert said.code == 1
    assert said.err == "there is no `twillio` to simulate: did you mean `twilio`?\n"


def test_mistakes_of_a_scenario_with_their_places(tidings: Command, tmp_path: Path) -> None:
    file = tmp_path / "rehearsal.yaml"
    file.write_text("script:\n  - {provider: apns, answer: gone}\n  - {adress: x}\n")
    said = tidings("simulate", "provider", "--script", str(file))
    assert said.code == 1
    assert "rehearsal.yaml:2:30" in said.err
    assert "rehearsal.yaml:3:6" in said.err
    assert "`address`" in said.err


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        ("{answer: amb, status: 500}", 27, "an `amb` gets no answer"),
        ("{provider: ses, by: reset}", 25, "add `answer: amb`"),
        ("{answer: ok, limited: true}", 27, "add `answer: retry`"),
        ("{since: 2m, until: 1m, answer: inv}", 24, "over before `since`"),
        ("{provider: fcm, receipts: [{event: opened}]}", 31, "Apple and Google tell nothing"),
    ],
)
def test_a_line_that_could_do_nothing_is_a_mistake(
    tidings: Command, tmp_path: Path, line: str, column: int, said: str
) -> None:
    file = tmp_path / "rehearsal.yaml"
    file.write_text(f"script:\n  - {line}\n")
    told = tidings("simulate", "provider", "--script", str(file))
    assert told.code == 1
    assert f"rehearsal.yaml:2:{column}" in told.err
    assert said in told.err


def test_without_the_library_the_extra_is_named(
    tidings: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    said = tidings("simulate", "provider")
    assert said.code == 1
    assert 'pip install "tidings[simulate]"' in said.err


def test_callbacks_need_a_topic_that_somebody_reads(tidings: Command, tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path}/log"
    said = tidings("simulate", "provider", "--callbacks", "log", "--log", log)
    assert said.code == 1
    assert "tidings receipts --create-topics" in said.err


def test_a_port_that_is_taken(tidings: Command, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        folder = str(tmp_path / "keys")
        said = tidings("simulate", "provider", "--port", port, "--folder", folder)
    assert said.code == 1
    assert "name another port" in said.err


def test_what_it_prints_can_be_read_as_settings(tmp_path: Path) -> None:
    made = credentials_of_all().settings(Scenario(), 8443, 8080)
    file = tmp_path / "tidings.yaml"
    file.write_text(_shown(made))
    read = read_settings(file).providers
    assert read.keys() == made.keys()
    for given in read.values():
        own_settings(given)
