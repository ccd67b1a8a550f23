"""Plans: a task lays new nodes for this run, and waits until they are done.

A plan is a block (`blocks`, `model.grafts`). The task that laid it stays open and waits, so whatever waits for its node
waits for the block too. Once nothing in the block is live, the task completes with the output of the block's one sink;
where there are several sinks, or the plan says what its output is, it is ready once more for a worker to put that
together, without running the node's code. Then one arrival goes on. A retry and a fork find the block as it was.

A failure in a block that nothing there handles fails the task that laid it if its `on_error` takes it: the rest of the
block is withdrawn. Else it is a failure of the run as any other; where the run finishes its branches, the block does
too, and then the task fails with it.
"""

from collections.abc import Iterable

from orchestrator.kernel.blocks import first_failure, is_over, sinks_of
from orchestrator.kernel.budgets import limit_of
from orchestrator.kernel.commands import CompleteTask
from orchestrator.kernel.ending import fail_for_good, of_block, withdraw
from orchestrator.kernel.events import (
    GraphExtended,
    PlanFinished,
    RunRetried,
    RunStarted,
    TaskCompleted,
    VariablesSet,
)
from orchestrator.kernel.joins import withdraw_cancelled
from orchestrator.kernel.reading import reads_in_block
from orchestrator.kernel.routes import follow
from orchestrator.kernel.state import TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import ErrorInfo, Plan, Reads
from orchestrator.model.grafts import SEPARATOR, block_of, compile_block
from orchestrator.model.limits import PLAN_NESTING_MAX

REFUSED = "plan_refused"
"""Error type of a task whose plan has faults, or can't be laid there."""


def lay_plan(turn: Turn, command: CompleteTask, task: TaskState, plan: Plan) -> ErrorInfo | None:
    """Graft the plan; or say why it can't be."""
    refused = _refused(turn, task, plan)
    if refused is not None:
        return refused
    if command.variables:
        turn.emit(VariablesSet(path=task.path, node=task.node, values=command.variables))
    turn.emit(
        GraphExtended(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            plan=plan,
            reason=command.plan_reason,
            timing=command.timing,
        )
    )
    return None


def _refused(turn: Turn, task: TaskState, plan: Plan) -> ErrorInfo | None:
    """What the run itself has against a plan whose nodes are sound."""
    state = turn.state
    limit = limit_of(state, turn.definition, "tasks")
    left = None if limit is None else int(limit) - state.carried_tasks - state.counts.total
    depth = task.path.count(SEPARATOR) + 1
    if task.block is not None:
        message = f"`{task.path}` has laid its plan"
    elif turn.node(task.node).for_each is not None:
        message = f"a node with `for_each` can't lay a plan, and `{task.path}` did"
    elif task.compensates is not None:
        message = f"`{task.path}` takes something back, and can't lay a plan"
    elif depth > PLAN_NESTING_MAX:
        message = f"plans lie in plans at most {PLAN_NESTING_MAX} deep, and this would be the {depth}th"
    elif left is not None and len(plan.nodes) > left:
        message = f"the plan has {len(plan.nodes):,} nodes, and the budget of the run has {left:,} tasks left"
    else:
        way = follow(turn.node(task.node), task, None)
        return way if isinstance(way, ErrorInfo) else None
    return ErrorInfo(
        type=REFUSED,
        message=message,
        retryable=False,
        path=task.path,
        node=task.node,
        attempt=task.attempt,
    )


def end_blocks(turn: Turn) -> bool:
    """End the tasks whose blocks have come to their end since this was asked last; whether there were any."""
    state, ended = turn.state, False
    for path in _touched(turn):
        task = state.tasks.get(path)
        if task is None or task.block is None or task.status is not TaskStatus.WAITING:
            continue
        if state.ending is not None:
            if not task.block.open:
                withdraw(turn, task)
                ended = True
        elif is_over(state, task):
            _end(turn, task)
            ended = True
    return ended


def _touched(turn: Turn) -> Iterable[str]:
    """The blocks that something happened in, the inner ones first; after a retry or a fork, all of them."""
    found: dict[str, None] = {}
    for event in turn.unseen():
        if isinstance(event, RunRetried | RunStarted):
            found.update(dict.fromkeys(turn.state.plans))
        elif isinstance(event, GraphExtended):
            found[event.path] = None
        node = getattr(event, "node", None)
        if node is not None and SEPARATOR in node:
            found[block_of(node)] = None
    return sorted(found, key=lambda path: path.count(SEPARATOR), reverse=True)


def _end(turn: Turn, task: TaskState) -> None:
    state, plan = turn.state, turn.state.plans[task.path]
    failed = first_failure(state, task.path)
    if failed is not None and failed.error is not None:
        fail_for_good(turn, task, of_block(failed.error, failed))
        return
    sinks = sinks_of(state, task.path)
    if plan.output:
        output = compile_block(task.path, plan.record).output
        assert output is not None
        reads = reads_in_block(state, output.references, task.path + SEPARATOR)
        turn.emit(PlanFinished(path=task.path, node=task.node, reads=reads))
    elif len(sinks) != 1:
        turn.emit(PlanFinished(path=task.path, node=task.node, reads=Reads(nodes=sinks)))
    else:
        _complete(turn, task, sinks)


def _complete(turn: Turn, task: TaskState, sinks: dict[str, str]) -> None:
    node = turn.node(task.node)
    followed = follow(node, task, None)
    if isinstance(followed, ErrorInfo):
        fail_for_good(turn, task, followed)
        return
    withdraw_cancelled(turn, task)
    (path,) = sinks.values()
    turn.emit(
        TaskCompleted(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            output=turn.state.payload(path),
            arrivals=followed[1],
            compensate=node.compensate,
        )
    )
