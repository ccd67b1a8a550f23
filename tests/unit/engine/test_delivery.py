"""Messages between runs come at least once, and in any order."""

import asyncio
from typing import Any

import pytest

from orchestrator.engine.attempts.context import child_id
from orchestrator.engine.runs import delivery
from orchestrator.kernel.commands import CancelRun
from orchestrator.kernel.messages import CancelChild, StartChild
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import Parent
from tests.unit.engine.lab import Lab, in_lab

STEP = "workflow:kid"


async def prepare(lab: Lab) -> str:
    """A parent that waits for its child; gives the parent's id."""

    async def hand_on(params: Any, ctx: Any) -> Any:
        return await ctx.run_workflow("kid")

    async def wait(params: Any, ctx: Any) -> Any:
        return await ctx.wait_for_signal("go")

    lab.node("HandOn", hand_on)
    lab.node("Patient", wait)
    await lab.save("kid", {"a": {"class": "Patient"}})
    await lab.save("parent", {"a": {"class": "HandOn"}})
    return await lab.start("parent")


def start_of(child: str, parent: str) -> StartChild:
    return StartChild(to=child, workflow="kid", depth=1, parent=Parent(run=parent, path="a", step=STEP))


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_a_child_that_nobody_waits_for_does_not_live_on(cancelled_first: bool) -> None:
    async def test(lab: Lab) -> None:
        parent = await prepare(lab)
        await lab.engine.command(parent, CancelRun())
        await lab.end(parent)
        child = "run-child"
        messages = [CancelChild(to=child), start_of(child, parent)]
        for message in messages if cancelled_first else reversed(messages):
            await delivery._hand_over(lab.engine, message)

        assert (await lab.end(child)).status is RunStatus.CANCELLED

    in_lab(test)


def test_a_child_that_is_waited_for_lives_however_often_its_start_comes() -> None:
    async def test(lab: Lab) -> None:
        parent = await prepare(lab)
        child = child_id(parent, "a", STEP, 0)
        await asyncio.sleep(5)
        for _ in range(2):
            await delivery._hand_over(lab.engine, start_of(child, parent))
        await asyncio.sleep(5)

        assert (await lab.engine.read_state(child)).status is RunStatus.WAITING
        kinds = [event.kind for event in await lab.journal(child)]
        assert kinds.count("run_started") == 1

    in_lab(test)
