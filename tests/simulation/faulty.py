"""A store that fails as stores do, drawn from a seed: before or after it applied a call, slowly, or with hints lost."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import CommitUnknown, StoreUnavailable
from orchestrator.stores.contract import (
    NAMESPACE,
    Acquired,
    Blob,
    ClaimAnswer,
    Commit,
    CommitAnswer,
    Granted,
    HeartbeatAnswer,
    Limit,
    LoadedRun,
    Notice,
    Outcome,
    Store,
    Wake,
)
from orchestrator.stores.memory import MemoryStore


class Audit:
    """Looks over the store's shoulder: what it accepts must stand on leases that are held, whatever it says itself."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._accepted: set[str] = set()

    async def commit(self, inner: MemoryStore, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Hand the batch on, and look which leases were held just before."""
        held = {(run, path): row.epoch for (run, path), row in inner._queue.items() if row.worker is not None}
        answers = await inner.commit(batch)
        for commit, answer in zip(batch, answers, strict=True):
            if answer.outcome is not Outcome.OK or commit.commit_id in self._accepted:
                continue
            self._accepted.add(commit.commit_id)
            for lease in commit.stands_on:
                if held.get((commit.run_id, lease.path), lease.epoch) != lease.epoch:
                    self.wrong.append(
                        f"{commit.run_id}/{lease.path}: written with the old epoch {lease.epoch}"
                    )
        return answers


class FaultyStore:
    """One process's connection to the shared memory store. `rate` is the chance of a fault per call.

    After `die` every call hangs for ever: the process is gone, and nothing of it reaches the store any more.
    """

    def __init__(self, inner: MemoryStore, rng: random.Random, *, rate: float, count: dict[str, int]) -> None:
        self.inner = inner
        self.rng = rng
        self.rate = rate
        self.dead = False
        self.commits_at_once = 1
        self.audit = Audit()
        self._thawed_at = 0.0
        self._never = asyncio.Event()
        self._count = count
        self._unsubscribe: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def die(self) -> None:
        """The process was killed."""
        self.dead = True
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def freeze(self, until: float) -> None:
        """Nothing goes to the store or comes from it until then (in seconds of the loop); it is late, not lost."""
        self._thawed_at = until

    async def _reach(self) -> None:
        """Wait until the process can be heard; for ever if it was killed."""
        loop = asyncio.get_running_loop()
        while loop.time() < self._thawed_at:  # noqa: ASYNC110 - virtual time; it may be frozen again
            await asyncio.sleep(self._thawed_at - loop.time())
        if self.dead:
            await self._never.wait()

    async def _before(self, call: str) -> None:
        await self._reach()
        draw = self.rng.random()
        if draw < self.rate / 2:
            self._count[f"{call}: error before"] = self._count.get(f"{call}: error before", 0) + 1
            raise StoreUnavailable(f"simulated: {call} did not reach the store")
        if draw < self.rate:
            self._count[f"{call}: stall"] = self._count.get(f"{call}: stall", 0) + 1
            await asyncio.sleep(self.rng.uniform(0.001, 4.0))
        else:
            await asyncio.sleep(self.rng.uniform(0, 0.003))
        await self._reach()

    async def _after(self, call: str, error: Exception) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.003))
        await self._reach()
        if self.rng.random() < self.rate / 2:
            self._count[f"{call}: error after"] = self._count.get(f"{call}: error after", 0) + 1
            raise error

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        await self._before("commit")
        answers = await self.audit.commit(self.inner, batch)
        await self._after("commit", CommitUnknown("simulated: the answer was lost"))
        return answers

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        await self._before("claim")
        answer = await self.inner.claim(worker, queues=queues, limit=limit)
        await self._after("claim", StoreUnavailable("simulated: the answer was lost"))
        return answer

    async def release(
        self, worker: str, leases: Sequence[Granted], *, delay_us: int = 0, note: str = ""
    ) -> None:
        await self._before("release")
        await self.inner.release(worker, leases, delay_us=delay_us, note=note)

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        await self._before("acquire")
        answer = await self.inner.acquire(worker, lease, limits)
        await self._after("acquire", StoreUnavailable("simulated: the answer was lost"))
        return answer

    async def heartbeat(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        await self._before("heartbeat")
        answer = await self.inner.heartbeat(worker, lease_us=lease_us, info=info)
        await self._after("heartbeat", StoreUnavailable("simulated: the answer was lost"))
        return answer

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        await self._before("load")
        return await self.inner.load(run_id, after=after)

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        await self._before("load_blob")
        return await self.inner.load_blob(run_id, blob_id)

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        await self._before("get_cached")
        return await self.inner.get_cached(key, namespace=namespace)

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        await self._before("put_cached")
        await self.inner.put_cached(key, value, ttl_us=ttl_us, namespace=namespace)

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        await self._before("changed")
        return await self.inner.changed(versions)

    async def expire_workers(self) -> list[str]:
        await self._before("expire_workers")
        return await self.inner.expire_workers()

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        def hear(wake: Wake) -> None:
            frozen = asyncio.get_running_loop().time() < self._thawed_at
            if not self.dead and not frozen and self.rng.random() >= self.rate:
                callback(wake)

        unsubscribe = self.inner.subscribe(hear)
        self._unsubscribe.append(unsubscribe)
        return unsubscribe

    def notify(self, notice: Notice) -> None:
        if not self.dead:
            self.inner.notify(notice)


def as_store(faulty: FaultyStore) -> Store:
    """The faulty store under the contract's type."""
    return faulty  # pyright: ignore[reportReturnType] -- the rest of the contract goes through __getattr__
