"""Budgets on the engine: a step reserves before its call and says what it used; a pause runs the code again."""

import asyncio
from typing import Any

import pytest

from orchestrator.errors import RetryLater
from orchestrator.kernel.commands import RaiseBudget
from orchestrator.kernel.events import BudgetReserved, BudgetSettled, TaskFailed
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.context import Usage
from tests.unit.engine.lab import Lab, in_lab


async def _until_paused(lab: Lab, run_id: str) -> None:
    for _ in range(1_000):
        await asyncio.sleep(0.1)
        if (await lab.engine.read_state(run_id)).status is RunStatus.PAUSED:
            return
    pytest.fail("the run doesn't pause")


def test_a_step_without_room_is_not_called_until_the_budget_is_raised() -> None:
    async def test(lab: Lab) -> None:
        calls: list[str] = []

        async def execute(params: Any, ctx: Any) -> Any:
            def ask(name: str) -> str:
                calls.append(name)
                ctx.used(tokens=8)
                return name

            return [await ctx.step(name, ask, name, reserve=Usage(tokens=10)) for name in ("one", "two")]

        lab.node("Model", execute)
        await lab.save("w", {"a": {"class": "Model"}}, budget={"tokens": 15})
        run_id = await lab.start("w")
        await _until_paused(lab, run_id)
        await asyncio.sleep(30)
        assert calls == ["one"]
        (row,) = [row for row in await lab.store.queue_rows(run_id) if row.path == "a"]
        assert (row.worker, row.lost) == (None, 0)
        assert "budget" in row.note
        await lab.engine.command(run_id, RaiseBudget(limits={"tokens": 18}))
        state = await lab.end(run_id)
        assert (state.status, calls, state.spent.tokens) == (RunStatus.SUCCEEDED, ["one", "two"], 16)
        journal = await lab.journal(run_id)
        assert [type(event) for event in journal if isinstance(event, TaskFailed)] == []
        assert sum(isinstance(event, BudgetReserved) for event in journal) == 2

    in_lab(test)


def test_a_budget_that_fails_ends_the_run_at_the_step_without_room() -> None:
    async def test(lab: Lab) -> None:
        async def execute(params: Any, ctx: Any) -> Any:
            return await ctx.step("ask", lambda: 1, reserve=Usage(cost_usd=0.5))

        lab.node("Model", execute)
        state = await lab.run({"a": {"class": "Model"}}, budget={"cost_usd": 0.4, "on_exceeded": "fail"})
        assert state.error is not None
        assert (state.status, state.error.type) == (RunStatus.FAILED, "budget_exceeded")

    in_lab(test)


@pytest.mark.parametrize("error", [OSError("no answer"), RetryLater("busy", delay_seconds=1)])
def test_a_call_that_failed_has_used_what_it_said(error: Exception) -> None:
    async def test(lab: Lab) -> None:
        async def execute(params: Any, ctx: Any) -> Any:
            def ask() -> None:
                if ctx.attempt == 1:
                    ctx.used(tokens=3)
                    raise error
                ctx.used(tokens=4)

            await ctx.step("ask", ask, reserve=Usage(tokens=10))

        lab.node("Model", execute)
        state = await lab.run({"a": {"class": "Model"}}, budget={"tokens": 20})
        assert state.status is RunStatus.SUCCEEDED
        journal = await lab.journal(state.run_id)
        settled = [(e.tokens, e.lost) for e in journal if isinstance(e, BudgetSettled)]
        assert settled == [(3, False), (4, False)]

    in_lab(test)


def test_steps_side_by_side_count_apart_and_the_task_beside_them() -> None:
    async def test(lab: Lab) -> None:
        async def execute(params: Any, ctx: Any) -> Any:
            def plain(tokens: int) -> None:
                ctx.used(tokens=tokens)

            async def waits(tokens: int) -> None:
                await asyncio.sleep(tokens)
                ctx.used(tokens=tokens)

            ctx.used(tokens=100)
            await asyncio.gather(
                ctx.step("ask", waits, 2, key="x", reserve=Usage(tokens=9)),
                ctx.step("ask", waits, 1, key="y", reserve=Usage(tokens=9)),
                ctx.step("ask", plain, 4, key="z"),
            )

        lab.node("Model", execute)
        state = await lab.run({"a": {"class": "Model"}})
        settled = [e for e in await lab.journal(state.run_id) if isinstance(e, BudgetSettled)]
        assert {e.step: e.tokens for e in settled} == {"ask[x]": 2, "ask[y]": 1, "ask[z]": 4, "": 100}

    in_lab(test)


@pytest.mark.parametrize("usage", [Usage(), Usage(tokens=-1), Usage(cost_usd=float("nan"))])
def test_a_reservation_that_can_t_be_meant_fails_the_task(usage: Usage) -> None:
    async def test(lab: Lab) -> None:
        async def execute(params: Any, ctx: Any) -> Any:
            return await ctx.step("ask", lambda: 1, reserve=usage)

        lab.node("Model", execute)
        state = await lab.run({"a": {"class": "Model", "retry": {"max_attempts": 1}}})
        assert state.error is not None
        assert state.error.type == "usage"

    in_lab(test)
