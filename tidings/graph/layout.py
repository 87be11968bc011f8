"""Places for a picture: layers from top to bottom, few crossings, straight lines where they can be.

The usual way (Sugiyama): each node one layer below the lowest that leads to it; an edge over
several layers gets a place in each; the order inside a layer is that of the neighbours' middle.
Deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidings.graph.model import Edge, Graph

GAP = 28  # pixels between two nodes of a layer
ROW = 84  # from layer to layer
SWEEPS = 8


@dataclass(frozen=True)
class Layout:
    """The middle of each node, the points that each edge goes through, and the size of it all."""

    places: Mapping[str, tuple[float, float]]
    routes: Mapping[Edge, Sequence[tuple[float, float]]]
    width: float
    height: float


def lay_out(graph: Graph, widths: Mapping[str, float]) -> Layout:
    """Places for nodes of these widths."""
    layer = _layers(graph)
    chains: dict[Edge, list[str]] = {}
    wide = dict(widths)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in graph.nodes:
        rows[layer[node.id]].append(node.id)
    for number, edge in enumerate(graph.edges):
        chain = [edge.source]
        for row in range(layer[edge.source] + 1, layer[edge.target]):
            bend = f"\0{number}.{row}"
            rows[row].append(bend)
            wide[bend] = 8.0
            chain.append(bend)
        chains[edge] = [*chain, edge.target]
    links = [link for chain in chains.values() for link in pairwise(chain)]
    above: dict[str, list[str]] = {name: [] for row in rows for name in row}
    below: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for upper, lower in links:
        above[lower].append(upper)
        below[upper].append(lower)
    _order(rows, above, below)
    x = _columns(rows, above, below, wide)
    y = {name: (row + 0.5) * ROW for row, names in enumerate(rows) for name in names}
    routes = {edge: [(x[name], y[name]) for name in chain] for edge, chain in chains.items()}
    width = max((x[name] + wide[name] / 2 for name in x), default=0) + GAP
    places = {node.id: (x[node.id], y[node.id]) for node in graph.nodes}
    return Layout(places, routes, width, len(rows) * ROW)


def _layers(graph: Graph) -> dict[str, int]:
    """Each node's layer: one below the lowest that leads to it. The graph has no circles."""
    layer = {node.id: 0 for node in graph.nodes}
    for _ in graph.nodes:
        moved = False
        for edge in graph.edges:
            if layer[edge.target] <= layer[edge.source]:
                layer[edge.target] = layer[edge.source] + 1
                moved = True
        if not moved:
            break
    return layer


def _order(
    rows: list[list[str]], above: Mapping[str, list[str]], below: Mapping[str, list[str]]
) -> None:
    """Sort each row by the middle of its neighbours, down and up again."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for number in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            beside = rows[number - 1 if down else number + 1]
            at = {name: float(place) for place, name in enumerate(beside)}
            own = {name: float(place) for place, name in enumerate(rows[number])}
            rows[number].sort(key=lambda name: _mean([at[each] for each in near[name]], own[name]))


def _columns(
    rows: list[list[str]],
    above: Mapping[str, list[str]],
    below: Mapping[str, list[str]],
    wide: Mapping[str, float],
) -> dict[str, float]:
    """Where each stands in its row: near its neighbours, none over another."""
    x: dict[str, float] = {}
    for row in rows:
        _pack(row, dict.fromkeys(row, 0.0), wide, x)
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = {name: _mean([x[each] for each in near[name]], x[name]) for name in row}
            _pack(row, wanted, wide, x)
    left = min((x[name] - wide[name] / 2 for name in x), default=0.0) - GAP
    return {name: place - left for name, place in x.items()}


def _pack(
    row: Sequence[str], wanted: Mapping[str, float], wide: Mapping[str, float], x: dict[str, float]
) -> None:
    """Place a row as it is wanted, moved apart as far as it must be, to both sides alike."""
    right: list[float] = []
    for number, name in enumerate(row):
        least = wanted[name]
        if number:
            before = row[number - 1]
            least = max(least, right[-1] + (wide[before] + wide[name]) / 2 + GAP)
        right.append(least)
    shift = sum(place - wanted[name] for place, name in zip(right, row, strict=True))
    shift /= len(row) or 1
    for place, name in zip(right, row, strict=True):
        x[name] = place - shift


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
