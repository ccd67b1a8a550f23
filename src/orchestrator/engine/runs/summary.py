"""The summary of a run: what a line in a list shows beside the index row, kept with the run by every commit.

Its size is bounded, and making it costs what the run has open, not what it has done.
"""

from itertools import islice

import msgspec

from orchestrator.engine.sealing import refuse_sealed
from orchestrator.engine.views.explain import Pending, pending_of
from orchestrator.engine.views.words import shortened
from orchestrator.kernel.events import Event, RunCancelled
from orchestrator.kernel.outlook import Waker
from orchestrator.kernel.state import Compensation, Erased, RunState, TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.values import ErrorInfo, ForkOrigin, Imported, Parent

WAKERS_MAX = 3
ERROR_CHARACTERS_MAX = 2_000


class TaskTotals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many tasks there are in each status. Ready ones may be running: the leases know that."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    ready: int = 0
    waiting: int = 0
    in_doubt: int = 0


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What lists show of a run. `waiting` are the first few of the `wakers` wakers; empty times haven't come.

    `erasing`: its data is about to be erased, and some of it may still be there.
    """

    tasks: TaskTotals = TaskTotals()
    created_at: str = ""
    started_at: str = ""
    finished_at: str = ""
    error: ErrorInfo | None = None
    waiting: tuple[Pending, ...] = ()
    wakers: int = 0
    forked_from: ForkOrigin | None = None
    imported: Imported | None = None
    parent: Parent | None = None
    compensation: Compensation | None = None
    continues: str | None = None
    continued_as: str | None = None
    active_us: int = 0
    active_since_us: int | None = None
    cancelled_for: str | None = None
    erased: Erased | None = None
    erasing: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Summary)


def summarize(state: RunState, last: Event | None = None) -> bytes:
    """The summary of this state, as it is kept; `last` is the event that led to it, for what the state forgets."""
    return _encoder.encode(summary_of(state, last))


def decode_summary(data: bytes) -> Summary:
    """The inverse of `summarize`; of no bytes an empty summary.

    Raises:
        msgspec.ValidationError: it isn't a summary that this release knows.
        EncryptionKeyMissing: it is sealed, and this process has no key.
    """
    try:
        return _decoder.decode(data) if data else Summary()
    except msgspec.DecodeError:
        refuse_sealed(data)
        raise


def summary_of(state: RunState, last: Event | None = None) -> Summary:
    """The summary of this state."""
    waiting, wakers = _wakers(state)
    return Summary(
        tasks=task_totals(state),
        created_at=state.created_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        error=None if state.error is None else _bounded(state.error),
        waiting=waiting,
        wakers=wakers,
        forked_from=state.forked_from,
        imported=state.imported,
        erased=state.erased,
        erasing=state.erased is not None,
        parent=state.parent,
        compensation=state.compensation,
        continues=state.continues.run if state.continues is not None else None,
        continued_as=state.handover.run if state.handover is not None else None,
        active_us=state.active_us,
        active_since_us=state.active_since_us,
        cancelled_for=shortened(last.reason) if isinstance(last, RunCancelled) and last.reason else None,
    )


def task_totals(state: RunState) -> TaskTotals:
    """The tasks of a state by status."""
    counts, open_tasks = state.counts, len(state.tasks)
    in_doubt = 0
    if open_tasks != state.ready:
        in_doubt = sum(task.status is TaskStatus.IN_DOUBT for task in state.tasks.values())
    return TaskTotals(
        total=counts.total,
        completed=counts.completed,
        failed=counts.failed,
        skipped=counts.skipped,
        cancelled=counts.cancelled,
        ready=state.ready,
        waiting=open_tasks - state.ready - in_doubt,
        in_doubt=in_doubt,
    )


def _wakers(state: RunState) -> tuple[tuple[Pending, ...], int]:
    """The first few wakers and their number. Of many tasks that are only ready, not each is looked at."""
    if not state.status.live:
        return (), 0
    plain = state.ready == len(state.tasks) and not state.held and state.ending is None
    plain = plain and state.imported is None
    if plain:
        first = list(islice(state.tasks.values(), WAKERS_MAX))
        if state.ready > WAKERS_MAX or not any(task.error or task.doubt for task in first):
            return tuple([_ready(task) for task in first]), state.ready
    pending = pending_of(state)
    return tuple(pending[:WAKERS_MAX]), len(pending)


def _ready(task: TaskState) -> Pending:
    return Pending(waker=Waker(kind="queue", path=task.path, node=task.node), attempt=task.attempt)


def _bounded(error: ErrorInfo) -> ErrorInfo:
    if error.details is None and len(error.message) <= ERROR_CHARACTERS_MAX:
        return error
    message = error.message
    if len(message) > ERROR_CHARACTERS_MAX:
        message = message[:ERROR_CHARACTERS_MAX] + "…"
    return msgspec.structs.replace(error, message=message, details=None)
