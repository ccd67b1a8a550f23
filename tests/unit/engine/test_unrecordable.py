"""What can't be written down is the fault of the one command that brought it: the run goes on, or its task fails."""

import asyncio
import json
from typing import Any

import pytest

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.service.facade import Service
from orchestrator.errors import InternalError
from orchestrator.kernel.commands import PauseRun
from orchestrator.sdk import BaseNode, Context, Outbox, Registry, Route
from orchestrator.stores.memory import MemoryStore


class Ask(BaseNode):
    """Waits."""

    async def execute(self, params: Any, ctx: Context) -> Any:
        return await ctx.wait_for_signal("go")


class Odd(BaseNode):
    """Decides, with a word in it that no JSON can hold."""

    routes = ("end",)

    async def execute(self, params: Any, ctx: Context) -> Any:
        return Route("end", by="model", usage={"tokens \ud800": 1.0})


class Group(BaseNode):
    """Starts a task that leaves the interpreter."""

    async def execute(self, params: Any, ctx: Context) -> Any:
        async def leave() -> None:
            raise SystemExit(3)

        await asyncio.gather(leave())


@pytest.mark.parametrize("node", ["Odd", "Group"])
async def test_its_task_fails_and_a_run_beside_it_succeeds(node: str, tmp_path: Any) -> None:
    registry = Registry()
    registry.load_entry_points()
    for cls in (Ask, Odd, Group):
        registry.register(cls)
    store = MemoryStore()
    await store.open()
    engine = Engine(store, registry, config=EngineConfig(slow_poll_seconds=0.05))
    await engine.open()
    worker = Worker(engine)
    await worker.start()
    service = Service(engine, outbox=Outbox(tmp_path))
    service.start()
    try:
        end = {"class": "EndNode"}
        retry = {"max_attempts": 1}
        for name, first in (("ask", "Ask"), ("odd", node)):
            nodes = {"a": {"class": first, "retry": retry, "next_node": "end"}, "end": end}
            await service.save_workflow(json.dumps({"name": name, "start_at": "a", "nodes": nodes}))
        beside, _ = await service.start_run("ask")
        with pytest.raises(InternalError):
            await engine.command(beside["id"], PauseRun(by="operator", reason="half a character \ud800"))
        odd, _ = await service.start_run("odd")
        await service.signal(beside["id"], "go", 1)
        async with asyncio.timeout(20):
            for run in (odd, beside):
                async for item in service.follow_run(run["id"]):
                    if item.event == "end":
                        break
        failed, done = await service.get_run(odd["id"]), await service.get_run(beside["id"])
    finally:
        service.close()
        await worker.stop()
        await engine.close()
        await store.close()
    assert failed["status"] == "failed"
    assert failed["error"]["node"] == "a"
    assert done["status"] == "succeeded"
    assert asyncio.get_running_loop().get_task_factory() is None, "the loop isn't as it was"
