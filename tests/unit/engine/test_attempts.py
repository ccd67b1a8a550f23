"""What a node's code may do to itself, and to nothing else: every outcome of an attempt."""

import asyncio
import itertools
import math
import sys
from typing import Any

import pytest

from orchestrator.errors import NotFound, PermanentFailure, RetryLater
from orchestrator.kernel.commands import CancelRun, DeliverSignal
from orchestrator.kernel.events import StepRecorded, TaskCancelled, TaskFailed, TaskInDoubt, TaskSuspended
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.effect import Effect
from orchestrator.sdk.errors import ChildFailed
from tests.unit.engine.lab import Lab, in_lab

ONCE = {"max_attempts": 1}


class Unspeakable(Exception):
    """Can't say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _ends_with(execute: Any, **node: Any) -> RunState:
    async def test(lab: Lab) -> RunState:
        lab.node("Bad", execute)
        return await lab.run({"a": {"class": "Bad", "retry": ONCE, **node}})

    return in_lab(test)


async def _nan(params: Any, ctx: Any) -> Any:
    return {"x": [math.nan]}


async def _object(params: Any, ctx: Any) -> Any:
    return {"x": object()}


async def _surrogate(params: Any, ctx: Any) -> Any:
    return "\ud800"


async def _circle(params: Any, ctx: Any) -> Any:
    items: list[Any] = []
    items.append(items)
    return items


async def _huge(params: Any, ctx: Any) -> Any:
    return "x" * (20 * 1024 * 1024)


@pytest.mark.parametrize("execute", [_nan, _object, _surrogate, _circle, _huge])
def test_what_cant_be_stored_fails_its_task_clearly(execute: Any) -> None:
    state = _ends_with(execute)
    assert state.status is RunStatus.FAILED
    assert state.error is not None
    assert state.error.type == "output_not_storable"
    assert state.error.path == "a"


async def _exit(params: Any, ctx: Any) -> Any:
    sys.exit(3)


async def _interrupt(params: Any, ctx: Any) -> Any:
    raise KeyboardInterrupt


async def _unspeakable(params: Any, ctx: Any) -> Any:
    raise Unspeakable


async def _odd_characters(params: Any, ctx: Any) -> Any:
    raise ValueError("nul \x00 and \ud800")


async def _cancels_itself(params: Any, ctx: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("execute", "error_type", "message"),
    [
        (_exit, "SystemExit", "sys.exit(3)"),
        (_interrupt, "KeyboardInterrupt", ""),
        (_unspeakable, "Unspeakable", "can't be shown"),
        (_odd_characters, "ValueError", "nul \\x00 and \\ud800"),
        (_cancels_itself, "cancelled_error", "by itself"),
    ],
)
def test_whatever_is_raised_ends_that_task_alone(execute: Any, error_type: str, message: str) -> None:
    state = _ends_with(execute)
    assert state.error is not None
    assert state.error.type == error_type
    assert message in state.error.message


def test_an_attempt_that_hangs_is_ended_by_its_timeout_and_tried_again() -> None:
    async def hang(params: Any, ctx: Any) -> Any:
        if ctx.attempt == 1:
            await asyncio.sleep(10_000)
        return ctx.attempt

    async def test(lab: Lab) -> None:
        lab.node("Hangs", hang)
        state = await lab.run({"a": {"class": "Hangs", "timeout": 5}})
        assert await lab.output(state) == 2
        failed = [e for e in await lab.journal(state.run_id) if isinstance(e, TaskFailed)]
        assert [e.error.type for e in failed] == ["timeout"]

    in_lab(test)


def test_a_long_timeout_is_noticed_by_the_slow_poll() -> None:
    async def hang(params: Any, ctx: Any) -> Any:
        await asyncio.sleep(10_000)

    state = _ends_with(hang, timeout=90)
    assert state.error is not None
    assert state.error.type == "timeout"


def test_code_that_ignores_its_cancellation_is_left_behind() -> None:
    released = False

    async def stubborn(params: Any, ctx: Any) -> Any:
        while not released:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                continue

    async def test(lab: Lab) -> None:
        nonlocal released
        lab.node("Stubborn", stubborn)
        state = await lab.run({"a": {"class": "Stubborn", "timeout": 1, "retry": ONCE}})
        assert state.error is not None
        assert state.error.type == "timeout"
        released = True

    in_lab(test)


def test_cancelling_a_run_tells_its_running_task_at_once() -> None:
    told: list[str] = []

    async def work(params: Any, ctx: Any) -> Any:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            told.append(f"cancelled={ctx.cancelled}")
            raise

    async def test(lab: Lab) -> None:
        lab.node("Works", work)
        await lab.save("w", {"a": {"class": "Works"}})
        run_id = await lab.start("w")
        await asyncio.sleep(1)
        await lab.engine.command(run_id, CancelRun())
        state = await lab.end(run_id, within=1)
        assert state.status is RunStatus.CANCELLED
        assert any(isinstance(e, TaskCancelled) for e in await lab.journal(run_id))

    in_lab(test)
    assert told == ["cancelled=True"]


def test_an_error_that_is_pointless_to_repeat_is_not_repeated() -> None:
    async def permanent(params: Any, ctx: Any) -> Any:
        raise PermanentFailure("no")

    async def test(lab: Lab) -> None:
        lab.node("Permanent", permanent)
        state = await lab.run({"a": {"class": "Permanent"}})
        failed = [e for e in await lab.journal(state.run_id) if isinstance(e, TaskFailed)]
        assert len(failed) == 1

    in_lab(test)


def test_retry_later_waits_as_long_as_it_says() -> None:
    starts: list[float] = []

    async def test(lab: Lab) -> None:
        async def later(params: Any, ctx: Any) -> Any:
            starts.append(lab.loop.time())
            if len(starts) < 3:
                raise RetryLater("busy", delay_seconds=7)
            return "done"

        lab.node("Later", later)
        state = await lab.run({"a": {"class": "Later", "retry": ONCE}})
        assert await lab.output(state) == "done"

    in_lab(test)
    assert [round(b - a, 1) for a, b in itertools.pairwise(starts)] == [7.0, 7.0]


# --- steps --------------------------------------------------------------------------------------------------------


def test_a_recorded_step_is_not_called_again_at_the_next_attempt() -> None:
    calls: list[str] = []

    async def steps(params: Any, ctx: Any) -> Any:
        async def first() -> str:
            calls.append("first")
            return "one"

        got = await ctx.step("first", first)
        if ctx.attempt == 1:
            raise OSError("after the step")
        return got

    async def test(lab: Lab) -> None:
        lab.node("Steps", steps)
        state = await lab.run({"a": {"class": "Steps", "retry": {"initial": 0.1}}})
        assert await lab.output(state) == "one"

    in_lab(test)
    assert calls == ["first"]


def test_a_step_that_asks_for_other_arguments_fails_with_both_sides() -> None:
    async def shifty(params: Any, ctx: Any) -> Any:
        async def same(value: int) -> int:
            return value

        await ctx.step("same", same, ctx.attempt)
        raise OSError("again")

    async def test(lab: Lab) -> None:
        lab.node("Shifty", shifty)
        state = await lab.run({"a": {"class": "Shifty", "retry": {"initial": 0.1}}})
        assert state.error is not None
        assert state.error.type == "step_mismatch"
        assert "the journal has `same`" in state.error.message

    in_lab(test)


def test_a_failed_step_that_the_code_survives_is_its_final_answer() -> None:
    calls: list[int] = []

    async def survivor(params: Any, ctx: Any) -> Any:
        async def fails() -> None:
            calls.append(1)
            raise OSError("no")

        try:
            await ctx.step("fails", fails)
        except OSError as error:
            seen = type(error).__name__
        else:
            seen = "nothing"
        await ctx.sleep(5)
        return seen

    async def test(lab: Lab) -> None:
        lab.node("Survivor", survivor)
        state = await lab.run({"a": {"class": "Survivor"}})
        assert state.status is RunStatus.SUCCEEDED
        recorded = [e for e in await lab.journal(state.run_id) if isinstance(e, StepRecorded)]
        assert [e.error.type for e in recorded if e.error] == ["OSError"]

    in_lab(test)
    assert calls == [1]


def test_two_steps_at_once_without_keys_are_an_error() -> None:
    async def both(params: Any, ctx: Any) -> Any:
        async def slow() -> None:
            await asyncio.sleep(1)

        await asyncio.gather(ctx.step("x", slow), ctx.step("y", slow))

    state = _ends_with(both)
    assert state.error is not None
    assert state.error.type == "step_mismatch"
    assert "or give each a `key`" in state.error.message


def test_an_irreversible_attempt_that_fails_is_in_doubt() -> None:
    async def pay(params: Any, ctx: Any) -> Any:
        raise OSError("the answer was lost")

    async def test(lab: Lab) -> None:
        lab.node("Pay", pay, effect=Effect.IRREVERSIBLE)
        await lab.save("w", {"a": {"class": "Pay"}})
        run_id = await lab.start("w")
        await asyncio.sleep(5)
        assert (await lab.engine.read_state(run_id)).status is RunStatus.WAITING
        doubts = [e for e in await lab.journal(run_id) if isinstance(e, TaskInDoubt)]
        assert len(doubts) == 1
        assert "the answer was lost" in doubts[0].reason

    in_lab(test)


# --- waiting and other runs ---------------------------------------------------------------------------------------


def test_a_suspended_task_holds_no_lease_and_no_slot() -> None:
    async def ask(params: Any, ctx: Any) -> Any:
        return await ctx.wait_for_signal("go")

    async def test(lab: Lab) -> None:
        lab.node("Ask", ask)
        await lab.save("w", {"a": {"class": "Ask"}})
        run_id = await lab.start("w")
        await asyncio.sleep(60)
        assert await lab.store.queue_rows(run_id) == []
        assert lab.worker.free == lab.engine.config.concurrency
        assert any(isinstance(e, TaskSuspended) for e in await lab.journal(run_id))
        payload, _ = lab.engine.encode({"ok": 1}, run_id=run_id)
        await lab.engine.command(run_id, DeliverSignal(name="go", payload=payload, key="k"))
        assert await lab.output(await lab.end(run_id)) == {"ok": 1}

    in_lab(test)


def test_a_child_run_gives_its_output_its_failure_or_says_that_it_is_unknown() -> None:
    async def call(params: Any, ctx: Any) -> Any:
        found: list[Any] = []
        for name in ("good", "bad", "nowhere"):
            try:
                found.append(await ctx.run_workflow(name, {"big": "x" * 100_000}))
            except (ChildFailed, NotFound) as error:
                found.append(type(error).__name__)
        return found

    async def size(params: Any, ctx: Any) -> Any:
        return len(ctx.input["big"])

    async def fail(params: Any, ctx: Any) -> Any:
        raise PermanentFailure("no")

    async def test(lab: Lab) -> None:
        lab.node("Call", call)
        lab.node("Size", size)
        lab.node("Fail", fail)
        await lab.save("good", {"a": {"class": "Size"}})
        await lab.save("bad", {"a": {"class": "Fail"}})
        state = await lab.run({"a": {"class": "Call"}})
        assert await lab.output(state) == [100_000, "ChildFailed", "NotFound"]

    in_lab(test)


def test_a_task_without_its_class_is_given_back_with_a_note() -> None:
    async def fine(params: Any, ctx: Any) -> Any:
        return "fine"

    async def test(lab: Lab) -> None:
        lab.node("Fine", fine)
        await lab.save("w", {"a": {"class": "Fine"}})
        node_class = lab.registry.get("Fine")
        lab.engine.registry = type(lab.registry)()
        run_id = await lab.start("w")
        await asyncio.sleep(5)
        (row,) = await lab.store.queue_rows(run_id)
        assert row.note == "worker `w1` lacks class `Fine`"
        assert row.lost == 0
        lab.engine.registry.register(node_class)
        assert await lab.output(await lab.end(run_id)) == "fine"

    in_lab(test)


def test_secrets_are_replaced_in_outputs_errors_and_logs() -> None:
    secret = "hunter2-öß"

    async def tell(params: Any, ctx: Any) -> Any:
        ctx.log(f"using {params.token}")
        if ctx.input == "raise":
            raise PermanentFailure(f"refused {params.token}")
        return {params.token: [params.token, f"<{params.token}>"]}

    async def test(lab: Lab) -> None:
        from pydantic import BaseModel

        class Params(BaseModel):
            token: str

        lab.node("Tell", tell, Params=Params)
        nodes = {"a": {"class": "Tell", "params": {"token": "{{ secrets.X }}"}}}
        await lab.save("w", nodes)
        for value in ("raise", "return"):
            state = await lab.end(await lab.start("w", value))
            text = b"\n".join(await lab.store.read_journal(state.run_id)).decode()
            assert secret not in text
            assert "[secret X]" in text

    in_lab(test, secrets={"X": secret})


def test_a_task_that_takes_workers_down_runs_alone_and_then_fails() -> None:
    """DESIGN, promise 9: two workers lost with nothing recorded, then alone, then it is its own failure."""
    beside: list[int] = []

    async def test(lab: Lab) -> None:
        async def innocent(params: Any, ctx: Any) -> Any:
            await asyncio.sleep(20)

        async def poison(params: Any, ctx: Any) -> Any:
            beside.append(len(lab.worker._attempts))
            await asyncio.sleep(10_000)

        lab.node("Innocent", innocent)
        lab.node("Poison", poison)
        await lab.save("i", {"a": {"class": "Innocent"}})
        await lab.save("p", {"a": {"class": "Poison"}})
        run_id = await lab.start("p")
        for worker in ("dead-1", "dead-2"):
            await lab.store.heartbeat(worker, lease_us=1_000_000)
            assert len((await lab.store.claim(worker, queues=("default",), limit=1)).claims) == 1
            await lab.store.forget_worker(worker, lost=True)
        other = await lab.start("i")
        await lab.worker.start()
        await asyncio.sleep(40)
        assert beside == [1]
        await lab.worker.stop(at_once=True)
        await lab.store.heartbeat("dead-3", lease_us=1_000_000)
        (claim,) = (await lab.store.claim("dead-3", queues=("default",), limit=1)).claims
        assert claim.lost == 2
        await lab.store.forget_worker("dead-3", lost=True)
        await type(lab.worker)(lab.engine, name="w2", heartbeat_thread=False).start()
        state = await lab.end(run_id)
        assert state.error is not None
        assert state.error.type == "worker_lost"
        assert (await lab.end(other)).status is RunStatus.SUCCEEDED
        worker = lab.engine.worker
        assert worker is not None
        await worker.stop()

    in_lab(test, work=False)


def test_a_signal_to_a_run_that_is_just_being_started_does_not_stop_it() -> None:
    """The actor looked for a run under that id, found none, and told so to the start as well."""

    async def fine(params: Any, ctx: Any) -> Any:
        return "fine"

    async def test(lab: Lab) -> None:
        lab.node("Fine", fine)
        await lab.save("w", {"a": {"class": "Fine"}})
        payload, _ = lab.engine.encode(1, run_id="run-1")
        early = asyncio.ensure_future(
            lab.engine.command("run-1", DeliverSignal(name="go", payload=payload, key="k"))
        )
        await asyncio.sleep(0)
        state = await lab.end(await lab.start("w"))
        assert await lab.output(state) == "fine"
        with pytest.raises(NotFound):
            await early

    in_lab(test)
