"""The graph of a workflow and everything that can be known about it before a run starts.

Pure and free of documents: node ids and edges go in, facts come out. The kernel's join rule stands on `ways_in`,
`back_edges` and `feeders`; the checks stand on `unreachable`, `cannot_end`, `loops_without_exit` and `irreducible`.

Words: a *flow* edge is any edge but a compensation edge (compensation runs apart from the flow). A *back edge* leads to
a node that dominates its source: one that every path from the start to the source passes. The *natural loop* of a back
edge s -> h is h and every node that reaches s without passing h.

All algorithms are iterative and near linear in edges: dominators by Lengauer and Tarjan ("A fast algorithm for finding
dominators in a flowgraph", 1979), strong components by Tarjan (1972).
"""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from orchestrator.model.dominators import DominatorTree, strong_components


class EdgeKind(StrEnum):
    """By which word of the document one node leads to another."""

    NEXT = "next"
    LABEL = "label"
    ROUTE = "route"
    ERROR = "error"
    COMPENSATE = "compensate"


class Edge(NamedTuple):
    """One way from a node to a node; `label` says which label, or which error type, takes it."""

    source: str
    target: str
    kind: EdgeKind = EdgeKind.NEXT
    label: str = ""


class Loop(NamedTuple):
    """The natural loops of one header taken together, members in document order."""

    header: str
    members: tuple[str, ...]


class Tangle(NamedTuple):
    """A loop that is entered at several nodes, so that no node of it comes first."""

    members: tuple[str, ...]
    entries: tuple[str, ...]


_FORWARD = frozenset({EdgeKind.NEXT, EdgeKind.LABEL, EdgeKind.ROUTE})


class Graph:
    """The facts about one graph. Immutable once built; the costly ones are computed at first use and kept.

    Attributes:
        order: node ids in document order. `order_of` gives their places.
        start: where a run starts.
        edges: every edge between known nodes, as given, without duplicates.
        successors: per node, its flow successors (errors included), each once, in order of the edges.
        reachable: the nodes that a run can come to, compensation nodes included.
        back_edges: (source, target) of every back edge.
        ways_in: per node, the sources that count as its ways in: distinct reachable sources of next, label and route
            edges, without back edges.
        compensations: the nodes that take back what others did; they stand apart from the flow.
        ends: nodes with no next, label or route edge out, in document order.
    """

    def __init__(self, *, order: tuple[str, ...], start: str, edges: tuple[Edge, ...]) -> None:
        self.order = order
        self.start = start
        self.edges = edges
        self.order_of: Mapping[str, int] = {node: place for place, node in enumerate(order)}
        count = len(order)
        place_of = self.order_of
        flow: list[dict[int, None]] = [{} for _ in range(count)]
        forward: list[dict[int, None]] = [{} for _ in range(count)]
        apart: list[list[int]] = [[] for _ in range(count)]
        for source, target, kind, _ in edges:
            s, t = place_of[source], place_of[target]
            if kind is EdgeKind.COMPENSATE:
                apart[s].append(t)
                continue
            flow[s][t] = None
            if kind in _FORWARD:
                forward[s][t] = None
        self.compensations: frozenset[str] = frozenset(order[t] for targets in apart for t in targets)
        self._flow = [list(targets) for targets in flow]
        self._flow_back: list[list[int]] = [[] for _ in range(count)]
        for s, targets in enumerate(self._flow):
            for t in targets:
                self._flow_back[t].append(s)
        root = place_of.get(start)
        self._tree = DominatorTree(self._flow, self._flow_back, root)
        in_flow = self._tree.reached
        self._back = {
            (s, t) for s in range(count) if s in in_flow for t in self._flow[s] if self._tree.dominates(t, s)
        }
        self.successors: Mapping[str, tuple[str, ...]] = {
            order[s]: tuple(order[t] for t in targets) for s, targets in enumerate(self._flow)
        }
        self.back_edges: frozenset[tuple[str, str]] = frozenset((order[s], order[t]) for s, t in self._back)
        ways: list[list[str]] = [[] for _ in range(count)]
        for s in range(count):
            if s in in_flow:
                for t in forward[s]:
                    if (s, t) not in self._back:
                        ways[t].append(order[s])
        self.ways_in: Mapping[str, tuple[str, ...]] = {order[t]: tuple(w) for t, w in enumerate(ways)}
        self.ends: tuple[str, ...] = tuple(order[s] for s in range(count) if not forward[s])
        reached = _closure([root] if root is not None else [], self._flow, apart)
        self.reachable: frozenset[str] = frozenset(order[p] for p in reached)
        self._feeders: dict[tuple[str, frozenset[str]], frozenset[str]] = {}
        self._closed: dict[int, set[tuple[int, int]]] = {}

    @classmethod
    def build(cls, order: Sequence[str], start: str, edges: Iterable[Edge]) -> "Graph":
        """The graph over the nodes of `order`; edges from or to any other id are left out (the checks name them)."""
        known = frozenset(order)
        kept = dict.fromkeys(edge for edge in edges if edge.source in known and edge.target in known)
        return cls(order=tuple(dict.fromkeys(order)), start=start, edges=tuple(kept))

    def is_join(self, node: str) -> bool:
        """Whether the node has several ways in, so that it waits for what can still come."""
        return len(self.ways_in[node]) > 1

    def dominates(self, above: str, below: str) -> bool:
        """Whether every path from the start to `below` passes `above`; false where either is out of the flow."""
        return self._tree.dominates(self.order_of[above], self.order_of[below])

    def feeders(self, join: str, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
        """The nodes from which something can still come to `join` this time round.

        Those with a path of one or more flow edges to it that takes no back edge of a loop that the join is in, and
        passes none of the nodes `without`. The join itself is among them only if it can come back to itself by
        another way.
        """
        known = self._feeders.get((join, without))
        if known is None:
            barred = {self.order_of[node] for node in without if node in self.order_of}
            found = self._compute_feeders(self.order_of[join], barred)
            known = self._feeders[join, without] = frozenset(self.order[p] for p in found)
        return known

    def _compute_feeders(self, join: int, barred: set[int]) -> set[int]:
        closed = self._back_edges_around(join)
        seen: set[int] = set()
        stack = [join]
        while stack:
            node = stack.pop()
            for source in self._flow_back[node]:
                if source not in seen and (source, node) not in closed:
                    seen.add(source)
                    if source not in barred:
                        stack.append(source)
        return seen

    def arrivals_max(self, join: str, *, on_each: Collection[str]) -> int | None:
        """The most arrivals that can come to `join` in one round; None where there is no bound.

        One from each source, unless something before the join may run several times in a round: a node of a loop that
        the join is not in, one of `on_each` with several ways in, or one that an error leads to beside its way in.
        """
        place = self.order_of[join]
        closed = self._back_edges_around(place)
        before = self._compute_feeders(place, set())
        if place in before:
            return None
        inside = [
            [t for t in targets if t in before and (s, t) not in closed] if s in before else []
            for s, targets in enumerate(self._flow)
        ]
        for component in strong_components(inside):
            if self._is_cycle(component, inside):
                return None
        for node in before:
            ways = sum(s in before and (s, node) not in closed for s in self._flow_back[node])
            if ways > 1 and (self.order[node] in on_each or not self.is_join(self.order[node])):
                return None
        return sum((s, place) not in closed for s in self._flow_back[place] if s in before)

    def _back_edges_around(self, node: int) -> set[tuple[int, int]]:
        known = self._closed.get(node)
        if known is None:
            known = self._closed[node] = self._compute_back_edges_around(node)
        return known

    def _compute_back_edges_around(self, node: int) -> set[tuple[int, int]]:
        """The back edges whose natural loops the node is in.

        For s -> h that means: h dominates the node, which reaches s without passing h. A path that passes a dominator
        above h has to pass h on its way to s, which h dominates too. So the question is how far down in the chain of
        the node's dominators a path to s can stay: one widest-path search answers it for all back edges at once.
        """
        chain = self._tree.chain(node)
        if not chain:
            return set()
        depth = {above: place for place, above in enumerate(chain)}
        widest: dict[int, int] = {}
        heap = [(-depth[node], node)]
        while heap:
            width, current = heapq.heappop(heap)
            if current in widest:
                continue
            widest[current] = -width
            for target in self._flow[current]:
                if target not in widest:
                    heapq.heappush(heap, (max(width, -depth.get(target, len(chain))), target))
        return {(s, h) for s, h in self._back if h == node or (h in depth and widest.get(s, -1) > depth[h])}

    @cached_property
    def unreachable(self) -> tuple[str, ...]:
        """The nodes that no run can come to, in document order."""
        return tuple(node for node in self.order if node not in self.reachable)

    @cached_property
    def cannot_end(self) -> tuple[str, ...]:
        """The nodes from which no end can be reached, by whatever edge, in document order."""
        can = _closure([self.order_of[node] for node in self.ends], self._flow_back)
        return tuple(node for place, node in enumerate(self.order) if place not in can)

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The natural loops, those of one header as one, by document order of their headers."""
        sources: dict[int, list[int]] = {}
        for source, header in sorted(self._back):
            sources.setdefault(header, []).append(source)
        return tuple(Loop(self.order[h], self._names(self._body(h, s))) for h, s in sorted(sources.items()))

    def _body(self, header: int, sources: Sequence[int]) -> set[int]:
        """The header, and what reaches one of the sources without passing it."""
        seen = {header, *sources}
        stack = [source for source in sources if source != header]
        while stack:
            for before in self._flow_back[stack.pop()]:
                if before not in seen and before in self._tree.reached:
                    seen.add(before)
                    stack.append(before)
        return seen

    @cached_property
    def loops_without_exit(self) -> tuple[tuple[str, ...], ...]:
        """Groups of nodes that lead to one another and nowhere else: once in, a run can't leave."""
        found: list[tuple[str, ...]] = []
        for component in strong_components(self._flow):
            inside = frozenset(component)
            if self._is_cycle(component, self._flow) and all(
                t in inside for s in component for t in self._flow[s]
            ):
                found.append(self._names(inside))
        return tuple(sorted(found, key=lambda names: self.order_of[names[0]]))

    @cached_property
    def irreducible(self) -> tuple[Tangle, ...]:
        """The loops with two or more entries: what stays cyclic when all back edges are taken away."""
        reached = self._tree.reached
        forward = [
            [t for t in targets if (s, t) not in self._back] if s in reached else []
            for s, targets in enumerate(self._flow)
        ]
        found: list[Tangle] = []
        for component in strong_components(forward):
            if not self._is_cycle(component, forward):
                continue
            inside = frozenset(component)
            entries = {t for t in inside if any(s in reached and s not in inside for s in self._flow_back[t])}
            found.append(Tangle(self._names(inside), self._names(entries)))
        return tuple(sorted(found, key=lambda tangle: self.order_of[tangle.members[0]]))

    def precedes(self, before: str, after: str) -> bool:
        """Whether one or more flow edges of any kind lead from `before` to `after`, so that it may run earlier."""
        return bool(self._descendants[self.order_of[before]] >> self.order_of[after] & 1)

    @cached_property
    def _descendants(self) -> list[int]:
        """Per node the set, as bits, of those that one or more flow edges lead to."""
        descendants = [0] * len(self.order)
        for component in strong_components(self._flow):
            # Components come in reverse topological order: what they lead to is known already.
            reached = 0
            for s in component:
                for t in self._flow[s]:
                    reached |= descendants[t] | 1 << t
            for s in component:
                descendants[s] = reached
        return descendants

    def _names(self, places: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.order[p] for p in sorted(places))

    @staticmethod
    def _is_cycle(component: Sequence[int], adjacency: Sequence[Sequence[int]]) -> bool:
        return len(component) > 1 or component[0] in adjacency[component[0]]


def _closure(roots: Iterable[int], *adjacencies: Sequence[Sequence[int]]) -> set[int]:
    """The places that can be come to from the roots, which are included, by any of the adjacencies."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        node = stack.pop()
        for adjacency in adjacencies:
            for target in adjacency[node]:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
    return seen
