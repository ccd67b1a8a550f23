"""What must hold of the nodes that `compensate` names: they stand apart from the flow, and nothing follows on them."""

from collections.abc import Iterator, Mapping

from orchestrator.errors import Fault
from orchestrator.model.declarations import ClassDeclaration, find_class
from orchestrator.model.document import NodeDocument, WorkflowDocument
from orchestrator.model.graph import EdgeKind, Graph
from orchestrator.model.pointers import join_pointer

_OUT = ("next_node", "routes", "on_error", "compensate", "for_each", "join", "cancels", "cache")
"""What means nothing on a node that runs once, at the end, for one visit of another."""


def check_compensation(
    document: WorkflowDocument, declarations: Mapping[str, ClassDeclaration], graph: Graph
) -> Iterator[Fault]:
    """The faults of a document whose names are mended, by its nodes."""
    led_to_by: dict[str, str] = {}
    for edge in graph.edges:
        if edge.target in graph.compensations and edge.kind is not EdgeKind.COMPENSATE:
            led_to_by.setdefault(edge.target, edge.source)
    for node, written in document.nodes.items():
        target = written.compensate
        if target is not None:
            yield from _faults_of_target(document, node, target, led_to_by)
        if node in graph.compensations:
            declaration = find_class(written.class_name, declarations)
            yield from _faults_of_compensation(node, written, declaration)


def _faults_of_target(
    document: WorkflowDocument, node: str, target: str, led_to_by: Mapping[str, str]
) -> Iterator[Fault]:
    at = join_pointer("/nodes", node, "compensate")
    if target == node:
        yield _fault(
            at, "compensates_itself", f"`{node}` can't take back what it does itself; name another node"
        )
    elif target == document.start_at:
        yield _fault(
            at,
            "compensation_in_flow",
            f"the run starts at `{target}`; a compensation stands apart from the flow",
        )
    elif target in led_to_by:
        message = (
            f"`{led_to_by[target]}` leads to `{target}`, and a compensation stands apart from the flow; "
            "make it a node of its own"
        )
        yield _fault(at, "compensation_in_flow", message)


def _faults_of_compensation(
    node: str, written: NodeDocument, declaration: ClassDeclaration | None
) -> Iterator[Fault]:
    why = f"nothing follows on `{node}`, which compensates"
    fields = written.model_dump(by_alias=True, exclude_defaults=True)
    for name in _OUT:
        if name in fields and not (name == "compensate" and written.compensate == node):
            yield _fault(
                join_pointer("/nodes", node, name), "compensation_goes_on", f"{why}; leave `{name}` out"
            )
    if declaration is not None and declaration.plans:
        at = join_pointer("/nodes", node, "class")
        yield _fault(at, "compensation_goes_on", f"{why}, and class `{declaration.name}` lays plans")
    if declaration is not None and declaration.decides:
        at = join_pointer("/nodes", node, "class")
        yield _fault(
            at, "compensation_goes_on", f"{why}, and class `{declaration.name}` decides what follows"
        )


def _fault(pointer: str, code: str, message: str) -> Fault:
    return Fault(pointer=pointer, code=code, message=message)
