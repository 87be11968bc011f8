"""A ``*.test.yaml``, loaded and checked against its flow, and its cases run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from tidings.compile.steps import build
from tidings.driver.callbacks import Callbacks
from tidings.driver.cases import Case, CasesFile
from tidings.driver.driver import Built, Driver, build_lanes
from tidings.driver.given import Given
from tidings.driver.names import Review, items_of, merged
from tidings.driver.outputs import outputs
from tidings.driver.ports import (
    GivenLookups,
    GivenSuppressions,
    GivenTemplates,
    LocalCaps,
    local_payloads,
    people_of,
)
from tidings.driver.replies import Replies
from tidings.driver.verdict import Mismatch, compare, unused
from tidings.load import bind, read_file
from tidings.load.nodes import Map
from tidings.plan import FlowPlan, LanePlan, load
from tidings.ports import Io, Profile, Suppression, Template, Templates
from tidings.problems import Mark, Problems
from tidings.providers import settles_of
from tidings.records import encode
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock

ENDING = ".test.yaml"
LONGEST = 30 * 86_400_000  # ms of virtual time, where a case does not say how long it goes on


class Result(msgspec.Struct, frozen=True):
    """One case, where it stands, and what was wrong; nothing if it passed."""

    file: str
    name: str
    where: Mark
    mismatches: Sequence[Mismatch]

    @property
    def passed(self) -> bool:
        """True when exactly what was expected came out."""
        return not self.mismatches


class Suite:
    """The cases of one file and the flow that they are about."""

    def __init__(
        self,
        file: Path,
        cases: CasesFile,
        node: Map,
        plan: FlowPlan,
        lanes: Mapping[str, list[Built]],
        settings: Settings,
        templates: Templates,
    ) -> None:
        self.file = file
        self.cases = cases.cases
        self._spec = cases
        self._node = node
        self._plan = plan
        self._lanes = lanes
        self._settings = settings
        self._templates = templates

    def run(self, chosen: Callable[[str], bool] = lambda name: True) -> Iterator[Result]:
        """The results of the cases whose name is ``chosen``, in order."""
        nodes = items_of(self._node, "cases")
        for case, node in zip(self.cases, nodes, strict=True):
            if chosen(case.name):
                where = node["name"].where if isinstance(node, Map) else node.where
                yield Result(str(self.file), case.name, where, self._run(case))

    def _run(self, case: Case) -> list[Mismatch]:
        given = merged(self._spec.given, case.given)
        start = case.start if case.start is not None else self._spec.start
        clock = ManualClock(start)
        replies = Replies(given.providers, start)
        callbacks = None
        if given.receipts:
            callbacks = Callbacks(given.receipts, start, len(self._spec.given.receipts))
        driver = Driver(
            self._plan,
            self._settings,
            ports(given, clock, self._templates),
            clock,
            lanes=[each for name in given.lanes for each in self._lanes[name]],
            script=replies,
            told=replies.asked,
            callbacks=callbacks,
        )
        key = self._plan.source.key
        for arrival in case.arrivals:
            driver.advance(start + arrival.at)
            topic = arrival.topic or self._plan.source.names()[0]
            if arrival.news is not None:
                driver.tell(**arrival.news.model_dump())
                continue
            if arrival.event is None:
                driver.write(topic, None, (arrival.raw or "").encode())
                continue
            event = {**given.event, **arrival.event}
            person = event.get(key.text)
            driver.write(topic, str(person).encode() if person else None, encode(event))
        if case.advance is None:
            driver.drain(clock.now() + LONGEST)
        else:
            driver.advance(start + case.advance)
        found = compare(case.out, outputs(driver), start)
        found += unused("given.providers", (one for _, one in replies.unused(case.given.providers)))
        if callbacks is not None:
            found += unused("given.receipts", callbacks.unused())
        return found


def load_suite(
    file: Path, settings: Settings, templates: Templates, problems: Problems
) -> Suite | None:
    """The suite of a file; None where it can't be run, and why is among ``problems``."""
    before = len(problems.errors)
    node = read_file(file, {}, problems)
    spec = None if node is None else bind(node, CasesFile, "", problems)
    if spec is None or not isinstance(node, Map):
        return None
    named = spec.flow or file.name.removesuffix(ENDING) + ".yaml"
    plan = load(file.parent / named, spec.env, problems)
    if isinstance(plan, LanePlan):
        place = node["flow"].where if "flow" in node else node.where
        problems.error("no-flow", f"{named} is a lane, and a test is of a flow", place)
        return None
    if plan is None:
        return None
    build(plan, settings, problems)
    lanes = _lanes(file, node, spec, plan, settings, problems)
    mute = {
        provider
        for each in lanes.values()
        for built in each
        for provider in built.plan.steps[-1].spec.providers()
        if not settles_of(provider, settings.providers)
    }
    Review(node, spec, plan, lanes, mute, problems).review()
    if len(problems.errors) > before:
        return None
    return Suite(file, spec, node, plan, lanes, settings, templates)


def _lanes(
    file: Path,
    node: Map,
    spec: CasesFile,
    plan: FlowPlan,
    settings: Settings,
    problems: Problems,
) -> dict[str, list[Built]]:
    """The lanes that any case names, built, by channel."""
    named = dict.fromkeys(
        name for given in (spec.given, *(case.given for case in spec.cases)) for name in given.lanes
    )
    found: dict[str, list[Built]] = {}
    for name in named:
        lane = load(file.parent / "lanes" / f"{name}.yaml", spec.env, problems)
        if isinstance(lane, LanePlan):
            found[name] = build_lanes(plan, [lane], settings, problems)
    return found


# ── What is given ─────────────────────────────────────────────────────────────────────────────


def ports(given: Given, clock: ManualClock, templates: Templates) -> Io:
    """The ports as a case has them."""
    profiles = {}
    for name, person in given.people.items():
        said = person.model_dump()
        profiles[said.pop("tenant"), name] = msgspec.convert(said, Profile)
    entries = []
    for each in given.suppressions:
        said = each.model_dump()
        entries.append((said.pop("tenant"), Suppression(**said)))
    texts = {
        (name, channel): Template(
            id=name, channel=channel, locale="en", version=f"given:{sorted(parts)}", parts=parts
        )
        for name, channels in given.templates.items()
        for channel, parts in channels.items()
    }
    return Io(
        people=people_of(profiles),
        suppressions=GivenSuppressions(entries),
        templates=GivenTemplates(texts, templates) if texts else templates,
        claims=LocalClaims(clock),
        caps=LocalCaps(),
        clock=clock,
        lookups=GivenLookups(given.lookups),
        payloads=local_payloads(),
    )
