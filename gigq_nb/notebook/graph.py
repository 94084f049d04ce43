"""A workflow as a drawing: layers from left to right, each node in the colour of its status; and as lines of text.

The layers are those of the longest path, their order is found by the barycentre heuristic (Sugiyama, Tagawa, Toda 1981).
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import html

if TYPE_CHECKING:
    from .snapshots import GraphNode

MOST_DRAWN = 150
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 148, 40, 44, 14, 6
SWEEPS = 6
SMALLEST = 0.62  # of its size: a wide graph shrinks to this, then it is scrolled

Edges = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Layout:
    """Where each node and each bend of an edge stands: (layer, row)."""

    layers: list[list[int]]
    at: dict[int, tuple[int, float]]
    paths: list[list[int]]  # node, bends, node


def layers_of(n: int, edges: Edges) -> list[int]:
    """For each node the length of the longest way to it. Cycles cannot be submitted."""
    waits = [0] * n
    children: list[list[int]] = [[] for _ in range(n)]
    for a, b in edges:
        waits[b] += 1
        children[a].append(b)
    layer = [0] * n
    free = [i for i in range(n) if not waits[i]]
    while free:
        one = free.pop()
        for child in children[one]:
            layer[child] = max(layer[child], layer[one] + 1)
            waits[child] -= 1
            if not waits[child]:
                free.append(child)
    return layer


@functools.lru_cache(maxsize=16)
def layout(n: int, edges: Edges) -> Layout:
    """Layers, with a bend for each layer that an edge passes, ordered so that few edges cross."""
    layer = layers_of(n, edges)
    layers: list[list[int]] = [[] for _ in range(max(layer, default=0) + 1)]
    for node in range(n):
        layers[layer[node]].append(node)
    up: dict[int, list[int]] = {}
    down: dict[int, list[int]] = {}
    paths, bends = [], n
    for a, b in edges:
        path = [a]
        for between in range(layer[a] + 1, layer[b]):
            path.append(bends)
            layers[between].append(bends)
            bends += 1
        path.append(b)
        paths.append(path)
        for left, right in itertools.pairwise(path):
            down.setdefault(left, []).append(right)
            up.setdefault(right, []).append(left)
    for turn in range(SWEEPS):
        ways = (up, layers[1:]) if turn % 2 == 0 else (down, layers[-2::-1])
        place = {node: i for some in layers for i, node in enumerate(some)}
        for some in ways[1]:
            weight = {
                one: sum(place[x] for x in ways[0][one]) / len(ways[0][one]) if ways[0].get(one) else float(place[one])
                for one in some
            }
            some.sort(key=lambda one: (weight[one], place[one]))
            place.update({node: i for i, node in enumerate(some)})
    return Layout(layers, _rows(layers, up, down), paths)


def _rows(layers: list[list[int]], up: dict[int, list[int]], down: dict[int, list[int]]) -> dict[int, tuple[int, float]]:
    """Rows that stand near the middle of their neighbours, never nearer than one to each other."""
    row: dict[int, float] = {}
    tallest = max(map(len, layers), default=1)
    for some in layers:
        for i, node in enumerate(some):
            row[node] = (tallest - len(some)) / 2 + i
    for turn in range(4):
        near = up if turn % 2 == 0 else down
        for some in layers if turn % 2 == 0 else layers[::-1]:
            wanted = [sum(row[x] for x in near[one]) / len(near[one]) if near.get(one) else row[one] for one in some]
            placed: list[float] = []
            for want in wanted:
                placed.append(max(want, placed[-1] + 1) if placed else want)
            shift = sum(w - p for w, p in zip(wanted, placed, strict=True)) / max(1, len(some))
            for one, at in zip(some, placed, strict=True):
                row[one] = at + shift
    least = min(row.values(), default=0.0)
    return {node: (i, row[node] - least) for i, some in enumerate(layers) for node in some}


def svg(nodes: tuple[GraphNode, ...], edges: Edges) -> str:
    """The drawing, complete in itself; empty when there is nothing to draw, or too much."""
    if not nodes or len(nodes) > MOST_DRAWN:
        return ""
    plan = layout(len(nodes), edges)
    across = width(nodes, edges)
    height = 2 * MARGIN + (max(at[1] for at in plan.at.values()) + 1) * (HEIGHT + GAP_Y) - GAP_Y
    lines = "".join(_edge(plan, path, nodes) for path in plan.paths)
    boxes = "".join(_box(one, *_corner(plan, i)) for i, one in enumerate(nodes))
    words = html.esc(", ".join(f"{one.name}: {one.status}" for one in nodes[:40]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gigq-svg" role="img" aria-label="{words}" width="{across}" height="{height:.0f}" '
        f'style="max-width:100%;min-width:{SMALLEST * across:.0f}px;height:auto" '
        f'viewBox="0 0 {across} {height:.0f}" font-family="system-ui,-apple-system,Segoe UI,sans-serif" font-size="12">{lines}{boxes}</svg>'
    )


def width(nodes: tuple[GraphNode, ...], edges: Edges) -> int:
    """How wide the drawing is, in pixels."""
    return 2 * MARGIN + (max(layers_of(len(nodes), edges), default=0) + 1) * (WIDTH + GAP_X) - GAP_X


def _corner(plan: Layout, node: int) -> tuple[float, float]:
    layer, row = plan.at[node]
    return MARGIN + layer * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def _edge(plan: Layout, path: list[int], nodes: tuple[GraphNode, ...]) -> str:
    n = len(nodes)
    x, y = _corner(plan, path[0])
    x, y = x + WIDTH, y + HEIGHT / 2
    words = [f"M{x:.1f} {y:.1f}"]
    for one in path[1:]:
        to_x, to_y = _corner(plan, one)
        to_y += HEIGHT / 2
        middle = (x + to_x) / 2
        words.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        if one >= n:
            to_x += WIDTH
            words.append(f"H{to_x:.1f}")
        x, y = to_x, to_y
    return f'<path class="gigq-edge" d="{"".join(words)}" fill="none" stroke="#8b949e" stroke-width="1.5" stroke-opacity=".7"/>'


def _box(one: GraphNode, x: float, y: float) -> str:
    """A node: its name, its status in words and colour; of several alike, their number and how many are done."""
    status = one.status
    colour = html.COLOURS[status]
    name = html.esc(one.name if len(one.name) <= 19 else one.name[:18] + "…")
    said = {"new": "not submitted"}.get(status, status)
    if one.n > 1:
        name += f" ×{one.n:,}"
        if status in ("failed", "timeout", "cancelled"):
            said = f"{getattr(one.counts, status):,} {status}"
        elif status != "new":
            said = f"{one.counts.done:,} of {one.n:,} done"
    elif one.seconds is not None and status == "completed":
        said = html.duration(one.seconds)
    share = one.counts.done / one.n if one.n else 0
    meter = (
        f'<rect x="{x + 10:.1f}" y="{y + HEIGHT - 5:.1f}" width="{(WIDTH - 20) * share:.1f}" height="2" fill="{colour}"/>'
        if one.n > 1 and share
        else ""
    )
    return (
        f'<g class="gigq-node gigq-{status}"><title>{html.esc(one.name, 200)}: {html.esc(said)}</title>'
        f'<rect class="gigq-box" x="{x:.1f}" y="{y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="#f6f8fa" stroke="{colour}" stroke-width="1.5"/>'
        f'<circle cx="{x + 13:.1f}" cy="{y + 15:.1f}" r="4" fill="{colour}"/>'
        f'<text class="gigq-label" x="{x + 23:.1f}" y="{y + 19:.1f}" fill="#1f2328">{name}</text>'
        f'<text class="gigq-small" x="{x + 23:.1f}" y="{y + 33:.1f}" fill="#57606a" font-size="10.5">{html.esc(said)}</text>{meter}</g>'
    )


def lines(nodes: tuple[GraphNode, ...], edges: Edges, most: int = 60) -> list[str]:
    """The graph for a terminal: parents stand before what waits for them."""
    layer = layers_of(len(nodes), edges)
    parents: dict[int, list[str]] = {}
    for a, b in edges:
        parents.setdefault(b, []).append(html.visible(nodes[a].name)[:40])
    order = sorted(range(len(nodes)), key=lambda i: (layer[i], i))
    width = max(
        (len(html.visible(nodes[i].name)[:40]) + (len(f" ×{nodes[i].n}") if nodes[i].n > 1 else 0) for i in order[:most]),
        default=0,
    )
    shown = []
    for i in order[:most]:
        one = nodes[i]
        name = html.visible(one.name)[:40] + (f" ×{one.n}" if one.n > 1 else "")
        said = one.status if one.n == 1 else f"{one.status} {one.counts.done}/{one.n}"
        said = "not submitted" if one.status == "new" else said
        after = f"  after {', '.join(parents[i][:6])}{' …' if len(parents[i]) > 6 else ''}" if i in parents else ""
        took = f" {html.duration(one.seconds)}" if one.seconds is not None else ""
        shown.append(f"  {'  ' * layer[i]}{name:<{width}}  {said}{took}{after}".rstrip())
    if len(order) > most:
        shown.append(f"  … and {len(order) - most:,} more")
    return shown
