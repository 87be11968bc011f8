"""New packages, installed: their steps and providers are found, and what they bring passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


class Package:
    """A package begun by ``tidings new``, installed beside us."""

    def __init__(self, folder: Path, what: str, name: str) -> None:
        self._site = folder / "site"
        self.home = folder
        self.run("tidings.cli", "new", what, name)
        self.home = folder / f"tidings-{name.replace('_', '-')}"
        uv = Path(sys.executable).with_name("uv")
        subprocess.run(
            [
                *(uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
                *("--python", sys.executable, "--target", self._site, self.home),
            ],
            check=True,
        )

    def run(self, module: str, *arguments: str, cwd: Path | None = None) -> str:
        """What a module prints; it must end well."""
        env = {**os.environ, "PYTHONPATH": f"{self._site}{os.pathsep}{CHECKOUT}"}
        ended = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd or self.home,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Package:
    return Package(tmp_path, "operator", "word_count")


@pytest.fixture
def sender(tmp_path: Path) -> Package:
    return Package(tmp_path, "sender", "pager")


def test_a_new_operator_passes_check_and_test_at_once(operator: Package) -> None:
    assert "word_count" in operator.run("tidings.cli", "list")
    assert operator.run("tidings.cli", "check") == "1 file: no problems\n"
    assert operator.run("tidings.cli", "test") == "1 test in 1 file: all passed\n"


def test_its_example_does_what_it_says(operator: Package) -> None:
    said = operator.run(
        "pytest", "-q", "tests/unit/test_operator_examples.py", "-k", "word_count", cwd=CHECKOUT
    )
    assert "1 passed" in said


def test_a_new_sender_passes_check_and_test_at_once(sender: Package) -> None:
    assert "pager" in sender.run("tidings.cli", "list")
    assert sender.run("tidings.cli", "check") == "2 files: no problems\n"
    assert sender.run("tidings.cli", "test") == "1 test in 1 file: all passed\n"
    assert "1 passed" in sender.run("pytest", "-q", "-p", "no:cacheprovider")
