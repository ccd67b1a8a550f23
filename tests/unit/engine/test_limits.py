"""Limits on the engine: so many at once, so many in a time, counted over runs by key."""

import asyncio
from typing import Any

import pytest

from orchestrator.kernel.commands import CancelRun, PauseRun, ResumeRun
from orchestrator.kernel.events import TaskFailed
from orchestrator.kernel.status import RunStatus
from tests.unit.engine.lab import Lab, in_lab

LIMITED = {"class": "Work", "limits": {"key": "crm-{{ input.tenant }}", "concurrency": 2}}


class Gauge:
    """How many run at once, by key; the most that ever did."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.order: list[str] = []
        self.started: list[float] = []
        self._seconds = seconds

    async def __call__(self, params: Any, ctx: Any) -> Any:
        key = str(ctx.input["tenant"]) if ctx.input else ""
        self.order.append(ctx.run_id)
        self.started.append(asyncio.get_running_loop().time())
        self.now[key] = self.now.get(key, 0) + 1
        self.most[key] = max(self.most.get(key, 0), self.now[key])
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.now[key] -= 1
        return key


async def _many(lab: Lab, count: int, tenants: int = 1) -> list[str]:
    return [await lab.start("w", {"tenant": number % tenants}) for number in range(count)]


def test_no_more_run_at_once_than_the_limit_says_and_in_the_order_of_waiting() -> None:
    async def test(lab: Lab) -> None:
        gauge = Gauge()
        lab.node("Work", gauge)
        await lab.save("w", {"a": LIMITED})
        runs = await _many(lab, 10, tenants=2)
        ends = [await lab.end(run) for run in runs]
        assert {state.status for state in ends} == {RunStatus.SUCCEEDED}
        assert gauge.most == {"0": 2, "1": 2}
        for tenant in (0, 1):
            mine = [run for run in gauge.order if run in runs[tenant::2]]
            assert mine == runs[tenant::2]
        journal = [event for run in runs for event in await lab.journal(run)]
        assert not [event for event in journal if isinstance(event, TaskFailed)]
        assert await lab.store.accounts() == []

    in_lab(test)


def test_waiting_for_a_slot_takes_no_time_once_it_is_free() -> None:
    async def test(lab: Lab) -> None:
        gauge = Gauge(seconds=1.0)
        lab.node("Work", gauge)
        await lab.save("w", {"a": {"class": "Work", "limits": {"concurrency": 1}}})
        for run in await _many(lab, 5):
            await lab.end(run)
        gaps = [later - earlier for earlier, later in zip(gauge.started, gauge.started[1:], strict=False)]
        assert all(0.99 < gap < 1.5 for gap in gaps), gaps
        assert lab.worker.claims < 30, "it spins"

    in_lab(test)


def test_a_rate_spreads_the_starts() -> None:
    async def test(lab: Lab) -> None:
        gauge = Gauge(seconds=0)
        lab.node("Work", gauge)
        await lab.save("w", {"a": {"class": "Work", "limits": [{"key": "mail", "rate": 2, "per": "10s"}]}})
        for run in await _many(lab, 6):
            await lab.end(run)
        since = [round(at - gauge.started[0]) for at in gauge.started]
        assert since == [0, 0, 5, 10, 15, 20]

    in_lab(test)


def test_a_suspended_task_and_one_that_is_tried_again_hold_no_slot() -> None:
    async def test(lab: Lab) -> None:
        async def execute(params: Any, ctx: Any) -> Any:
            if ctx.attempt == 1:
                await ctx.sleep(20)
                raise OSError("again")
            return ctx.attempt

        lab.node("Work", execute)
        retry = {"max_attempts": 2, "initial": 20}
        await lab.save("w", {"a": {"class": "Work", "limits": {"concurrency": 1}, "retry": retry}})
        runs = await _many(lab, 3)
        await asyncio.sleep(10)
        assert await lab.store.accounts() == []
        for run in runs:
            assert (await lab.end(run)).status is RunStatus.SUCCEEDED

    in_lab(test)


def test_a_paused_run_leaves_the_line_to_others_and_a_cancelled_one_leaves_it() -> None:
    async def test(lab: Lab) -> None:
        gauge = Gauge(seconds=10)
        lab.node("Work", gauge)
        await lab.save("w", {"a": {"class": "Work", "limits": {"concurrency": 1}}})
        runs = await _many(lab, 4)
        await asyncio.sleep(1)
        await lab.engine.command(runs[1], PauseRun())
        await lab.engine.command(runs[2], CancelRun())
        await lab.end(runs[3])
        assert gauge.order == [runs[0], runs[3]]
        await lab.engine.command(runs[1], ResumeRun())
        assert (await lab.end(runs[1])).status is RunStatus.SUCCEEDED

    in_lab(test)


@pytest.mark.parametrize("key", ["{{ input.list }}", "{{ input.none }}", "{{ input.missing }}"])
def test_a_key_that_is_none_fails_the_task_and_names_its_place(key: str) -> None:
    async def test(lab: Lab) -> None:
        lab.node("Work", Gauge())
        node = {"class": "Work", "limits": {"key": key, "concurrency": 1}}
        state = await lab.run({"a": node}, {"list": [1], "none": None})
        assert state.error is not None
        assert state.error.type == "expression_failed"

    in_lab(test)
