"""escalate: tries to reach a person in rounds, until one has worked or none is left.

A round that goes out is waited for. What becomes of its delivery comes back as signals in the
flow's own topic, between the events, so that their order, and with it every decision, is the log's:
a wait is over, or its next round due, at the same record however often it is replayed. A signal
about what is not open does nothing; so one that comes twice, or late, does nothing either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tidings.contract import (
    Horizon,
    Item,
    Operator,
    Out,
    Part,
    Shape,
    Site,
    Who,
    reads_expressions,
)
from tidings.durations import format_duration
from tidings.expressions import EvaluationError
from tidings.ids import wait_id
from tidings.operators.escalate_spec import EscalateSpec
from tidings.operators.escalate_wait import (
    ACCEPTED,
    AHEAD,
    BOUND,
    EARLY,
    OUT,
    State,
    Wait,
    early_group,
    item_of,
)
from tidings.problems import ValueProblem
from tidings.records import Kind, Signal
from tidings.topics import entries, settings

NUMBER = "round"  # what templates call the number of the round
EARLY_FOR = 900_000  # ms that news of another flow's round waits for its event
_ENGAGED = {Kind.DELIVERED.value: 1, Kind.OPENED.value: 2, Kind.CLICKED.value: 3}
_FAILURES = {
    kind.value: kind.value for kind in (Kind.FAILED, Kind.SUPPRESSED, Kind.EXPIRED, Kind.UNKNOWN)
} | {Kind.BOUNCED.value: Kind.FAILED.value}
_UNKNOWN, _CANCELLED = Kind.UNKNOWN.value, Kind.CANCELLED.value
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Escalate:
    """The keyed step."""

    state = State

    def __init__(self, spec: EscalateSpec, site: Site) -> None:
        _check(spec, site)
        self._rounds = spec.rounds
        self._channels = [each.channel for each in spec.rounds]
        self._until = _ENGAGED.get(spec.until, 0)
        self._fails = frozenset(spec.on_failure)
        self._patience = spec.accepted_within if spec.until else spec.fails_within
        self._by = tuple(each.of for each in spec.by)
        self._cancel = spec.cancel.of if spec.cancel is not None else None
        self._ignores = spec.again == "ignore"
        self._most, self._most_bytes = spec.max_open, spec.max_bytes
        self._elsewhere = bool(spec.rounds[0].sent_by)
        self._topic = entries(site.scope)

    # ── What comes ────────────────────────────────────────────────────────────────────────────

    def on_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Begin, or end what is open, or let the round go that waits for this event."""
        who = Who(item.tenant, item.recipient_id, self._topic, item.origin.partition)
        try:
            group = self._group(item)
            wait = state.get(group) if state is not None else None
            cancels = self._cancel is not None and self._cancel(item.data)
            comes = not cancels and wait is not None and self._is_awaited(wait, item)
        except EvaluationError as error:
            out.dead(item, "expression", error)
            return state
        if state is None:
            state = {}
        if cancels:
            detail = f"for {wait.event_id}" if wait is not None else "nothing was open"
            out.drop(item, Kind.CANCELLED, "cancels", detail)
            if wait is not None:
                self._over(state, group, who, "cancelled", f"by {item.event_id}", out)
        elif wait is not None and comes:
            out.drop(item, Kind.DIGESTED, "awaited", f"for {wait.event_id}")
            self._go_on(state, group, who, now, out)
        elif wait is not None and self._ignores:
            out.drop(item, Kind.SUPPRESSED, "open", f"since {wait.event_id}")
        else:
            if wait is not None:
                self._over(state, group, who, "superseded", f"by {item.event_id}", out)
            body = msgspec.json.encode(item.data)
            self._make_room(state, len(body), who, out)
            self._begin(state, group, item, body.decode(), now, out)
        return state or None

    def on_signal(
        self, state: State | None, signal: Signal, who: Who, now: int, out: Out
    ) -> State | None:
        """News of a round."""
        name = signal.wait
        if state is None:
            state = {}
        found = (group for group, wait in state.items() if wait.name == name)
        group = next(found, "")
        if group and state[group].stands != EARLY:
            self._hear(state, group, signal, who, now, out)
        elif self._elsewhere and not signal.round:
            # Its event may come to us after what it led to: two intakes read the same topic.
            early = state.setdefault(early_group(name), Wait(name, now + EARLY_FOR, stands=EARLY))
            if signal.kind not in early.news:
                early.news += (signal.kind,)
            out.wake(early.due)
        return state or None

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """Let go on, or end, what is due, in the order of its time."""
        due = sorted((wait.due, group) for group, wait in state.items() if wait.due <= now)
        for _, group in due:
            wait = state[group]
            if wait.stands == EARLY:
                del state[group]
            elif self._next(wait).upon is not None:
                self._over(state, group, who, "no_event", "", out)
            elif self._until or wait.stands in (AHEAD, BOUND):
                self._go_on(state, group, who, now, out)
            else:  # it can't fail any more
                del state[group]
        return state or None

    def horizon(self, state: State) -> Horizon:
        """The next thing due; what is open is never forgotten."""
        return Horizon(min([wait.due for wait in state.values()]), 0)

    # ── One wait ──────────────────────────────────────────────────────────────────────────────

    def _make_room(self, state: State, wanted: int, who: Who, out: Out) -> None:
        used = sum([len(wait.body.encode()) for wait in state.values()]) + wanted
        while state and (len(state) >= self._most or used > self._most_bytes):
            oldest = next(iter(state))
            used -= len(state[oldest].body.encode())
            self._over(state, oldest, who, "too_many_open", "", out)

    def _begin(self, state: State, group: str, item: Item, body: str, now: int, out: Out) -> None:
        first, origin = self._rounds[0], item.origin
        name = wait_id(item.event_id, item.way)
        early = state.pop(early_group(name), None)
        wait = state[group] = Wait(
            name,
            now + (first.within or first.after or 0),
            body,
            item.event_id,
            origin.offset,
            origin.index,
            expires_at=item.expires_at,
            members=item.members,
            way=item.way,
        )
        if first.upon is not None or first.after:
            out.wake(wait.due)
        elif not self._elsewhere:
            self._send(state, group, item, now, out)
        else:
            self._is_out(wait, now, out)
            who = Who(item.tenant, item.recipient_id, self._topic, origin.partition)
            for kind in early.news if early is not None else ():
                if state.get(group) is wait:
                    self._hear(state, group, Signal(name, kind), who, now, out)

    def _go_on(self, state: State, group: str, who: Who, now: int, out: Out) -> None:
        """The next round, or the first one that was ahead."""
        wait = state[group]
        if wait.stands != AHEAD:
            wait.round += 1
        item = item_of(wait, who, now)
        if 0 < wait.expires_at <= now:
            del state[group]
            out.drop(item, Kind.EXPIRED, "expired", f"round {wait.round + 1}")
            return
        item.data = _decode(wait.body)
        self._send(state, group, item, now, out)

    def _send(self, state: State, group: str, item: Item, now: int, out: Out) -> None:
        """Pass on the round that a wait stands at. The last one is not waited for."""
        wait = state[group]
        number, channel = wait.round, self._channels[wait.round]
        item.data, item.gathered = {**item.data, NUMBER: number + 1}, None
        item.channel, item.round, item.wait = channel, number, wait.name
        item.detour = self._channels[:number].count(channel)
        if number + 1 == len(self._rounds):
            del state[group]
        else:
            item.reply_to = self._topic
            self._is_out(wait, now, out)
        out.down(item)

    def _is_out(self, wait: Wait, now: int, out: Out) -> None:
        wait.stands, wait.out_at = OUT, now
        wait.due = now + (self._next(wait).within or self._patience)
        out.wake(wait.due)

    def _hear(self, state: State, group: str, signal: Signal, who: Who, now: int, out: Out) -> None:
        wait, kind = state[group], signal.kind
        if 0 < self._until <= _ENGAGED.get(kind, 0):
            self._over(state, group, who, "engaged", f"{kind}, round {signal.round + 1}", out)
            return
        if kind == _CANCELLED:
            self._over(state, group, who, "superseded", "by a newer delivery", out)
            return
        if wait.stands == AHEAD or signal.round != wait.round or self._next(wait).upon is not None:
            return  # a round that is behind us: what it came to is known
        failure = _FAILURES.get(kind, "")
        if self._until:
            if failure and failure != _UNKNOWN:
                self._go_on(state, group, who, now, out)
            elif wait.stands == OUT:  # an unknown one may have arrived: it has its time too
                self._is_bound(state, group, ACCEPTED, who, now, out)
        elif failure:
            if failure in self._fails and wait.stands != BOUND:
                self._is_bound(state, group, BOUND, who, now, out)
        elif wait.stands == BOUND:  # it was unknown, and has arrived
            wait.stands, wait.due = ACCEPTED, (wait.out_at or now) + self._patience
            if wait.due <= now:
                del state[group]

    def _is_bound(
        self, state: State, group: str, stands: int, who: Who, now: int, out: Out
    ) -> None:
        """The next round goes out ``after`` this, or now."""
        wait = state[group]
        wait.stands, wait.due = stands, now + (self._next(wait).after or 0)
        if wait.due <= now:
            self._go_on(state, group, who, now, out)
        else:
            out.wake(wait.due)

    def _over(self, state: State, group: str, who: Who, reason: str, detail: str, out: Out) -> None:
        wait = state.pop(group)
        if wait.stands != EARLY:
            out.drop(item_of(wait, who, 0), Kind.CANCELLED, reason, detail)

    def _next(self, wait: Wait) -> Any:
        """The round that comes after the one that is out, or the first one, if that is ahead."""
        return self._rounds[wait.round if wait.stands == AHEAD else wait.round + 1]

    def _is_awaited(self, wait: Wait, item: Item) -> bool:
        upon = self._next(wait).upon
        return upon is not None and upon.of(item.data)

    def _group(self, item: Item) -> str:
        if not self._by:
            return f"{item.event_id}\x1f{item.way}"
        return "\x1f".join([str(get(item.data)) for get in self._by])


def _check(spec: EscalateSpec, site: Site) -> None:
    for each in spec.rounds:
        site.check_channel(each.channel, "rounds")
    kept = settings([entries(site.scope)])[0].retention_ms
    if spec.longest() > kept:
        raise ValueProblem(
            "out-of-range",
            f"this may wait for {format_duration(spec.longest())}, and the log is kept for "
            f"{format_duration(kept)}",
            "wait for a shorter time, or let the upstream send another event later",
            loc=("rounds",),
        )


def _names(spec: EscalateSpec) -> Iterable[str]:
    return (NUMBER,)


OPERATOR = Operator(
    name="escalate",
    spec=EscalateSpec,
    shape=Shape.KEYED,
    parts=frozenset({Part.KEYED}),
    build=Escalate,
    names=_names,
    reads=reads_expressions,
    example="""
step:
  escalate:
    rounds: [{channel: push}, {channel: sms, after: 5m}, {channel: email, after: 10m}]
    until: opened
    by: alert
    cancel: type == 'acknowledged'
in:
  - {at: 0m, id: e1, data: {alert: a1, type: alert}}
  - {at: 1m, signal: sent, of: e1, round: 1}
  - {at: 7m, signal: sent, of: e1, round: 2}
  - {at: 9m, id: e2, data: {alert: a1, type: acknowledged}}
out:
  - {at: 0m, members: [e1], channel: push, data: {alert: a1, round: 1}}
  - {at: 6m, members: [e1], channel: sms, data: {alert: a1, round: 2}}
dropped:
  - {at: 9m, members: [e2], kind: cancelled, reason: cancels}
  - {at: 9m, members: [e1], kind: cancelled, reason: cancelled}
""",
)
