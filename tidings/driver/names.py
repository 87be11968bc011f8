"""What a schema can't tell of a file of tests: whether its names are names of its flow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tidings.driver.cases import Case, CasesFile
from tidings.driver.driver import Built
from tidings.driver.given import Given, ReceiptSpec, ReplySpec
from tidings.load.nodes import Map, Node, Seq
from tidings.plan import FlowPlan
from tidings.problems import Mark, Problems, suggestion

_FIELDS = {"channel": "on", "provider": "to"}


def merged(given: Given, more: Given) -> Given:
    """What is given for all cases, and what one case adds; ``lanes`` it replaces."""
    return Given(
        people={**given.people, **more.people},
        suppressions=(*given.suppressions, *more.suppressions),
        lookups={**given.lookups, **more.lookups},
        templates={**given.templates, **more.templates},
        providers={**given.providers, **more.providers},
        receipts=(*given.receipts, *more.receipts),
        lanes=more.lanes if "lanes" in more.model_fields_set else given.lanes,
        event={**given.event, **more.event},
    )


class Review:
    """Whether the names in a file are names of its flow and its lanes."""

    def __init__(
        self,
        node: Map,
        spec: CasesFile,
        plan: FlowPlan,
        lanes: Mapping[str, list[Built]],
        mute: Collection[str],
        problems: Problems,
    ) -> None:
        self._node = node
        self._spec = spec
        self._plan = plan
        self._lanes = lanes
        self._mute = mute  # providers that can't be asked
        self._problems = problems

    def review(self) -> None:
        """Report every name that leads nowhere, and time that runs back."""
        self._fields(_at(self._node, "given", "event"), "given.event")
        for number, (case, node) in enumerate(
            zip(self._spec.cases, items_of(self._node, "cases"), strict=True)
        ):
            path = f"cases[{number}]"
            self._fields(_at(node, "given", "event"), f"{path}.given.event")
            self._arrivals(case, node, path)
            self._steps(case, node, path)
            self._providers(case, node, path)

    def _arrivals(self, case: Case, node: Node, path: str) -> None:
        last = 0
        for number, (arrival, item) in enumerate(
            zip(case.arrivals, items_of(node, "in"), strict=True)
        ):
            place = f"{path}.in[{number}]"
            self._fields(_at(item, "event"), f"{place}.event")
            if arrival.at < last:
                self._problems.error(
                    "out-of-order",
                    "it comes before the one above it",
                    _place(item, "at"),
                    f"{place}.at",
                    "events stand in the order in which they come",
                )
            last = max(last, arrival.at)
            if arrival.news is not None and not self._plan.keyed:
                self._problems.error(
                    "no-wait",
                    "nothing of this flow waits for what becomes of a delivery",
                    _place(item, "news"),
                    f"{place}.news",
                    "an `escalate` does",
                )
            topics = self._plan.source.names()
            if arrival.topic and arrival.topic not in topics:
                self._problems.error(
                    "unknown-topic",
                    f"the flow does not read `{arrival.topic}`",
                    _place(item, "topic"),
                    f"{place}.topic",
                    suggestion(arrival.topic, topics),
                )

    def _fields(self, node: Node | None, path: str) -> None:
        known = self._plan.source.fields
        if known and isinstance(node, Map):
            for entry in node:
                if entry.name not in known:
                    self._problems.error(
                        "unknown-field",
                        f"the flow's events have no field `{entry.name}`",
                        entry.where,
                        f"{path}.{entry.name}",
                        suggestion(entry.name, known),
                    )

    def _steps(self, case: Case, node: Node, path: str) -> None:
        name = self._plan.name
        given = merged(self._spec.given, case.given)
        built = [each for lane in given.lanes for each in self._lanes.get(lane, ())]
        known = [step.path for step in self._plan.steps()]
        known += [f"{name}.source", f"{name}.key", f"{name}.cut", f"{name}.entries", *given.lanes]
        known += [step.path for each in built for step in each.plan.steps]
        known += ["receipts"] if given.receipts else []
        out = _at(node, "out")
        for entry in out if isinstance(out, Map) else ():
            if entry.name not in known:
                self._problems.error(
                    "unknown-step",
                    f"there is no step `{entry.name}` in the flow or the lanes of this case",
                    entry.where,
                    f"{path}.out.{entry.name}",
                    suggestion(entry.name, known),
                )

    def _providers(self, case: Case, node: Node, path: str) -> None:
        given = merged(self._spec.given, case.given)
        known = {
            provider
            for each in given.lanes
            for built in self._lanes.get(each, ())
            for provider in built.plan.steps[-1].spec.providers()
        }
        for provider, replies in given.providers.items():
            whole = node if provider in case.given.providers else self._node
            place = _at(whole, "given", "providers")
            where = f"{path}.given.providers.{provider}"
            if provider not in known:
                self._problems.error(
                    "unknown-provider",
                    f"no lane of this case sends to `{provider}`",
                    _key(place, provider) or node.where,
                    where,
                    suggestion(provider, known) or "name its lane in `given.lanes`",
                )
            lines = _items(_at(place, provider))
            self._about(replies, lines, given, known, where)
            for number, (reply, line) in enumerate(zip(replies, lines, strict=True)):
                if reply.asked and provider in self._mute:
                    self._problems.error(
                        "cannot-ask",
                        f"`{provider}` can't be asked whether it has a message",
                        _place(line, "asked"),
                        f"{where}[{number}].asked",
                        "Twilio and the sandbox can, as `providers` of the settings name them",
                    )
        own, common = case.given.receipts, self._spec.given.receipts
        where = f"{path}.given.receipts"
        self._about(common, _items(_at(self._node, "given", "receipts")), given, known, where)
        self._about(own, _items(_at(node, "given", "receipts")), given, known, where)

    def _about(
        self,
        said: Sequence[ReplySpec | ReceiptSpec],
        nodes: Sequence[Node],
        given: Given,
        providers: Collection[str],
        path: str,
    ) -> None:
        """Whether there are the channels and providers whose sends these are about."""
        for number, (one, node) in enumerate(zip(said, nodes, strict=True)):
            for field, known in (("channel", given.lanes), ("provider", providers)):
                name = getattr(one, field, "")
                if name and name not in known:
                    self._problems.error(
                        f"unknown-{field}",
                        f"no lane of this case sends {_FIELDS[field]} `{name}`",
                        _place(node, field),
                        f"{path}[{number}].{field}",
                        suggestion(name, known) or "name its lane in `given.lanes`",
                    )


def _at(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        node = node.get(key) if isinstance(node, Map) else None
    return node


def items_of(node: Node, key: str) -> Sequence[Node]:
    """The items of the list under a key; none where there is no such list."""
    return _items(_at(node, key))


def _items(node: Node | None) -> Sequence[Node]:
    return node.items if isinstance(node, Seq) else ()


def _place(node: Node, key: str) -> Mark:
    found = _at(node, key)
    return node.where if found is None else found.where


def _key(node: Node | None, name: str) -> Mark | None:
    entry = node.entries.get(name) if isinstance(node, Map) else None
    return None if entry is None else entry.where
