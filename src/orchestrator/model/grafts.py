"""Grafted blocks: nodes that a plan adds to one run, compiled, and seen together with the nodes of its version.

A block hangs under the path of the task that laid it: the node `fetch` of the plan of `plan@2` is `plan@2/fetch`. Its
edges lead only inside the block. Compiling is pure, and kept by content: a state that is read from a snapshot gives the
same block again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from orchestrator.model.declarations import ClassDeclaration
from orchestrator.model.definition import Definition, NodeDefinition, compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.expressions import Template
from orchestrator.model.graph import Graph

SEPARATOR = "/"
"""Can't stand in a node's id, so that the id of a grafted node is never another's."""

BLOCKS_KEPT_MAX = 256

T = TypeVar("T")


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as the journal keeps it: the checked part of a document, and what its classes declared when it was laid.

    `document` has `start_at`, `nodes` and perhaps `output`, as a workflow has them.
    """

    document: dict[str, Any]
    declarations: dict[str, ClassDeclaration]


class Planned(Protocol):
    """Whoever holds the record of a plan."""

    @property
    def record(self) -> msgspec.Raw:
        """The `PlanRecord` as JSON."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A plan, compiled: its nodes by their full ids, the graph between them, and its `output`, if it says one."""

    nodes: Mapping[str, NodeDefinition]
    graph: Graph
    output: Template | None


def block_of(node: str) -> str:
    """The path of the task whose plan a node belongs to; empty for a node of the version."""
    return node.rpartition(SEPARATOR)[0]


def local_id(node: str) -> str:
    """The id that a node has where it was written: in its plan, or in the version."""
    return node.rpartition(SEPARATOR)[2]


def node_of(path: str) -> str:
    """The node that a task's path is a visit (or an item of a visit) of."""
    block, separator, last = path.rpartition(SEPARATOR)
    return block + separator + last.partition("@")[0].partition("[")[0]


def record_of(plan: Planned) -> PlanRecord:
    """The record that a plan holds."""
    return msgspec.json.decode(plan.record, type=PlanRecord)


def compile_block(path: str, record: msgspec.Raw) -> Block:
    """The block that hangs under the task `path`."""
    return _compile(path, bytes(record))


@lru_cache(maxsize=BLOCKS_KEPT_MAX)
def _compile(path: str, record: bytes) -> Block:
    plan = msgspec.json.decode(record, type=PlanRecord)
    alone = compile_definition(
        WorkflowDocument.model_validate({"name": "plan", **plan.document}), plan.declarations
    )
    prefix = path + SEPARATOR
    nodes = {prefix + node.id: _grafted(node, prefix) for node in alone.nodes.values()}
    edges = [
        edge._replace(source=prefix + edge.source, target=prefix + edge.target) for edge in alone.graph.edges
    ]
    graph = Graph.build(tuple(nodes), prefix + alone.start_at, edges)
    return Block(nodes=nodes, graph=graph, output=alone.output)


def _grafted(node: NodeDefinition, prefix: str) -> NodeDefinition:
    """The same node under its full id; `allowed` and what its expressions name stay as the plan has them."""
    labels = node.labels
    return replace(
        node,
        id=prefix + node.id,
        prefix=prefix,
        next=tuple(prefix + target for target in node.next),
        labels=None if labels is None else {k: tuple(prefix + t for t in v) for k, v in labels.items()},
        on_error={error: prefix + target for error, target in node.on_error.items()},
        compensate=None if node.compensate is None else prefix + node.compensate,
        cancels=tuple(prefix + target for target in node.cancels),
    )


class _Blocks:
    """The blocks of one run, each compiled when somebody asks for it."""

    def __init__(self, plans: Mapping[str, Planned]) -> None:
        self.plans = plans
        self._compiled: dict[str, tuple[Planned, Block]] = {}

    def at(self, path: str) -> Block:
        """Raises KeyError where no plan was laid, or where nothing needs it any more."""
        plan = self.plans[path]
        known = self._compiled.get(path)
        if known is not None and known[0] is plan:
            return known[1]
        if len(self._compiled) > BLOCKS_KEPT_MAX:
            self._compiled.clear()
        block = compile_block(path, plan.record)
        self._compiled[path] = plan, block
        return block


class GraftedNodes(Mapping[str, NodeDefinition]):
    """The nodes of a version and of the plans of one run."""

    def __init__(self, base: Mapping[str, NodeDefinition], blocks: _Blocks) -> None:
        self._base = base
        self.blocks = blocks

    def __getitem__(self, node: str) -> NodeDefinition:
        found = self._base.get(node)
        return found if found is not None else self.blocks.at(block_of(node)).nodes[node]

    def __iter__(self) -> Iterator[str]:
        yield from self._base
        for path in self.blocks.plans:
            yield from self.blocks.at(path).nodes

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _ByNode(Mapping[str, T], Generic[T]):
    """A table of a graph that answers for the nodes of blocks too. Walked through, it shows the version's nodes."""

    def __init__(self, base: Mapping[str, T], blocks: _Blocks, name: str) -> None:
        self._base = base
        self._blocks = blocks
        self._name = name

    def __getitem__(self, node: str) -> T:
        path = block_of(node)
        if not path:
            return self._base[node]
        table: Mapping[str, T] = getattr(self._blocks.at(path).graph, self._name)
        return table[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


class GraftedGraph(Graph):
    """The graph of a version, which answers for the nodes of blocks too: each has only its own block around it."""

    def __init__(self, base: Graph, blocks: _Blocks) -> None:
        self.__dict__.update(base.__dict__)
        self._blocks = blocks
        self.order_of = _ByNode(base.order_of, blocks, "order_of")
        self.ways_in = _ByNode(base.ways_in, blocks, "ways_in")
        self.successors = _ByNode(base.successors, blocks, "successors")
        self._base = base

    def feeders(self, join: str, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
        """See `Graph.feeders`."""
        path = block_of(join)
        graph = self._blocks.at(path).graph if path else self._base
        return graph.feeders(join, without=without)


def grafted(definition: Definition, plans: Mapping[str, Planned]) -> Definition:
    """The definition as a run with these plans sees it; the version's own where there are none.

    It follows `plans` as they change: it is made once for a state, and kept with it.
    """
    base = definition.base or definition
    if not plans:
        return base
    nodes = definition.nodes
    if isinstance(nodes, GraftedNodes) and nodes.blocks.plans is plans:
        return definition
    blocks = _Blocks(plans)
    return replace(
        base, nodes=GraftedNodes(base.nodes, blocks), graph=GraftedGraph(base.graph, blocks), base=base
    )
