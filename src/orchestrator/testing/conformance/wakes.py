"""Wake-ups within one process. They are hints, so the tests ask only that they come."""

import asyncio
import threading

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.stores.contract import Enqueue, Notice, QueueWake, RunAdvanced, Wake
from orchestrator.testing.conformance.harness import TICK, Harness, lease_of


class Ear:
    """Listens, and waits for what is expected. A wake-up that doesn't come fails by the test's own timeout."""

    def __init__(self, harness: Harness) -> None:
        self.heard: list[Wake] = []
        self.threads: set[int] = set()
        self._news = asyncio.Event()
        self.stop = harness.store.subscribe(self._hear)

    def _hear(self, wake: Wake) -> None:
        self.heard.append(wake)
        self.threads.add(threading.get_ident())
        self._news.set()

    async def wait_for(self, wake: Wake) -> None:
        """Until it has been heard."""
        async with asyncio.timeout(10):
            while wake not in self.heard:
                self._news.clear()
                await self._news.wait()


@pytest.mark.asyncio
class WakeTests:
    """Subscribers hear what happens."""

    async def test_a_commit_wakes_the_run_and_its_queues(self, harness: Harness) -> None:
        ear = Ear(harness)
        await harness.commit("run", events=[b"1", b"2"], enqueue=[Enqueue(path="a", queue="q")])
        await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=2))
        await ear.wait_for(QueueWake(queues=["q"]))
        assert ear.threads == {threading.get_ident()}

    async def test_a_step_of_a_chain_wakes_the_run_but_no_queue(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        ear = Ear(harness)
        await harness.commit(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True)],
        )
        await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=2))
        assert not [wake for wake in ear.heard if isinstance(wake, QueueWake)]

    async def test_a_refused_commit_wakes_nobody(self, harness: Harness) -> None:
        ear = Ear(harness)
        await harness.commit("run", expected=5, events=[b"x"], enqueue=[Enqueue(path="a")])
        await harness.commit("other")
        await ear.wait_for(RunAdvanced(run_id="other", workflow="flow", seq=1))
        assert len(ear.heard) == 1

    async def test_released_forgotten_and_expired_rows_wake_their_queue(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        ear = Ear(harness)
        await harness.store.release("w1", [lease])
        await ear.wait_for(QueueWake(queues=["default"]))
        await harness.claim("w1")
        ear.heard.clear()
        await harness.store.forget_worker("w1")
        await ear.wait_for(QueueWake(queues=["default"]))
        await harness.register("w1", lease_us=TICK)
        await harness.claim("w1")
        ear.heard.clear()
        await harness.advance(2 * TICK)
        await harness.store.expire_workers()
        await ear.wait_for(QueueWake(queues=["default"]))

    async def test_lifting_a_hold_wakes_the_queues_of_the_run(self, harness: Harness) -> None:
        await harness.commit(
            "run", hold=True, enqueue=[Enqueue(path="a", queue="x"), Enqueue(path="b", queue="y")]
        )
        ear = Ear(harness)
        await harness.commit("run", expected=None, hold=False)
        await ear.wait_for(QueueWake(queues=["x", "y"]))
        await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=1))

    async def test_notices_are_heard(self, harness: Harness) -> None:
        ear = Ear(harness)
        notice = Notice(run_id="run", workflow="flow", data=b"\x00half way")
        harness.store.notify(notice)
        await ear.wait_for(notice)

    async def test_notices_may_come_from_any_thread(self, harness: Harness) -> None:
        ear = Ear(harness)
        notice = Notice(run_id="run", workflow="flow", data=b"from a thread")
        await asyncio.to_thread(harness.store.notify, notice)
        await ear.wait_for(notice)
        assert ear.threads == {threading.get_ident()}

    async def test_who_unsubscribes_hears_nothing_more(self, harness: Harness) -> None:
        silent, ear = Ear(harness), Ear(harness)
        silent.stop()
        silent.stop()
        await harness.commit("run")
        await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=1))
        assert silent.heard == []

    async def test_a_closed_store_says_so_and_opens_again_with_everything(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        await harness.store.close()
        await harness.store.close()
        with pytest.raises(StoreUnavailable):
            await harness.commit("other")
        with pytest.raises(StoreUnavailable):
            await harness.store.load("run")
        harness.store.notify(Notice(run_id="run", workflow="flow", data=b""))
        await harness.store.open()
        assert await harness.store.workers() == []
        row = (await harness.rows())["a"]
        assert (row.worker, row.lost) == (None, 0)
        await harness.register("w2")
        (claim,) = await harness.claim("w2")
        assert claim.epoch > lease.epoch

    async def test_the_url_is_known_without_opening(self, harness: Harness) -> None:
        assert ":" in harness.store.url
