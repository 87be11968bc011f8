"""What a digest must say: a model that keeps every event whole and works all out at the close.

It is written apart from the operator. A window is a list of events; what is told of it is worked
out of that list, and nothing is kept up to date meanwhile.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event of a person: ``at`` and ``expires`` in ms of some clock, 0 for never."""

    id: str
    at: int
    type: str
    photo: str
    actor: str
    score: int = 0
    expires: int = 0


class Rules(NamedTuple):
    """The settings of a digest with ``by: [photo]`` and ``actors: actor``.

    ``wait`` is the length of a fixed window, the gap of a sliding one (which has ``max_wait``), or
    of a calendar the time between two of its moments. ``cancel``: what an ``undo`` takes back: the
    same actor's on the photo, of those only the ``likes``, everything on the photo (``window``), or
    one event by its id.
    """

    mode: str  # fixed, sliding or calendar
    wait: int
    max_wait: int = 0
    leading: bool = False
    min_items: int = 1
    max_items: int = 500
    keep: tuple[str, int] = ("last", 3)
    flush: bool = False  # by a `call`
    cancel: str = ""  # actor, likes, window or id


class Told(NamedTuple):
    """What became of events: told together at ``at``, or let go with a reason."""

    at: int
    members: tuple[str, ...]
    kind: str = "digest"
    data: Any = None
    expires: int = 0


class _Window:
    def __init__(self, opened: int, closes: int) -> None:
        self.opened = opened
        self.closes = closes
        self.events: list[Event] = []
        self.kept: list[Event] = []
        self.enough = False


def decided(rules: Rules, events: list[Event], until: int) -> list[Told]:
    """What becomes of one person's events, in the order in which it is said."""
    model = Model(rules)
    for event in events:
        model.pass_time(event.at)
        model.enter(event)
    model.pass_time(until)
    return model.told


class Model:
    """One person's windows; ``told`` is what became of events so far."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._open: dict[str, _Window] = {}
        self.told: list[Told] = []

    def pass_time(self, now: int) -> None:
        """Close what is due by ``now``."""
        late = [(each.closes, photo) for photo, each in self._open.items() if each.closes <= now]
        for closes, photo in sorted(late):
            self._tell(self._open.pop(photo), photo, closes)

    def enter(self, event: Event) -> None:
        """Take an event in, when what was due by then is closed."""
        rules, now = self._rules, event.at
        if rules.cancel and event.type == "undo":
            self._undo(event)
            return
        urgent = rules.flush and event.type == "call"
        window = self._open.get(event.photo)
        if window is None:
            window = _Window(now, self._first_end(now))
            if rules.leading:
                self._open[event.photo] = window
                self._tell_some([event], [event], window, event.photo, now)
                return
            if _gone(event, now if urgent else window.closes):
                self.told.append(Told(now, (event.id,), "expired"))
                return
            self._open[event.photo] = window
        else:
            closes = self._end(window, now)
            if _gone(event, now if urgent else closes):
                self.told.append(Told(now, (event.id,), "expired"))
                return
            window.closes = closes
        window.events.append(event)
        window.kept = _best(rules.keep, [*window.kept, event])
        window.enough = window.enough or len(window.events) >= rules.min_items
        if urgent or len(window.events) == rules.max_items:
            self._tell(self._open.pop(event.photo), event.photo, now)

    def _first_end(self, now: int) -> int:
        wait = self._rules.wait
        return now - now % wait + wait if self._rules.mode == "calendar" else now + wait

    def _end(self, window: _Window, now: int) -> int:
        if self._rules.mode != "sliding":
            return window.closes
        lives = [event.expires for event in window.events if event.expires]
        ends = [now + self._rules.wait, window.opened + self._rules.max_wait]
        return min([*ends, *(end - 1 for end in lives)])

    def _undo(self, undo: Event) -> None:
        rules, taken = self._rules, 0
        for photo, window in list(self._open.items()):
            back = [event for event in window.events if self._is_undone(event, photo, undo)]
            if back or (rules.cancel == "window" and photo == undo.photo):
                window.events = [event for event in window.events if event not in back]
                window.kept = [event for event in window.kept if event not in back]
                if not window.events:
                    window.enough = False
                    if rules.cancel == "window" or not rules.leading:
                        del self._open[photo]
            if back:
                self.told.append(Told(undo.at, tuple(event.id for event in back), "cancelled"))
            taken += len(back)
        self.told.append(Told(undo.at, (undo.id,), "cancelled", f"took back {taken}"))

    def _is_undone(self, event: Event, photo: str, undo: Event) -> bool:
        if self._rules.cancel in ("actor", "likes"):
            same = (event.actor, photo) == (undo.actor, undo.photo)
            return same and (event.type == "like" or self._rules.cancel == "actor")
        if self._rules.cancel == "id":
            return event.id == f"e{undo.score}"
        return photo == undo.photo

    def _tell(self, window: _Window, photo: str, at: int) -> None:
        if window.events and not window.enough:
            for event in window.events:
                self._tell_some([event], [event], window, photo, at)
        elif window.events:
            self._tell_some(window.events, window.kept, window, photo, at)

    def _tell_some(
        self, events: list[Event], kept: list[Event], window: _Window, photo: str, at: int
    ) -> None:
        newest_first = list(dict.fromkeys(e.actor for e in reversed(events) if e.actor != "ana"))
        which, most = self._rules.keep
        shown = kept[:most] if which != "last" else kept[::-1][:most]
        lives = [event.expires for event in events]
        data = {
            "photo": photo,
            "count": len(events),
            "actors": newest_first,
            "actor_count": len(newest_first),
            "counts": dict(Counter(event.type for event in events)),
            "items": [{"id": event.id} for event in shown],
            "opened_at": window.opened,
            "closed_at": at,
        }
        members = tuple(event.id for event in events)
        self.told.append(Told(at, members, "digest", data, max(lives) if all(lives) else 0))


def _gone(event: Event, at: int) -> bool:
    return 0 < event.expires <= at


def _best(keep: tuple[str, int], events: list[Event]) -> list[Event]:
    which, most = keep
    if which == "top":
        return sorted(events, key=lambda event: -event.score)[:most]
    return events[:most] if which == "first" else events[-most:] if most else []
