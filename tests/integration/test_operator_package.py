"""An operator of a third party: the example package, installed from its folder into a clean
environment without a network, found by its entry point, checked and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "docs/examples/tidings-mask"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if "TIDINGS" not in name}
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment that has the package, and Tidings as it is here."""
    environment, uv = tmp_path / "venv", Path(sys.executable).with_name("uv")
    run(uv, "venv", "--python", sys.executable, environment)
    [packages] = environment.glob("lib/*/site-packages")
    beside = f"{CHECKOUT}\n{sysconfig.get_path('purelib')}\n"
    (packages / "tidings-here.pth").write_text(beside)
    run(
        *(uv, "pip", "install", "--python", environment / "bin/python", "--no-index"),
        *("--no-deps", "--no-build-isolation", EXAMPLE),
    )
    return environment / "bin/python"


@pytest.mark.timeout(180)
def test_its_step_is_listed_checked_and_run(python: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copytree(EXAMPLE, here)

    def tidings(*arguments: str) -> str:
        return run(python, "-m", "tidings.cli", *arguments, cwd=here)

    assert "Hides all but the last characters of a text" in tidings("list")
    assert tidings("check") == "1 file: no problems\n"
    assert tidings("test") == "1 test in 1 file: all passed\n"
