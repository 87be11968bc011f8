"""The command, called in this process, in an empty folder with a log of its own."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.unit.cli.command import Command, Said
from tidings.cli import main


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, worked in; whatever the command keeps is under it."""
    monkeypatch.chdir(tmp_path)
    for name in ("TIDINGS_CONFIG", "TIDINGS_LOG", "TIDINGS_PRIORITY", "TIDINGS_SOCIAL_WINDOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDINGS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TIDINGS_CLAIMS", f"sqlite:{tmp_path}/data/claims.db")
    return tmp_path


@pytest.fixture
def tidings(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command; what it is given on stdin is bytes."""

    def call(*arguments: str, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "argv", ["tidings", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call
