"""`for_each` with the whole engine on virtual time."""

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.kernel import commands as c
from orchestrator.kernel.events import ItemsStarted, TaskCancelled, TaskCompleted, TaskScheduled
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.results import Route
from tests.unit.engine.lab import Lab, in_lab


class Open(BaseModel):
    """Any params."""

    model_config = ConfigDict(extra="allow")


class Worked:
    """What items did: in what order, and how many at a time."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.running = self.most = 0


def _classes(lab: Lab) -> Worked:
    worked = Worked()

    async def double(params: Any, ctx: Any) -> Any:
        worked.running += 1
        worked.most = max(worked.most, worked.running)
        try:
            await asyncio.sleep(0.1 + params.n % 3)
        finally:
            worked.running -= 1
        if params.n == getattr(params, "bad", None):
            raise ValueError(f"{params.n} is bad")
        worked.done.append(params.n)
        return params.n * 2

    async def show(params: Any, ctx: Any) -> Any:
        return {"seen": ctx.previous, **params.model_dump()}

    lab.node("Double", double, Params=Open)
    lab.node("Show", show, Params=Open)
    return worked


def test_a_node_runs_once_per_item_and_gives_the_outputs_in_item_order() -> None:
    async def test(lab: Lab) -> None:
        worked = _classes(lab)
        state = await lab.run(
            {
                "each": {
                    "class": "Double",
                    "for_each": "{{ input.numbers }}",
                    "params": {"n": "{{ item }}"},
                    "max_parallel": 4,
                    "next_node": "show",
                },
                "show": {"class": "Show", "params": {"all": "{{ nodes.each | length }}"}},
            },
            {"numbers": list(range(25))},
        )
        assert await lab.output(state) == {"seen": [2 * n for n in range(25)], "all": 25}
        assert worked.most == 4
        assert worked.done != sorted(worked.done)
        assert len(state.values) == 2, "the outputs of items don't stay in the state"
        events = await lab.journal(state.run_id)
        opened = 0
        for event in events:
            if isinstance(event, TaskScheduled) and event.item is not None:
                opened += 1
            elif isinstance(event, TaskCompleted) and "[" in event.path:
                opened -= 1
            assert opened <= 4
        assert len([e for e in events if isinstance(e, ItemsStarted)]) == 1

    in_lab(test)


def test_an_empty_list_is_done_at_once_and_what_is_no_list_fails() -> None:
    async def test(lab: Lab) -> None:
        _classes(lab)
        node = {"class": "Double", "for_each": "{{ input }}", "params": {"n": "{{ item }}"}}
        state = await lab.run({"each": node}, [])
        assert state.status is RunStatus.SUCCEEDED
        assert await lab.output(state) == []
        state = await lab.run({"each": node}, {"a": 1})
        assert state.error is not None
        assert state.error.type == "expression_failed"
        assert "`for_each` needs a list, and this is an object" in state.error.message
        state = await lab.run({"each": node}, [0] * 100_001)
        assert state.error is not None
        assert "100,001 is more than the limit of 100,000" in state.error.message

    in_lab(test)


def test_the_output_of_a_run_may_be_the_list_of_its_last_node() -> None:
    async def test(lab: Lab) -> None:
        _classes(lab)
        node = {"class": "Double", "for_each": [1, "{{ input }}", 3], "params": {"n": "{{ item }}"}}
        state = await lab.run({"each": node}, 2, output={"all": "{{ nodes.each }}"})
        assert await lab.output(state) == {"all": [2, 4, 6]}

    in_lab(test)


def test_large_items_and_outputs_are_kept_as_blobs() -> None:
    async def test(lab: Lab) -> None:
        async def grow(params: Any, ctx: Any) -> Any:
            return params.text * 2

        lab.node("Grow", grow, Params=Open)
        texts = [f"{n:05}" * 500 for n in range(30)]
        state = await lab.run(
            {"each": {"class": "Grow", "for_each": "{{ input }}", "params": {"text": "{{ item }}"}}},
            texts,
            output="{{ nodes.each }}",
        )
        assert await lab.output(state) == [text * 2 for text in texts]

    in_lab(test, inline_payload_bytes_max=4_000)


def test_the_first_failure_withdraws_the_rest_and_on_error_takes_over() -> None:
    async def test(lab: Lab) -> None:
        worked = _classes(lab)
        state = await lab.run(
            {
                "each": {
                    "class": "Double",
                    "for_each": "{{ input }}",
                    "params": {"n": "{{ item }}", "bad": 3},
                    "max_parallel": 3,
                    "retry": {"max_attempts": 1},
                    "on_error": {"ValueError": "show"},
                },
                "show": {"class": "Show"},
            },
            list(range(50)),
        )
        assert state.status is RunStatus.SUCCEEDED
        seen = (await lab.output(state))["seen"]["error"]
        assert (seen["type"], seen["path"]) == ("ValueError", "each[3]")
        assert seen["message"] == "item 3: 3 is bad"
        assert len(worked.done) < 10
        assert state.set_aside == {}
        assert any(isinstance(event, TaskCancelled) for event in await lab.journal(state.run_id))

    in_lab(test)


def test_only_what_failed_or_was_stopped_runs_again_when_the_run_is_retried() -> None:
    async def test(lab: Lab) -> None:
        worked = Worked()
        broken = True

        async def work(params: Any, ctx: Any) -> Any:
            await asyncio.sleep(0.1)
            if params.n == 7 and broken:
                raise ValueError("broken")
            worked.done.append(params.n)
            return params.n

        lab.node("Work", work, Params=Open)
        node = {
            "class": "Work",
            "for_each": "{{ input }}",
            "params": {"n": "{{ item }}"},
            "max_parallel": 4,
            "retry": {"max_attempts": 1},
        }
        await lab.save(
            "w", {"each": node, "after": {"class": "Work", "params": {"n": "{{ previous | length }}"}}}
        )
        run_id = await lab.start("w", list(range(20)))
        state = await lab.end(run_id)
        assert state.status is RunStatus.FAILED
        assert state.error is not None
        assert state.error.path == "each[7]"
        broken = False
        await lab.engine.command(run_id, c.RetryRun())
        state = await lab.end(run_id)
        assert state.status is RunStatus.SUCCEEDED
        assert sorted(worked.done) == list(range(20)), "each item has run to its end once"
        assert await lab.output(state) == list(range(20))

    in_lab(test)


def test_errors_are_collected_in_their_places() -> None:
    async def test(lab: Lab) -> None:
        _classes(lab)
        state = await lab.run(
            {
                "each": {
                    "class": "Double",
                    "for_each": "{{ input }}",
                    "params": {"n": "{{ item }}", "bad": 1},
                    "on_item_error": "collect",
                    "retry": {"max_attempts": 2},
                }
            },
            [0, 1, 2],
        )
        assert state.status is RunStatus.SUCCEEDED
        first, second, third = await lab.output(state)
        assert (first, third) == (0, 4)
        assert second["error"]["type"] == "ValueError"
        assert second["error"]["attempt"] == 2
        assert state.counts.failed == 1

    in_lab(test)


def test_enough_items_end_it_early() -> None:
    async def test(lab: Lab) -> None:
        worked = _classes(lab)
        node = {
            "class": "Double",
            "for_each": "{{ input }}",
            "params": {"n": "{{ item }}"},
            "max_parallel": 5,
        }
        numbers = [2, 0, 3, 6, 9, 12, 15, 18, 21]
        state = await lab.run({"each": {**node, "complete_when": 3}}, numbers)
        three = await lab.output(state)
        assert len(three) == 3
        assert three == sorted(three)
        worked.done.clear()
        state = await lab.run(
            {"each": {**node, "max_parallel": 2, "complete_when": "{{ output > 5 and item == 3 }}"}}, numbers
        )
        assert 6 in await lab.output(state)
        assert 21 not in worked.done
        state = await lab.run({"each": {**node, "complete_when": "{{ input | length // 4 }}"}}, numbers)
        assert len(await lab.output(state)) == 2
        await asyncio.sleep(30)
        assert worked.running == 0, "what was withdrawn was told"

    in_lab(test)


def test_an_item_that_routes_fails_clearly() -> None:
    async def test(lab: Lab) -> None:
        async def choose(params: Any, ctx: Any) -> Any:
            return Route("somewhere")

        lab.node("Choose", choose, Params=Open)
        state = await lab.run({"each": {"class": "Choose", "for_each": [1, 2]}})
        assert state.error is not None
        assert state.error.type == "route_not_allowed"
        assert "an item of a `for_each` can't choose a route, and `each[" in state.error.message

    in_lab(test)


def test_items_wait_for_time_signals_and_other_runs() -> None:
    async def test(lab: Lab) -> None:
        async def wait(params: Any, ctx: Any) -> Any:
            await ctx.sleep(60)
            name = await ctx.wait_for_signal(f"go-{params.n}", timeout=1_000)
            return [name, await ctx.run_workflow("child", params.n)]

        async def echo(params: Any, ctx: Any) -> Any:
            return ctx.input

        lab.node("Wait", wait, Params=Open)
        lab.node("Echo", echo, Params=Open)
        await lab.save("child", {"echo": {"class": "Echo"}})
        node = {"class": "Wait", "for_each": "{{ input }}", "params": {"n": "{{ item }}"}}
        await lab.save("w", {"each": node})
        run_id = await lab.start("w", [1, 2, 3])
        await asyncio.sleep(10)
        state = await lab.engine.read_state(run_id)
        assert state.status is RunStatus.WAITING
        for n in (3, 1, 2):
            payload, _ = lab.engine.encode(f"s{n}", run_id=run_id)
            await lab.engine.command(run_id, c.DeliverSignal(name=f"go-{n}", payload=payload, key=str(n)))
        state = await lab.end(run_id)
        assert await lab.output(state) == [["s1", 1], ["s2", 2], ["s3", 3]]

    in_lab(test)


def test_a_fork_in_the_middle_reuses_the_items_that_were_done() -> None:
    async def test(lab: Lab) -> None:
        worked = _classes(lab)
        node = {
            "class": "Double",
            "for_each": "{{ input }}",
            "params": {"n": "{{ item }}"},
            "max_parallel": 2,
        }
        await lab.save("w", {"each": {**node, "next_node": "show"}, "show": {"class": "Show"}})
        run_id = await lab.start("w", list(range(10)))
        parent = await lab.end(run_id)
        events = await lab.journal(run_id)
        done = [e for e in events if isinstance(e, TaskCompleted) and "[" in e.path]
        cut = next(e for e in events if e.seq > done[4].seq and e.group != done[4].group)
        worked.done.clear()
        fork = await lab.engine.fork(c.ForkRun(run_id="fork", parent_run=run_id, seq=cut.group - 1))
        state = await lab.end(fork.run_id)
        assert await lab.output(state) == await lab.output(parent)
        assert len(worked.done) == 5
        again = await lab.journal("fork")
        half = next(e for e in again if isinstance(e, TaskCompleted))
        second = await lab.engine.fork(
            c.ForkRun(run_id="second", parent_run="fork", seq=_group_end(again, half.group))
        )
        state = await lab.end(second.run_id)
        assert await lab.output(state) == await lab.output(parent)

    def _group_end(events: list[Any], group: int) -> int:
        return max(event.seq for event in events if event.group == group)

    in_lab(test)


def test_a_cancelled_run_withdraws_its_items() -> None:
    async def test(lab: Lab) -> None:
        worked = _classes(lab)
        node = {"class": "Double", "for_each": "{{ input }}", "params": {"n": "{{ item }}"}}
        await lab.save("w", {"each": node})
        run_id = await lab.start("w", list(range(1000)))
        await asyncio.sleep(5)
        await lab.engine.command(run_id, c.PauseRun())
        await asyncio.sleep(5)
        assert worked.running == 0
        await lab.engine.command(run_id, c.ResumeRun())
        await asyncio.sleep(5)
        assert worked.running > 0
        await lab.engine.command(run_id, c.CancelRun())
        state = await lab.end(run_id)
        assert state.status is RunStatus.CANCELLED
        await asyncio.sleep(1)
        assert worked.running == 0
        assert state.counts.total < 200

    in_lab(test)
