"""One turn of the kernel: a command is being handled, and the events that it gives are applied as they are decided.

Rules look at the state after each event of their own group, so deciding and applying go hand in hand. What leaves the
kernel is the list of events; the state is by then their fold.
"""

from orchestrator.errors import Conflict
from orchestrator.kernel.apply import apply
from orchestrator.kernel.events import (
    BudgetSettled,
    Event,
    GraphExtended,
    TaskCancelled,
    TaskCompleted,
    TaskEvent,
    TaskFailed,
    TaskInDoubt,
    TaskSkipped,
    TaskSuspended,
)
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.values import rfc3339
from orchestrator.model.definition import Definition, NodeDefinition
from orchestrator.model.grafts import grafted

CANCEL_GRACE_US = 10_000_000
SIGNALS_UNREAD_MAX = 1_000
DEFERRALS_MAX = 1_000
JOURNAL_EVENTS_MAX = 1_000_000
JOURNAL_EVENTS_RESERVED = 10_000
"""Kept free for ending a run whose journal is full."""


_ENDS_ATTEMPT = frozenset(
    {
        TaskCompleted,
        TaskFailed,
        TaskSkipped,
        TaskCancelled,
        TaskSuspended,
        TaskInDoubt,
        GraphExtended,
    }
)
"""Events after which nobody will come and settle what the attempt had reserved."""


class Turn:
    """The state, the definition, the time, and the events so far."""

    __slots__ = ("_seen", "at", "cancel_grace_us", "definition", "events", "group", "now_us", "state")

    def __init__(
        self, state: RunState, definition: Definition, now_us: int, *, cancel_grace_us: int = CANCEL_GRACE_US
    ) -> None:
        self.state = state
        self.definition = grafted(definition, state.plans)
        self.now_us = now_us
        self.at = rfc3339(now_us)
        self.group = state.seq + 1
        self.cancel_grace_us = cancel_grace_us
        self.events: list[Event] = []
        self._seen = 0

    def emit(self, event: Event) -> None:
        """Number the event, apply it, keep it."""
        state = self.state
        if (state.reserved.tokens or state.reserved.nano_usd) and type(event) in _ENDS_ATTEMPT:
            assert isinstance(event, TaskEvent)
            self._settle_left(event.path)
        event.seq = state.seq + 1
        event.group = self.group
        event.at = self.at
        apply(state, event)
        self.events.append(event)
        if type(event) is GraphExtended:
            self.definition = grafted(self.definition, self.state.plans)

    def unseen(self) -> list[Event]:
        """The events since this was asked last."""
        events, self._seen = self.events[self._seen :], len(self.events)
        return events

    def _settle_left(self, path: str) -> None:
        """An attempt ends: what it leaves reserved is settled in full, its answer is lost."""
        task = self.state.tasks.get(path)
        for step, usage in list(task.reserved.items()) if task is not None else ():
            assert task is not None
            self.emit(
                BudgetSettled(
                    path=path,
                    node=task.node,
                    step=step,
                    tokens=usage.tokens,
                    cost_usd=usage.cost_usd,
                    lost=True,
                )
            )

    def node(self, node_id: str) -> NodeDefinition:
        """The definition of a node."""
        return self.definition.nodes[node_id]

    def open_task(self, path: str) -> TaskState:
        """The open task at this path.

        Raises:
            Conflict: there is none (any more); reason `task_not_open`.
        """
        task = self.state.tasks.get(path)
        if task is None:
            raise Conflict(f"run {self.state.run_id} has no open task `{path}`", reason="task_not_open")
        return task
