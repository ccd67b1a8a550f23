"""Queues and priorities, and tasks that no worker here can run."""

import asyncio
from typing import Any

from orchestrator.engine.attempts.putoff import FIRST_US, LONGEST_US, PutOff
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.registry import Registry
from orchestrator.stores.contract import Commit, Lease
from tests.unit.engine.lab import Lab, in_lab


async def _beside(lab: Lab, *, registry: Registry | None = None, **config: Any) -> Worker:
    """Another worker on the same store."""
    clock = StoreClock(monotonic_us=lab.loop.now_us)
    engine = Engine(lab.store, registry or lab.registry, config=EngineConfig(**config), clock=clock)
    await engine.open()
    worker = Worker(engine, name="w2", heartbeat_thread=False)
    await worker.start()
    return worker


def test_a_task_waits_in_its_queue_for_a_worker_that_serves_it() -> None:
    ran: list[tuple[str, str]] = []

    async def test(lab: Lab) -> None:
        async def note(params: Any, ctx: Any) -> Any:
            ran.append((ctx.path, ctx._attempt.worker.name))

        lab.node("Note", note)
        nodes: dict[str, Any] = {
            "a": {"class": "Note", "next_node": "b"},
            "b": {"class": "Note", "queue": "gpu", "retry": {"initial": 1}, "next_node": "c"},
            "c": {"class": "Note"},
        }
        await lab.save("w", nodes)
        run_id = await lab.start("w")
        await asyncio.sleep(20)
        (row,) = await lab.store.queue_rows(run_id)
        assert (row.queue, row.worker) == ("gpu", None)
        worker = await _beside(lab, queues=("gpu",))
        assert (await lab.end(run_id)).status is RunStatus.SUCCEEDED
        await worker.stop()
        await worker.engine.close()

    in_lab(test)
    assert ran == [("a", "w1"), ("b", "w2"), ("c", "w1")]


def test_a_lost_row_is_put_back_into_its_queue_with_its_priority() -> None:
    async def test(lab: Lab) -> None:
        async def fine(params: Any, ctx: Any) -> Any:
            return None

        lab.node("Fine", fine)
        await lab.save("w", {"a": {"class": "Fine", "queue": "gpu", "priority": 7}})
        run_id = await lab.start("w")
        await lab.store.heartbeat("thief", lease_us=10_000_000)
        (claim,) = (await lab.store.claim("thief", queues=["gpu"], limit=1)).claims
        lost = Commit(
            commit_id="lost",
            run_id=run_id,
            expected=None,
            worker="thief",
            stands_on=[Lease(path="a", epoch=claim.epoch)],
        )
        await lab.store.commit([lost])
        assert not await lab.store.queue_rows(run_id)
        await asyncio.sleep(70)
        (row,) = await lab.store.queue_rows(run_id)
        assert (row.queue, row.priority) == ("gpu", 7)

    in_lab(test)


def test_what_has_priority_begins_first_when_there_is_little_room() -> None:
    ran: list[str] = []

    async def test(lab: Lab) -> None:
        async def note(params: Any, ctx: Any) -> Any:
            ran.append(ctx.path)
            await asyncio.sleep(1)

        lab.node("Note", note)
        several = {f"p{number}": {"class": "Note", "priority": number} for number in (0, -5, 90, 3)}
        await lab.save("w", {"first": {"class": "Note", "next_node": list(several)}, **several})
        run_id = await lab.start("w")
        assert (await lab.end(run_id)).status is RunStatus.SUCCEEDED

    in_lab(test, concurrency=1)
    # The worker keeps one of the next tasks in the slot that the first one frees; the rest goes by priority.
    assert ran[0] == "first"
    assert [path for path in ran[2:] if path != ran[1]] == [
        path for path in ("p90", "p3", "p0", "p-5") if path != ran[1]
    ]


def test_a_task_that_nobody_here_can_run_comes_again_less_and_less_often() -> None:
    async def fine(params: Any, ctx: Any) -> Any:
        return "fine"

    async def test(lab: Lab) -> None:
        lab.node("Fine", fine, class_version=2)
        await lab.save("w", {"a": {"class": "Fine"}})
        able = lab.registry
        old = Registry()
        lab.registry = lab.engine.registry = old
        lab.node("Fine", fine)
        run_id = await lab.start("w")
        await asyncio.sleep(5)
        before = lab.worker.claims
        assert before <= 5
        await asyncio.sleep(60)
        assert lab.worker.claims - before <= 6, "it spins"
        (row,) = await lab.store.queue_rows(run_id)
        assert row.note == "worker `w1` has class `Fine` in version 1, not 2"
        assert row.lost == 0
        journal = await lab.journal(run_id)
        assert [event.kind for event in journal] == ["run_started", "task_scheduled"]
        worker = await _beside(lab, registry=able)
        assert await lab.output(await lab.end(run_id)) == "fine"
        await worker.stop()
        await worker.engine.close()

    in_lab(test)


def test_the_pause_doubles_up_to_a_limit_and_begins_anew_once_it_ran() -> None:
    put_off, key = PutOff(), ("run", "a")
    assert [put_off.put_off(key) for _ in range(3)] == [FIRST_US, 2 * FIRST_US, 4 * FIRST_US]
    for _ in range(40):
        put_off.put_off(key)
    assert put_off.put_off(key) == LONGEST_US
    put_off.forget(key)
    assert put_off.put_off(key) == FIRST_US
