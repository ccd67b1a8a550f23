"""Runs that go on as others, children that outlive their parents, and messages that got lost on the way."""

import asyncio
from typing import Any

import pytest

from orchestrator.engine.runs.ids import successor_id
from orchestrator.engine.runs.reconciler import Reconciler
from orchestrator.errors import Conflict
from orchestrator.kernel.commands import CancelRun, DeliverSignal
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.results import Continue
from orchestrator.stores.contract import TaskKind
from tests.unit.engine.lab import Lab, in_lab


async def page_by_page(params: Any, ctx: Any) -> Any:
    page = ctx.input["page"]
    return {"pages": page} if page >= 3 else Continue({"page": page + 1})


async def collect(params: Any, ctx: Any) -> Any:
    return await ctx.run_workflow("pages", {"page": 1})


async def wait(params: Any, ctx: Any) -> Any:
    return await ctx.wait_for_signal("go")


async def prepare(lab: Lab) -> None:
    lab.node("PageByPage", page_by_page)
    lab.node("Collect", collect)
    lab.node("Patient", wait)
    await lab.save("pages", {"a": {"class": "PageByPage"}})
    await lab.save("all", {"a": {"class": "Collect"}})


def lose(lab: Lab) -> list[str]:
    """From now on rows of messages vanish as they are written; gives the paths of those that did."""
    lost: list[str] = []
    enqueue = lab.store._enqueue

    def forgetful(run: Any, wanted: Any, worker: str, now: int) -> Any:
        if wanted.kind is TaskKind.MESSAGE and len(lost) < 1:
            lost.append(wanted.path)
            return None
        return enqueue(run, wanted, worker, now)

    lab.store._enqueue = forgetful
    return lost


def test_a_run_goes_on_as_a_chain_and_each_end_names_the_next() -> None:
    async def test(lab: Lab) -> None:
        await prepare(lab)
        first = await lab.start("pages", {"page": 1})
        second = successor_id(first)
        third = successor_id(second)
        end = await lab.end(first)
        assert end.status is RunStatus.SUCCEEDED
        assert end.handover is not None
        assert end.handover.run == second
        await lab.end(second)
        last = await lab.end(third)
        assert last.continues is not None
        assert (last.continues.run, last.continues.first) == (second, first)
        assert await lab.engine.decode(last.output, run_id=third) == {"pages": 3}
        payload, _ = lab.engine.encode(1, run_id=first)
        late = DeliverSignal(name="x", payload=payload, key="k")
        with pytest.raises(Conflict, match=f"went on as run {second}"):
            await lab.engine.command(first, late)

    in_lab(test)


def test_whoever_waits_for_the_first_run_gets_the_output_of_the_last() -> None:
    async def test(lab: Lab) -> None:
        await prepare(lab)
        run = await lab.start("all")
        state = await lab.end(run)
        assert await lab.engine.decode(state.output, run_id=run) == {"pages": 3}

    in_lab(test)


def test_a_cancel_finds_the_last_run_of_a_chain() -> None:
    async def test(lab: Lab) -> None:
        async def once(params: Any, ctx: Any) -> Any:
            return await ctx.wait_for_signal("go") if ctx.input["n"] else Continue({"n": 1})

        async def parent(params: Any, ctx: Any) -> Any:
            return await ctx.run_workflow("twice", {"n": 0})

        lab.node("Once", once)
        lab.node("Above", parent)
        await lab.save("twice", {"a": {"class": "Once"}})
        await lab.save("above", {"a": {"class": "Above"}})
        run = await lab.start("above")
        await asyncio.sleep(5)
        (task,) = (await lab.engine.read_state(run)).tasks.values()
        (waiting,) = task.waits.values()
        assert waiting.run is not None
        await lab.engine.command(run, CancelRun())
        await lab.end(run)
        assert (await lab.end(successor_id(waiting.run))).status is RunStatus.CANCELLED

    in_lab(test)


@pytest.mark.parametrize(
    ("rule", "status"), [("cancel", RunStatus.CANCELLED), ("abandon", RunStatus.WAITING)]
)
def test_a_child_ends_with_its_parent_unless_it_is_meant_to_go_on(rule: str, status: RunStatus) -> None:
    async def test(lab: Lab) -> None:
        async def parent(params: Any, ctx: Any) -> Any:
            return await ctx.run_workflow("kid")

        await prepare(lab)
        lab.node("Above", parent)
        await lab.save("kid", {"a": {"class": "Patient"}}, on_parent_cancel=rule)
        await lab.save("above", {"a": {"class": "Above"}})
        run = await lab.start("above")
        await asyncio.sleep(5)
        (task,) = (await lab.engine.read_state(run)).tasks.values()
        (waiting,) = task.waits.values()
        assert waiting.run is not None
        await lab.engine.command(run, CancelRun())
        await lab.end(run)
        await asyncio.sleep(30)
        assert await Reconciler(lab.engine).look() == 0
        assert (await lab.engine.read_state(waiting.run)).status is status

    in_lab(test)


def test_nesting_has_a_limit_that_is_named() -> None:
    async def test(lab: Lab) -> None:
        async def deeper(params: Any, ctx: Any) -> Any:
            return await ctx.run_workflow("deep")

        lab.node("Deeper", deeper)
        await lab.save("deep", {"a": {"class": "Deeper"}})
        state = await lab.end(await lab.start("deep"))
        assert state.error is not None
        assert "nesting of runs" in state.error.message

    in_lab(test)


@pytest.mark.parametrize("workflow", ["pages", "all"])
def test_a_lost_message_is_found_from_the_states_and_sent_again(workflow: str) -> None:
    """Of `pages` the start of a successor; of `all` the start of a child."""

    async def test(lab: Lab) -> None:
        await prepare(lab)
        lost = lose(lab)
        run = await lab.start(workflow, {"page": 2})
        state = await lab.end(run)
        assert state.status is RunStatus.SUCCEEDED
        assert len(lost) == 1

    in_lab(test)


def test_a_lost_end_of_a_child_and_a_lost_cancel_are_sent_again() -> None:
    async def test(lab: Lab) -> None:
        async def parent(params: Any, ctx: Any) -> Any:
            return await ctx.run_workflow("kid")

        await prepare(lab)
        lab.node("Above", parent)
        await lab.save("kid", {"a": {"class": "Patient"}})
        await lab.save("above", {"a": {"class": "Above"}})
        for said in ("end", "cancel"):
            run = await lab.start("above")
            await asyncio.sleep(5)
            (task,) = (await lab.engine.read_state(run)).tasks.values()
            (waiting,) = task.waits.values()
            assert waiting.run is not None
            lost = lose(lab)
            if said == "end":
                payload, _ = lab.engine.encode("gone", run_id=waiting.run)
                go = DeliverSignal(name="go", payload=payload, key="k")
                await lab.engine.command(waiting.run, go)
                assert (await lab.end(run)).status is RunStatus.SUCCEEDED
            else:
                await lab.engine.command(run, CancelRun())
                assert (await lab.end(waiting.run)).status is RunStatus.CANCELLED
            assert len(lost) == 1

    in_lab(test)
