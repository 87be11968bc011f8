"""Which roles share a process on one machine: few processes, and what is high alone.

high    flows that deliver at high priority only, and the lanes at high
rest    all others
<flow>  a flow that delivers at high and at another priority: it would disturb either
receipts   what reads providers' callbacks, where there are such providers

The lanes of the rest share the process of its flows. Units take turns, a batch each, so a blast in
one holds up another by some batches only: with 10,000 sends at low and 10,000 likes at once, an
order's p99 was 0.5 to 0.7 s with them together and 0.6 to 0.8 s apart, on two cores, and apart took
a quarter more CPU and 80 MB more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tidings.plan import FlowPlan
from tidings.records import Priority
from tidings.running.footprint import priorities_of
from tidings.running.roster import Role

HIGH, REST, RECEIPTS = "high", "rest", "receipts"


@dataclass(frozen=True)
class Pack:
    """One process: what `tidings run` is to be given for it; of the receipts nothing."""

    name: str
    files: list[Path] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)


def pack(roles: Iterable[Role], *, receipts: bool = False) -> list[Pack]:
    """The processes for these roles, the high one first; one for the ``receipts`` if wanted."""
    listed = list(roles)
    plays = Counter(role.plan.file for role in listed)
    packs: dict[str, Pack] = {HIGH: Pack(HIGH), REST: Pack(REST)}
    for role in listed:
        name = _process_of(role)
        home = packs.setdefault(name, Pack(name))
        home.roles.append(role.name)
        if role.plan.file not in home.files:
            home.files.append(role.plan.file)
        one_of_several = plays[role.plan.file] > 1
        if one_of_several and role.priority not in home.priorities:
            home.priorities.append(role.priority)
    if receipts:
        packs[RECEIPTS] = Pack(RECEIPTS, roles=[RECEIPTS])
    return [each for each in packs.values() if each.roles]


def _process_of(role: Role) -> str:
    if role.high():
        return HIGH
    if isinstance(role.plan, FlowPlan) and Priority.HIGH in priorities_of(role.plan, role.priority):
        return role.name
    return REST
