"""What a person's command hears while the store takes nothing and a task's result waits for it."""

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.engine import Engine
from orchestrator.errors import StoreUnavailable
from orchestrator.kernel.commands import CancelRun
from orchestrator.kernel.status import RunStatus
from orchestrator.stores.contract import Commit
from tests.unit.engine.lab import Lab, in_lab


def test_a_command_behind_a_result_that_waits_for_the_store_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(lab: Lab) -> None:
        full = False
        commit = lab.store.commit

        async def refusing(commits: Sequence[Commit]) -> Any:
            if full:
                raise StoreUnavailable("the disk is full")
            return await commit(commits)

        monkeypatch.setattr(lab.store, "commit", refusing)

        async def work(params: Any, ctx: Any) -> str:
            await asyncio.sleep(1)
            return "done"

        lab.node("Work", work)
        await lab.save("w", {"a": {"class": "Work"}})
        run = await lab.start("w")
        full = True
        await asyncio.sleep(2)
        for _ in range(2):
            begun = lab.loop.time()
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                await lab.engine.command(run, CancelRun())
            assert lab.loop.time() - begun < 5

        full = False
        assert (await lab.end(run)).status is RunStatus.SUCCEEDED
        assert "cancel_requested" not in {event.kind for event in await lab.journal(run)}

    in_lab(test)


class Unreachable:
    """The store as several processes reach it: nobody does while it is `down`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.down = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.down:
                raise StoreUnavailable("nobody can reach it")
            return await found(*args, **kwargs)

        return call


@pytest.mark.parametrize("first", ["w1", "w2"])
def test_an_outage_of_the_store_is_no_death_of_a_worker(first: str) -> None:
    """Whoever reaches the store first after it must not call the others lost: thrice, and their tasks would fail."""
    calls: list[int] = []

    async def test(lab: Lab) -> None:
        async def work(params: Any, ctx: Any) -> str:
            calls.append(ctx.attempt)
            await asyncio.sleep(100 if len(calls) < 5 else 1)
            return "done"

        lab.node("Work", work)
        await lab.save("w", {"a": {"class": "Work"}})
        store: Any = Unreachable(lab.store)
        workers: list[Worker] = []
        for name in sorted(("w1", "w2"), reverse=first == "w2"):
            engine = Engine(store, lab.registry, clock=StoreClock(monotonic_us=lab.loop.now_us))
            await engine.open()
            workers.append(Worker(engine, name=name, heartbeat_thread=False))
            await workers[-1].start()
        run = await lab.start("w")
        for _ in range(4):
            await asyncio.sleep(20)
            store.down = True
            await asyncio.sleep(60)
            store.down = False
            await asyncio.sleep(10)
            assert not any(row.lost for row in await lab.store.queue_rows(run))
        state = await lab.end(run)
        assert state.error is None
        assert await lab.output(state) == "done"
        for worker in workers:
            await worker.stop()
            await worker.engine.close()

    in_lab(test, work=False)


def test_a_worker_that_dies_after_an_outage_is_noticed_all_the_same() -> None:
    async def test(lab: Lab) -> None:
        store: Any = Unreachable(lab.store)
        engine = Engine(store, lab.registry, clock=StoreClock(monotonic_us=lab.loop.now_us))
        await engine.open()
        worker = Worker(engine, name="w1", heartbeat_thread=False)
        await worker.start()
        store.down = True
        await asyncio.sleep(60)
        store.down = False
        await lab.store.heartbeat("dead", lease_us=1_000_000)
        await asyncio.sleep(2 * engine.config.lease_seconds)
        assert [row.worker for row in await lab.store.workers()] == ["w1"]
        await worker.stop()
        await engine.close()

    in_lab(test, work=False)
