"""`for_each` as the kernel and the worker use it, and what only a node with `for_each` may have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Fault
from orchestrator.model.declarations import ANY, ClassDeclaration
from orchestrator.model.document import NodeDocument
from orchestrator.model.expressions import References, Template, compile_expression, compile_value
from orchestrator.model.pointers import join_pointer

ONLY_WITH_FOR_EACH = ("max_parallel", "on_item_error", "complete_when")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach:
    """The rules of one `for_each`.

    Attributes:
        items: gives the list.
        max_parallel: how many items may be open at a time.
        collect: the error of an item that failed for good takes its place in the list; else the node fails.
        complete_count: the node is done after so many completed items; None: after all.
        enough: evaluated after each completed item: whether that was enough, or how many are.
        references: what all of these read.
    """

    items: Template
    max_parallel: int
    collect: bool
    complete_count: int | None
    enough: Template | None
    references: References


def compile_for_each(
    written: NodeDocument, *, pointer: str, faults: list[Fault] | None = None
) -> ForEach | None:
    """The rules of a node's `for_each`; None where it has none.

    Raises:
        ExpressionFailed: an expression doesn't compile (only without `faults`).
    """
    if written.for_each is None:
        return None
    at = f"{pointer}/for_each"
    if isinstance(written.for_each, str):
        items = compile_expression(written.for_each, pointer=at, faults=faults)
    else:
        items = compile_value(written.for_each, pointer=at, faults=faults)
    until, enough = written.complete_when, None
    if isinstance(until, str):
        enough = compile_expression(until, pointer=f"{pointer}/complete_when", faults=faults)
    return ForEach(
        items=items,
        max_parallel=written.max_parallel,
        collect=written.on_item_error == "collect",
        complete_count=until if isinstance(until, int) else None,
        enough=enough,
        references=items.references if enough is None else items.references | enough.references,
    )


def check_for_each(
    node: str,
    written: NodeDocument,
    declaration: ClassDeclaration | None,
    nodes: Mapping[str, NodeDocument],
) -> Iterator[Fault]:
    """What is wrong with a node's `for_each` beside its expressions."""
    at = join_pointer("/nodes", node)
    undoing = nodes.get(written.compensate) if written.compensate is not None else None
    if undoing is not None and undoing.for_each is not None:
        message = (
            f"`{written.compensate}` has a `for_each`; a compensation takes back one visit or item at a time"
        )
        yield Fault(pointer=f"{at}/compensate", code="compensates_each", message=message)
    if written.for_each is None:
        for name in ONLY_WITH_FOR_EACH:
            if name in written.model_fields_set:
                message = f"`{name}` means nothing without `for_each`"
                yield Fault(pointer=f"{at}/{name}", code="without_for_each", message=message)
        return
    place = f"{at}/for_each"
    if declaration is not None and declaration.decides:
        message = f"class `{declaration.name}` decides where the run goes, and an item of a `for_each` can't"
        yield Fault(pointer=place, code="item_decides", message=message)
    if declaration is not None and declaration.plans:
        message = f"class `{declaration.name}` lays plans, and an item of a `for_each` can't"
        yield Fault(pointer=place, code="item_plans", message=message)
    if isinstance(written.next_node, Mapping) and ANY not in written.next_node:
        message = "nobody chooses a label after a `for_each`; add the label `*`, or name a node or a list"
        yield Fault(pointer=f"{at}/next_node", code="item_decides", message=message)


def for_each_references(written: NodeDocument, at: str) -> tuple[list[tuple[str, References]], list[Fault]]:
    """What the expressions of a `for_each` read, each with its place, and the faults in them."""
    faults: list[Fault] = []
    rule = compile_for_each(written, pointer=at, faults=faults)
    found: list[tuple[str, References]] = []
    if rule is not None:
        found.append((f"{at}/for_each", rule.items.references))
        if rule.enough is not None:
            found.append((f"{at}/complete_when", rule.enough.references))
    return found, faults


def misplaced(references: References, at: str, written: NodeDocument | None) -> Iterator[tuple[str, Any]]:
    """`item` and `output` where they aren't there: the code and the words of each fault."""
    inside = written is not None and written.for_each is not None
    field = at.split("/")[3:4]
    if references.item and not (inside and field in (["params"], ["limits"], ["cache"], ["complete_when"])):
        where = "in the `params`, `limits`, `cache` and `complete_when` of a node with `for_each`"
        yield "not_available", f"`item` is there {where} only"
    if references.output and not (inside and field == ["complete_when"]):
        yield "not_available", "`output` is there in `complete_when` only, where it is what an item gave"
    if references.secrets and field in (["for_each"], ["cache"], ["complete_when"]):
        message = "a secret can't be kept in the journal; read it in the params of the node that needs it"
        yield "secret_kept", message
