"""What the parts of one write transaction share: time, counters, the runs they know, and whom to wake after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.stores.contract import QueueWake, RunAdvanced, Wake
from orchestrator.stores.sqlite.database import Connection, Row, Value, int_of, text_of

RUNS_CACHED_MAX = 50_000


@dataclass(slots=True)
class RunRef:
    """What doesn't change about a run; `workflow` is only for wake-ups."""

    key: int
    run_id: str
    namespace: str
    workflow: str


class StoreClock:
    """Microseconds that never run backwards within the life of the file.

    It goes as the machine's clock does, from the latest time that any process of the file has written by.
    """

    def __init__(self, source: Callable[[], int]) -> None:
        self._source = source
        self._ahead_us = 0
        self._last_us = 0

    def now_us(self) -> int:
        """Now."""
        now = max(self._source() + self._ahead_us, self._last_us)
        self._last_us = now
        return now

    def not_before(self, mark_us: int) -> int:
        """Now, after hearing that the file has been at `mark_us`."""
        now = self.now_us()
        if now < mark_us:
            self._ahead_us += mark_us - now
            self._last_us = now = mark_us
        return now


_COUNTERS = """
SELECT run_key, journal_id, epoch, clock_us, EXISTS (SELECT 1 FROM slots), EXISTS (SELECT 1 FROM turns)
FROM counters WHERE id = 1
"""
_SAVE_COUNTERS = "UPDATE counters SET run_key = ?, journal_id = ?, epoch = ?, clock_us = ? WHERE id = 1"
_FIND_RUN = "SELECT key, namespace, workflow FROM runs WHERE run_id = ?"
_FIND_WORKER = "SELECT 1 FROM workers WHERE worker = ?"


class Known:
    """What one transaction leaves to the next: runs by id, and the counters, as long as nobody else has written."""

    __slots__ = ("counters", "data_version", "runs")

    def __init__(self) -> None:
        self.runs: dict[str, RunRef] = {}
        self.counters: tuple[int, int, int, int] | None = None
        self.data_version = 0

    def forget(self) -> None:
        """A transaction was rolled back: what it noted here never came to be."""
        self.runs.clear()
        self.counters = None


@dataclass(slots=True)
class Transaction:
    """One write transaction. The statements of `commits`, `queue` and `workflows` run inside it."""

    connection: Connection
    known: Known
    process: str
    now_us: int = 0
    run_key: int = 0
    journal_id: int = 0
    epoch: int = 0
    clock_us: int = 0
    slots: bool = False
    """Somebody has a slot, so that the end of a lease may be the end of one."""
    turns: bool = False
    """Somebody has a run to himself."""
    wake_queues: set[str] = field(default_factory=set[str])
    advanced: dict[str, RunAdvanced] = field(default_factory=dict[str, RunAdvanced])
    _registered: dict[str, bool] = field(default_factory=dict[str, bool])
    _changes_before: int = 0

    def begin(self, clock: StoreClock) -> None:
        """Take the write lock, and read the counters behind it."""
        self.connection.execute("BEGIN IMMEDIATE")
        counters, self.known.counters = self.known.counters, None
        if counters is not None and self.connection.data_version() == self.known.data_version:
            self.run_key, self.journal_id, self.epoch, self.clock_us = counters
        else:
            row = self.one(_COUNTERS)
            assert row is not None, "the migration made the row"
            self.run_key, self.journal_id, self.epoch, self.clock_us = map(int_of, row[:4])
            self.slots, self.turns = bool(row[4]), bool(row[5])
        self._changes_before = self.connection.total_changes()
        self.now_us = clock.not_before(self.clock_us)

    def finish(self) -> None:
        """Write the counters if anything was written; what remains is COMMIT."""
        if self.connection.total_changes() != self._changes_before:
            self.clock_us = self.now_us
            self.connection.execute(
                _SAVE_COUNTERS, (self.run_key, self.journal_id, self.epoch, self.clock_us)
            )

    def committed(self) -> None:
        """It is durable. Where slots or turns are in use the next one looks again: that may have changed."""
        if not (self.slots or self.turns):
            self.known.counters = (self.run_key, self.journal_id, self.epoch, self.clock_us)
            self.known.data_version = self.connection.data_version()

    def rollback(self) -> None:
        """Nothing of it happened."""
        self.known.forget()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def one(self, statement: str, bindings: Sequence[Value] = ()) -> Row | None:
        """The first row of a query."""
        return self.connection.execute(statement, tuple(bindings)).fetchone()

    def run(self, statement: str, bindings: Sequence[Value] = ()) -> int:
        """Run a statement that changes rows; how many it changed."""
        self.connection.execute(statement, tuple(bindings))
        return self.connection.changes()

    def find_run(self, run_id: str) -> RunRef | None:
        """A run by its id."""
        known = self.known.runs.get(run_id)
        if known is None:
            row = self.one(_FIND_RUN, (run_id,))
            if row is None:
                return None
            known = RunRef(int_of(row[0]), run_id, text_of(row[1]), text_of(row[2]))
            self.remember(known)
        return known

    def remember(self, run: RunRef) -> None:
        """Keep a run for the transactions to come."""
        runs = self.known.runs
        if len(runs) >= RUNS_CACHED_MAX:
            for run_id in list(runs)[: RUNS_CACHED_MAX // 10]:
                del runs[run_id]
        runs[run.run_id] = run

    def registered(self, worker: str) -> bool:
        """Whether the worker has a registration; only such a worker may hold leases."""
        known = self._registered.get(worker)
        if known is None:
            known = self._registered[worker] = self.one(_FIND_WORKER, (worker,)) is not None
        return known

    def forget_registered(self) -> None:
        """Registrations changed within this transaction."""
        self._registered.clear()

    def wakes(self) -> list[Wake]:
        """Whom to wake once it is durable."""
        if not self.wake_queues:
            return list(self.advanced.values())
        return [QueueWake(queues=sorted(self.wake_queues)), *self.advanced.values()]
