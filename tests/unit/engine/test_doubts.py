"""Effects that a document tightens, doubts that the node decides, and results that come late."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.engine import Engine
from orchestrator.kernel.commands import ResolveTask
from orchestrator.kernel.events import LateResultNoted, TaskCompleted, TaskInDoubt, TaskStarted
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.sdk.effect import Effect
from orchestrator.stores.contract import ClaimAnswer
from tests.unit.engine.lab import Lab, in_lab


async def _fine(params: Any, ctx: Any) -> Any:
    return "fine"


def _started(state: RunState, journal: list[Any]) -> list[str]:
    assert state.status is RunStatus.SUCCEEDED
    return [event.path for event in journal if isinstance(event, TaskStarted)]


def test_a_document_can_make_a_node_irreversible() -> None:
    async def test(lab: Lab) -> None:
        lab.node("Fine", _fine)
        state = await lab.run(
            {"a": {"class": "Fine", "effect": "irreversible", "next_node": "b"}, "b": {"class": "Fine"}}
        )
        assert _started(state, await lab.journal(state.run_id)) == ["a"]

    in_lab(test)


def test_a_class_that_computes_its_effect_does_not_go_below_what_the_document_says() -> None:
    class Params(BaseModel):
        method: str = "GET"

    def effect_for(cls: Any, params: Any) -> Effect:
        return Effect.READ if params.method == "GET" else Effect.IRREVERSIBLE

    async def test(lab: Lab) -> None:
        lab.node("Http", _fine, Params=Params, effect=Effect.IRREVERSIBLE, effect_for=classmethod(effect_for))
        get: dict[str, Any] = {"class": "Http", "params": {"method": "GET"}}
        state = await lab.run(
            {"a": {**get, "next_node": "b"}, "b": {**get, "effect": "irreversible"}},
        )
        assert _started(state, await lab.journal(state.run_id)) == ["b"]

    in_lab(test)


def test_a_class_says_what_becomes_of_its_doubts() -> None:
    calls: list[int] = []

    async def pay(params: Any, ctx: Any) -> Any:
        calls.append(ctx.attempt)
        if len(calls) < 3:
            raise OSError("the answer was lost")
        return "paid"

    async def test(lab: Lab) -> None:
        lab.node("Pay", pay, effect=Effect.IRREVERSIBLE, on_doubt="retry")
        state = await lab.run({"a": {"class": "Pay"}})
        assert await lab.output(state) == "paid"

    in_lab(test)
    assert calls == [1, 2, 3]


def _late(execute: Any, **attributes: Any) -> tuple[RunState, list[Any]]:
    """A worker loses its lease while its code runs; another one finds the task in doubt; then there is a result."""

    async def test(lab: Lab) -> tuple[RunState, list[Any]]:
        lab.node("Pay", execute, **attributes)
        await lab.save("w", {"a": {"class": "Pay"}})
        run_id = await lab.start("w")
        await asyncio.sleep(1)
        engine = Engine(lab.store, lab.registry, clock=StoreClock(monotonic_us=lab.loop.now_us))
        await engine.open()
        other = Worker(engine, name="w2", heartbeat_thread=False)
        await other.start()
        await lab.store.forget_worker("w1", lost=True)
        await asyncio.sleep(60)
        state, journal = await lab.engine.read_state(run_id), await lab.journal(run_id)
        late = journal[-1]
        assert isinstance(late, LateResultNoted)
        assert any(isinstance(event, TaskInDoubt) for event in journal)
        await lab.engine.command(run_id, ResolveTask(path="a", action="done", output=late.result))
        assert await lab.output(await lab.end(run_id)) == "paid"
        await other.stop()
        await engine.close()
        return state, journal

    return in_lab(test)


def test_a_result_that_comes_after_the_lease_was_lost_is_shown_beside_the_doubt() -> None:
    async def pay(params: Any, ctx: Any) -> Any:
        await asyncio.sleep(3)
        return "paid"

    state, journal = _late(pay, effect=Effect.IRREVERSIBLE)
    assert state.tasks["a"].status is TaskStatus.IN_DOUBT
    assert state.tasks["a"].late_result is not None
    assert journal[-1].worker == "w1"


def test_code_that_was_told_to_end_and_has_a_result_all_the_same_is_heard() -> None:
    async def pay(params: Any, ctx: Any) -> Any:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            return "paid"

    state, journal = _late(pay, effect=Effect.IRREVERSIBLE)
    assert state.tasks["a"].late_result is not None
    assert not any(isinstance(event, TaskCompleted) for event in journal)


def test_the_late_result_of_a_step_is_shown_beside_its_doubt() -> None:
    async def pay(params: Any, ctx: Any) -> Any:
        async def charge() -> str:
            await asyncio.sleep(3)
            return "paid"

        return await ctx.step("charge", charge, effect=Effect.IRREVERSIBLE)

    _, journal = _late(pay)
    assert journal[-1].step == "charge"


@pytest.mark.parametrize("how", ["task", "step"])
def test_what_was_due_when_the_store_lost_writes_is_in_doubt_if_it_is_irreversible(how: str) -> None:
    """Somebody may have begun it under a lease that the store has forgotten."""
    ran: list[str] = []

    async def pay(params: Any, ctx: Any) -> Any:
        async def act() -> str:
            ran.append("paid")
            return "paid"

        if how == "step":
            return await ctx.step("pay", act, effect=Effect.IRREVERSIBLE)
        return await act()

    async def look(params: Any, ctx: Any) -> Any:
        ran.append("looked")
        return "fine"

    async def test(lab: Lab) -> None:
        ask, claimed = lab.store.claim, list[str]()

        async def claim(worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
            answer = await ask(worker, queues=queues, limit=limit)
            first = [one for one in answer.claims if one.path not in claimed]
            claimed.extend(one.path for one in first)
            return msgspec.structs.replace(
                answer,
                claims=[msgspec.structs.replace(one, rolled_back=one in first) for one in answer.claims],
            )

        setattr(lab.store, "claim", claim)  # noqa: B010 - a method of this one object
        lab.node("Look", look)
        lab.node("Pay", pay, effect=Effect.WRITE if how == "step" else Effect.IRREVERSIBLE)
        await lab.save("flow", {"pay": {"class": "Pay", "next_node": "look"}, "look": {"class": "Look"}})
        run_id = await lab.start("flow")
        await lab.worker.start()
        await asyncio.sleep(5)
        state = await lab.engine.read_state(run_id)
        assert state.tasks["pay"].status is TaskStatus.IN_DOUBT
        assert ran == []
        (doubt,) = [event for event in await lab.journal(run_id) if isinstance(event, TaskInDoubt)]
        assert "lost its newest writes" in doubt.reason
        await lab.engine.command(run_id, ResolveTask(path="pay", action="retry"))
        assert (await lab.end(run_id)).status is RunStatus.SUCCEEDED
        assert ran == ["paid", "looked"]

    in_lab(test, work=False)
