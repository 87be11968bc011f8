"""Which flows and lanes there are: from files and priorities to roles, with all problems at once.

A *role* is what one unit (or an intake with its flow) plays: a flow, or a lane at one priority. A
flow file may name itself and its topics by ``${TIDINGS_PRIORITY}``; then it is a role for each
priority, as a lane is. Any other flow is one role, at the priority of the process where that has
only one, else at normal: what its ``deliver`` steps do not say, that says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidings.content import content_root
from tidings.plan import FlowPlan, LanePlan, load
from tidings.problems import Mark, Problems
from tidings.records import Priority
from tidings.running.footprint import priorities_of

PRIORITY_VARIABLE = "TIDINGS_PRIORITY"


@dataclass(frozen=True)
class Role:
    """A flow, or a lane at one priority."""

    plan: FlowPlan | LanePlan
    priority: Priority

    @property
    def name(self) -> str:
        """``social``, ``push.high``."""
        if isinstance(self.plan, LanePlan):
            return f"{self.plan.channel}.{self.priority}"
        return self.plan.name

    def high(self) -> bool:
        """Whether it serves the high class alone, and so runs apart from the rest."""
        if isinstance(self.plan, LanePlan):
            return self.priority is Priority.HIGH
        return priorities_of(self.plan, self.priority) == {Priority.HIGH}


def shipped_files(folder: Path | None = None) -> list[Path]:
    """The flows and lanes of ``folder``; of ``flows/`` here, or the shipped ones, if None."""
    here = Path("flows")
    root = folder or (here if here.is_dir() else content_root() / "flows")
    return [
        path
        for home in (root, root / "lanes")
        for path in sorted(home.glob("*.yaml"))
        if not path.name.endswith(".test.yaml")
    ]


def files_of(named: Iterable[Path] | None) -> list[Path]:
    """The files that were named, a folder standing for the flows and lanes in it; those of
    ``shipped_files`` if none was. A folder with none in it stays, for its reader to complain."""
    if not named:
        return shipped_files()
    found: list[Path] = []
    for path in named:
        inner = path / "flows"
        home = inner if inner.is_dir() else path
        found += (shipped_files(home) if path.is_dir() else []) or [path]
    return found


def roles(
    files: Iterable[Path],
    priorities: Sequence[Priority],
    env: Mapping[str, str],
    problems: Problems,
) -> list[Role]:
    """The roles of these files; one that names the priority is read once for each.

    Two files with the same name are a
    problem: they would share their topics, their group and their state.
    """
    found: dict[str, Role] = {}
    for file in files:
        for priority, plan in _plans(file, priorities, env, problems):
            role = Role(plan, priority)
            other = found.setdefault(role.name, role)
            if other.plan.file != plan.file:
                kind = "lane" if isinstance(plan, LanePlan) else "flow"
                problems.error(
                    f"duplicate-{kind}",
                    f"there are two {kind}s `{role.name.partition('.')[0]}`",
                    _head(plan.file, kind),
                    role.name,
                    "rename one: they would share their topics, their group and their state",
                    see=_head(other.plan.file, kind),
                )
    return list(found.values())


def _plans(
    file: Path, priorities: Sequence[Priority], env: Mapping[str, str], problems: Problems
) -> Iterator[tuple[Priority, FlowPlan | LanePlan]]:
    varies = file.is_file() and PRIORITY_VARIABLE.encode() in file.read_bytes()
    plan = None
    for number, priority in enumerate(priorities):
        if number == 0 or varies:
            plan = load(file, {**env, PRIORITY_VARIABLE: priority}, problems)
        if isinstance(plan, FlowPlan) and not varies:
            yield priority if len(priorities) == 1 else Priority.NORMAL, plan
            return
        if plan is not None:
            yield priority, plan


def _head(file: Path, kind: str) -> Mark:
    """Where a file says its name."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line.startswith(f"{kind}:"):
            return Mark(str(file), number, 1, len(line.rstrip()), line)
    return Mark(str(file), 1, 1)
