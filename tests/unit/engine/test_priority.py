"""A run's own priority: added to its nodes', kept within the limits, and passed on."""

import asyncio
from typing import Any

import msgspec
import pytest

from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.engine.service.facade import Service
from orchestrator.errors import Conflict, UsageError
from orchestrator.sdk.results import Continue
from tests.unit.engine.lab import Lab, in_lab


async def _service(lab: Lab, nodes: dict[str, Any]) -> Service:
    async def give(params: Any, ctx: Any) -> Any:
        return 1

    lab.node("Give", give)
    service = Service(lab.engine)
    await service.save_workflow(
        msgspec.json.encode({"name": "w", "start_at": next(iter(nodes)), "nodes": nodes})
    )
    return service


@pytest.mark.parametrize(
    ("own", "node", "both"), [(0, 7, 7), (5, 7, 12), (-5, 0, -5), (80, 50, 100), (-90, -50, -100)]
)
def test_it_is_added_to_the_nodes_within_the_limits(own: int, node: int, both: int) -> None:
    async def test(lab: Lab) -> None:
        service = await _service(lab, {"a": {"class": "Give", "priority": node}})
        run, _ = await service.start_run("w", priority=own)
        (row,) = await lab.store.queue_rows(run["id"])
        assert row.priority == both

    in_lab(test, work=False)


@pytest.mark.parametrize("priority", [-101, 101])
def test_one_beyond_the_limits_is_refused(priority: int) -> None:
    async def test(lab: Lab) -> None:
        service = await _service(lab, {"a": {"class": "Give"}})
        with pytest.raises(UsageError, match="from -100 to 100"):
            await service.start_run("w", priority=priority)

    in_lab(test, work=False)


def test_another_priority_is_another_request() -> None:
    async def test(lab: Lab) -> None:
        service = await _service(lab, {"a": {"class": "Give"}})
        first, created = await service.start_run("w", priority=3, idempotency_key="k")
        again, repeated = await service.start_run("w", priority=3, idempotency_key="k")
        assert (first["id"], created, repeated) == (again["id"], True, False)
        with pytest.raises(Conflict) as refused:
            await service.start_run("w", idempotency_key="k")
        assert refused.value.reason == "idempotency_key_reused"

    in_lab(test, work=False)


def test_children_successors_and_forks_have_it_too() -> None:
    async def test(lab: Lab) -> None:
        async def child(params: Any, ctx: Any) -> Any:
            return await ctx.run_workflow("leaf", None)

        async def onward(params: Any, ctx: Any) -> Any:
            return Continue({"again": True}) if ctx.input is None else 1

        async def leaf(params: Any, ctx: Any) -> Any:
            return 1

        lab.node("Child", child)
        lab.node("Onward", onward)
        lab.node("Leaf", leaf)
        await lab.save("leaf", {"a": {"class": "Leaf"}})
        await lab.save("w", {"a": {"class": "Child", "next_node": "b"}, "b": {"class": "Onward"}})
        start = await prepare_start(
            lab.engine,
            run_id="first",
            workflow="w",
            version=None,
            namespace="default",
            payload=None,
            priority=9,
        )
        await lab.engine.create(start)
        await lab.end("first")
        await asyncio.sleep(5)
        fork = await Service(lab.engine).fork("first", seq=2)
        runs = list(lab.store._runs)
        assert len(runs) == 5, "the run, its child, its successor and its child, the fork"
        assert fork["id"] in runs
        assert {(await lab.engine.read_state(run)).priority for run in runs} == {9}

    in_lab(test)
