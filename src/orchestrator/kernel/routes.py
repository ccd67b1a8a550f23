"""Where a finished task leads: the three forms of `next_node`, and what a deciding node may choose."""

from orchestrator.kernel.commands import RouteChoice
from orchestrator.kernel.events import DecisionMade
from orchestrator.kernel.state import TaskState
from orchestrator.kernel.values import Chosen, ErrorInfo
from orchestrator.model.declarations import ANY
from orchestrator.model.definition import NodeDefinition


def arrivals_without_decision(node: NodeDefinition) -> list[str]:
    """Where a task leads that was skipped: its `next_node`, of a map the `"*"`."""
    if node.labels is not None:
        return list(node.labels.get(ANY, ()))
    return list(node.next)


def follow(
    node: NodeDefinition, task: TaskState, route: RouteChoice | None
) -> "tuple[DecisionMade | None, list[str]] | ErrorInfo":
    """The decision to record and the nodes that get an arrival; or why the choice is refused."""
    if route is None:
        return _undecided(node, task)
    if not node.decides:
        return _refuse(
            task,
            f"`{node.declaration.name}` doesn't decide, but returned a Route to {_names(route.targets)}; declare "
            "`routes` in the class, or make `next_node` a map of labels",
        )
    chosen: list[Chosen] = []
    for target in route.targets:
        if node.labels is not None:
            nodes = node.labels.get(target, node.labels.get(ANY))
            if nodes is None:
                return _not_allowed(node, task, target)
            chosen.extend(Chosen(node=n, label=target) for n in nodes)
        elif target in node.allowed:
            chosen.append(Chosen(node=node.prefix + target))
        else:
            return _not_allowed(node, task, target)
    decision = DecisionMade(
        path=task.path,
        node=node.id,
        chosen=chosen,
        allowed=list(node.allowed),
        reason=route.reason,
        confidence=route.confidence,
        by=route.by,
        model=route.model,
        prompt_sha256=route.prompt_sha256,
        usage=route.usage,
        cost_usd=route.cost_usd,
    )
    return decision, list(dict.fromkeys(c.node for c in chosen))


def _undecided(node: NodeDefinition, task: TaskState) -> tuple[None, list[str]] | ErrorInfo:
    if node.labels is not None:
        if ANY in node.labels:
            return None, list(node.labels[ANY])
    elif not node.decides or node.next:
        return None, list(node.next)
    return _refuse(task, f"`{node.declaration.name}` chose no route; allowed: {_names(node.allowed)}")


def _not_allowed(node: NodeDefinition, task: TaskState, target: str) -> ErrorInfo:
    kind = "label" if node.labels is not None else "route"
    return _refuse(task, f"`{target}` is no {kind} of `{node.id}`; allowed: {_names(node.allowed)}")


def _refuse(task: TaskState, message: str) -> ErrorInfo:
    return ErrorInfo(
        type="route_not_allowed",
        message=message,
        retryable=False,
        path=task.path,
        node=task.node,
        attempt=task.attempt,
    )


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{n}`" for n in names) or "none"
