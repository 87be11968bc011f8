"""split: one event for many becomes many events, one for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field, StringConstraints

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec
from tidings.expressions import Expression, FieldPath
from tidings.expressions.operations import kind_of
from tidings.ports import Io
from tidings.problems import ValueProblem
from tidings.records import Origin

MOST = 1 << 20
"""More elements than this in one event are refused: the index of each must fit its stamp."""

AT_ONCE = 5_000
"""Items that are held at a time, a few MB of them."""


def _without_indexes(field: Expression) -> Expression:
    if not all(isinstance(part, str) for part in field.path or ()):
        raise ValueProblem("bad-value", "an index can't be split over; name the list as a whole")
    return field


class SplitSpec(Spec):
    """Turns an event that carries a list into one event for each element of the list.

    Each gets the event's other fields and its own element, and the list itself stays behind. The
    order is kept. However long the list is, only a few thousand events are held at a time. They
    share their event's id: what tells them apart is the recipient.
    """

    over: Annotated[FieldPath, AfterValidator(_without_indexes)]
    """The field that holds the list, e.g. `followers` or `post.followers`. An event whose list is
    empty or null becomes no event at all; where it is missing or no list, the event goes to the
    dead letters."""

    as_: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")] = Field(
        default="recipient_id", alias="as"
    )
    """The field that each element is put into."""

    at_most: int = Field(default=1_000_000, ge=1, le=MOST)
    """An event with a longer list goes to the dead letters, whole."""


class Split:
    """Spreads the events of a batch, lazily."""

    def __init__(self, spec: SplitSpec, site: Site) -> None:
        self._path = tuple(map(str, spec.over.path or ()))
        self._as = spec.as_
        self._at_most = spec.at_most
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Put the first ``AT_ONCE`` into the batch, and the rest on its ``more`` port."""
        found: list[tuple[Item, dict[str, Any], list[Any]]] = []
        for item in batch.items:
            try:
                rest, elements = take_out(item.data, self._path)
                if len(elements) > self._at_most:
                    raise ValueError(
                        f"{'.'.join(self._path)} has {len(elements)} elements,"
                        f" at most {self._at_most} are taken"
                    )
            except ValueError as error:
                batch.dead(item, "split", error, self._site)
                continue
            found.append((item, rest, elements))
        items = self._spread(found)
        batch.items = list(islice(items, AT_ONCE))
        if len(batch.items) == AT_ONCE:
            batch.more(items, self._site)

    def _spread(self, found: Iterable[tuple[Item, dict[str, Any], list[Any]]]) -> Iterator[Item]:
        for item, rest, elements in found:
            # An index below another split's stays unique, and in order: it is what tells a replay
            # of an element from a duplicate.
            first = item.origin.index * MOST
            topic, partition, offset, _ = msgspec.structs.astuple(item.origin)
            for index, element in enumerate(elements, first):
                yield msgspec.structs.replace(
                    item,
                    data={**rest, self._as: element},
                    origin=Origin(topic, partition, offset, index),
                    whole=True,
                )


def take_out(data: Mapping[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], list[Any]]:
    """A copy of ``data`` without the list at ``path``, and that list.

    Only the maps along the path are copied. Raises ValueError where there is no list.
    """
    name, *below = path
    if name not in data:
        raise ValueError(f"the event has no field {name}")
    rest, inner = dict(data), data[name]
    if below:
        if not isinstance(inner, Mapping):
            raise ValueError(f"{name} holds no fields, it is {kind_of(inner)}")
        rest[name], elements = take_out(inner, tuple(below))
        return rest, elements
    if inner is not None and not isinstance(inner, list):
        raise ValueError(f"{name} is {kind_of(inner)}, not a list")
    del rest[name]
    return rest, inner or []


OPERATOR = Operator(
    name="split",
    spec=SplitSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.INTAKE}),
    build=Split,
    shorthand="over",
    names=lambda spec: (spec.as_,),
    changes=True,
    timeless=True,
    example="""
step: {split: {over: followers, as: recipient_id}}
in:
  - {post: p1, followers: [ana, bob]}
  - {post: p2, followers: []}
  - {post: p3, followers: ana}
out:
  - {post: p1, recipient_id: ana}
  - {post: p1, recipient_id: bob}
dead:
  - {item: {post: p3, followers: ana}, reason: split}
""",
)
