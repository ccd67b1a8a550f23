"""A store that fails as stores do, drawn from a seed: before or after it applied a call, slowly, or with hints lost."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import CommitUnknown, StoreUnavailable
from orchestrator.stores.contract import (
    Blob,
    ClaimAnswer,
    Commit,
    CommitAnswer,
    Granted,
    HeartbeatAnswer,
    LoadedRun,
    Notice,
    Store,
    Wake,
)
from orchestrator.stores.memory import MemoryStore


class FaultyStore:
    """One process's connection to the shared memory store. `rate` is the chance of a fault per call.

    After `die` every call hangs for ever: the process is gone, and nothing of it reaches the store any more.
    """

    def __init__(self, inner: MemoryStore, rng: random.Random, *, rate: float, count: dict[str, int]) -> None:
        self.inner = inner
        self.rng = rng
        self.rate = rate
        self.dead = False
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

    async def _before(self, call: str) -> None:
        if self.dead:
            await self._never.wait()
        draw = self.rng.random()
        if draw < self.rate / 2:
            self._count[f"{call}: error before"] = self._count.get(f"{call}: error before", 0) + 1
            raise StoreUnavailable(f"simulated: {call} did not reach the store")
        if draw < self.rate:
            self._count[f"{call}: stall"] = self._count.get(f"{call}: stall", 0) + 1
            await asyncio.sleep(self.rng.uniform(0.001, 4.0))
        else:
            await asyncio.sleep(self.rng.uniform(0, 0.003))
        if self.dead:
            await self._never.wait()

    async def _after(self, call: str, error: Exception) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.003))
        if self.dead:
            await self._never.wait()
        if self.rng.random() < self.rate / 2:
            self._count[f"{call}: error after"] = self._count.get(f"{call}: error after", 0) + 1
            raise error

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        await self._before("commit")
        answers = await self.inner.commit(batch)
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

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        await self._before("changed")
        return await self.inner.changed(versions)

    async def expire_workers(self) -> list[str]:
        await self._before("expire_workers")
        return await self.inner.expire_workers()

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        def hear(wake: Wake) -> None:
            if not self.dead and self.rng.random() >= self.rate:
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
