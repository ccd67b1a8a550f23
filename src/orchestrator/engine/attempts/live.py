"""The last log lines of this process's tasks: not journalled, and gone with the process."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

LOGS_PER_TASK_MAX = 200
TASKS_REMEMBERED_MAX = 2_000


@dataclass(slots=True, kw_only=True)
class LogLine:
    """One line of a task's log."""

    at: str
    level: str
    message: str


class TaskLogs:
    """Lines by run and path, over all attempts of a task. Of many tasks those that logged last are remembered."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[str, str], deque[LogLine]] = OrderedDict()

    def lines(self, run_id: str, path: str) -> Sequence[LogLine]:
        """The task's last lines, the oldest first."""
        return tuple(self._tasks.get((run_id, path), ()))

    def add(self, run_id: str, path: str, line: LogLine) -> None:
        """Keep a line; the oldest goes when there are too many."""
        key = (run_id, path)
        lines = self._tasks.get(key)
        if lines is None:
            lines = self._tasks[key] = deque(maxlen=LOGS_PER_TASK_MAX)
        lines.append(line)
        self._tasks.move_to_end(key)
        while len(self._tasks) > TASKS_REMEMBERED_MAX:
            self._tasks.popitem(last=False)
