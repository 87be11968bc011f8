"""What a window knows of each of its members, where a digest tells them apart.

Fields in columns, when each member expires, and which member each kept event is of. By these a
`cancel` takes members back, and `consent` behind the digest takes out what is not wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tidings.expressions import Condition, FieldPath
from tidings.gathered import Column, Gathered
from tidings.operators.digest_spec import Cancel, DigestSpec, name_of
from tidings.operators.digest_window import Window

TAKEN = "taken"  # of a member that a rule may take back


def tells_apart(spec: DigestSpec) -> bool:
    """Whether members of such a digest may be taken out of it one by one, or are counted apart."""
    single = any(rule.match or rule.event is not None for rule in spec.cancel)
    return bool(spec.tell_apart) or spec.counts is not None or single


def columns_of(spec: DigestSpec) -> frozenset[str]:
    """What is known of each member, by name."""
    return frozenset(Apart(spec).names) if tells_apart(spec) else frozenset()


class Apart:
    """Knows the members of windows. Of those that a version without this has gathered it does not
    know more than who did it."""

    def __init__(self, spec: DigestSpec) -> None:
        matched = (field for rule in spec.cancel for field in rule.match)
        fields = (*spec.tell_apart, *matched, spec.counts, spec.actors)
        self._fields = tuple(dict.fromkeys(name_of(each) for each in fields if each is not None))
        self._getters = {name_of(each): _getter(each) for each in fields if each is not None}
        for rule in spec.cancel:
            if rule.takes is not None:
                self._getters[_column_of(rule.takes)] = _mark(rule.takes)
        self._actors = name_of(spec.actors) if spec.actors is not None else ""
        self._counts = name_of(spec.counts) if spec.counts is not None else ""

    @property
    def names(self) -> Iterable[str]:
        """The names of the columns: fields, and what a rule may take back."""
        return self._getters.keys()

    def values(self, data: dict[str, Any]) -> list[Any]:
        """What is to be known of an event. Raises EvaluationError where a field can't be read."""
        return [get(data) for get in self._getters.values()]

    def add(self, window: Window, values: Sequence[Any], expires_at: int) -> None:
        """The next member of a window, before it is counted there."""
        known = window.known
        if (
            known is None
            or len(known.expires) != window.count
            or not known.columns.keys() >= self._getters.keys()
        ):
            known = self.known(window)
        columns = known.columns
        for name, value in zip(self._getters, values, strict=True):
            columns[name].add(value)
        known.expires.append(expires_at)

    def known(self, window: Window) -> Gathered:
        """What is known of a window's members."""
        count, known = window.count, window.known
        if known is None:
            known = window.known = Gathered({})
        if unknown := count - len(known.expires):
            known.expires += [window.soonest, *[window.expires] * (unknown - 1)]
            known.items = [-1] * len(window.kept)
        for name in self._getters:
            column = known.columns.setdefault(name, Column())
            unknown = count - len(column.of)
            if unknown and name == self._actors:
                # Who did it is known, if not which: the newest of them did the newest ones.
                actors = [actor for actor in window.actors if actor not in column.numbers]
                actors = actors[-unknown:]
                column.fill(count - len(actors))
                for actor in actors:
                    column.add(actor)
            elif unknown:
                column.fill(count)
        return known

    def alone(self, values: Sequence[Any], expires_at: int) -> Gathered:
        """What is known of a window of one member."""
        columns = {name: Column() for name in self._getters}
        for column, value in zip(columns.values(), values, strict=True):
            column.add(value)
        return Gathered(columns, [expires_at])

    def told(self, window: Window) -> Gathered:
        """The members as they go on behind the digest."""
        known = self.known(window)
        return Gathered(
            {name: known.columns[name] for name in self._fields},
            known.expires,
            known.items,
            window.actors,
            self._actors,
            self._counts,
        )

    def matching(self, window: Window, cancel: Cancel, values: Sequence[str]) -> list[int]:
        """The members that have these texts in the fields of ``cancel``."""
        known = self.known(window)
        columns = [known.columns[name_of(field)] for field in cancel.match]
        if cancel.takes is not None:
            columns.append(known.columns[_column_of(cancel.takes)])
            values = [*values, TAKEN]
        wanted = [column.numbers.get(value) for column, value in zip(columns, values, strict=True)]
        if None in wanted:
            return []
        rows = zip(*(column.of for column in columns), strict=True)
        return [place for place, row in enumerate(rows) if list(row) == wanted]

    def take(self, window: Window, gone: Collection[int]) -> list[str]:
        """Take members out of a window; gives their ids."""
        known, count, members = self.known(window), window.count, window.members
        stay = [place for place in range(count) if place not in gone]
        kept = [at for at, place in enumerate(known.items) if place not in gone]
        # A kept event of nobody knows whom stays.
        places = {place: number for number, place in enumerate(stay)} | {-1: -1}
        items = [places[known.items[at]] for at in kept]
        window.known = left = known.only(stay)
        left.items = items
        window.kept = [window.kept[at] for at in kept]
        if window.ranks is not None:
            window.ranks = [window.ranks[at] for at in kept]
        if window.singles is not None and len(window.singles) == count:
            window.singles = [window.singles[place] for place in stay]
        if self._actors:
            here = left.columns[self._actors].numbers
            window.actors = {key: name for key, name in window.actors.items() if key in here}
        window.members = [members[place] for place in stay]
        window.count = len(stay)
        window.expires = left.expires_at()
        window.soonest = min([at for at in left.expires if at], default=0)
        return [members[place] for place in sorted(gone)]


def _getter(field: FieldPath) -> Callable[[dict[str, Any]], Any]:
    """Gives null where a field is missing; a plain name, the usual case, without an expression."""
    path = field.path
    if path is None or len(path) != 1:
        return field.or_null()
    name = str(path[0])
    return lambda data: data.get(name)


def _column_of(takes: Condition) -> str:
    """The name of the column that tells of which members a condition holds; no field has it."""
    return f"? {takes}"


def _mark(takes: Condition) -> Callable[[dict[str, Any]], Any]:
    holds = takes.of
    return lambda data: TAKEN if holds(data) else None
