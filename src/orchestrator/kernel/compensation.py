"""Compensation: what a run that ends badly takes back, newest first, one at a time.

A node's `compensate` names the node that takes its visits back. Every visit that completed is noted when it does, and
so is every one whose outcome nobody knows (withdrawn or given up while its `write` may have happened). Once a run that
fails or is cancelled has nothing else open, the notes are worked off from the newest: each is a task of its own, with
the visit's output as `previous`, retries and waits as ever. It is outside the budget and in the journal's reserve. If
it fails, that is recorded and the next one follows. A run that has begun to compensate isn't retried: what it had done
is partly undone. A fork owes nothing for what its parent did: that stays the parent's.
"""

from orchestrator.errors import Conflict
from orchestrator.kernel.events import CompensationStarted, TaskScheduled
from orchestrator.kernel.reading import path_of, reads_of
from orchestrator.kernel.state import Ending, RunState, TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import JOURNAL_EVENTS_MAX, Turn
from orchestrator.kernel.values import ErrorInfo, Origin
from orchestrator.model.declarations import Effect
from orchestrator.model.definition import NodeDefinition

EVENTS_EACH = 4
"""Room that the journal keeps for each visit to be compensated: scheduled, completed, and a try or step between."""

JOURNAL_EVENTS_LAST = 100
"""Kept free for the end itself: a compensation that would write into it is given up."""

OUTCOME_UNKNOWN = frozenset(
    {"timeout", "worker_lost", "blocked_loop", "route_not_allowed", "output_not_storable"}
)
"""Errors after which the node's code may have done its work, or surely has: it didn't say that it failed."""


def owes_compensation(ending: Ending) -> bool:
    """Whether a run that ends so takes back what it did: it fails or is cancelled."""
    return ending.cause == "cancel" or ending.error is not None


def compensate_next(turn: Turn) -> bool:
    """Schedule the compensation of the newest visit that is still to be taken back; False: there is none."""
    state = turn.state
    if (
        state.ending is None
        or not state.undo
        or not owes_compensation(state.ending)
        or at_the_last_page(state)
    ):
        return False
    if state.compensation is None:
        turn.emit(CompensationStarted(count=len(state.undo)))
    undo = state.undo[-1]
    node = turn.node(undo.node)
    visit = state.visits.get(node.id, 0) + 1
    turn.emit(
        TaskScheduled(
            path=path_of(node.id, visit),
            node=node.id,
            visit=visit,
            previous=Origin(path=undo.path),
            reads=reads_of(state, node),
            compensates=undo.path,
        )
    )
    return True


def at_the_last_page(state: RunState) -> bool:
    """Whether even the journal's reserve is spent."""
    return state.seq >= JOURNAL_EVENTS_MAX - JOURNAL_EVENTS_LAST


def is_stopped(state: RunState, task: TaskState) -> bool:
    """Whether the end of the run stops this task: every one but a compensation, which is part of the end."""
    return state.ending is not None and task.compensates is None


def after_withdrawal(node: NodeDefinition, task: TaskState, *, began: bool) -> str | None:
    """The compensation of a task that is withdrawn: None where its node has none, or it surely changed nothing.

    `began`: an attempt may be running. A task that waits, is in doubt or was tried before has begun at any rate.
    """
    if node.compensate is None or node.effect.rank < Effect.WRITE.rank:
        return None
    if node.for_each is not None and task.item is None:  # only its items do anything
        return None
    before = task.attempt > 1 or task.tries or task.deferrals or task.steps or task.touched
    return node.compensate if began or before or task.status is not TaskStatus.READY else None


def after_failure(node: NodeDefinition, error: ErrorInfo) -> str | None:
    """The compensation of a task that failed for good: only where its code may have done its work all the same."""
    if node.effect.rank < Effect.WRITE.rank or error.type not in OUTCOME_UNKNOWN:
        return None
    return node.compensate


def refuse_if_compensating(state: RunState, what: str) -> None:
    """A run that has begun to take things back can't go on as if they were there.

    Raises:
        Conflict: it has (`compensating`).
    """
    if state.compensation is not None:
        before = state.compensation.began_seq - 1
        raise Conflict(
            f"run {state.run_id} began to compensate at event {state.compensation.began_seq} and {what}; fork it "
            f"from event {before} or before",
            reason="compensating",
        )
