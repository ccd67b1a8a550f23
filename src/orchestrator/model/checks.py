"""The whole check: every fault at once, in document order, each with its place and the nearest right thing.

Shape first (`shape`), then what needs the whole: names, classes, params, expressions, the graph. A name that is wrong
but has a near one is followed as if it were right, so that one slip is one fault and not a row of them.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Fault, LimitExceeded
from orchestrator.model.caching import check_cache
from orchestrator.model.compensation import check_compensation
from orchestrator.model.declarations import ANY, ClassDeclaration, Effect, class_spellings, find_class
from orchestrator.model.definition import (
    Definition,
    Wiring,
    build_graph,
    compile_definition,
    compile_when,
    wire,
)
from orchestrator.model.document import NodeDocument, WorkflowDocument
from orchestrator.model.expressions import References, compile_value
from orchestrator.model.foreach import check_for_each, for_each_references, misplaced
from orchestrator.model.graph import Graph
from orchestrator.model.joins import JoinKind, join_rule
from orchestrator.model.limits import DEFAULT_LIMITS, Limits
from orchestrator.model.nearest import Nearest, did_you_mean, shorten
from orchestrator.model.params import ParamsChecker, check_schema
from orchestrator.model.plain import is_array, is_dict, kind_of
from orchestrator.model.pointers import join_pointer, split_pointer
from orchestrator.model.reading import examine
from orchestrator.model.rights import check_rights
from orchestrator.model.shape import PLACEHOLDER, read_shape

_SHOWN_NODES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found. `document` and `definition` are there exactly if there are no faults."""

    faults: tuple[Fault, ...]
    hints: tuple[Fault, ...]
    document: WorkflowDocument | None = None
    definition: Definition | None = None

    @property
    def accepted(self) -> bool:
        """Whether the document may be saved."""
        return not self.faults


def check(
    document: Any,
    known: Mapping[str, ClassDeclaration],
    *,
    limits: Limits = DEFAULT_LIMITS,
    around: Container[str] = (),
) -> Report:
    """Check a document, given as the Python form of its JSON, against the classes that are known.

    Never raises for what the document holds: every fault is in the report. `around` are nodes outside of it whose
    outputs it may read: those around a plan.
    """
    faults = examine(document, limits=limits)
    if not faults and not is_dict(document):
        message = f"a workflow document is a JSON object, and this is {kind_of(document)}"
        faults = [Fault(pointer="", code="not_an_object", message=message)]
    if faults:
        return Report(faults=tuple(faults), hints=())
    nearest = Nearest()
    shape = read_shape(document, limits=limits, nearest=nearest)
    faults, hints = shape.faults, list[Fault]()
    if shape.document is not None and shape.document.nodes:
        checker = _Checker(shape.document, known, nearest, limits, lost=shape.leads_astray, around=around)
        checker.run()
        faults, hints = faults + checker.faults, checker.hints
    faults, hints = _in_order(faults, document), _in_order(hints, document)
    if faults or shape.document is None:
        return Report(faults=faults, hints=hints)
    definition = compile_definition(shape.document, known)
    return Report(faults=(), hints=hints, document=shape.document, definition=definition)


def _in_order(faults: Iterable[Fault], document: Any) -> tuple[Fault, ...]:
    """Sorted by their place in the text, each once."""
    places: dict[int, dict[str, int]] = {}

    def key(fault: Fault) -> tuple[int, ...]:
        current: Any = document
        found: list[int] = []
        for step in split_pointer(fault.pointer):
            if is_dict(current):
                order = places.get(id(current))
                if order is None:
                    order = places[id(current)] = {name: place for place, name in enumerate(current)}
                if step not in order:
                    break
                found.append(order[step])
                current = current[step]
            elif is_array(current) and step.isdecimal() and int(step) < len(current):
                found.append(int(step))
                current = current[int(step)]
            else:
                break
        return tuple(found)

    return tuple(sorted(dict.fromkeys(faults), key=key))


class _Checker:
    """The checks that need the whole document."""

    def __init__(
        self,
        document: WorkflowDocument,
        known: Mapping[str, ClassDeclaration],
        nearest: Nearest,
        limits: Limits,
        *,
        lost: bool,
        around: Container[str] = (),
    ) -> None:
        self.document = document
        self.limits = limits
        self.nearest = nearest
        self.faults: list[Fault] = []
        self.hints: list[Fault] = []
        self._known = known
        self._spellings: dict[str, None] = dict.fromkeys(s for name in known for s in class_spellings(name))
        self._declarations: dict[str, ClassDeclaration] = {}
        self._params = ParamsChecker(nearest)
        self._lost = lost
        self._around = around

    def fault(self, pointer: str, code: str, message: str, suggestion: str | None = None) -> None:
        self.faults.append(Fault(pointer=pointer, code=code, message=message, suggestion=suggestion))

    def hint(self, pointer: str, code: str, message: str) -> None:
        self.hints.append(Fault(pointer=pointer, code=code, message=message))

    def run(self) -> None:
        mended = {node: self._check_node(node, written) for node, written in self.document.nodes.items()}
        start = self._check_start()
        document = self.document.model_copy(update={"nodes": mended, "start_at": start})
        try:
            wiring = wire(document, self._declarations, edges_max=self.limits.edges_max)
        except LimitExceeded as error:
            self.fault("/nodes", "too_many", str(error))
            return
        graph = build_graph(document, wiring)
        self._check_routes(wiring)
        self._check_graph(graph)
        self.faults.extend(check_compensation(document, self._declarations, graph))
        self._check_joins(graph)
        self._check_expressions(graph)
        if self.document.input_schema is not None:
            self.faults.extend(check_schema(self.document.input_schema, pointer="/input_schema"))

    # -- names and classes ------------------------------------------------------------------------------------------

    def _check_start(self) -> str:
        return self._target(self.document.start_at, "/start_at") or next(iter(self.document.nodes))

    def _target(self, target: str, pointer: str) -> str | None:
        """The node that an id means; if there is none, that is a fault, and the nearest one is followed."""
        if target in self.document.nodes:
            return target
        near = self.nearest.find(target, self.document.nodes)
        if near is None:
            self._lost = True
        self.fault(pointer, "unknown_node", f"no node `{shorten(target)}`{did_you_mean(near)}", near)
        return near

    def _targets(self, targets: str | list[str], pointer: str) -> list[str]:
        if isinstance(targets, str):
            meant = self._target(targets, pointer)
            return [] if meant is None else [meant]
        found = [self._target(target, join_pointer(pointer, place)) for place, target in enumerate(targets)]
        return [target for target in found if target is not None]

    def _check_node(self, node: str, written: NodeDocument) -> NodeDocument:
        """The node with every name mended that could be."""
        at = join_pointer("/nodes", node)
        declaration = self._check_class(written, at)
        self.faults.extend(check_cache(node, written, declaration))
        self.faults.extend(check_for_each(node, written, declaration, self.document.nodes))
        changes: dict[str, Any] = {}
        if isinstance(written.next_node, dict):
            labels = {
                k: self._targets(v, join_pointer(f"{at}/next_node", k)) for k, v in written.next_node.items()
            }
            changes["next_node"] = labels
        elif written.next_node is not None:
            changes["next_node"] = self._targets(written.next_node, f"{at}/next_node")
        if isinstance(written.on_error, str):
            changes["on_error"] = self._target(written.on_error, f"{at}/on_error")
        elif written.on_error is not None:
            found = {
                e: self._target(t, join_pointer(f"{at}/on_error", e)) for e, t in written.on_error.items()
            }
            changes["on_error"] = {error: target for error, target in found.items() if target is not None}
        if written.compensate is not None:
            changes["compensate"] = self._target(written.compensate, f"{at}/compensate")
        if written.cancels is not None:
            changes["cancels"] = self._targets(written.cancels, f"{at}/cancels")
        if written.routes is not None:
            changes["routes"] = [
                route if route == ANY else self._target(route, join_pointer(f"{at}/routes", place)) or route
                for place, route in enumerate(written.routes)
            ]
            self._check_may_route(written, declaration, f"{at}/routes")
        if declaration is not None:
            self.faults.extend(check_rights(written, declaration, at, self._known, self.nearest))
        if declaration is not None and written.effect is not None:
            self._check_effect(written.effect, declaration, f"{at}/effect")
        if declaration is not None:
            self.faults.extend(self._params.check(written.params, declaration, pointer=f"{at}/params"))
            if (
                isinstance(written.next_node, dict)
                and not declaration.decides
                and ANY not in written.next_node
            ):
                message = (
                    f"class `{declaration.name}` doesn't say that it decides; without a label `*` the node fails "
                    "whenever it gives a plain output"
                )
                self.hint(f"{at}/next_node", "no_rest", message)
        return written.model_copy(update=changes)

    def _check_class(self, written: NodeDocument, at: str) -> ClassDeclaration | None:
        name = written.class_name
        declaration = find_class(name, self._known)
        if declaration is not None:
            self._declarations[declaration.name] = declaration
            return declaration
        if name != PLACEHOLDER:
            near = self.nearest.find(name, self._spellings)
            message = f"no node class `{shorten(name)}`{did_you_mean(near)}"
            self.fault(f"{at}/class", "unknown_class", message, near)
        # Nobody knows whether it decides: without a way on it may lead anywhere, so that the rest isn't called dead.
        decides = written.next_node is None or written.routes is not None
        self._lost = self._lost or decides
        if decides or name not in self._declarations:
            self._declarations[name] = ClassDeclaration(name=name, routes=() if decides else None)
        return None

    def _check_effect(self, written: str, declaration: ClassDeclaration, pointer: str) -> None:
        if Effect(written).rank < declaration.effect.rank:
            message = (
                f"class `{declaration.name}` has effect `{declaration.effect.value}`, and a document can tighten "
                f"that, never loosen it to `{written}`"
            )
            self.fault(pointer, "effect_loosened", message, declaration.effect.value)

    def _check_may_route(
        self, written: NodeDocument, declaration: ClassDeclaration | None, pointer: str
    ) -> None:
        if isinstance(written.next_node, dict):
            message = "`routes` means nothing beside a map in `next_node`: its labels are what the node chooses from"
            self.fault(pointer, "routes_and_labels", message)
        elif declaration is not None and not declaration.decides:
            message = f"class `{declaration.name}` doesn't decide where the run goes, so that it can't have `routes`"
            self.fault(pointer, "does_not_decide", message)

    def _check_routes(self, wiring: Wiring) -> None:
        for node, written in self.document.nodes.items():
            declaration = find_class(written.class_name, self._known)
            if declaration is None or not declaration.decides or isinstance(written.next_node, dict):
                continue
            at = join_pointer("/nodes", node)
            declared = declaration.routes or ()
            if written.routes is None and declared and not wiring.allowed[node]:
                listed = ", ".join(f"`{route}`" for route in declared[:_SHOWN_NODES])
                message = f"class `{declaration.name}` routes to {listed}, and no such node is here; name its `routes`"
                self.fault(at, "no_routes", message)
            elif node in wiring.undeclared:
                self._hint_undeclared(node, wiring.allowed[node])

    def _hint_undeclared(self, node: str, allowed: tuple[str, ...]) -> None:
        if allowed:
            what = f"it may choose from what nothing else leads to: {_listed(allowed)}"
        else:
            what = "there is nothing that it could choose from"
        message = f"`{node}` decides, and neither it nor its class declares `routes`; {what}"
        self.hint(join_pointer("/nodes", node), "undeclared_routes", message)

    # -- the graph --------------------------------------------------------------------------------------------------

    def _check_graph(self, graph: Graph) -> None:
        unreachable = frozenset(graph.unreachable)
        if not self._lost:
            for node in graph.unreachable:
                message = f"nothing leads to `{node}`, so that it can never run"
                self.fault(join_pointer("/nodes", node), "unreachable", message)
        stuck: set[str] = set()
        for loop in graph.loops_without_exit:
            stuck.update(loop)
            if loop[0] not in unreachable:
                message = f"the loop {_listed(loop)} has no exit: none of its nodes leads anywhere else"
                self.fault(join_pointer("/nodes", loop[0]), "endless_loop", message)
        for node in graph.cannot_end:
            if node not in stuck and node not in unreachable:
                message = f"no end can be reached from `{node}`: every way leads into a loop without exit"
                self.fault(join_pointer("/nodes", node), "no_end", message)
        for tangle in graph.irreducible:
            message = (
                f"the loop {_listed(tangle.members)} is entered at {_listed(tangle.entries)}: which of them comes "
                "first, and what a join in it waits for, follows from the order of the nodes"
            )
            self.hint(join_pointer("/nodes", tangle.entries[0]), "two_entries", message)

    def _check_joins(self, graph: Graph) -> None:
        """A join that waits for more arrivals than can come would fail in every run."""
        rules = {node: join_rule(written.join) for node, written in self.document.nodes.items()}
        on_each = {node for node, rule in rules.items() if rule.kind in (JoinKind.EACH, JoinKind.ONE_OF_EACH)}
        for node, rule in rules.items():
            if rule.kind is not JoinKind.COUNT or self._lost or node not in graph.reachable:
                continue
            most = graph.arrivals_max(node, on_each=on_each)
            if most is None or rule.wants <= max(most, 1):
                continue
            ways = _listed(tuple(s for s in graph.order if node in graph.successors[s]))
            message = (
                f"`{node}` waits for {rule.wants} arrivals, and at most {most} can come, from {ways}"
                if most
                else f"`{node}` waits for {rule.wants} arrivals, and the only ways to it lead back into a loop"
            )
            self.fault(join_pointer("/nodes", node, "join"), "join_never", message)

    # -- expressions ------------------------------------------------------------------------------------------------

    def _check_expressions(self, graph: Graph) -> None:
        for node, written in self.document.nodes.items():
            at = join_pointer("/nodes", node)
            for place, references in self._node_references(written, at):
                self._check_references(references, place, graph, node=node)
                for code, message in misplaced(references, place, written):
                    self.fault(place, code, message)
        if self.document.has_output:
            for place, references in self._value_references(self.document.output, "/output"):
                self._check_references(references, place, graph, node=None)
                if references.previous:
                    self.fault(
                        place,
                        "not_available",
                        "`previous` is there for nodes only; name one: `nodes.<id>`",
                    )
        for place, references in self._value_references(dict(self.document.vars), "/vars"):
            if references.nodes or references.all_nodes or references.previous:
                self.fault(place, "not_available", "variables are set before any node has run")
            if references.variables or references.all_variables:
                self.fault(place, "not_available", "variables are set all at once, so none can read another")
            self._check_kept(references, place)

    def _node_references(self, written: NodeDocument, at: str) -> Iterator[tuple[str, References]]:
        yield from self._value_references(dict(written.params), f"{at}/params")
        found: list[Fault] = []
        when = compile_when(written.when, pointer=f"{at}/when", faults=found)
        self.faults.extend(found)
        if when is not None and when.references:
            yield f"{at}/when", when.references
        for place, limit in enumerate(written.limits or ()):
            if limit.key is not None:
                for pointer, references in self._value_references(limit.key, f"{at}/limits/{place}/key"):
                    self._check_kept(references, pointer)
                    yield pointer, references
        if written.cache is not None and written.cache.key is not None:
            yield from self._value_references(written.cache.key, f"{at}/cache/key")
        found_references, found = for_each_references(written, at)
        self.faults.extend(found)
        yield from found_references

    def _value_references(self, value: Any, pointer: str) -> Iterator[tuple[str, References]]:
        """What each text of a JSON tree reads, with the place of the text; and the faults of expressions."""
        stack: list[tuple[str, Any]] = [(pointer, value)]
        while stack:
            at, current = stack.pop()
            if is_dict(current):
                stack.extend((join_pointer(at, key), entry) for key, entry in current.items())
            elif is_array(current):
                stack.extend((join_pointer(at, place), entry) for place, entry in enumerate(current))
            elif isinstance(current, str) and "{{" in current:
                template = compile_value(current, pointer=at, faults=self.faults)
                if template.references:
                    yield at, template.references

    def _check_references(self, references: References, at: str, graph: Graph, *, node: str | None) -> None:
        for read in sorted(references.nodes):
            if read not in self.document.nodes and read in self._around:
                continue
            if read not in self.document.nodes:
                near = self.nearest.find(read, self.document.nodes)
                self.fault(at, "unknown_node", f"no node `{shorten(read)}`{did_you_mean(near)}", near)
            elif node in graph.compensations:
                if read == node:
                    message = f"`{node}` reads the output of itself, whose output comes later"
                    self.fault(at, "not_yet", message)
            elif node is not None and node in graph.reachable and not graph.precedes(read, node):
                what = (
                    "itself, whose output comes later"
                    if read == node
                    else f"`{read}`, which can't run before it"
                )
                self.fault(
                    at, "not_yet", f"`{node}` reads the output of {what}: no way leads from there to here"
                )
        if node is None:
            self._check_kept(references, at)

    def _check_kept(self, references: References, at: str) -> None:
        if references.secrets:
            message = "a secret can't be kept in the journal; read it in the params of the node that needs it"
            self.fault(at, "secret_kept", message)
        for code, message in misplaced(references, at, None):
            self.fault(at, code, message)


def _listed(nodes: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{node}`" for node in nodes[:_SHOWN_NODES])
    return shown + (f" and {len(nodes) - _SHOWN_NODES} more" if len(nodes) > _SHOWN_NODES else "")
