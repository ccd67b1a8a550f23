"""A document compiled for the kernel and the worker: once per version, then only looked up.

`compile_definition` presumes a document that passed the checks. Of one that didn't it still makes a definition, or
raises `DefinitionError`; it never does anything else: unknown ids are left out, so that nothing can lead to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import DefinitionError, Fault, LimitExceeded
from orchestrator.model import limits
from orchestrator.model.caching import CacheRule, compile_cache
from orchestrator.model.declarations import ANY, ASK, ClassDeclaration, Effect, find_class
from orchestrator.model.document import BudgetDocument, NodeDocument, RetryDocument, WorkflowDocument
from orchestrator.model.durations import to_microseconds
from orchestrator.model.expressions import References, Template, compile_expression, compile_value
from orchestrator.model.foreach import ForEach, compile_for_each
from orchestrator.model.graph import Edge, EdgeKind, Graph
from orchestrator.model.joins import JoinKind, JoinRule, join_rule
from orchestrator.model.plain import is_array
from orchestrator.model.pointers import join_pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is tried again. Times in microseconds; `max_attempts` counts the first one too."""

    max_attempts: int
    initial_us: int
    multiplier: float
    max_interval_us: int
    jitter: float
    retry_on: tuple[str, ...]
    never_on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDefinition:
    """One limit of a node: `concurrency` tasks at once, or `rate` starts in `per_us`. No key: counted by node."""

    key: Template | None
    concurrency: int | None
    rate: int | None
    per_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDefinition:
    """One node as the kernel and the worker use it.

    Attributes:
        order: place in the document, from 0.
        references: what `params`, `when`, `for_each` and the keys of `limits` and `cache` read, together.
        for_each: the rules by which it runs once per item; None: it runs once.
        next: targets of `next_node` as a text or list; () if left out or a map.
        labels: the map form of `next_node`, `"*"` included; None if it isn't a map.
        decides: whether it may return a Route: its class decides, or `next_node` is a map.
        allowed: what `Route(x)` may name: labels where `next_node` is a map, else node ids.
        on_error: error type -> node id, `"*"` for any other; {} if errors aren't handled.
        compensate: the node that takes its visits back; None if nothing does.
        join: how arrivals become tasks, as written.
        is_join: whether its arrivals wait; a node that runs on each of them is none.
        cancels: nodes whose live tasks are withdrawn when this one completes.
        effect: the strongest that running it may have: the class's, or what the document tightens it to.
        effect_min: what the document says that it has at least; a class that computes its effect can't go below.
        on_doubt: what becomes of an irreversible attempt or step whose outcome is unknown.
        params_written: the params as written.
        may_use: the classes that its plans may use, `("*",)` any; None: it lays no plans. `max_nodes` of one plan.
        prefix: of a node that a plan grafted to a run, what stands before its id in the plan; else empty.
    """

    id: str
    order: int
    declaration: ClassDeclaration
    params: Template
    when: Template | None
    references: References
    next: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]] | None
    decides: bool
    allowed: tuple[str, ...]
    on_error: Mapping[str, str]
    retry: RetryPolicy
    timeout_us: int
    join: JoinRule
    is_join: bool
    cancels: tuple[str, ...]
    effect: Effect
    compensate: str | None = None
    effect_min: Effect = Effect.PURE
    on_doubt: str = ASK
    queue: str = limits.DEFAULT_QUEUE
    priority: int = 0
    for_each: ForEach | None = None
    params_written: Mapping[str, Any] = field(default_factory=dict[str, Any])
    may_use: tuple[str, ...] | None = None
    max_nodes: int = limits.PLAN_NODES
    prefix: str = ""
    limits: tuple[LimitDefinition, ...] = ()
    cache: CacheRule | None = None


_PAUSES: Mapping[str | None, frozenset[str]] = {
    None: frozenset({"tokens", "cost_usd"}),
    "fail": frozenset(),
    "pause": frozenset({"tasks", "duration", "tokens", "cost_usd"}),
}
"""At the cap of which budgets a run pauses, by `on_exceeded`; at that of the others it fails."""


@dataclass(kw_only=True)
class Definition:
    """One version of a workflow as the kernel and the worker use it. Never changed once compiled.

    `budget` holds the limits by name (`tasks`, `duration` in microseconds, `tokens`, `cost_usd`; None: no limit).
    `base`: of a version seen together with the plans of a run (`grafts`), the version itself.
    """

    name: str
    document: WorkflowDocument
    nodes: Mapping[str, NodeDefinition]
    start_at: str
    graph: Graph
    output: Template | None
    variables: Template
    budget: Mapping[str, int | float | None]
    budget_pauses: frozenset[str]
    finish_branches: bool
    input_schema: Mapping[str, Any] | None
    on_parent_cancel: str = "cancel"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    base: "Definition | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Where every node leads, worked out from the document and the declarations.

    `allowed` holds node ids only (nothing for the map form); `undeclared` names the deciders that fell back to the
    nodes that nothing else leads to.
    """

    targets: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, Mapping[str, tuple[str, ...]] | None]
    allowed: Mapping[str, tuple[str, ...]]
    on_error: Mapping[str, Mapping[str, str]]
    compensate: Mapping[str, str]
    undeclared: tuple[str, ...]

    def edges(self) -> Iterator[Edge]:
        """Every edge of the graph, by source in document order."""
        for source, targets in self.targets.items():
            for target in targets:
                yield Edge(source, target, EdgeKind.NEXT)
            for label, ends in (self.labels[source] or {}).items():
                for target in ends:
                    yield Edge(source, target, EdgeKind.LABEL, label)
            for target in self.allowed[source]:
                yield Edge(source, target, EdgeKind.ROUTE)
            for error, target in self.on_error[source].items():
                yield Edge(source, target, EdgeKind.ERROR, error)
            if source in self.compensate:
                yield Edge(source, self.compensate[source], EdgeKind.COMPENSATE)


def wire(
    document: WorkflowDocument,
    declarations: Mapping[str, ClassDeclaration],
    *,
    edges_max: int = limits.DEFAULT_LIMITS.edges_max,
) -> Wiring:
    """Where every node of the document leads. Ids that the document doesn't have are left out.

    Raises:
        LimitExceeded: the nodes lead to one another by more than `edges_max` edges.
    """
    known = document.nodes
    targets = {n: _known_targets(d.next_node, known) for n, d in known.items()}
    labels = {n: _known_labels(d.next_node, known) for n, d in known.items()}
    on_error = {n: _known_handlers(d.on_error, known) for n, d in known.items()}
    compensate = {
        n: d.compensate for n, d in known.items() if d.compensate is not None and d.compensate in known
    }
    apart = frozenset(compensate.values())
    declared: dict[str, tuple[str, ...]] = {}
    anywhere: list[str] = []
    undeclared: list[str] = []
    for node, written in known.items():
        declaration = find_class(written.class_name, declarations)
        if labels[node] is not None or declaration is None or declaration.routes is None:
            continue
        routes = written.routes if written.routes is not None else list(declaration.routes)
        if ANY in routes:
            anywhere.append(node)
            continue
        declared[node] = tuple(dict.fromkeys(r for r in routes if r in known))
        if written.routes is None and not declaration.routes:
            undeclared.append(node)
    led_to = {document.start_at}
    for node in known:
        ways = [targets[node], declared.get(node, ()), *(labels[node] or {}).values()]
        led_to.update(t for way in ways for t in way if t != node)
    handlers = {t for node in known for t in on_error[node].values() if t != node}
    if undeclared:
        orphans = tuple(n for n in known if n not in led_to and n not in handlers and n not in apart)
        for node in undeclared:
            declared[node] = tuple(n for n in orphans if n != node)
    if anywhere:
        led_to.update(t for node in undeclared for t in declared[node])
        everywhere = tuple(n for n in known if n not in apart and (n not in handlers or n in led_to))
        for node in anywhere:
            declared[node] = everywhere
    count = sum(len(t) for t in targets.values()) + sum(len(t) for t in declared.values())
    count += sum(len(t) for ways in labels.values() if ways for t in ways.values())
    if count > edges_max:
        raise LimitExceeded("edges between nodes", value=count, maximum=edges_max)
    return Wiring(
        targets=targets,
        labels=labels,
        allowed={node: declared.get(node, ()) for node in known},
        on_error=on_error,
        compensate=compensate,
        undeclared=tuple(undeclared),
    )


def _known_targets(written: object, known: Mapping[str, object]) -> tuple[str, ...]:
    if isinstance(written, str):
        return (written,) if written in known else ()
    if is_array(written):
        return tuple(dict.fromkeys(t for t in written if isinstance(t, str) and t in known))
    return ()


def _known_labels(
    written: str | list[str] | dict[str, str | list[str]] | None, known: Mapping[str, object]
) -> Mapping[str, tuple[str, ...]] | None:
    if not isinstance(written, dict):
        return None
    return {label: _known_targets(target, known) for label, target in written.items()}


def _known_handlers(written: str | dict[str, str] | None, known: Mapping[str, object]) -> Mapping[str, str]:
    handlers = {ANY: written} if isinstance(written, str) else written or {}
    return {error: target for error, target in handlers.items() if target in known}


def build_graph(document: WorkflowDocument, wiring: Wiring) -> Graph:
    """The graph of a document whose wiring is known."""
    return Graph.build(tuple(document.nodes), document.start_at, wiring.edges())


def compile_definition(
    document: WorkflowDocument, declarations: Mapping[str, ClassDeclaration]
) -> Definition:
    """Everything about one version that the kernel and the worker look up.

    `declarations` are those that the version is pinned to, by class name.

    Raises:
        DefinitionError: a class is unknown, or an expression doesn't parse; every such fault is listed.
        LimitExceeded: the graph has too many edges.
    """
    wiring = wire(document, declarations)
    graph = build_graph(document, wiring)
    faults: list[Fault] = []
    nodes: dict[str, NodeDefinition] = {}
    for order, (node, written) in enumerate(document.nodes.items()):
        declaration = find_class(written.class_name, declarations)
        if declaration is None:
            pointer = join_pointer("/nodes", node, "class")
            faults.append(
                Fault(pointer=pointer, code="unknown_class", message=f"no node class `{written.class_name}`")
            )
            continue
        nodes[node] = _compile_node(node, order, written, declaration, wiring, graph, faults)
    output = compile_value(document.output, pointer="/output", faults=faults) if document.has_output else None
    variables = compile_value(dict(document.vars), pointer="/vars", faults=faults)
    if faults:
        raise DefinitionError(faults)
    budget = document.budget or BudgetDocument.model_validate({})
    return Definition(
        name=document.name,
        document=document,
        nodes=nodes,
        start_at=document.start_at,
        graph=graph,
        output=output,
        variables=variables,
        budget={
            "tasks": budget.tasks,
            "duration": to_microseconds(budget.duration),
            "tokens": budget.tokens,
            "cost_usd": budget.cost_usd,
        },
        budget_pauses=_PAUSES[budget.on_exceeded],
        finish_branches=document.on_failure == "finish_branches",
        input_schema=document.input_schema,
        on_parent_cancel=document.on_parent_cancel or "cancel",
        labels=dict(document.labels),
    )


def _compile_node(
    node: str,
    order: int,
    written: NodeDocument,
    declaration: ClassDeclaration,
    wiring: Wiring,
    graph: Graph,
    faults: list[Fault],
) -> NodeDefinition:
    at = join_pointer("/nodes", node)
    params = compile_value(dict(written.params), pointer=f"{at}/params", faults=faults)
    when = compile_when(written.when, pointer=f"{at}/when", faults=faults)
    limited = compile_limits(written, pointer=f"{at}/limits", faults=faults)
    references = params.references if when is None else params.references | when.references
    for limit in limited:
        references = references if limit.key is None else references | limit.key.references
    cache = compile_cache(written, pointer=at, faults=faults)
    if cache is not None and cache.key is not None:
        references |= cache.key.references
    for_each = compile_for_each(written, pointer=at, faults=faults)
    if for_each is not None:
        references |= for_each.references
    labels = wiring.labels[node]
    effect = tightened(declaration.effect, written.effect)
    on_doubt = written.on_doubt or declaration.on_doubt
    timeout = written.timeout if written.timeout is not None else limits.TIMEOUT_SECONDS
    rule = join_rule(written.join)
    return NodeDefinition(
        id=node,
        order=order,
        declaration=declaration,
        params=params,
        when=when,
        references=references,
        next=wiring.targets[node],
        labels=labels,
        decides=labels is not None or declaration.decides,
        allowed=tuple(labels) if labels is not None else wiring.allowed[node],
        on_error=wiring.on_error[node],
        retry=_retry_policy(written.retry, once=effect is Effect.IRREVERSIBLE and on_doubt != "retry"),
        timeout_us=to_microseconds(timeout),
        join=rule,
        is_join=waits_for_others(rule, graph, node),
        cancels=_known_targets(written.cancels, wiring.targets),
        effect=effect,
        effect_min=Effect(written.effect) if written.effect is not None else Effect.PURE,
        on_doubt=on_doubt,
        queue=written.queue or limits.DEFAULT_QUEUE,
        priority=written.priority,
        limits=limited,
        compensate=wiring.compensate.get(node),
        for_each=for_each,
        cache=cache,
        params_written=written.params,
        may_use=declaration.may_use if written.may_use is None else tuple(written.may_use),
        max_nodes=declaration.max_nodes if written.max_nodes is None else written.max_nodes,
    )


def compile_limits(
    written: NodeDocument, *, pointer: str, faults: list[Fault] | None = None
) -> tuple[LimitDefinition, ...]:
    """The limits of a node, in their order."""
    found: list[LimitDefinition] = []
    for place, limit in enumerate(written.limits or ()):
        at = join_pointer(pointer, place, "key")
        key = None if limit.key is None else compile_value(limit.key, pointer=at, faults=faults)
        found.append(
            LimitDefinition(
                key=key,
                concurrency=limit.concurrency,
                rate=limit.rate,
                per_us=to_microseconds(limit.per),
            )
        )
    return tuple(found)


def waits_for_others(rule: JoinRule, graph: Graph, node: str) -> bool:
    """Whether arrivals at the node wait: for a count (or one of each) they do, however many ways in there are."""
    return rule.kind in (JoinKind.COUNT, JoinKind.ONE_OF_EACH) or (
        rule.kind is JoinKind.ALL and graph.is_join(node)
    )


def compile_when(
    written: str | bool | None, *, pointer: str, faults: list[Fault] | None = None
) -> Template | None:
    """The template of a node's `when`; None where there is none. A plain `true` or `false` is a constant."""
    if written is None:
        return None
    if isinstance(written, bool):
        return compile_value(written, pointer=pointer)
    return compile_expression(written, pointer=pointer, faults=faults)


def tightened(effect: Effect, written: str | None) -> Effect:
    """The stronger of what a class says and what the document says."""
    return max(effect, Effect(written), key=lambda one: one.rank) if written is not None else effect


def _retry_policy(written: RetryDocument | None, *, once: bool) -> RetryPolicy:
    retry = written or RetryDocument.model_validate({})
    attempts = 1 if once else limits.RETRY_MAX_ATTEMPTS
    return RetryPolicy(
        max_attempts=retry.max_attempts if retry.max_attempts is not None else attempts,
        initial_us=to_microseconds(retry.initial),
        multiplier=float(retry.multiplier),
        max_interval_us=to_microseconds(retry.max_interval),
        jitter=float(retry.jitter),
        retry_on=_unique(retry.retry_on),
        never_on=_unique(retry.never_on),
    )


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
