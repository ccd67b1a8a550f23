"""The block of a plan in the state: whose a node is, how many of its tasks are open, and how it is forgotten.

The nodes of the plan that the task `plan@2` laid have the ids `plan@2/fetch` and so on. The task stays open until its
block is done. What is kept of a block in the tables of the state goes when that task ends; where something in it may
still have to be taken back, its nodes and their outputs stay until the run is over.
"""

from collections.abc import Iterator

from orchestrator.errors import InternalError
from orchestrator.kernel.state import Arrival, Block, RunState, TaskState, read_keys
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.values import Plan
from orchestrator.model.grafts import SEPARATOR, block_of


def owner_of(state: RunState, node: str) -> TaskState | None:
    """The task that laid the plan that a node belongs to: open, or set aside with its run. None: it has ended, or the
    node is one of the version."""
    path = block_of(node)
    return (state.tasks.get(path) or state.set_aside.get(path)) if path else None


def count_open(state: RunState, task: TaskState, step: int) -> None:
    """One more (or less) open task in the block that it belongs to. A compensation comes after the block."""
    if task.compensates is None:
        owner = owner_of(state, task.node)
        if owner is None or owner.block is None:
            raise InternalError(f"run {state.run_id}: nothing has laid the plan of {task.path!r}")
        owner.block.open += step


def begin_block(state: RunState, task: TaskState, plan: Plan) -> None:
    """The plan is laid: what led to the task leads to the first node of it."""
    state.plans[task.path] = plan
    task.block = Block()
    task.started, task.open_steps, task.steps, task.waits = False, {}, {}, {}
    task.not_before_us = 0
    arrival = Arrival(source=task.node, origin=task.previous)
    state.arrivals.setdefault(f"{task.path}{SEPARATOR}{plan.start_at}", []).append(arrival)


def is_over(state: RunState, task: TaskState) -> bool:
    """Whether nothing in the task's block is live, nor will be: what waits in it at joins is held back."""
    block = task.block
    if block is None or block.done or block.open:
        return False
    nodes = nodes_of(state, task.path)
    return all(node not in state.arrivals or node in state.held_back for node in nodes)


def nodes_of(state: RunState, path: str) -> list[str]:
    """The full ids of the nodes of the block under `path`, in the order of the plan."""
    return [f"{path}{SEPARATOR}{node}" for node in state.plans[path].nodes]


def open_in(state: RunState, path: str) -> Iterator[TaskState]:
    """The open tasks of the block under `path`, those of plans in it included."""
    prefix = path + SEPARATOR
    yield from [task for task in state.tasks.values() if task.node.startswith(prefix)]


def first_failure(state: RunState, path: str) -> TaskState | None:
    """The first task of the block that failed for good, if one did."""
    prefix = path + SEPARATOR
    for task in state.set_aside.values():
        if task.status is TaskStatus.FAILED and task.node.startswith(prefix):
            return task
    return None


def sinks_of(state: RunState, path: str) -> dict[str, str]:
    """Where paths ended in the block, in the order of the plan: id in the plan -> path of the task."""
    prefix = len(path) + len(SEPARATOR)
    return {node[prefix:]: state.sinks[node] for node in nodes_of(state, path) if node in state.sinks}


def forget_block(state: RunState, path: str) -> None:
    """The task at `path` has ended for good, and no retry comes back to its block."""
    plan = state.plans[path]
    for node in nodes_of(state, path):
        if (ended := state.sinks.pop(node, None)) is not None:
            state.let_go(ended)
        state.take(state.arrivals.pop(node, ()))
        if node in state.held_back:
            state.held_back.remove(node)
    prefix = path + SEPARATOR
    for task in [task for task in state.set_aside.values() if block_of(task.node) == path]:
        del state.set_aside[task.path]
        for key in read_keys(task):
            state.let_go(key)
        if task.block is not None:
            forget_block(state, task.path)
    if not plan.compensates:
        _forget_plan(state, path, plan, prefix)


def forget_plans(state: RunState) -> None:
    """Nothing has to be taken back any more: what only that would have needed goes."""
    for path in [path for path in state.plans if path not in state.tasks and path not in state.set_aside]:
        _forget_plan(state, path, state.plans[path], path + SEPARATOR)


def _forget_plan(state: RunState, path: str, plan: Plan, prefix: str) -> None:
    for node in plan.nodes:
        for table in (state.latest, state.sinks):
            if (held := table.pop(prefix + node, None)) is not None:
                state.let_go(held)
        state.visits.pop(prefix + node, None)
    del state.plans[path]
