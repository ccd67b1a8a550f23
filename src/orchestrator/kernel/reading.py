"""What a task's expressions will see, fixed when the task is scheduled."""

from collections.abc import Iterable

from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import NO_READS, Reads
from orchestrator.model.definition import NodeDefinition
from orchestrator.model.expressions import References
from orchestrator.model.grafts import SEPARATOR, block_of


def reads_of(state: RunState, node: NodeDefinition) -> Reads:
    """Which visit of each node, and which value of each variable, the node's expressions will see."""
    references = node.references
    if node.prefix:
        return reads_in_block(state, references, node.prefix)
    nodes = state.latest if references.all_nodes else references.nodes
    if not nodes and not references.variables and not references.all_variables:
        return NO_READS
    paths = {n: state.latest[n] for n in sorted(nodes) if n in state.latest and SEPARATOR not in n}
    return _reads(state, references, paths)


def reads_in_block(state: RunState, references: References, prefix: str) -> Reads:
    """The same in the block of a plan: a name means the plan's own node, else one of what is around the plan."""
    if not references:
        return NO_READS
    scopes = [prefix]
    while scopes[-1]:
        outer = block_of(scopes[-1].removesuffix(SEPARATOR))
        scopes.append(outer + SEPARATOR if outer else "")
    names: Iterable[str] = references.nodes
    if references.all_nodes:
        inner = {node[len(scope) :] for scope in scopes for node in state.latest if node.startswith(scope)}
        names = {name for name in inner if SEPARATOR not in name}
    paths: dict[str, str] = {}
    for name in sorted(names):
        scope = next((scope for scope in scopes if not scope or _has(state, scope, name)), "")
        if scope + name in state.latest:
            paths[name] = state.latest[scope + name]
    return _reads(state, references, paths)


def _has(state: RunState, scope: str, name: str) -> bool:
    """Whether the plan around this scope has a node of this name, run or not."""
    plan = state.plans.get(scope.removesuffix(SEPARATOR))
    return plan is not None and name in plan.nodes


def _reads(state: RunState, references: References, paths: dict[str, str]) -> Reads:
    variables = state.variables if references.all_variables else references.variables
    keys = {v: state.variables[v] for v in sorted(variables) if v in state.variables}
    return Reads(nodes=paths, variables=keys) if paths or keys else NO_READS


def path_of(node: str, visit: int) -> str:
    """The structural name of a node's visit."""
    return node if visit == 1 else f"{node}@{visit}"
