"""The wheel, installed alone in a clean environment, is Tidings and nothing beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installed:
    """A clean environment with the wheel in it, and an empty folder to run things from."""

    wheel: Path
    environment: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> str:
        """What a program of the environment prints, run outside the checkout."""
        ended = subprocess.run(
            [self.environment / "bin" / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def python(self, code: str) -> str:
        """What a line of Python prints, with nothing of ours on its path but the wheel."""
        return self.run("python", "-I", "-c", code)


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "venv"
    uv = Path(sys.executable).with_name("uv")
    run(
        *(uv, "build", "--wheel", "--no-build-isolation", "--python", sys.executable),
        *("--out-dir", folder),
    )
    [wheel] = folder.glob("*.whl")
    run("requirements/install", environment, "run")
    run(uv, "pip", "install", "--python", environment / "bin" / "python", "--no-deps", wheel)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return Installed(wheel, environment, elsewhere)


def top_names(wheel: Path) -> set[str]:
    return {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_it_owns_no_top_level_name_but_its_own(installed: Installed) -> None:
    assert {name.split("-")[0] for name in top_names(installed.wheel)} == {"tidings"}


def test_the_operators_are_in_it_once_as_files(installed: Installed) -> None:
    names = [
        name
        for name in zipfile.ZipFile(installed.wheel).namelist()
        if name.startswith("tidings/operators/")
    ]
    assert sorted(names) == sorted(
        f"tidings/operators/{name}" for name in files(CHECKOUT / "operators")
    )


def test_the_shipped_flows_and_configuration_are_in_it(installed: Installed) -> None:
    where = installed.python("import tidings; print(tidings.__path__[0])").strip()
    for folder in ("flows", "config"):
        shipped = files(CHECKOUT / folder)
        assert shipped
        assert files(Path(where) / "content" / folder) == shipped


def test_it_is_imported_from_the_environment(installed: Installed) -> None:
    where = installed.python("import tidings.operators as it; print(it.__file__)").strip()
    assert Path(where).is_relative_to(installed.environment)


def test_the_command_says_what_it_can_do(installed: Installed) -> None:
    assert "Usage: tidings" in installed.run("tidings", "--help")


@pytest.mark.timeout(240)
def test_it_runs_the_shipped_flows_with_nothing_beside_it(installed: Installed) -> None:
    summary = json.loads(installed.run("tidings", "demo", "--for", "3s", "--json"))

    assert summary["notifications"] > 0
    assert (summary["lost"], summary["pending"], summary["repeated"]) == (0, 0, 0)
