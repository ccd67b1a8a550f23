"""`ctx.gather`, and what `ctx.now`, `ctx.random` and `ctx.uuid` draw."""

import asyncio
from typing import Any

import pytest

from orchestrator.errors import PermanentFailure, RetryLater
from orchestrator.kernel.commands import CancelRun, DeliverSignal, ResolveTask
from orchestrator.kernel.events import StepRecorded, StepStarted, TaskCompleted, TaskFailed, TaskSuspended
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.sdk.effect import Effect
from orchestrator.sdk.errors import SignalTimeout
from tests.unit.engine.lab import Lab, in_lab

SOON = {"max_attempts": 3, "initial": 0.1}


async def _say(lab: Lab, run_id: str, name: str, value: Any) -> None:
    payload, _ = lab.engine.encode(value, run_id=run_id)
    await lab.engine.command(run_id, DeliverSignal(name=name, payload=payload, key=f"{name} {value}"))


def test_branches_give_their_results_in_order_and_record_each_step_once() -> None:
    calls: list[str] = []

    async def slowly(name: str, seconds: float) -> str:
        calls.append(name)
        await asyncio.sleep(seconds)
        return name

    async def gathers(params: Any, ctx: Any) -> Any:
        async def branch(name: str, seconds: float) -> list[str]:
            first = await ctx.step("get", slowly, name + "1", seconds)
            return [first, await ctx.step("get", slowly, name + "2", seconds)]

        got = await ctx.gather(branch("a", 3), branch("b", 1), ctx.step("get", slowly, "c", 2))
        if ctx.attempt == 1:
            raise OSError("after the gathering")
        return got

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        began = lab.loop.time()
        state = await lab.run({"a": {"class": "Gathers", "retry": SOON}})
        assert await lab.output(state) == [["a1", "a2"], ["b1", "b2"], "c"]
        assert lab.loop.time() - began < 7.0, "they ran one after the other"
        steps = [e.step for e in await lab.journal(state.run_id) if isinstance(e, StepRecorded)]
        assert sorted(steps) == [
            "gather/0/get",
            "gather/0/get#2",
            "gather/1/get",
            "gather/1/get#2",
            "gather/2/get",
        ]

    in_lab(test)
    assert sorted(calls) == ["a1", "a2", "b1", "b2", "c"]


def test_a_branch_that_waits_does_not_stop_one_that_works() -> None:
    calls: list[str] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def work(name: str) -> str:
            calls.append(name)
            await asyncio.sleep(5)
            return name

        async def waits() -> str:
            await ctx.sleep(60)
            return await ctx.step("late", work, "late")

        async def works() -> str:
            await ctx.step("one", work, "one")
            return await ctx.step("two", work, "two")

        return await ctx.gather(waits(), works())

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers"}})
        assert await lab.output(state) == ["late", "two"]
        suspended = [e for e in await lab.journal(state.run_id) if isinstance(e, TaskSuspended)]
        assert [[w.step for w in e.waits] for e in suspended] == [["gather/0/sleep"]]

    in_lab(test)
    assert calls == ["one", "two", "late"]


def test_a_task_whose_branches_all_wait_has_several_wakers() -> None:
    async def gathers(params: Any, ctx: Any) -> Any:
        async def patient() -> str:
            try:
                return await ctx.wait_for_signal("never", timeout=40)
            except SignalTimeout:
                return "nothing came"

        return await ctx.gather(
            ctx.wait_for_signal("go"), ctx.wait_for_signal("go"), patient(), ctx.run_workflow("child", 3)
        )

    async def double(params: Any, ctx: Any) -> Any:
        await ctx.sleep(20)
        return ctx.input * 2

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        lab.node("Double", double)
        await lab.save("child", {"a": {"class": "Double"}})
        await lab.save("w", {"a": {"class": "Gathers"}})
        run_id = await lab.start("w")
        await asyncio.sleep(10)
        state = await lab.engine.read_state(run_id)
        assert state.status is RunStatus.WAITING
        assert sorted(state.tasks["a"].waits) == [
            "gather/0/signal:go",
            "gather/1/signal:go",
            "gather/2/signal:never",
            "gather/3/workflow:child",
        ]
        assert lab.worker.free == lab.engine.config.concurrency
        await _say(lab, run_id, "go", 1)
        await asyncio.sleep(1)
        assert len((await lab.engine.read_state(run_id)).tasks["a"].waits) == 3
        await _say(lab, run_id, "go", 2)
        assert await lab.output(await lab.end(run_id)) == [1, 2, "nothing came", 6]

    in_lab(test)


def test_a_gathering_within_a_branch_nests() -> None:
    async def gathers(params: Any, ctx: Any) -> Any:
        async def value(number: int) -> int:
            return number

        async def inner(number: int) -> Any:
            before = await ctx.step("value", value, number)
            pair = await ctx.gather(ctx.step("value", value, number + 1), ctx.sleep(number))
            more = await ctx.gather(ctx.wait_for_signal(f"s{number}", timeout=5), return_exceptions=True)
            return [before, pair, [type(one).__name__ for one in more]]

        return await ctx.gather(inner(1), inner(10))

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers"}})
        assert await lab.output(state) == [
            [1, [2, None], ["SignalTimeout"]],
            [10, [11, None], ["SignalTimeout"]],
        ]
        steps = {e.step for e in await lab.journal(state.run_id) if isinstance(e, StepRecorded)}
        assert steps == {
            "gather/0/value",
            "gather/0/gather/0/value",
            "gather/1/value",
            "gather/1/gather/0/value",
        }

    in_lab(test)


def test_a_failure_lets_the_others_come_to_rest_and_gives_up_what_waits() -> None:
    calls: list[str] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def slow() -> str:
            await asyncio.sleep(5)
            calls.append("slow")
            return "slow"

        async def fails() -> None:
            calls.append("fails")
            raise PermanentFailure("no")

        try:
            await ctx.gather(ctx.step("slow", slow), ctx.step("fails", fails), ctx.wait_for_signal("never"))
        except PermanentFailure as error:
            await ctx.sleep(10)
            return f"went on after {error}"

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers"}})
        assert await lab.output(state) == "went on after no"

    in_lab(test)
    assert calls == ["fails", "slow"]


def test_an_error_that_a_branch_lets_out_is_tried_again_with_the_task() -> None:
    calls: list[str] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def good() -> str:
            calls.append("good")
            return "good"

        async def shaky() -> str:
            calls.append("shaky")
            if calls.count("shaky") == 1:
                raise OSError("once")
            return "shaky"

        async def both() -> Any:
            await ctx.step("good", good)
            return await ctx.step("good", good)

        return await ctx.gather(ctx.step("shaky", shaky), both())

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers", "retry": SOON}})
        assert await lab.output(state) == ["shaky", "good"]
        failed = [e for e in await lab.journal(state.run_id) if isinstance(e, TaskFailed)]
        assert [e.error.type for e in failed] == ["OSError"]

    in_lab(test)
    assert sorted(calls) == ["good", "good", "shaky", "shaky"]


def test_a_failure_that_the_code_survives_is_the_final_answer_of_its_step() -> None:
    calls: list[str] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def fails(name: str) -> None:
            calls.append(name)
            raise OSError(name)

        got = await ctx.gather(
            ctx.step("f", fails, "one"), ctx.step("f", fails, "two"), return_exceptions=True
        )
        await ctx.sleep(5)
        return [str(error) for error in got]

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers"}})
        assert await lab.output(state) == ["one", "two"]

    in_lab(test)
    assert sorted(calls) == ["one", "two"]


def test_retry_later_in_a_branch_repeats_that_step_alone() -> None:
    calls: list[str] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def busy() -> str:
            calls.append("busy")
            if calls.count("busy") < 3:
                raise RetryLater("busy", delay_seconds=7)
            return "at last"

        async def fine() -> str:
            calls.append("fine")
            return "fine"

        return await ctx.gather(ctx.step("busy", busy), ctx.step("fine", fine))

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers"}})
        assert await lab.output(state) == ["at last", "fine"]

    in_lab(test)
    assert sorted(calls) == ["busy", "busy", "busy", "fine"]


def test_an_irreversible_step_of_a_branch_in_doubt_leaves_the_others_their_results() -> None:
    calls: list[str] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def pay() -> str:
            calls.append("pay")
            raise OSError("the answer was lost")

        async def slow() -> str:
            await asyncio.sleep(5)
            calls.append("slow")
            return "slow"

        return await ctx.gather(
            ctx.step("pay", pay, effect=Effect.IRREVERSIBLE), ctx.step("slow", slow), return_exceptions=True
        )

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        await lab.save("w", {"a": {"class": "Gathers"}})
        run_id = await lab.start("w")
        await asyncio.sleep(20)
        assert (await lab.engine.read_state(run_id)).tasks["a"].status is TaskStatus.IN_DOUBT
        paid, _ = lab.engine.encode("paid by hand", run_id=run_id)
        await lab.engine.command(run_id, ResolveTask(path="a", action="done", output=paid))
        assert await lab.output(await lab.end(run_id)) == ["paid by hand", "slow"]

    in_lab(test)
    assert calls == ["pay", "slow"]


def test_a_cancelled_run_ends_all_branches_at_once() -> None:
    ended: list[int] = []

    async def gathers(params: Any, ctx: Any) -> Any:
        async def branch(number: int) -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                ended.append(number)

        await ctx.gather(branch(0), ctx.sleep(5), branch(2))

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        await lab.save("w", {"a": {"class": "Gathers"}})
        run_id = await lab.start("w")
        await asyncio.sleep(10)
        await lab.engine.command(run_id, CancelRun())
        assert (await lab.end(run_id, within=1)).status is RunStatus.CANCELLED

    in_lab(test)
    assert ended == [0, 2]


def test_what_is_no_coroutine_can_be_no_branch() -> None:
    async def gathers(params: Any, ctx: Any) -> Any:
        async def fine() -> None:
            pass

        task = asyncio.ensure_future(fine())
        try:
            await ctx.gather(fine(), task)
        finally:
            await task

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        state = await lab.run({"a": {"class": "Gathers"}})
        assert state.error is not None
        assert state.error.type == "usage"
        assert "branch 1 is a Task" in state.error.message

    in_lab(test)


@pytest.mark.parametrize("name", ["gather/0/x", "ctx.now", "gather#2/0/x"])
def test_names_that_branches_and_values_use_are_refused_for_steps(name: str) -> None:
    async def names(params: Any, ctx: Any) -> Any:
        async def fine() -> None:
            pass

        await ctx.step(name, fine)

    async def test(lab: Lab) -> None:
        lab.node("Names", names)
        state = await lab.run({"a": {"class": "Names"}})
        assert state.error is not None
        assert "can't begin with" in state.error.message

    in_lab(test)


def test_the_same_key_for_two_steps_at_once_is_an_error() -> None:
    async def both(params: Any, ctx: Any) -> Any:
        async def slow() -> None:
            await asyncio.sleep(1)

        await asyncio.gather(ctx.step("x", slow, key="k"), ctx.step("x", slow, key="k"))

    async def test(lab: Lab) -> None:
        lab.node("Both", both)
        state = await lab.run({"a": {"class": "Both"}})
        assert state.error is not None
        assert "step `x[k]` runs already" in state.error.message

    in_lab(test)


def test_branches_that_write_have_idempotency_keys_of_their_own() -> None:
    async def gathers(params: Any, ctx: Any) -> Any:
        async def branch() -> str:
            return ctx.step_idempotency_key("charge")

        return [*await ctx.gather(branch(), branch()), ctx.step_idempotency_key("charge")]

    async def test(lab: Lab) -> None:
        lab.node("Gathers", gathers)
        assert len(set(await lab.output(await lab.run({"a": {"class": "Gathers"}})))) == 3

    in_lab(test)


# --- what is drawn ------------------------------------------------------------------------------------------------


def test_what_is_drawn_stays_the_same_at_every_attempt_and_after_every_wait() -> None:
    seen: list[Any] = []

    async def draws(params: Any, ctx: Any) -> Any:
        async def branch() -> str:
            return str(ctx.uuid())

        drawn = [ctx.now().isoformat(), ctx.random(), ctx.random(), str(ctx.uuid()), ctx.now().isoformat()]
        seen.append(drawn)
        await ctx.sleep(100)
        ids = await ctx.gather(branch(), branch())
        if ctx.attempt < 3:
            seen.append(ids)
            raise OSError("again")
        return [drawn, ids]

    async def test(lab: Lab) -> None:
        lab.node("Draws", draws)
        state = await lab.run({"a": {"class": "Draws", "retry": SOON}})
        drawn, ids = await lab.output(state)
        assert seen == [drawn, drawn, ids, drawn, ids, drawn]
        assert drawn[1] != drawn[2]
        assert ids[0] != ids[1]
        names = [e.name for e in await lab.journal(state.run_id) if isinstance(e, StepRecorded)]
        assert names.count("ctx.random") == 2
        assert names.count("ctx.uuid") == 3

    in_lab(test)


def test_a_value_is_written_with_what_comes_next_and_before_the_world_is_touched() -> None:
    durable: list[list[str]] = []

    async def test(lab: Lab) -> None:
        async def draws(params: Any, ctx: Any) -> Any:
            async def look(what: str) -> str:
                recorded = [e.step for e in await lab.journal(ctx.run_id) if isinstance(e, StepRecorded)]
                durable.append([what, *recorded])
                return what

            first = ctx.random()
            await ctx.step("thinks", look, "pure", effect=Effect.PURE)
            second = ctx.uuid()
            await ctx.step("writes", look, "write")
            third = ctx.now()
            await ctx.step("pays", look, "irreversible", effect=Effect.IRREVERSIBLE)
            return [first, second, third, ctx.random()]

        lab.node("Draws", draws)
        state = await lab.run({"a": {"class": "Draws"}})
        journal = await lab.journal(state.run_id)
        started = next(i for i, e in enumerate(journal) if isinstance(e, StepStarted))
        assert isinstance(journal[started - 1], StepRecorded)
        completed = next(i for i, e in enumerate(journal) if isinstance(e, TaskCompleted))
        assert getattr(journal[completed - 1], "step", None) == "ctx.random#2"

    in_lab(test)
    assert durable == [
        ["pure"],
        ["write", "ctx.random", "thinks", "ctx.uuid"],
        ["irreversible", "ctx.random", "thinks", "ctx.uuid", "writes", "ctx.now"],
    ]
