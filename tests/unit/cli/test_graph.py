"""`tidings graph`: to stdout or a file."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.command import Command


def test_mermaid_to_stdout(tidings: Command) -> None:
    said = tidings("graph")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith('flowchart TB\n  subgraph p0["alerts"]\n')


def test_svg_to_a_file(tidings: Command, here: Path) -> None:
    assert tidings("graph", "--format", "svg", "-o", "flows.svg") == (0, "", "")
    assert (here / "flows.svg").read_text().startswith("<svg ")


def test_a_broken_flow_is_told_as_check_does(tidings: Command, here: Path) -> None:
    (here / "bad.yaml").write_text("flow: bad\nsource: {topic: t, key: k}\nsteps: [filtr]\n")
    said = tidings("graph", "bad.yaml")
    assert said.code == 1
    assert "bad.yaml:3:9  error[unknown-operator]  bad.filtr" in said.err
