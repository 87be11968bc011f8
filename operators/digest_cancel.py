"""`cancel` of a digest: events that take back what was gathered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidings.contract import Item, Out, Site
from tidings.ids import id_of
from tidings.operators.digest_apart import Apart
from tidings.operators.digest_spec import Cancel, DigestSpec
from tidings.operators.digest_window import State, group_of
from tidings.records import Kind


class Cancels:
    """The rules of a spec, in order: the first that an event fulfils counts."""

    def __init__(self, spec: DigestSpec, site: Site, apart: Apart) -> None:
        self._rules = [(rule.when.of, rule) for rule in spec.cancel]
        self._reads = {
            rule: [field.or_null() for field in (*rule.match, rule.event) if field is not None]
            for rule in spec.cancel
        }
        self._by = [field.of for field in spec.by]
        self._leading = spec.leading
        self._path = site.path
        self._apart = apart

    def rule_of(self, data: dict[str, Any]) -> Cancel | None:
        """The rule by which an event takes something back. Raises EvaluationError."""
        for when, rule in self._rules:
            if when(data):
                return rule
        return None

    def take(self, rule: Cancel, state: State | None, item: Item, out: Out) -> State | None:
        """Take back what ``rule`` says. Raises EvaluationError, with nothing changed."""
        taken = 0
        for group, places in list(self._found(rule, state or {}, item.data)):
            assert state is not None
            window = state[group]
            taken += len(places)
            emptied = len(places) == window.count
            members = window.members if emptied else self._apart.take(window, places)
            if emptied and self._leading and (rule.match or rule.event is not None):
                self._apart.take(window, places)  # what follows still waits for its end
            elif emptied:
                del state[group]
            if members:
                back = self._taken_back(item, group, members)
                out.drop(back, Kind.CANCELLED, rule.reason, f"by {item.event_id}")
        out.drop(item, Kind.CANCELLED, "cancels", f"took back {taken}")
        return state or None

    def _found(
        self, rule: Cancel, state: State, data: dict[str, Any]
    ) -> Iterator[tuple[str, list[int]]]:
        """The windows that hold what is taken back, and where it stands in each."""
        if not rule.match and rule.event is None:
            group = group_of(tuple([get(data) for get in self._by]))
            if group in state:
                yield group, list(range(state[group].count))
            return
        values = [get(data) for get in self._reads[rule]]
        if None in values:
            return
        texts = [str(value) for value in values]
        for group, window in state.items():
            if rule.match:
                places = self._apart.matching(window, rule, texts)
            else:
                places = [at for at, name in enumerate(window.members) if name == texts[0]]
            if places:
                yield group, places

    def _taken_back(self, item: Item, group: str, members: list[str]) -> Item:
        """What is taken back out of one window. Its id covers the event that does it: the same one
        may come, and be taken back, again."""
        known = id_of("back", item.tenant, self._path, item.recipient_id, group, str(item.origin))
        return Item(
            data={},
            origin=item.origin,
            time=item.time,
            recipient_id=item.recipient_id,
            event_id=known,
            tenant=item.tenant,
            way=item.way,
            members=tuple(members),
        )
