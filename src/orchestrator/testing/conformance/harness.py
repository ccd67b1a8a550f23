"""What the tests hold a store with: short forms of the calls that most of them make."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orchestrator.stores.contract import (
    Claim,
    Commit,
    CommitAnswer,
    Enqueue,
    Granted,
    Lease,
    QueueRow,
    RunIndex,
    Store,
)

TICK = 50_000
"""The unit of time of the tests, in microseconds: long for a store, short for a person."""
LONG = 3_600_000_000
"""A lease that doesn't end in a test."""


def index_of(**fields: Any) -> RunIndex:
    """An index row of a running run; fields replace its defaults."""
    defaults: dict[str, Any] = {
        "workflow": "flow",
        "version": 1,
        "status": "running",
        "live": True,
        "created_us": 1,
    }
    return RunIndex(**(defaults | fields))


def lease_of(given: Granted | Claim, *, finish: bool = True) -> Lease:
    """To stand on what was granted or claimed."""
    return Lease(path=given.path, epoch=given.epoch, finish=finish)


class Harness:
    """A store under test, and a hand on its clock."""

    def __init__(self, store: Store, advance: Callable[[int], Awaitable[None]]) -> None:
        self.store = store
        self.advance = advance
        self._last = 0

    def change(self, run_id: str = "run", *, expected: int | None = 0, **fields: Any) -> Commit:
        """A commit with an id of its own; a creation gets an index row and a first event."""
        self._last += 1
        if expected == 0:
            fields.setdefault("index", index_of())
            fields.setdefault("events", [b"first"])
        whole: dict[str, Any] = {
            "commit_id": f"c{self._last}",
            "run_id": run_id,
            "expected": expected,
        } | fields
        return Commit(**whole)

    async def commit(self, run_id: str = "run", *, expected: int | None = 0, **fields: Any) -> CommitAnswer:
        """Commit one change."""
        return await self.send(self.change(run_id, expected=expected, **fields))

    async def send(self, commit: Commit) -> CommitAnswer:
        """Commit it (again)."""
        return (await self.store.commit([commit]))[0]

    async def register(self, *workers: str, lease_us: int = LONG) -> None:
        """Register workers."""
        for worker in workers:
            await self.store.heartbeat(worker, lease_us=lease_us)

    async def claim(
        self, worker: str = "w1", *, queues: Sequence[str] = ("default",), limit: int = 100
    ) -> list[Claim]:
        """What the worker gets."""
        return list((await self.store.claim(worker, queues=queues, limit=limit)).claims)

    async def started(self, run_id: str = "run", *, path: str = "a", worker: str = "w1") -> Granted:
        """A new run with one row, leased to a worker that is registered by this."""
        await self.register(worker)
        answer = await self.commit(run_id, worker=worker, enqueue=[Enqueue(path=path, leased=True)])
        return answer.leases[0]

    async def rows(self, run_id: str = "run") -> dict[str, QueueRow]:
        """The run's queue rows by path."""
        return {row.path: row for row in await self.store.queue_rows(run_id)}

    async def seq(self, run_id: str = "run") -> int:
        """Where the run is; 0 if there is none."""
        run = await self.store.get_run(run_id)
        return run.seq if run else 0
