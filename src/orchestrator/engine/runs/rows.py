"""A row that the kernel asks for, as the store's queue takes it."""

from orchestrator.kernel.outlook import Row
from orchestrator.kernel.state import TaskState
from orchestrator.model.definition import Definition
from orchestrator.model.limits import PRIORITY_MAX
from orchestrator.stores.contract import Enqueue, TaskKind


def enqueue_of(
    row: Row,
    task: TaskState | None,
    definition: Definition,
    *,
    delay_us: int,
    leased: bool = False,
    priority: int = 0,
) -> Enqueue:
    """A task waits in its node's queue, by its node's priority and its run's (`priority`) together. Timers are for
    every worker: nobody's code runs.

    `task` is the open task at the row's path, if there is one; `definition` what the run sees, with its plans.
    """
    if row.timer or task is None:
        kind = TaskKind.TIMER if row.timer else TaskKind.EXECUTE
        return Enqueue(path=row.path, kind=kind, delay_us=delay_us, leased=leased)
    node = definition.nodes[task.node]
    both = node.priority
    if priority:
        both = max(-PRIORITY_MAX, min(PRIORITY_MAX, both + priority))
    return Enqueue(path=row.path, queue=node.queue, priority=both, delay_us=delay_us, leased=leased)
