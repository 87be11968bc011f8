"""The usual event of `digest`: it comes into a window that is open, and leaves its end alone.

Nine of ten events of a fixed window are of this kind, and most flows have no other window. What
else may happen (it opens a window, fills it, expires, can't be read) is for the general path.
"""

from __future__ import annotations

from collections.abc import Callable

from tidings.contract import Item, Out
from tidings.expressions import EvaluationError
from tidings.operators.digest_read import Reader
from tidings.operators.digest_spec import DigestSpec
from tidings.operators.digest_window import State, group_of

OnItem = Callable[[State | None, Item, int, Out], State | None]


_PLAIN = frozenset({"by", "window", "max_items", "actors", "names", "keep", "fields"})


def usual(spec: DigestSpec) -> bool:
    """Whether windows of this spec have usual events: it has nothing beyond the plainest fields."""
    plain = spec.model_fields_set <= _PLAIN
    return plain and spec.window is not None and spec.keep.by is None


def usual_first(spec: DigestSpec, read: Reader, general: OnItem) -> OnItem:
    """``general`` with the usual events taken out before it. ``read`` gives the values of ``by``,
    the actor, his name, and ``fields``."""
    width, whole = len(spec.by), not spec.fields
    most, max_items = spec.keep.most, spec.max_items
    last = spec.keep.which == "last" and most > 0

    def on_item(state: State | None, item: Item, now: int, out: Out) -> State | None:
        if state is None or item.expires_at:
            return general(state, item, now, out)
        data = item.data
        try:
            values = read(data)
        except (EvaluationError, ValueError, OverflowError):
            return general(state, item, now, out)
        window = state.get(group_of(values[:width]))
        if window is None or window.expires or window.count + 1 >= max_items:
            return general(state, item, now, out)
        window.count += 1
        window.members.append(item.event_id)
        actor = values[width]
        if actor is not None:
            if type(actor) is not str:
                actor = str(actor)
            if actor != item.recipient_id:
                actors = window.actors
                if actor in actors:
                    del actors[actor]  # newest last
                actors[actor] = values[width + 1]
        kept = window.kept
        if len(kept) < most:
            kept.append(data if whole else values[width + 2 :])
        elif last:
            del kept[0]
            kept.append(data if whole else values[width + 2 :])
        return state

    return on_item
