"""Another version of flows and lanes: those of a folder, or as they were at a git revision."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tidings.cli.failures import Refusal
from tidings.plan import FlowPlan
from tidings.problems import Mark, Problems
from tidings.records import Priority
from tidings.review.changes import compare
from tidings.running.roster import Role, files_of, roles


def compare_with(
    ref: str, files: Sequence[Path], chosen: Sequence[Role], problems: Problems, *, whole: bool
) -> list[Role]:
    """Add what ``chosen``, read from ``files``, does to what runs as at ``ref`` to ``problems``;
    gives the roles as they were then. ``whole`` tells that ``files`` are all that there are now.

    Raises Refusal where ``ref`` is no version.
    """
    homes = [*dict.fromkeys(file.parent for file in files)]
    with TemporaryDirectory() as folder:
        unread, found = Problems(), Problems()
        before = roles(former_files(ref, homes, Path(folder)), list(Priority), os.environ, unread)
        names = {role.name for role in chosen} | {file.name for file in files}
        if not whole:
            before = [role for role in before if {role.name, role.plan.file.name} & names]
        compare(before, chosen, found)
    told = _told(ref, homes, Path(folder))
    broken = {Path(one.where.file).name for one in problems.errors if Path(one.where.file).exists()}
    for problem in unread.errors:
        if whole or Path(problem.where.file).name in names:
            where = told(problem.where)
            found.warning(
                "unreadable-before", f"it can't be compared: {problem.message}", where, problem.path
            )
    for problem in found:
        if problem.code == "flow-gone" and Path(problem.where.file).name in broken:
            continue  # it is there, and can't be read
        see = told(problem.see) if problem.see is not None else None
        problems.add(replace(problem, where=told(problem.where), see=see))
    return [role for role in before if isinstance(role.plan, FlowPlan)]


def _told(ref: str, homes: Sequence[Path], folder: Path) -> Callable[[Mark], Mark]:
    """Marks in the folder of former files, as places at ``ref``."""

    def told(mark: Mark) -> Mark:
        if not Path(mark.file).is_relative_to(folder):
            return mark
        number, name = Path(mark.file).relative_to(folder).parts
        return replace(mark, file=f"{ref}:{homes[int(number)] / name}")

    return told


def former_files(ref: str, homes: Sequence[Path], folder: Path) -> list[Path]:
    """The flows and lanes at ``ref``: a file, a folder with such files, or a git revision.

    Of a revision, all that stood in ``homes``: a file may have another name now. They are written
    to ``folder``, under the number of their home. Raises Refusal where ``ref`` is none of the
    three.
    """
    if Path(ref).is_file():
        return [Path(ref)]
    if ref and Path(ref).is_dir():
        files = files_of([Path(ref)])
        if files == [Path(ref)]:
            raise Refusal(f"--against {ref}: there are no flows in that folder")
        return files
    found = []
    for number, home in enumerate(homes):
        _git(ref, home, "rev-parse", "--verify", f"{ref}^{{commit}}")
        for name in _git(ref, home, "ls-tree", "--name-only", ref, "./").splitlines():
            if name.endswith(".yaml") and not name.endswith(".test.yaml"):
                former = folder / str(number) / name
                former.parent.mkdir(exist_ok=True)
                former.write_text(_git(ref, home, "show", f"{ref}:./{name}"))
                found.append(former)
    return found


def _git(ref: str, home: Path, *arguments: str) -> str:
    ended = subprocess.run(
        ["git", *arguments], cwd=home, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        why = ended.stderr.strip().splitlines()
        hint = "; a revision goes without a path" if ":" in ref else ""
        raise Refusal(
            f"--against {ref}: no file, no folder, and no git revision of {home}: "
            f"{why[0] if why else 'git failed'}{hint}"
        )
    return ended.stdout
