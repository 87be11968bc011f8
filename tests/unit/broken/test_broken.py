"""Broken flows and lanes: `check` says of each file here exactly what stands in the text beside it.

A new one is a `.yaml` file with one thing wrong, named by what that is, and the message as `.txt`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command import Command
from tidings.content import content_root

HERE = Path(__file__).parent
BROKEN = sorted(HERE.glob("*.yaml"))


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_it_is_told_what_is_wrong_and_where_with_the_likely_fix(
    file: Path, tidings: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    config = content_root() / "config" / "tidings.yaml"
    said = tidings("check", "--strict", file.name, "--config", str(config))
    told, _, counted = said.out.rpartition("\n\n")
    assert told + "\n" == file.with_suffix(".txt").read_text()
    assert counted.startswith("1 file: 1 ")
    assert (said.code, said.err) == (1, "")


def test_there_are_many_and_each_has_its_message() -> None:
    assert len(BROKEN) >= 40
    assert {file.stem for file in HERE.glob("*.txt")} == {file.stem for file in BROKEN}
