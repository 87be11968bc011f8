"""What the documents say is true: their flows pass `check`, their commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.cli.verbs import verbs
from tidings.cli.check import survey
from tidings.simulator.scenario import read_scenario

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list[tuple[str, str]]:
    """The blocks in a language, each with its document."""
    return [
        (document.name, text)
        for document in DOCUMENTS
        for said, text in BLOCK.findall(document.read_text())
        if said == language
    ]


def commands() -> list[str]:
    """Every `tidings …` of the documents."""
    lines = [line for _, text in blocks("") for line in text.splitlines()]
    return re.findall(r"(?:^|\| )tidings ([a-z]+(?: (?:plan|apply))?)", "\n".join(lines), re.M)


# The tutorial's are files of its own folder: `test_tutorial` makes them, and goes through it.
OTHERS = ("tutorial.md", "rehearsals.md")


@pytest.mark.parametrize(
    ("document", "text"),
    [block for block in blocks("yaml") if block[0] not in OTHERS and "\ncases:" not in block[1]],
)
def test_its_flows_and_lanes_have_no_problems(document: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "documented.yaml"
    file.write_text(text)
    problems, roles = survey([file], CHECKOUT / "config" / "tidings.yaml")
    assert problems.render() == ""
    assert roles


def test_its_scenarios_are_scenarios(tmp_path: Path) -> None:
    found = [text for document, text in blocks("yaml") if document == "rehearsals.md"]
    assert found
    for text in found:
        file = tmp_path / "rehearsal.yaml"
        file.write_text(text)
        assert read_scenario(file, {}).script


def test_its_commands_are_the_commands() -> None:
    assert commands()
    assert set(commands()) <= verbs()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_its_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / link).exists(), link


def test_its_make_targets_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    said = "".join(document.read_text() for document in DOCUMENTS)
    targets = set(re.findall(r"(?:`|^)make (\w+)", said, re.M))
    assert {"demo", "test"} <= targets
    assert {name for name in targets if not re.search(rf"^{name}:", makefile, re.M)} == set()
