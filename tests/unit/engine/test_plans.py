"""Plans: nodes for one run, laid by a task that waits for them."""

from typing import Any

from orchestrator.kernel.commands import RetryRun
from orchestrator.kernel.events import TaskScheduled
from orchestrator.kernel.status import RunStatus
from orchestrator.model.declarations import Effect
from orchestrator.sdk.results import Plan, Route
from tests.unit.engine.lab import Lab, in_lab


async def echo(params: Any, ctx: Any) -> Any:
    return {"path": ctx.path, "previous": ctx.previous, "saw": ctx.params_written}


def planner(plan: Any) -> Any:
    async def execute(params: Any, ctx: Any) -> Any:
        return plan(ctx) if callable(plan) else plan

    return execute


def prepare(lab: Lab, plan: Any, **more: Any) -> None:
    lab.node("Echo", echo)
    lab.node("Mighty", echo, effect=Effect.IRREVERSIBLE)
    lab.node("Forbidden", echo)
    lab.node("Planner", planner(plan), may_use=("Echo", "Mighty", "Planner"), max_nodes=4, **more)


DIAMOND = Plan(
    {
        "a": {"class": "Echo", "next_node": ["b", "c"]},
        "b": {"class": "Echo", "next_node": "d"},
        "c": {"class": "Echo", "next_node": "d"},
        "d": {"class": "Echo"},
    },
    start_at="a",
    reason="two at once",
)


def test_a_plan_runs_as_a_block_and_one_arrival_goes_on() -> None:
    async def test(lab: Lab) -> None:
        prepare(lab, DIAMOND)
        state = await lab.run(
            {
                "s": {"class": "Echo", "next_node": ["p", "x"]},
                "p": {"class": "Planner", "next_node": "j"},
                "x": {"class": "Echo", "next_node": "j"},
                "j": {"class": "Echo"},
            }
        )
        assert state.status is RunStatus.SUCCEEDED
        output = await lab.output(state)
        assert output["previous"].keys() == {"p", "x"}
        assert output["previous"]["p"]["path"] == "p/d"
        assert output["previous"]["p"]["previous"].keys() == {"b", "c"}
        paths = [e.path for e in await lab.journal(state.run_id) if isinstance(e, TaskScheduled)]
        assert paths.count("j") == 1
        assert {"p/a", "p/b", "p/c", "p/d"} <= set(paths)
        assert not state.plans

    in_lab(test)


def test_the_output_of_several_sinks_is_a_map_by_their_ids() -> None:
    async def test(lab: Lab) -> None:
        plan = Plan(
            {"a": {"class": "Echo", "next_node": ["b", "c"]}, "b": {"class": "Echo"}, "c": {"class": "Echo"}},
            start_at="a",
        )
        prepare(lab, plan)
        state = await lab.run({"p": {"class": "Planner"}})
        assert (await lab.output(state)).keys() == {"b", "c"}

    in_lab(test)


def test_a_second_visit_lays_a_plan_of_its_own_and_plans_lie_in_plans() -> None:
    async def test(lab: Lab) -> None:
        def plan(ctx: Any) -> Any:
            if "/" in ctx.path:
                return Plan({"deep": {"class": "Echo"}}, start_at="deep")
            return Plan(
                {"inner": {"class": "Planner", "next_node": "e"}, "e": {"class": "Echo"}}, start_at="inner"
            )

        prepare(lab, plan)

        async def twice(params: Any, ctx: Any) -> Any:
            return Route("again" if ctx.path == "t" else "done")

        lab.node("Twice", twice, routes=("again", "done"))
        state = await lab.run(
            {
                "p": {"class": "Planner", "next_node": "t"},
                "t": {"class": "Twice", "next_node": {"again": "p", "done": "end"}},
                "end": {"class": "Echo"},
            }
        )
        assert state.status is RunStatus.SUCCEEDED, state.error
        paths = {e.path for e in await lab.journal(state.run_id) if isinstance(e, TaskScheduled)}
        assert {"p/inner", "p/inner/deep", "p/e", "p@2/inner", "p@2/inner/deep", "p@2/e"} <= paths

    in_lab(test)


def test_a_faulty_plan_fails_the_attempt_with_every_fault() -> None:
    async def test(lab: Lab) -> None:
        plan = Plan(
            {
                "a": {"class": "Forbidden", "next_node": "gone"},
                "b": {"class": "Echo"},
                "c": {"class": "Mighty"},
            },
            start_at="a",
        )
        prepare(lab, plan)
        state = await lab.run({"p": {"class": "Planner", "retry": {"max_attempts": 2, "initial": 0}}})
        assert state.status is RunStatus.FAILED
        assert state.error is not None
        assert state.error.type == "plan_refused"
        assert "Forbidden" in state.error.message
        assert "gone" in state.error.message
        failed = [e for e in await lab.journal(state.run_id) if e.kind == "task_failed"]
        assert len(failed) == 1, "the same plan would come again"

    in_lab(test)


def test_a_plan_has_no_more_rights_than_the_node_that_lays_it() -> None:
    async def test(lab: Lab) -> None:
        prepare(lab, Plan({"c": {"class": "Mighty"}}, start_at="c"))
        state = await lab.run({"p": {"class": "Planner", "retry": {"max_attempts": 1}}})
        assert state.error is not None
        assert "has only `write`" in state.error.message

    in_lab(test)


def test_a_retry_goes_on_in_the_plan_and_doesnt_make_it_again() -> None:
    made: list[str] = []
    broken = [True]

    async def test(lab: Lab) -> None:
        def plan(ctx: Any) -> Any:
            made.append(ctx.path)
            return Plan({"a": {"class": "Echo", "next_node": "b"}, "b": {"class": "Planner"}}, start_at="a")

        def either(ctx: Any) -> Any:
            if ctx.path != "p":
                if broken[0]:
                    raise OSError("broken")
                return "mended"
            return plan(ctx)

        prepare(lab, either)
        state = await lab.run(
            {
                "p": {"class": "Planner", "retry": {"max_attempts": 1}, "next_node": "z"},
                "z": {"class": "Echo"},
            }
        )
        broken[0] = False
        assert state.status is RunStatus.FAILED
        await lab.engine.command(state.run_id, RetryRun())
        state = await lab.end(state.run_id)
        assert state.status is RunStatus.SUCCEEDED, state.error
        assert made == ["p"]
        assert (await lab.output(state))["previous"] == "mended"

    in_lab(test)
