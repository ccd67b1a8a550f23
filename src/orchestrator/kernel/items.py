"""`for_each`: one node, run once for each item of a list.

The task of the node itself (`review`) evaluates the list, and then waits, with nothing in the queue, until its items
(`review[0]`, `review[1]` ...) are done. At most `max_parallel` of them are there at a time: whenever one is done the
next is scheduled, so that neither the state nor a commit grows with the list. What an item gave stands in the journal
alone; the state counts, and the node's output refers to the journal (`Listed`).
"""

from collections.abc import Iterable

from orchestrator.errors import Conflict, LimitExceeded
from orchestrator.kernel.commands import RouteChoice, StartItems
from orchestrator.kernel.compensation import after_failure
from orchestrator.kernel.ending import fail_for_good, withdraw
from orchestrator.kernel.events import DecisionMade, ItemsStarted, TaskCompleted, TaskFailed, TaskScheduled
from orchestrator.kernel.flow import has_room, settle
from orchestrator.kernel.joins import withdraw_cancelled
from orchestrator.kernel.routes import follow
from orchestrator.kernel.state import Items, TaskState, container_path, item_path
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import EMPTY_LIST, NO_TIMING, ErrorInfo, Listed, Payload, Timing
from orchestrator.model.declarations import ANY
from orchestrator.model.limits import FOR_EACH_ITEMS_MAX, MAX_PARALLEL


def start_items(turn: Turn, command: StartItems) -> None:
    """The list is known: begin with its first window. An empty list is done at once.

    Raises:
        LimitExceeded: the list is too long.
        Conflict: the task has items already, or its node has no `for_each`.
    """
    task = turn.open_task(command.path)
    if task.status is not TaskStatus.READY or turn.node(task.node).for_each is None or task.item is not None:
        raise Conflict(f"task `{task.path}` can't have items now", reason="task_not_ready")
    count = sum(chunk.count for chunk in command.chunks)
    if count > FOR_EACH_ITEMS_MAX:
        raise LimitExceeded(f"items of `{task.path}`", value=count, maximum=FOR_EACH_ITEMS_MAX)
    if turn.state.ending is not None:
        withdraw(turn, task)
    elif not count:
        _complete(turn, task, EMPTY_LIST, timing=command.timing)
    else:
        turn.emit(
            ItemsStarted(
                path=task.path,
                node=task.node,
                attempt=task.attempt,
                count=count,
                chunks=list(command.chunks),
                timing=command.timing,
            )
        )
        _advance(turn, task)
    settle(turn)


def resume_items(turn: Turn, reopened: Iterable[str]) -> None:
    """After a retry or a fork: go on with the items of those among these tasks that have some."""
    for path in reopened:
        task = turn.state.tasks.get(path)
        if task is not None and task.items is not None:
            _advance(turn, task)


def no_way_on(task: TaskState, route: RouteChoice | None) -> tuple[None, list[str]] | ErrorInfo:
    """An item leads nowhere by itself; one that chose a route fails."""
    if route is None:
        return None, []
    return ErrorInfo(
        type="route_not_allowed",
        message=f"an item of a `for_each` can't choose a route, and `{task.path}` chose "
        + (", ".join(f"`{target}`" for target in route.targets) or "to end its path"),
        retryable=False,
        path=task.path,
        node=task.node,
        attempt=task.attempt,
    )


def after_item(turn: Turn, item: TaskState, *, enough: bool | int | None = None) -> None:
    """An item is done: schedule the next, or complete the node if that was the last, or `complete_when` says so."""
    task = turn.state.tasks.get(container_path(item.path))
    if task is None or task.items is None or turn.state.ending is not None:
        return
    wanted = _wanted(turn, task, enough)
    if wanted is not None and task.items.completed >= wanted:
        withdraw_items(turn, task, reason="enough items are done")
        _finish(turn, task, task.items)
    else:
        _advance(turn, task)


def _wanted(turn: Turn, task: TaskState, enough: bool | int | None) -> int | None:
    """After how many completed items the rest isn't needed, as far as it is known."""
    if isinstance(enough, bool):
        return 0 if enough else None
    rule = turn.node(task.node).for_each
    return enough if enough is not None or rule is None else rule.complete_count


def fail_item(turn: Turn, item: TaskState, error: ErrorInfo, *, timing: Timing = NO_TIMING) -> None:
    """An item failed for good: its error is collected, or the node fails with it."""
    state = turn.state
    task = state.tasks.get(container_path(item.path))
    rule = turn.node(item.node).for_each
    collected = state.ending is None and task is not None and rule is not None and rule.collect
    turn.emit(
        TaskFailed(
            path=item.path,
            node=item.node,
            attempt=item.attempt,
            error=error,
            collected=collected,
            timing=timing,
            compensate=after_failure(turn.node(item.node), error),
        )
    )
    if collected:
        after_item(turn, item)
    elif task is not None and state.ending is None:
        _fail(turn, task, _of_item(error, item))


def _of_item(error: ErrorInfo, item: TaskState) -> ErrorInfo:
    """The item's error as the node's own: of the same type, so that `on_error` knows it."""
    return ErrorInfo(
        type=error.type,
        message=f"item {item.item}: {error.message}",
        retryable=error.retryable,
        path=item.path,
        node=item.node,
        attempt=item.attempt,
        details=error.details,
    )


def _fail(turn: Turn, task: TaskState, error: ErrorInfo) -> None:
    """The node fails. If the run goes on, the other items are withdrawn now; else what runs has its grace."""
    handlers = turn.node(task.node).on_error
    handled = error.type in handlers or ANY in handlers
    if handled or turn.definition.finish_branches:
        withdraw_items(turn, task, reason="another item failed", final=handled)
    fail_for_good(turn, task, error)


def _advance(turn: Turn, task: TaskState) -> None:
    """Fill the window; nothing open and nothing left means that the node is done."""
    state, items = turn.state, task.items
    assert items is not None
    rule = turn.node(task.node).for_each
    window = rule.max_parallel if rule is not None else MAX_PARALLEL
    while state.ending is None and items.next < items.count and len(items.open) < window:
        if not has_room(turn):
            return
        place = items.next
        path = item_path(task.path, place)
        turn.emit(
            TaskScheduled(path=path, node=task.node, visit=task.visit, late=list(task.late), item=place)
        )
    if state.ending is None and not items.open:
        _finish(turn, task, items)


def withdraw_items(turn: Turn, task: TaskState, *, reason: str, final: bool = True) -> None:
    """Withdraw what is open of the task's items; unless it is `final`, a retry of the run takes them up again."""
    for place in list(task.items.open) if task.items is not None else ():
        item = turn.state.tasks.get(item_path(task.path, place))
        if item is not None:
            withdraw(turn, item, reason=reason, final=final)


def _finish(turn: Turn, task: TaskState, items: Items) -> None:
    state = turn.state
    listed = Listed(
        run=state.run_id,
        path=task.path,
        count=items.done,
        after=items.after,
        until=state.seq,
        forks=state.forks - items.forks,
    )
    _complete(turn, task, Payload(listed=listed, bytes=items.bytes + items.done + 1))


def _complete(turn: Turn, task: TaskState, output: Payload, *, timing: Timing = NO_TIMING) -> None:
    followed: tuple[DecisionMade | None, list[str]] | ErrorInfo = follow(turn.node(task.node), task, None)
    if isinstance(followed, ErrorInfo):
        _fail(turn, task, followed)
        return
    withdraw_cancelled(turn, task)
    turn.emit(
        TaskCompleted(
            path=task.path,
            node=task.node,
            attempt=task.attempt,
            output=output,
            arrivals=followed[1],
            timing=timing,
        )
    )
