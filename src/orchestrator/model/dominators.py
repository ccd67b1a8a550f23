"""Dominators and strong components of a graph of small integers, without recursion."""

from collections.abc import Iterator, Sequence


class DominatorTree:
    """Who dominates whom, seen from `root` (Lengauer and Tarjan 1979, the simple version with path compression).

    `reached` holds the nodes that can be come to from the root; nobody else dominates or is dominated. A `root` of
    None reaches nothing.
    """

    def __init__(
        self, successors: Sequence[Sequence[int]], predecessors: Sequence[Sequence[int]], root: int | None
    ) -> None:
        self.reached: frozenset[int] = frozenset()
        self._above: dict[int, int] = {}
        self._enter: dict[int, int] = {}
        self._leave: dict[int, int] = {}
        if root is None:
            return
        vertex, parent, number = _depth_first(successors, root)
        self.reached = frozenset(vertex)
        dominator = _immediate_dominators(vertex, parent, number, predecessors)
        self._above = {vertex[node]: vertex[dominator[node]] for node in range(1, len(vertex))}
        self._number_tree(vertex, dominator)

    def dominates(self, above: int, below: int) -> bool:
        """Whether every path from the root to `below` passes `above`; a node dominates itself."""
        if above not in self._enter or below not in self._enter:
            return False
        return self._enter[above] <= self._enter[below] and self._leave[below] <= self._leave[above]

    def chain(self, node: int) -> list[int]:
        """The dominators of a node from the root down, the node itself last; [] if it can't be come to."""
        if node not in self.reached:
            return []
        chain = [node]
        while chain[-1] in self._above:
            chain.append(self._above[chain[-1]])
        chain.reverse()
        return chain

    def _number_tree(self, vertex: Sequence[int], dominator: Sequence[int]) -> None:
        children: list[list[int]] = [[] for _ in vertex]
        for node in range(1, len(vertex)):
            children[dominator[node]].append(node)
        clock = 0
        stack: list[tuple[int, bool]] = [(0, False)]
        while stack:
            node, done = stack.pop()
            clock += 1
            if done:
                self._leave[vertex[node]] = clock
                continue
            self._enter[vertex[node]] = clock
            stack.append((node, True))
            stack.extend((child, False) for child in children[node])


def _depth_first(
    successors: Sequence[Sequence[int]], root: int
) -> tuple[list[int], list[int], dict[int, int]]:
    """Nodes in preorder, the preorder number of each one's parent, and the number of each node."""
    vertex = [root]
    parent = [0]
    number = {root: 0}
    stack: list[tuple[int, Iterator[int]]] = [(0, iter(successors[root]))]
    while stack:
        place, targets = stack[-1]
        for target in targets:
            if target not in number:
                number[target] = len(vertex)
                stack.append((len(vertex), iter(successors[target])))
                vertex.append(target)
                parent.append(place)
                break
        else:
            stack.pop()
    return vertex, parent, number


def _immediate_dominators(
    vertex: Sequence[int],
    parent: Sequence[int],
    number: dict[int, int],
    predecessors: Sequence[Sequence[int]],
) -> list[int]:
    """Immediate dominators in preorder numbers; the root is its own."""
    count = len(vertex)
    semi = list(range(count))
    best = list(range(count))
    ancestor = [-1] * count
    dominator = [0] * count
    bucket: list[list[int]] = [[] for _ in range(count)]

    def evaluate(node: int) -> int:
        if ancestor[node] < 0:
            return node
        path: list[int] = []
        walk = node
        while ancestor[ancestor[walk]] >= 0:
            path.append(walk)
            walk = ancestor[walk]
        for low in reversed(path):
            above = ancestor[low]
            if semi[best[above]] < semi[best[low]]:
                best[low] = best[above]
            ancestor[low] = ancestor[above]
        return best[node]

    for node in range(count - 1, 0, -1):
        for before in predecessors[vertex[node]]:
            place = number.get(before)
            if place is not None:
                semi[node] = min(semi[node], semi[evaluate(place)])
        bucket[semi[node]].append(node)
        ancestor[node] = parent[node]
        for waiting in bucket[parent[node]]:
            lowest = evaluate(waiting)
            dominator[waiting] = lowest if semi[lowest] < semi[waiting] else parent[node]
        bucket[parent[node]].clear()
    for node in range(1, count):
        if dominator[node] != semi[node]:
            dominator[node] = dominator[dominator[node]]
    return dominator


def strong_components(successors: Sequence[Sequence[int]]) -> list[list[int]]:
    """The strongly connected components, each node in exactly one (Tarjan 1972, with an explicit stack)."""
    count = len(successors)
    index = [-1] * count
    low = [0] * count
    waiting: list[int] = []
    on_stack = [False] * count
    components: list[list[int]] = []
    clock = 0
    for root in range(count):
        if index[root] >= 0:
            continue
        stack: list[tuple[int, Iterator[int]]] = []
        fresh = root
        while True:
            if fresh >= 0:
                index[fresh] = low[fresh] = clock
                clock += 1
                waiting.append(fresh)
                on_stack[fresh] = True
                stack.append((fresh, iter(successors[fresh])))
                fresh = -1
            if not stack:
                break
            node, targets = stack[-1]
            for target in targets:
                if index[target] < 0:
                    fresh = target
                    break
                if on_stack[target]:
                    low[node] = min(low[node], index[target])
            if fresh >= 0:
                continue
            stack.pop()
            if stack:
                low[stack[-1][0]] = min(low[stack[-1][0]], low[node])
            if low[node] == index[node]:
                component: list[int] = []
                while not component or component[-1] != node:
                    component.append(waiting.pop())
                    on_stack[component[-1]] = False
                components.append(component)
    return components
