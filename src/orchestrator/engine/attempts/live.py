"""What this process's workers are doing at this moment: not journalled, and gone with the process."""

from collections import OrderedDict, deque
from dataclasses import dataclass

LOGS_PER_TASK_MAX = 200
TASKS_REMEMBERED_MAX = 2_000


@dataclass(slots=True, kw_only=True)
class LogLine:
    """One line of a task's log."""

    at: str
    level: str
    message: str


@dataclass(slots=True, kw_only=True)
class LiveTask:
    """A task that runs here, or ran not long ago (`running` False)."""

    path: str
    node: str
    attempt: int
    worker: str
    started_us: int
    running: bool = True
    message: str | None = None
    done: float | None = None
    total: float | None = None
    logs: deque[LogLine] | None = None

    def add(self, line: LogLine) -> None:
        """Keep a line; the oldest goes when there are too many."""
        if self.logs is None:
            self.logs = deque(maxlen=LOGS_PER_TASK_MAX)
        self.logs.append(line)


class LiveTasks:
    """Live tasks by run and path. Tasks that ended without a log line are forgotten at once, others after a while."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, LiveTask]] = {}
        self._ended: OrderedDict[tuple[str, str], None] = OrderedDict()

    def get(self, run_id: str) -> dict[str, LiveTask]:
        """What is known of the run's tasks, by path."""
        return self._runs.get(run_id, {})

    def begin(self, run_id: str, task: LiveTask) -> LiveTask:
        """The task starts an attempt; lines of earlier attempts are kept."""
        tasks = self._runs.setdefault(run_id, {})
        before = tasks.get(task.path)
        if before is not None:
            task.logs = before.logs
            self._ended.pop((run_id, task.path), None)
        tasks[task.path] = task
        return task

    def end(self, run_id: str, path: str) -> None:
        """The attempt is over."""
        task = self._runs.get(run_id, {}).get(path)
        if task is None:
            return
        task.running = False
        if not task.logs:
            self._forget(run_id, path)
            return
        self._ended[(run_id, path)] = None
        if len(self._ended) > TASKS_REMEMBERED_MAX:
            (old_run, old_path), _ = self._ended.popitem(last=False)
            self._forget(old_run, old_path)

    def _forget(self, run_id: str, path: str) -> None:
        tasks = self._runs[run_id]
        del tasks[path]
        if not tasks:
            del self._runs[run_id]
