"""`tidings new`: beginnings; what is there already is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command import Command


def test_a_new_flow_passes_check_and_test_at_once(tidings: Command, here: Path) -> None:
    assert tidings("new", "flow", "parcels") == (
        0,
        "flows/parcels.yaml\n"
        "flows/parcels.test.yaml\n"
        "config/templates/parcels/push.en.j2\n"
        "config/templates/parcels/email.en.j2\n"
        "flows/lanes/push.yaml\n"
        "flows/lanes/email.yaml\n"
        "\n"
        "tidings check && tidings test flows/parcels.yaml\n",
        "",
    )
    assert tidings("check") == (0, "3 files: no problems\n", "")
    assert tidings("test") == (0, "3 tests in 1 file: all passed\n", "")


def test_a_second_flow_leaves_the_lanes_as_they_are(tidings: Command, here: Path) -> None:
    tidings("new", "flow", "parcels")
    lane = here / "flows" / "lanes" / "push.yaml"
    lane.write_text(lane.read_text() + "# mine\n")
    assert "lanes" not in tidings("new", "flow", "letters").out
    assert lane.read_text().endswith("# mine\n")
    assert tidings("check").out == "4 files: no problems\n"


def test_nothing_is_written_over(tidings: Command, here: Path) -> None:
    (here / "flows").mkdir()
    (here / "flows" / "parcels.test.yaml").write_text("mine")
    said = tidings("new", "flow", "parcels")
    assert (said.code, said.out) == (1, "")
    assert said.err == "flows/parcels.test.yaml is there already; choose another name\n"
    assert [file.name for file in here.rglob("*.*")] == ["parcels.test.yaml"]


@pytest.mark.parametrize(
    ("what", "name", "why"),
    [
        ("flow", "My Flow", "'My Flow' is no name: use small letters, digits and `_`\n"),
        ("operator", "class", "'class' is no name: use small letters, digits and `_`\n"),
        ("operator", "digest", "there is a 'digest' already: choose another name\n"),
        ("sender", "sandbox", "there is a 'sandbox' already: choose another name\n"),
    ],
)
def test_a_name_that_is_none_is_refused(
    tidings: Command, here: Path, what: str, name: str, why: str
) -> None:
    assert tidings("new", what, name) == (1, "", why)
    assert list(here.iterdir()) == []
