"""The checks of a plan: those of a workflow, and that it has no more rights than the node that lays it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from orchestrator.errors import Fault
from orchestrator.model import limits
from orchestrator.model.checks import check
from orchestrator.model.declarations import ANY, ClassDeclaration, Effect, find_class
from orchestrator.model.definition import Definition, NodeDefinition, tightened
from orchestrator.model.document import NodeDocument, WorkflowDocument
from orchestrator.model.expressions import compile_value
from orchestrator.model.grafts import PlanRecord
from orchestrator.model.plain import is_array, is_dict
from orchestrator.model.pointers import join_pointer, split_pointer


def check_plan(
    document: Mapping[str, Any],
    *,
    planner: NodeDefinition,
    known: Mapping[str, ClassDeclaration],
    around: Collection[str],
) -> tuple[PlanRecord | None, list[Fault]]:
    """The plan as the journal keeps it, or every fault, with pointers into the plan.

    `document` has `start_at`, `nodes` and perhaps `output`. `around` are the nodes outside of the plan whose outputs
    its expressions may read: its own come first where both have a name.
    """
    if planner.may_use is None:
        message = f"class `{planner.declaration.name}` lays no plans: it declares no `may_use`"
        return None, [Fault(pointer="", code="may_not_plan", message=message)]
    usable = _usable(planner.may_use, known)
    report = check({"name": "plan", **document}, usable, around=around)
    faults = [_in_rights(fault, document, usable, known, planner) for fault in report.faults]
    nodes = document.get("nodes")
    if is_dict(nodes) and len(nodes) > planner.max_nodes:
        message = f"{len(nodes):,} nodes; a plan of `{planner.id}` has at most {planner.max_nodes:,}"
        faults.append(Fault(pointer="/nodes", code="too_many", message=message))
    asked = _asked(report.definition) if report.definition is not None else _asked_in_text(nodes, usable)
    for node in asked:
        faults.extend(_too_mighty(node, planner))
    if faults or report.document is None or report.definition is None:
        return None, faults
    written = {
        node.id: _written(report.document.nodes[node.id], node, planner, usable)
        for node in report.definition.nodes.values()
    }
    record = PlanRecord(
        document=_record(report.document, written),
        declarations={
            node.declaration.name: _kept(node.declaration) for node in report.definition.nodes.values()
        },
    )
    size = len(msgspec.json.encode(record))
    if size > limits.PLAN_BYTES_MAX:
        message = f"the plan has {size:,} bytes; the limit is {limits.PLAN_BYTES_MAX:,}"
        return None, [Fault(pointer="", code="too_large", message=message)]
    return record, []


def _record(document: WorkflowDocument, nodes: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"start_at": document.start_at, "nodes": nodes}
    if document.has_output:
        record["output"] = document.output
    return record


def _kept(declaration: ClassDeclaration) -> ClassDeclaration:
    """What a run needs of it: the params are checked once, when the plan is laid."""
    return msgspec.structs.replace(
        declaration,
        params_schema=None,
        output_schema=None,
        title="",
        summary="",
        description="",
        family="",
        icon="",
    )


def _usable(rights: tuple[str, ...], known: Mapping[str, ClassDeclaration]) -> Mapping[str, ClassDeclaration]:
    if ANY in rights:
        return known
    found = [find_class(name, known) for name in rights]
    return {declaration.name: declaration for declaration in found if declaration is not None}


def _in_rights(
    fault: Fault,
    document: Mapping[str, Any],
    usable: Mapping[str, ClassDeclaration],
    known: Mapping[str, ClassDeclaration],
    planner: NodeDefinition,
) -> Fault:
    """Of a class that there is, but not for this plan, say so."""
    if fault.code != "unknown_class":
        return fault
    name: Any = document
    for step in split_pointer(fault.pointer):
        name = name[int(step)] if is_array(name) else name[step]
    if not isinstance(name, str) or find_class(name, known) is None:
        return fault
    listed = ", ".join(f"`{one}`" for one in usable) or "none"
    message = f"a plan of `{planner.id}` may not use class `{name}`; it may use {listed}"
    return Fault(pointer=fault.pointer, code="may_not_use", message=message)


class _Asked(NamedTuple):
    """What a node of a plan asks for."""

    node: str
    effect: Effect
    secrets: frozenset[str]
    max_nodes: int | None


def _asked(plan: Definition) -> list[_Asked]:
    return [
        _Asked(node.id, node.effect, node.references.secrets, plan.document.nodes[node.id].max_nodes)
        for node in plan.nodes.values()
    ]


def _asked_in_text(nodes: object, usable: Mapping[str, ClassDeclaration]) -> list[_Asked]:
    """The same of a plan that has faults, as far as it can be told, so that all of them are told at once."""
    found: list[_Asked] = []
    for node, written in nodes.items() if is_dict(nodes) else ():
        name = written.get("class") if is_dict(written) else None
        declaration = find_class(name, usable) if isinstance(name, str) else None
        if declaration is None:
            continue
        said = written.get("effect")
        effect = tightened(declaration.effect, said if said in tuple(Effect) else None)
        secrets = compile_value(written.get("params"), pointer="", faults=[]).references.secrets
        most = written.get("max_nodes")
        found.append(_Asked(node, effect, secrets, most if isinstance(most, int) else None))
    return found


def _too_mighty(asked: _Asked, planner: NodeDefinition) -> Iterator[Fault]:
    at = join_pointer("/nodes", asked.node)
    if asked.effect.rank > planner.effect.rank:
        message = (
            f"`{asked.node}` has effect `{asked.effect.value}`, and the node that lays it, `{planner.id}`, has only "
            f"`{planner.effect.value}`"
        )
        yield Fault(pointer=at, code="too_mighty", message=message)
    secrets = asked.secrets - planner.references.secrets
    if secrets:
        listed = ", ".join(f"`{secret}`" for secret in sorted(secrets))
        message = f"`{asked.node}` reads the secret {listed}, which the node that lays it doesn't read"
        yield Fault(pointer=f"{at}/params", code="too_mighty", message=message)
    if asked.max_nodes is not None and asked.max_nodes > planner.max_nodes:
        message = f"plans in plans of `{planner.id}` have at most {planner.max_nodes:,} nodes"
        yield Fault(pointer=f"{at}/max_nodes", code="too_mighty", message=message)


def _written(
    written: NodeDocument,
    node: NodeDefinition,
    planner: NodeDefinition,
    usable: Mapping[str, ClassDeclaration],
) -> dict[str, Any]:
    """The node as the record keeps it: of one that plans too, its rights are no larger than those of its plan."""
    entry = written.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    if node.may_use is not None:
        if planner.may_use is None or ANY in planner.may_use:
            rights = list(node.may_use)
        else:
            own = usable if ANY in node.may_use else _usable(node.may_use, usable)
            rights = list(own)
        entry["may_use"] = rights
        entry["max_nodes"] = min(node.max_nodes, planner.max_nodes)
    return entry
