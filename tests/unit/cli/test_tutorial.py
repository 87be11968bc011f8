"""The tutorial, as written: its files are made, its commands typed, its answers compared."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from tests.unit.cli.command import Command
from tests.unit.test_docs import BLOCK

CHECKOUT = Path(__file__).parents[3]
NAMED = re.compile(r"# (\S+\.\S+)\n")


def test_the_tutorial_does_what_it_says(tidings: Command, here: Path) -> None:
    steps = BLOCK.findall((CHECKOUT / "docs" / "tutorial.md").read_text())
    assert {language for language, _ in steps} == {"console", "yaml", "text"}
    for language, text in steps:
        if language == "console":
            for typed in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, _, answer = typed.partition("\n")
                program, *arguments = shlex.split(command)
                assert program == "tidings"
                said = tidings(*arguments)
                assert_answered(said.out + said.err, answer, command)
        else:
            head = NAMED.match(text)
            assert head is not None, text
            file = here / head[1]
            # A comment is none in JSON lines.
            file.write_text(text if language == "yaml" else text[head.end() :])


def assert_answered(said: str, answer: str, command: str) -> None:
    """Line by line; ``…`` alone stands for whatever follows."""
    shown, cut, _ = answer.partition("…\n") if answer.endswith("\n…\n") else (answer, "", "")
    if cut:
        assert said.startswith(shown), command
    else:
        assert [line.rstrip() for line in said.splitlines()] == answer.splitlines(), command


def test_the_tests_in_the_documents_pass(tidings: Command, here: Path) -> None:
    shutil.copytree(CHECKOUT / "flows", here / "flows", ignore=shutil.ignore_patterns("*.test.*"))
    text = (CHECKOUT / "docs" / "testing.md").read_text()
    (test,) = [block for language, block in BLOCK.findall(text) if language == "yaml"]
    (here / "flows" / "orders.test.yaml").write_text(test)
    assert tidings("test") == (0, "1 test in 1 file: all passed\n", "")
