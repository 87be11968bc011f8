"""The tutorial, as written: its files are made, its commands typed, its answers compared."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.unit.cli.command import Command
from tests.unit.test_docs import BLOCK, blocks

CHECKOUT = Path(__file__).parents[3]
NAMED = re.compile(r"# (\S+\.\S+)\n")
FLOW = re.compile(r"flow: (\w+)\s.*\nsource:")


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


TESTS = [
    (name, text) for name, text in blocks("yaml") if "cases:\n" in text and name != "tutorial.md"
]


@pytest.mark.parametrize(("document", "text"), TESTS)
def test_the_tests_in_the_documents_pass(
    document: str, text: str, tidings: Command, here: Path
) -> None:
    shutil.copytree(CHECKOUT / "flows", here / "flows", ignore=shutil.ignore_patterns("*.test.*"))
    for name, block in blocks("yaml"):
        if name == document and (told := FLOW.match(block)):
            (here / "flows" / f"{told[1]}.yaml").write_text(block)
    (here / "flows" / "orders.test.yaml").write_text(text)
    count = text.count("- name: ")
    said = f"{count} test{'s' * (count > 1)} in 1 file: all passed\n"
    assert tidings("test") == (0, said, "")
