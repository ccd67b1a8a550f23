"""What a task's expressions will see, fixed when the task is scheduled."""

from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import NO_READS, Reads
from orchestrator.model.definition import NodeDefinition


def reads_of(state: RunState, node: NodeDefinition) -> Reads:
    """Which visit of each node, and which value of each variable, the node's expressions will see."""
    references = node.references
    nodes = state.latest if references.all_nodes else references.nodes
    variables = state.variables if references.all_variables else references.variables
    if not nodes and not variables:
        return NO_READS
    paths = {n: state.latest[n] for n in sorted(nodes) if n in state.latest}
    keys = {v: state.variables[v] for v in sorted(variables) if v in state.variables}
    return Reads(nodes=paths, variables=keys) if paths or keys else NO_READS


def path_of(node: str, visit: int) -> str:
    """The structural name of a node's visit."""
    return node if visit == 1 else f"{node}@{visit}"
