"""The keyed steps of a flow as one chain: an item is pushed down it for one person at a time.

Keyed steps stand side by side in time, not in batches: a digest that closes at 12:00:30 must reach
the limit behind it before the next entry of that person does. So each step's ``down`` is the next
step's push, as plain calls, and branches and map steps between keyed ones are links of the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappush
from typing import Any, cast

from tidings.contract import Item, Keyed, Map, Route, Site, Waiting, Who
from tidings.expressions import EvaluationError
from tidings.ports import Io
from tidings.records import Entry, Kind, Signal, decode_entry
from tidings.runtime.batch import FlowBatch
from tidings.runtime.state import Cell, Slots

Push = Callable[[Item], None]


class Link:
    """One step of a chain, or a branch with arms that join again behind it."""

    def __init__(
        self, site: Site, step: Keyed | Map[Item] | Route, arms: Sequence[Sequence[Link]] = ()
    ) -> None:
        self.site = site
        self.step = step
        self.arms = arms


class Chain:
    """Runs links for the person in hand; what comes out below is in ``emitted``.

    ``decode`` reads entries, ``steps`` names the keyed steps in slot order. The caller sets, for
    each push, whose ``cell`` and ``key`` are in hand and what time it is ``now``; ``heap`` takes
    (deadline, key) as steps set them, ``batch`` what is dropped or dead on the way.
    """

    def __init__(
        self, links: Sequence[Link], io: Io, decode: Callable[[bytes], Entry] = decode_entry
    ) -> None:
        self.decode = decode
        self.steps: list[str] = []
        self.keyed: list[Keyed] = []
        self.outs: list[_Out] = []
        self.emitted: list[Item] = []
        self.cell = Cell([])
        self.now = 0
        self.key = b""
        self.heap: list[tuple[int, bytes]] = []
        self.batch: FlowBatch
        self._io = io
        self._number(links)
        self._waiting = [
            (number, cast(Waiting, step))
            for number, step in enumerate(self.keyed)
            if hasattr(step, "on_signal")
        ]
        self.unpack = Slots([step.state | None for step in self.keyed]).unpack
        self.push: Push = self._build(links, self.emitted.append)

    def due(self, at: int, who: Who) -> int:
        """Let every keyed step of the person in hand act on deadlines up to ``at``.

        Gives the next deadline, 0 for none.
        """
        slots, self.now, following = self.cell.slots, at, 0
        for number, step in enumerate(self.keyed):
            while (state := slots[number]) is not None:
                act_at = step.horizon(state).act_at
                if not act_at:
                    break
                if act_at > at:
                    following = min(following or act_at, act_at)
                    break
                slots[number] = step.on_time(state, who, act_at, self.outs[number])
        return following

    def hear(self, signal: Signal, who: Who) -> None:
        """Let the steps that wait have news of a delivery; those whose it is not pass it by."""
        slots = self.cell.slots
        for number, step in self._waiting:
            slots[number] = step.on_signal(slots[number], signal, who, self.now, self.outs[number])

    def horizon(self, slots: list[Any]) -> tuple[int, int]:
        """The earliest deadline of all slots, and when all of them can be forgotten."""
        act_at = forget_at = 0
        forgettable = True
        for step, state in zip(self.keyed, slots, strict=True):
            if state is not None:
                horizon = step.horizon(state)
                act = horizon.act_at
                if act and (not act_at or act < act_at):
                    act_at = act
                if not horizon.forget_at:
                    forgettable = False
                elif horizon.forget_at > forget_at:
                    forget_at = horizon.forget_at
        return act_at, forget_at if forgettable else 0

    def _number(self, links: Sequence[Link]) -> None:
        """Give every keyed step its slot, in reading order."""
        for link in links:
            for arm in link.arms:
                self._number(arm)
            if hasattr(link.step, "on_item"):
                self.steps.append(link.site.path)
                self.keyed.append(cast(Keyed, link.step))
                self.outs.append(_Out(self, link.site))

    def _build(self, links: Sequence[Link], down: Push) -> Push:
        for link in reversed(links):
            if link.arms:
                down = self._branch(link, [self._build(arm, down) for arm in link.arms], down)
            elif hasattr(link.step, "on_item"):
                down = self._keyed(link, down)
            else:
                down = self._map(link, down)
        return down

    def _keyed(self, link: Link, down: Push) -> Push:
        number = self.steps.index(link.site.path)
        out, on_item = self.outs[number], self.keyed[number].on_item
        out.down = down

        def push(item: Item) -> None:
            slots = self.cell.slots
            slots[number] = on_item(slots[number], item, self.now, out)

        return push

    def _map(self, link: Link, down: Push) -> Push:
        step = cast(Map[Item], link.step)

        def push(item: Item) -> None:
            batch = self.batch
            batch.items = [item]
            step.process(batch, self._io, self.now)
            passed, batch.items = batch.items, []
            for each in passed:
                down(each)

        return push

    def _branch(self, link: Link, arms: Sequence[Push], down: Push) -> Push:
        route = cast(Route, link.step)

        def push(item: Item) -> None:
            try:
                chosen = route.arms(item)
            except (EvaluationError, ValueError) as error:
                self.batch.dead(item, "expression", error, link.site)
                return
            if not chosen:
                down(item)
            for arm in chosen:
                arms[arm](item.copy(arm, len(arms)) if route.several else item)

        return push


class _Out:
    """The ports of one keyed step."""

    __slots__ = ("_chain", "_site", "down")

    def __init__(self, chain: Chain, site: Site) -> None:
        self._chain = chain
        self._site = site
        self.down: Push

    def drop(self, item: Item, kind: Kind, reason: str, detail: str = "") -> None:
        self._chain.batch.drop(item, kind, reason, self._site, detail, self._chain.now)

    def dead(self, item: Item, reason: str, error: BaseException | str) -> None:
        self._chain.batch.dead(item, reason, error, self._site)

    def wake(self, at: int) -> None:
        chain, cell = self._chain, self._chain.cell
        if not cell.act_at or at < cell.act_at:
            cell.act_at = at
            heappush(chain.heap, (at, chain.key))
