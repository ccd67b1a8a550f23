"""Forks as people ask for them, planned and started, on a real engine and every store of this machine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import models
from orchestrator.engine.service.facade import Service
from orchestrator.errors import Conflict, NotFound, UsageError
from orchestrator.sdk import BaseNode, Context, Effect, Route
from orchestrator.stores.contract import Store
from orchestrator.stores.memory import MemoryStore
from orchestrator.stores.sqlite import SqliteStore
from tests.e2e.test_service import document, ran, serving, until_over, until_status

did: list[str] = []
"""What the nodes below have done to the world, in order."""


class Book(BaseNode):
    """Writes, and takes a step that writes too."""

    effect = Effect.WRITE

    async def execute(self, params: Any, ctx: Context) -> Any:
        did.append(ctx.path)
        charged = await ctx.step("charge", lambda: did.append(f"{ctx.path}#charge") or ctx.path)
        return {"booked": charged, "after": ctx.previous}


class Pick(BaseNode):
    """Goes left, and says what that took."""

    routes = ("left", "right")
    effect = Effect.READ

    async def execute(self, params: Any, ctx: Context) -> Any:
        ctx.set_variables(picked=ctx.path)
        return Route("left", output="picked", cost_usd=0.25, usage={"tokens": 100})


class Again(BaseNode):
    """Two rounds, then it is done."""

    effect = Effect.PURE

    async def execute(self, params: Any, ctx: Context) -> Any:
        visit = int(ctx.path.partition("@")[2] or 1)
        return Route("again" if visit < 3 else "done", output=visit)


class Look(BaseNode):
    """Looks, changes nothing."""

    effect = Effect.PURE

    async def execute(self, params: Any, ctx: Context) -> Any:
        return {"saw": ctx.previous}


CLASSES = (Book, Pick, Again, Look)
CHOICE = {
    "begin": {"class": "Book", "next_node": "pick"},
    "pick": {"class": "Pick"},
    "left": {"class": "Book", "next_node": "end"},
    "right": {"class": "Book", "next_node": "end"},
    "end": {"class": "Look"},
}


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(f"sqlite:///{tmp_path}/store.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def service(store: Store, tmp_path: Path) -> AsyncIterator[Service]:
    did.clear()
    async with serving(store, tmp_path) as service:
        for cls in CLASSES:
            service.engine.registry.register(cls)
        yield service


async def events_of(service: Service, run: str) -> list[dict[str, Any]]:
    return (await service.read_journal(run, limit=1_000))["items"]


async def ended(service: Service, run: str, path: str) -> tuple[int, int]:
    """The event before the group that completed the task, and the last one of that group."""
    events = await events_of(service, run)
    group = next(e["group"] for e in events if e["kind"] == "task_completed" and e["path"] == path)
    return group - 1, max(e["seq"] for e in events if e["group"] == group)


def paths(listed: dict[str, Any]) -> list[str]:
    return [one["path"] for one in listed["items"]]


async def test_a_plan_says_what_is_reused_repeated_and_paid_and_starts_nothing(service: Service) -> None:
    run = await ran(service, CHOICE)
    before = list(did)
    plan = await service.plan_fork(run["id"], patch={"decisions": {"pick": "right"}})
    models.ForkPlan.model_validate(plan)
    cut, _ = await ended(service, run["id"], "pick")
    assert (plan["seq"], plan["moved"], plan["completed"]) == (cut, False, ["pick"])
    assert paths(plan["reused"]) == ["begin"]
    assert paths(plan["starts"]) == ["right"]
    assert paths(plan["later"]) == ["end"]
    assert plan["new"]["items"] == []
    assert plan["repeated_effects"] == {"write": 0, "irreversible": 0}
    assert plan["estimate"]["cost_usd"] == 0
    earlier = await service.plan_fork(run["id"], seq=(await ended(service, run["id"], "begin"))[0])
    assert paths(earlier["starts"]) == ["begin"]
    assert earlier["starts"]["items"][0]["was"] == "completed"
    assert paths(earlier["later"]) == ["pick", "left", "end"]
    assert [one["node"] for one in earlier["new"]["items"]] == ["right"]
    assert paths(earlier["repeats"]) == ["begin", "left"]
    assert earlier["repeated_effects"] == {"write": 2, "irreversible": 0}
    assert earlier["repeats"]["items"][1]["steps"] == [{"name": "charge", "effect": "write"}]
    assert earlier["estimate"]["cost_usd"] == 0.25
    assert earlier["estimate"]["usage"] == {"tokens": 100}
    assert "2 write effects would repeat" in earlier["sentence"]
    assert did == before
    assert (await service.list_runs(_everything()))["items"][0]["id"] == run["id"]


def _everything() -> Any:
    from orchestrator.stores.contract import RunFilter

    return RunFilter()


async def test_a_fork_does_what_its_plan_said(service: Service) -> None:
    run = await ran(service, CHOICE)
    did.clear()
    changes = {"decisions": {"pick": ["right"]}, "reason": "what if?"}
    fork = await until_over(service, (await service.fork(run["id"], patch=changes))["id"])
    assert fork["status"] == "succeeded"
    assert did == ["right", "right#charge"]
    tasks = {task["path"]: task for task in await service.list_tasks(fork["id"])}
    assert list(tasks) == ["begin", "pick", "right", "end"]
    decision = tasks["pick"]["decision"]
    assert (decision["by"], decision["reason"], decision["chosen"][0]["node"]) == (
        "person",
        "what if?",
        "right",
    )
    assert (await service.get_task(fork["id"], "pick"))["output"] == "picked"
    assert (await service.state_at(fork["id"]))["variables"] == {"picked": "pick"}
    assert [e["kind"] for e in await events_of(service, fork["id"])][:3] == [
        "run_started",
        "run_patched",
        "decision_made",
    ]


async def test_a_decision_is_given_with_the_end_of_its_group_too_and_not_with_a_later_event(
    service: Service,
) -> None:
    run = await ran(service, CHOICE)
    before, last = await ended(service, run["id"], "pick")
    plan = await service.plan_fork(run["id"], seq=last, patch={"decisions": {"pick": "right"}})
    assert (plan["seq"], plan["moved"]) == (before, True)
    with pytest.raises(Conflict, match=f"to send it another way give seq {last}") as refused:
        await service.plan_fork(run["id"], seq=run["seq"], patch={"decisions": {"pick": "right"}})
    assert refused.value.reason == "fork_patch"
    with pytest.raises(Conflict, match="`end` is no route of `pick`; allowed: `left`, `right`"):
        await service.fork(run["id"], patch={"decisions": {"pick": "end"}})
    with pytest.raises(NotFound, match="did you mean 'pick'"):
        await service.fork(run["id"], patch={"decisions": {"pik": "right"}})
    with pytest.raises(UsageError, match="say where to cut"):
        await service.fork(run["id"], patch={"input": 1})
    with pytest.raises(UsageError, match=r"the decision of `pick` is a node id or label"):
        await service.fork(run["id"], patch={"decisions": {"pick": 3}})


async def test_another_output_is_read_by_all_that_follows_and_refused_where_it_was_read(
    service: Service,
) -> None:
    run = await ran(service, CHOICE)
    large = "x" * 200_000
    fork = await service.fork(run["id"], patch={"outputs": {"left": {"booked": large}}})
    fork = await until_over(service, fork["id"])
    assert fork["output"] == {"saw": {"left": {"booked": large}}}
    assert (await service.get_task(fork["id"], "left"))["output"] == {"booked": large}
    assert fork["forked_from"]["seq"] == (await ended(service, run["id"], "left"))[1]
    before_pick, _ = await ended(service, run["id"], "pick")
    with pytest.raises(Conflict, match=f"`pick` had built on .*cut at event {before_pick} or earlier"):
        await service.fork(
            run["id"], seq=(await ended(service, run["id"], "pick"))[1], patch={"outputs": {"begin": 1}}
        )
    with pytest.raises(Conflict, match="wasn't there yet at event 2"):
        await service.fork(run["id"], seq=2, patch={"outputs": {"left": 1}})


async def test_a_failed_task_gets_an_output_and_the_run_goes_on_behind_it(service: Service) -> None:
    run = await ran(service, {"a": {"class": "Broken", "next_node": "b"}, "b": {"class": "Look"}})
    assert run["status"] == "failed"
    plan = await service.plan_fork(run["id"], patch={"outputs": {"a": "by hand"}})
    assert (plan["completed"], paths(plan["starts"])) == (["a"], ["b"])
    fork = await until_over(
        service, (await service.fork(run["id"], patch={"outputs": {"a": "by hand"}}))["id"]
    )
    assert (fork["status"], fork["output"]) == ("succeeded", {"saw": "by hand"})


async def test_a_visit_in_the_middle_of_a_loop_is_sent_out_of_it(service: Service) -> None:
    nodes = {
        "work": {"class": "Book", "next_node": "more"},
        "more": {"class": "Again", "next_node": {"again": "work", "done": "end"}},
        "end": {"class": "Look"},
    }
    run = await ran(service, nodes)
    changes: dict[str, Any] = {"decisions": {"more@2": "done"}}
    plan = await service.plan_fork(run["id"], patch=changes)
    assert paths(plan["reused"]) == ["work", "more", "work@2"]
    assert paths(plan["starts"]) == ["end"]
    assert plan["repeated_effects"]["write"] == 0
    state = await service.state_at(run["id"], plan["seq"])
    assert ([t["path"] for t in state["open"]], state["outputs"]["more"]) == (["more@2"], 1)
    fork = await until_over(service, (await service.fork(run["id"], patch=changes))["id"])
    assert [t["path"] for t in await service.list_tasks(fork["id"])] == [
        "work",
        "more",
        "work@2",
        "more@2",
        "end",
    ]
    again = await service.plan_fork(run["id"], seq=plan["seq"])
    assert paths(again["repeats"]) == ["work@3"]
    of_fork = await service.plan_fork(fork["id"], patch={"outputs": {"end": 7}})
    assert of_fork["reused"]["total"] == 5
    with pytest.raises(Conflict, match="in the run that it was forked from; fork that one"):
        await service.plan_fork(fork["id"], patch={"decisions": {"more": "done"}})


async def test_a_child_is_forked_alone_and_started_again_with_its_parent(service: Service) -> None:
    await service.save_workflow(
        '{"name": "child", "start_at": "pay", "nodes": {"pay": {"class": "Book", "next_node": "wait"}, '
        '"wait": {"class": "Look"}}}'
    )
    nodes = {
        "first": {"class": "Look", "next_node": "sub"},
        "sub": {"class": "Sub", "next_node": "last"},
        "last": {"class": "Look"},
    }

    class Sub(BaseNode):
        """Runs the child and gives what it gave."""

        effect = Effect.PURE

        async def execute(self, params: Any, ctx: Context) -> Any:
            return await ctx.run_workflow("child", {"n": 1})

    service.engine.registry.register(Sub)
    run = await ran(service, nodes)
    child = next(r for r in (await service.list_runs(_everything()))["items"] if r["workflow"] == "child")
    assert child["parent"]["run"] == run["id"]
    before_sub = (await ended(service, run["id"], "sub"))[0]
    at_first = (await ended(service, run["id"], "first"))[1]
    plan = await service.plan_fork(run["id"], seq=at_first)
    assert [(c["run"], c["path"], c["tasks"]) for c in plan["children"]["items"]] == [(child["id"], "sub", 2)]
    assert plan["repeated_effects"] == {"write": 1, "irreversible": 0}
    assert plan["estimate"]["tasks"] == 4
    answered = await service.plan_fork(run["id"], seq=before_sub)
    assert (answered["children"]["total"], answered["repeated_effects"]["write"]) == (0, 0)
    did.clear()
    fork = await until_over(service, (await service.fork(run["id"], seq=at_first))["id"])
    assert fork["output"]["saw"]["saw"]["booked"] == "pay"
    assert did == ["pay", "pay#charge"]
    alone = await service.fork(child["id"], patch={"outputs": {"pay": "paid by hand"}})
    assert alone["parent"] is None
    alone = await until_over(service, alone["id"])
    assert alone["output"] == {"saw": "paid by hand"}
    assert (await service.get_run(run["id"]))["seq"] == run["seq"]


async def test_a_waiting_run_is_forked_with_its_recorded_steps(service: Service) -> None:
    await service.save_workflow(document({"a": {"class": "Ask", "next_node": "b"}, "b": {"class": "Look"}}))
    started, _ = await service.start_run("flow")
    run = await until_status(service, started["id"], "waiting")
    plan = await service.plan_fork(run["id"], seq=run["seq"])
    assert plan["starts"]["items"] == [
        {"path": "a", "node": "a", "effect": "write", "was": "open", "steps_kept": ["prepare"]}
    ]
    fork = await service.fork(run["id"], seq=run["seq"], patch={"outputs": {"a": "answered"}})
    assert (await until_over(service, fork["id"]))["output"] == {"saw": "answered"}
    await service.cancel(run["id"])
    await asyncio.sleep(0)
    await until_status(service, run["id"], "cancelled")
