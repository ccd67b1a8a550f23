"""Plans as people meet them: tasks, graphs, words, forks, files; from the service down to the store."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator.api import models
from orchestrator.engine.service.facade import Service
from orchestrator.engine.views.story import tell_view
from orchestrator.errors import InvalidRunFile
from orchestrator.sdk.context import Context
from orchestrator.sdk.effect import Effect
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.results import Plan
from orchestrator.stores.memory import MemoryStore
from orchestrator.stores.sqlite import SqliteStore
from tests.e2e.test_run_files import exported, imported, lines_of, packed
from tests.e2e.test_service import document, ran, serving, until_over, until_status


class Say(BaseNode):
    """Say what it heard, and what it was told to say."""

    effect = Effect.PURE

    class Params(BaseModel):
        value: Any = None

    async def execute(self, params: Params, ctx: Context) -> Any:
        return {"heard": ctx.previous, "said": params.value}


class Lay(BaseNode):
    """Lay what stands in the params."""

    may_use = ("Say", "Ask", "Broken", "Lay")

    async def execute(self, params: Any, ctx: Context) -> Any:
        planned = ctx.input["plans"][ctx.path]
        return Plan(planned["nodes"], start_at=next(iter(planned["nodes"])), **planned.get("more", {}))


DIAMOND = {
    "nodes": {
        "a": {"class": "Say", "next_node": ["b", "c"]},
        "b": {"class": "Say", "params": {"value": "{{ nodes.s }}"}, "next_node": "d"},
        "c": {"class": "Say", "next_node": "d"},
        "d": {"class": "Say", "params": {"value": "{{ previous }}"}},
    },
    "more": {"output": {"of": "{{ nodes.d }}", "first": "{{ nodes.s }}"}, "reason": "two at once"},
}
ASKS = {"nodes": {"a": {"class": "Say", "next_node": "ask"}, "ask": {"class": "Ask"}}}
FLOW = {
    "s": {"class": "Say", "next_node": "p"},
    "p": {"class": "Lay", "next_node": "end"},
    "end": {"class": "Say"},
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Service]:
    store = MemoryStore()
    await store.open()
    async with serving(store, tmp_path / "here") as service:
        service.engine.registry.register(Lay)
        service.engine.registry.register(Say)
        yield service
    await store.close()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Service]:
    store = SqliteStore(f"sqlite:///{tmp_path}/there.db")
    await store.open()
    async with serving(store, tmp_path / "there") as service:
        service.engine.registry.register(Lay)
        service.engine.registry.register(Say)
        yield service
    await store.close()


async def events_of(service: Service, run: str) -> list[dict[str, Any]]:
    return (await service.read_journal(run, limit=1000))["items"]


async def test_a_plan_shows_in_tasks_graphs_and_words(here: Service) -> None:
    run = await ran(here, FLOW, input={"plans": {"p": DIAMOND}})
    assert run["status"] == "succeeded", run["error"]
    tasks = await here.list_tasks(run["id"])
    assert [task["path"] for task in tasks] == ["s", "p", "p/a", "p/b", "p/c", "p/d", "end"]
    assert {task["class"] for task in tasks if task["path"].startswith("p/")} == {"Say"}
    inner = await here.get_task(run["id"], "p/d")
    models.TaskDetail.model_validate(inner)
    assert inner["input"].keys() == {"b", "c"}
    assert (await here.get_task(run["id"], "p"))["output"].keys() == {"of", "first"}
    page = await here.list_plans(run["id"])
    (plan,) = page["items"]
    models.LaidPlan.model_validate(plan)
    assert (plan["path"], plan["done"], plan["reason"], page["next"]) == ("p", True, "two at once", None)
    assert {(edge["source"], edge["target"]) for edge in plan["graph"]["edges"]} == {
        ("p/a", "p/b"),
        ("p/a", "p/c"),
        ("p/b", "p/d"),
        ("p/c", "p/d"),
    }
    words = [tell_view(event).text for event in await events_of(here, run["id"])]
    assert "p laid a plan of 4 nodes: a, b, c, d: two at once" in words
    assert (await here.state_at(run["id"]))["seq"] == run["seq"]


async def test_a_plan_at_work_is_explained_and_cancelled(here: Service) -> None:
    await here.save_workflow(document(FLOW))
    run, _ = await here.start_run("flow", input={"plans": {"p": ASKS}})
    await until_status(here, run["id"], "waiting")
    said = await here.explain(run["id"])
    assert "`p/ask`" in said["sentence"]
    assert {(one["kind"], one["path"]) for one in said["wakers"]} >= {("plan", "p"), ("signal", "p/ask")}
    waiting = next(task for task in await here.list_tasks(run["id"]) if task["path"] == "p")
    assert waiting["status"] == "waiting"
    assert waiting["waiting_for"]["kind"] == "plan"
    assert not (await here.list_plans(run["id"]))["items"][0]["done"]
    await here.cancel(run["id"], reason=None)
    assert (await until_over(here, run["id"]))["status"] == "cancelled"


async def test_a_faulty_plan_names_every_fault_and_on_error_takes_it(here: Service) -> None:
    nodes = {**FLOW, "p": {"class": "Lay", "next_node": "end", "on_error": {"plan_refused": "end"}}}
    faulty = {"nodes": {"a": {"class": "Large", "next_node": "gone"}}}
    run = await ran(here, nodes, input={"plans": {"p": faulty}})
    assert run["status"] == "succeeded"
    failed = next(event for event in await events_of(here, run["id"]) if event["kind"] == "task_failed")
    assert failed["error"]["type"] == "plan_refused"
    assert "/nodes/a/class" in failed["error"]["message"]
    assert "/nodes/a/next_node" in failed["error"]["message"]


async def test_a_fork_before_a_plan_says_what_would_run_again_and_one_within_goes_on(here: Service) -> None:
    run = await ran(here, FLOW, input={"plans": {"p": DIAMOND}})
    events = await events_of(here, run["id"])
    laid = next(event["seq"] for event in events if event["kind"] == "graph_extended")
    before = await here.plan_fork(run["id"], seq=laid - 1, patch={})
    models.ForkPlan.model_validate(before)
    assert {one["path"] for one in before["later"]["items"]} == {"p/a", "p/b", "p/c", "p/d", "end"}
    within = next(
        event["seq"] for event in events if event.get("path") == "p/b" and event["kind"] == "task_completed"
    )
    plan = await here.plan_fork(run["id"], seq=within, patch={})
    assert {one["path"] for one in plan["reused"]["items"]} >= {"s", "p/a", "p/b"}
    assert {one["path"] for one in plan["starts"]["items"]} >= {"p"}
    fork = await here.fork(run["id"], seq=within, patch={})
    over = await until_over(here, fork["id"])
    assert (over["status"], over["output"]) == ("succeeded", run["output"])
    assert [one["path"] for one in (await here.list_plans(fork["id"]))["items"]] == ["p"]


async def test_a_run_with_a_plan_opens_elsewhere_and_goes_on_there_as_a_fork(
    here: Service, there: Service
) -> None:
    run = await ran(here, FLOW, input={"plans": {"p": DIAMOND}})
    copy = (await imported(there, await exported(here, run["id"])))["run"]
    ours, theirs = await here.list_plans(run["id"]), await there.list_plans(copy["id"])
    assert ours == theirs
    assert await there.get_task(copy["id"], "p/b") == await here.get_task(run["id"], "p/b")
    events = await events_of(there, copy["id"])
    at = next(e["seq"] for e in events if e["kind"] == "task_scheduled" and e["path"] == "p/c")
    fork = await there.fork(copy["id"], seq=at, patch={"outputs": {"p/b": {"given": 1}}})
    over = await until_over(there, fork["id"])
    assert over["status"] == "succeeded", over["error"]
    assert (await there.get_task(fork["id"], "p/d"))["input"]["b"] == {"given": 1}


NODES = ("record", "document", "nodes")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((*NODES, "d"), None),
        ((*NODES, "a", "params"), {"x": "y" * 300_000}),
        (("record", "document", "start_at"), "nowhere"),
        (("record", "declarations"), {}),
        (("record",), {"document": 1}),
        (("nodes",), ["a"]),
        (("start_at",), "gone"),
        (("output",), False),
    ],
)
async def test_a_file_with_a_plan_that_cant_be_is_refused(
    here: Service, there: Service, where: tuple[str, ...], value: Any
) -> None:
    run = await ran(here, FLOW, input={"plans": {"p": DIAMOND}})
    lines = lines_of(await exported(here, run["id"]))
    for line in lines:
        event = line.get("event", {})
        if event.get("kind") == "graph_extended":
            place = event["plan"]
            for step in where[:-1]:
                place = place[step]
            place[where[-1]] = value
    with pytest.raises(InvalidRunFile):
        await there.import_run(io.BytesIO(packed(lines)))
