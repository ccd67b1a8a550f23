"""The writer thread: everything that waits becomes one transaction with one sync.

Jobs arrive over a queue from the event loop (or from the heartbeat's thread). The thread takes all that wait, runs
them inside one transaction, commits, and answers all of them with one call to the loop. A lone job waits for nothing:
it is one hop there and one back.

Who fails with whom. If the machine can't go on (disk full, locked, I/O), all of the group fail alike, and nothing of
it happened. If one job is at fault (a value that can't be stored, a refusal in words), the transaction is rolled back
and each job runs again in a transaction of its own, so that it fails alone.
"""

import asyncio
import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from orchestrator.errors import CommitUnknown, InternalError, StoreUnavailable
from orchestrator.stores.contract import Commit, CommitAnswer, Wake
from orchestrator.stores.sqlite import accounts, fast, turns
from orchestrator.stores.sqlite.database import Connection, translate
from orchestrator.stores.sqlite.transaction import Known, StoreClock, Transaction

GAP_SECONDS = 0.0015
"""Longer than a neighbour's look at the lock takes to come round."""
BUSY_SECONDS = 0.01
"""After so long without a gap, a process that isn't alone leaves one."""

GROUP_COMMITS_MAX = 1_000
"""A transaction takes no more commits than this, so that the first of them doesn't wait for the last."""

Answer = tuple["Job", object, Exception | None]

_MACHINE_FAILED = (
    apsw.FullError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.InterruptError,
)


@dataclass(slots=True, eq=False)
class Job:
    """Something to do in a write transaction, and where its answer goes."""

    commits: Sequence[Commit] | None
    act: Callable[[Transaction], object] | None
    future: "asyncio.Future[Any] | concurrent.futures.Future[Any]"


class _CommitFailed(Exception):
    """COMMIT itself raised; `known` if it is certain that nothing happened."""

    def __init__(self, cause: Exception, *, known: bool) -> None:
        super().__init__(str(cause))
        self.cause, self.known = cause, known


class Writer:
    """The one thread of this process that writes to the file."""

    def __init__(
        self,
        connection: Connection,
        path: Path,
        *,
        clock: StoreClock,
        process: str,
        answer: Callable[[list[Answer], list[Wake]], None],
        told: Callable[[list[Wake]], None],
        alone: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._process = process
        self._answer = answer
        self._told = told
        self._alone = alone
        self._last_end = self._busy_since = 0.0
        self._known = Known()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        for _ in connection.execute(fast.SETUP):
            pass

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand a job over; its future is resolved on the loop (or, a concurrent one, on the thread)."""
        self._jobs.put(job)
        if self._closed.is_set():
            self._refuse_rest()

    def stop(self) -> None:
        """Finish what is waiting, end the thread, refuse what comes later. Blocks until then."""
        self._jobs.put(None)
        self._thread.join()
        self._closed.set()
        self._refuse_rest()

    def _refuse_rest(self) -> None:
        rest: list[Answer] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                rest.append((job, None, StoreUnavailable(f"the store {self._path} is closed")))
        if rest:
            self._answer(rest, [])

    def _work(self) -> None:
        going_on = True
        while going_on:
            group: list[Job] = []
            commits = 0
            job = self._jobs.get()
            while True:
                if job is None:
                    going_on = False
                    break
                group.append(job)
                commits += len(job.commits) if job.commits is not None else 1
                if commits >= GROUP_COMMITS_MAX:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._leave_gap()
                self._serve(group)
                self._last_end = time.monotonic()

    def _leave_gap(self) -> None:
        """Let the other processes write too. SQLite's lock has no queue: who asks again at once gets it again."""
        now = time.monotonic()
        if now - self._last_end >= GAP_SECONDS:
            self._busy_since = now
        elif now - self._busy_since >= BUSY_SECONDS:
            if not self._alone():
                time.sleep(GAP_SECONDS)
            self._busy_since = time.monotonic()

    def _serve(self, group: list[Job]) -> None:
        try:
            results, wakes = self._attempt(group)
        except _MACHINE_FAILED as error:
            cause = translate(error, self._path)
            self._answer([(job, None, cause) for job in group], [])
        except _CommitFailed as failure:
            self._answer([(job, None, self._after_commit(job, failure)) for job in group], [])
        except Exception as error:  # noqa: BLE001 - whatever a job raises is that job's answer
            if len(group) > 1:
                for job in group:
                    self._serve([job])
            else:
                self._answer([(group[0], None, _as_ours(error, self._path))], [])
        else:
            self._answer([(job, result, None) for job, result in zip(group, results, strict=True)], wakes)
            if wakes:
                self._told(wakes)

    def _attempt(self, group: list[Job]) -> tuple[list[object], list[Wake]]:
        """One transaction of the whole group. Commits go first, so that claims see what they enqueued."""
        tx = Transaction(self._connection, self._known, self._process)
        try:
            tx.begin(self._clock)
            if tx.turns:
                turns.look(tx)
            commits = [commit for job in group if job.commits is not None for commit in job.commits]
            answers: list[CommitAnswer] = fast.apply_batch(tx, commits) if commits else []
            results: list[object] = []
            start = 0
            for job in group:
                if job.commits is not None:
                    results.append(answers[start : start + len(job.commits)])
                    start += len(job.commits)
                elif job.act is not None:
                    results.append(job.act(tx))
            accounts.sweep(tx)
            tx.finish()
            self._commit()
            tx.committed()
        except BaseException:
            tx.rollback()
            raise
        return results, tx.wakes()

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except (apsw.FullError, apsw.BusyError) as error:
            raise _CommitFailed(error, known=True) from error
        except apsw.Error as error:
            raise _CommitFailed(error, known=False) from error

    def _after_commit(self, job: Job, failure: _CommitFailed) -> Exception:
        """What a failed COMMIT means to a job. Everything but a commit may simply be repeated."""
        if failure.known or job.commits is None:
            return translate(failure.cause, self._path)
        return CommitUnknown(
            f"{self._path} failed while committing ({failure.cause}); it may or may not be written: "
            "repeat the same batch"
        )


def _as_ours(error: Exception, path: Path) -> Exception:
    """Never the driver's error, and never a bare bug of ours."""
    ours = translate(error, path)
    if isinstance(ours, AssertionError | LookupError | TypeError | ValueError):
        return InternalError(f"while writing to {path}: {type(error).__name__}: {error}")
    return ours
