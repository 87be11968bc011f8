"""The members of a digest by what `consent` has to decide about them, and a digest of some of them.

An item that is no digest, or one that does not tell its members apart, is one share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tidings.contract import Category, Item
from tidings.gathered import Column

TYPE = "type"
Muted = Mapping[str, Collection[str]]


class Share(msgspec.Struct, gc=False):
    """Members that are judged alike: of one type, and either all of something that the person has
    muted or none. ``places`` of None stands for the item as a whole.

    What is found: ``category`` (None where the type has none), and ``denied``, the closed channels
    with their rules.
    """

    type: str
    muted: bool
    places: Sequence[int] | None = None
    category: Category | None = None
    denied: dict[str, str] = {}


def shares_of(item: Item, fields: Sequence[str], muted: Muted) -> list[Share]:
    """The shares of an item; ``fields`` are those by which something can be ``muted``."""
    data, gathered = item.data, item.gathered
    if gathered is None:
        return [Share(str(data.get(TYPE, "")), bool(muted) and is_muted(data, muted, fields))]
    columns = gathered.columns
    as_one = is_muted(data, muted, [field for field in fields if field not in columns])
    quiet: set[int] = set()
    for field in fields:
        if field in muted and field in columns:
            quiet.update(_places(columns[field], muted[field]))
    types: Iterable[str | None] = [str(data.get(TYPE, ""))] * len(item.members)
    if TYPE in columns:
        types = columns[TYPE].texts()
    found: dict[tuple[str, bool], list[int]] = {}
    for place, type_ in enumerate(types):
        found.setdefault((type_ or "", as_one or place in quiet), []).append(place)
    return [Share(type_, hushed, places) for (type_, hushed), places in found.items()]


def is_muted(data: Mapping[str, Any], muted: Muted, fields: Iterable[str]) -> bool:
    """Whether one of these fields has a value that the person has muted."""
    return any(
        str(data[field]) in muted[field] for field in fields if field in muted and field in data
    )


def digest_of(item: Item, places: Sequence[int], event_id: str) -> Item:
    """A digest of these members of ``item``, with their numbers; ``places`` ascend."""
    whole = item.gathered
    assert whole is not None
    gathered, chosen = whole.only(places), frozenset(places)
    data = {**item.data, **gathered.told()}
    if "items" in data:
        of = zip(data["items"], whole.items, strict=False)
        data["items"] = [each for each, place in of if place in chosen]
    ends = [at for at in (item.expires_at, gathered.expires_at()) if at]
    return msgspec.structs.replace(
        item,
        data=data,
        event_id=event_id,
        members=tuple([item.members[place] for place in places]),
        expires_at=min(ends, default=0),
        gathered=gathered,
    )


def _places(column: Column, values: Collection[str]) -> Iterable[int]:
    numbers = {column.numbers[value] for value in values if value in column.numbers}
    return [place for place, number in enumerate(column.of) if number in numbers]
