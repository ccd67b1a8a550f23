"""What a fork is: another run that continues the state of its parent at a cut, with parts of its past changed.

Tasks that were open at the cut, or failed, are ready anew; what they recorded stays, what they waited for is asked
again. A patch then changes the past in one of two ways. A task that is open at the cut completes with what a person
gave, and its consequences are decided by the same rules as ever; so a decision is changed by cutting before it was
made. A result that is there already is replaced where it is held: whoever reads it from now on reads the new one.
"""

from collections.abc import Iterator

from orchestrator.errors import Conflict
from orchestrator.kernel.commands import ForkRun, TaskPatch
from orchestrator.kernel.compensation import refuse_if_compensating
from orchestrator.kernel.ending import withdraw_block
from orchestrator.kernel.events import DecisionMade, RunPatched, RunStarted, TaskCompleted, VariablesSet
from orchestrator.kernel.flow import settle
from orchestrator.kernel.items import after_item, no_way_on, resume_items, withdraw_items
from orchestrator.kernel.joins import joins_that_lacked_arrivals, withdraw_cancelled
from orchestrator.kernel.routes import follow
from orchestrator.kernel.state import RunState, TaskState, container_path
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import ErrorInfo, ForkOrigin
from orchestrator.model.grafts import block_of, node_of

Way = tuple[DecisionMade | None, list[str]]
"""Where a completion leads: the decision to record, and the nodes that get an arrival."""


def fork_run(turn: Turn, command: ForkRun) -> None:
    """Go on as another run from a state that is a copy of the parent's, whose seq is reset to 0.

    Raises:
        Conflict: the version to go on with lacks a node that the run is at (`fork_version`), or the patch can't be:
            a task that isn't there (`fork_patch`), a route that isn't allowed (`route_not_allowed`); or the run
            compensates by then (`compensating`).
    """
    state = turn.state
    refuse_if_compensating(state, "can't be forked behind that")
    _check_version(turn, command)
    returned = [path for path in joins_that_lacked_arrivals(turn) if path not in command.patches]
    reopened = [path for path in (*state.tasks, *state.set_aside) if path not in returned]
    ways = _check_patches(turn, command)
    turn.emit(
        RunStarted(
            run_id=command.run_id,
            workflow=state.workflow,
            version=command.version or state.version,
            namespace=state.namespace,
            input=command.input,
            labels=state.labels,
            priority=state.priority,
            variables=command.variables,
            request=command.request,
            forked_from=ForkOrigin(run=command.parent_run, seq=command.seq),
            reopened=reopened,
            returned=returned,
        )
    )
    if command.patches:
        _patch(turn, command, ways)
    resume_items(turn, reopened)
    settle(turn)


def _check_version(turn: Turn, command: ForkRun) -> None:
    state = turn.state
    at = [task.node for task in (*state.tasks.values(), *state.set_aside.values())]
    missing = sorted({*at, *state.arrivals} - turn.definition.nodes.keys())
    if missing:
        names = ", ".join(f"`{node}`" for node in missing)
        raise Conflict(
            f"version {command.version} has no {names}, where run {command.parent_run} is at {command.seq}",
            reason="fork_version",
        )
    for task in (*state.tasks.values(), *state.set_aside.values()):
        if task.items is not None and turn.node(task.node).for_each is None:
            raise Conflict(
                f"in version {command.version} `{task.node}` has no `for_each`, and run {command.parent_run} is among "
                f"its items at {command.seq}",
                reason="fork_version",
            )


def _check_patches(turn: Turn, command: ForkRun) -> dict[str, Way]:
    """Where the tasks lead that the patch completes, by path; nothing has changed yet."""
    state = turn.state
    ways: dict[str, Way] = {}
    for path, patch in command.patches.items():
        task = state.tasks.get(path) or state.set_aside.get(path)
        if task is None:
            _check_replaced(turn, command, path, patch)
            continue
        around = next((one for one in _blocks_around(task) if one in command.patches), None)
        if around is not None:
            raise Conflict(
                f"the patch gives `{path}` and the whole output of `{around}` too, whose plan it is in",
                reason="fork_patch",
            )
        if task.item is not None:
            if container_path(path) in command.patches:
                raise Conflict(f"the patch gives `{path}` and the whole list too", reason="fork_patch")
            followed = no_way_on(task, patch.route)
        else:
            followed = follow(turn.node(task.node), task, patch.route)
        if isinstance(followed, ErrorInfo):
            raise Conflict(f"`{path}` can't complete so: {followed.message}", reason="route_not_allowed")
        ways[path] = followed
    return ways


def _blocks_around(task: TaskState) -> Iterator[str]:
    """The paths of the tasks that laid the plans that a task is in, the nearest first."""
    path = block_of(task.node)
    while path:
        yield path
        path = block_of(node_of(path))


def _is_kept(state: RunState, path: str) -> bool:
    """Whether the fork keeps a result: not only because its parent might have to take something back."""
    held = state.values.get(path)
    if held is None or held.readers <= sum(undo.path == path for undo in state.undo):
        return False
    block = block_of(node_of(path))
    return not block or block in state.tasks or block in state.set_aside


def _check_replaced(turn: Turn, command: ForkRun, path: str, patch: TaskPatch) -> None:
    if not _is_kept(turn.state, path):
        raise Conflict(
            f"at event {command.seq} of run {command.parent_run} there is no result of `{path}` that anything "
            "can still read, and it isn't open",
            reason="fork_patch",
        )
    if patch.route is not None:
        raise Conflict(
            f"`{path}` had gone its way by event {command.seq} of run {command.parent_run}; a decision is changed by "
            "cutting before it was made",
            reason="fork_patch",
        )


def _patch(turn: Turn, command: ForkRun, ways: dict[str, Way]) -> None:
    patches = command.patches
    turn.emit(
        RunPatched(
            outputs={path: patch.output for path, patch in patches.items() if path not in ways},
            completed=list(ways),
            routes={path: list(p.route.targets) for path, p in patches.items() if p.route is not None},
            by=command.by,
        )
    )
    for path, (decision, arrivals) in ways.items():
        task, patch = turn.state.tasks.get(path), patches[path]
        if task is None:
            continue  # another item was enough
        withdraw_items(turn, task, reason="a person gave the whole output")
        withdraw_block(turn, task, reason="a person gave the whole output")
        if decision is not None:
            turn.emit(decision)
        if patch.variables:
            turn.emit(VariablesSet(path=path, node=task.node, values=patch.variables))
        withdraw_cancelled(turn, task, spared=ways)
        turn.emit(
            TaskCompleted(
                path=path,
                node=task.node,
                attempt=task.attempt,
                output=patch.output,
                arrivals=arrivals,
                compensate=turn.node(task.node).compensate,
            )
        )
        if task.item is not None:
            after_item(turn, task)
