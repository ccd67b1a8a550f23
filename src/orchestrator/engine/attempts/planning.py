"""Plans of a node's code: checked before they reach the kernel, and what they gave, once they are done."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from orchestrator.errors import DefinitionError, Fault, NodeError
from orchestrator.kernel.plans import REFUSED
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.values import Plan
from orchestrator.model.declarations import ClassDeclaration
from orchestrator.model.definition import Definition, NodeDefinition
from orchestrator.model.expressions import Template
from orchestrator.model.grafts import block_of, compile_block, node_of
from orchestrator.model.plans import check_plan
from orchestrator.sdk import results


class PlanRefused(NodeError):
    """The plan has faults; all of them are in the message, each with its pointer into the plan.

    Not tried again: what a plan was made of is recorded, so the next attempt would make the same.
    """

    code = REFUSED
    retryable = False

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__(f"the plan can't be laid: {DefinitionError(list(faults))}")


class DoneBlock(NamedTuple):
    """The block of a task is done; `output` is what the plan says that it gives, None if it doesn't say."""

    output: Template | None


def lay(
    plan: results.Plan,
    planner: NodeDefinition,
    known: Mapping[str, ClassDeclaration],
    around: Collection[str],
) -> Plan:
    """The plan as the kernel takes it.

    Raises:
        PlanRefused: it has faults, or more rights than the node that lays it.
    """
    record, faults = check_plan(plan.document, planner=planner, known=known, around=around)
    if record is None:
        raise PlanRefused(faults)
    nodes = record.document["nodes"]
    return Plan(
        record=msgspec.Raw(msgspec.json.encode(record)),
        start_at=record.document["start_at"],
        nodes=list(nodes),
        output="output" in record.document,
        compensates=any("compensate" in node for node in nodes.values()),
    )


def around(definition: Definition, state: RunState, task: TaskState) -> frozenset[str]:
    """The nodes that a plan of this task may read beside its own: of the version, and of the plans around it."""
    names = set(definition.document.nodes)
    path = block_of(task.node)
    while path:
        names.update(state.plans[path].nodes)
        path = block_of(node_of(path))
    return frozenset(names)


def block_of_task(state: RunState, task: TaskState) -> DoneBlock | None:
    """The block that the task has laid, if it is done and its output is to be put together."""
    if task.block is None or not task.block.done:
        return None
    plan = state.plans[task.path]
    return DoneBlock(compile_block(task.path, plan.record).output if plan.output else None)
