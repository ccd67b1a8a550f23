"""The service with a real engine and worker, on every store of this machine."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import models
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.service.facade import Service
from orchestrator.engine.service.starting import KEY_LIFE_US
from orchestrator.errors import Conflict, DefinitionError, InvalidInput, LimitExceeded, NotFound, UsageError
from orchestrator.sdk import BaseNode, Context, Effect, Outbox, Registry, Route
from orchestrator.stores.contract import RunFilter, Store
from orchestrator.stores.memory import MemoryStore
from orchestrator.stores.sqlite import SqliteStore


class Echo(BaseNode):
    """Gives its input back, with what it was told to say."""

    effect = Effect.PURE

    async def execute(self, params: Any, ctx: Context) -> Any:
        ctx.log("echoed")
        return {"heard": ctx.previous, "run": ctx.run_id}


class Large(BaseNode):
    """Gives more than fits into the journal."""

    async def execute(self, params: Any, ctx: Context) -> Any:
        return "x" * 100_000


class Broken(BaseNode):
    """Fails for good, until it is mended."""

    mended = False

    async def execute(self, params: Any, ctx: Context) -> Any:
        if not Broken.mended:
            raise ValueError("not yet")
        return "mended"


class Ask(BaseNode):
    """Waits for a signal."""

    async def execute(self, params: Any, ctx: Context) -> Any:
        first = await ctx.step("prepare", lambda: "ready")
        return [first, await ctx.wait_for_signal("go")]


class Pay(BaseNode):
    """Must not happen twice, and nobody knows whether it did."""

    effect = Effect.IRREVERSIBLE

    async def execute(self, params: Any, ctx: Context) -> Any:
        raise ConnectionError("the line went dead")


class Choose(BaseNode):
    """Goes left."""

    routes = ("left", "right")

    async def execute(self, params: Any, ctx: Context) -> Any:
        return Route("left", reason="it is nearer", by="rule")


def document(nodes: Mapping[str, Any], *, name: str = "flow", **more: Any) -> str:
    return json.dumps({"name": name, "start_at": next(iter(nodes)), "nodes": dict(nodes), **more})


SECRET = "hunter2-and-more"
CONFIG = EngineConfig(slow_poll_seconds=0.1, cancel_grace_seconds=0.2, secrets={"TOKEN": SECRET})
ONE = {"a": {"class": "Echo"}}
ASK = {"a": {"class": "Ask", "next_node": "b"}, "b": {"class": "Echo"}}


@asynccontextmanager
async def serving(store: Store, outbox: Path, *, work: bool = True) -> AsyncGenerator[Service]:
    registry = Registry()
    for cls in (Echo, Large, Broken, Ask, Pay, Choose):
        registry.register(cls)
    engine = Engine(store, registry, config=CONFIG)
    await engine.open()
    worker = Worker(engine)
    if work:
        await worker.start()
    service = Service(engine, outbox=Outbox(outbox))
    service.start()
    try:
        yield service
    finally:
        service.close()
        if work:
            await worker.stop()
        await engine.close()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(f"sqlite:///{tmp_path}/store.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def service(store: Store, tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(store, tmp_path) as service:
        yield service


async def until_over(service: Service, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        async for _ in service.follow_run(run_id):
            pass
    return await service.get_run(run_id)


async def until_status(service: Service, run_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        async for item in service.follow(run=run_id, cursor=None):
            if item.event in ("ready", "run"):
                run = await service.get_run(run_id)
                if run["status"] == status:
                    return run
    raise AssertionError(f"the feed ended before run {run_id} was {status}")


async def ran(
    service: Service, nodes: Mapping[str, Any], *, input: Any = None, **more: Any
) -> dict[str, Any]:
    await service.save_workflow(document(nodes, **more))
    run, created = await service.start_run("flow", input=input)
    assert created
    return await until_over(service, run["id"])


# --- workflows ----------------------------------------------------------------------------------------------------


async def test_saving_the_same_meaning_again_gives_the_same_version(service: Service) -> None:
    first = await service.save_workflow(document(ONE))
    models.SavedVersion.model_validate(first)
    again = await service.save_workflow(
        document({"a": {"class": "EchoNode"}}, positions={"a": {"x": 1, "y": 2}})
    )
    other = await service.save_workflow(document({"a": {"class": "Large"}}))
    assert [(v["version"], v["created"]) for v in (first, again, other)] == [(1, True), (1, False), (2, True)]
    assert first["hash"] == again["hash"] != other["hash"]
    assert [v["version"] for v in await service.list_versions("flow")] == [2, 1]
    one = await service.get_workflow("flow", version=1)
    models.Workflow.model_validate(one)
    assert one["document"]["positions"] == {"a": {"x": 1, "y": 2}}
    assert one["versions"] == 2
    assert one["graph"]["nodes"][0]["class"] == "Echo"


async def test_a_document_with_faults_is_refused_with_all_of_them(service: Service) -> None:
    text = document({"a": {"class": "Ecko", "next_node": "c"}, "b": {"class": "Echo"}})
    with pytest.raises(DefinitionError) as caught:
        await service.save_workflow(text)
    assert len(caught.value.faults) >= 2
    validation = await service.validate_workflow(text)
    models.Validation.model_validate(validation)
    assert validation["valid"] is False
    assert [n["id"] for n in validation["graph"]["nodes"]] == ["a", "b"]
    assert (await service.validate_workflow("{nonsense"))["graph"] is None
    assert (await service.validate_workflow(document(ONE)))["valid"] is True


async def test_workflows_are_listed_with_their_last_run_and_deleted(service: Service) -> None:
    run = await ran(service, ONE, description="what for", labels={"team": "growth"})
    (line,) = (await service.list_workflows())["items"]
    models.WorkflowSummary.model_validate(line)
    assert (line["description"], line["labels"]) == ("what for", {"team": "growth"})
    assert line["last_run"]["id"] == run["id"]
    await service.delete_workflow("flow")
    assert (await service.list_workflows())["items"] == []
    with pytest.raises(NotFound):
        await service.delete_workflow("flow")
    assert (await service.get_run(run["id"]))["status"] == "succeeded"
    assert len(await service.list_tasks(run["id"])) == 1


async def test_a_workflow_with_live_runs_is_not_deleted(service: Service) -> None:
    await service.save_workflow(document(ASK))
    run, _ = await service.start_run("flow")
    with pytest.raises(Conflict) as caught:
        await service.delete_workflow("flow")
    assert caught.value.reason == "workflow_has_live_runs"
    await service.cancel(run["id"])
    await until_over(service, run["id"])


async def test_an_unknown_workflow_or_version_is_named_with_the_nearest(service: Service) -> None:
    await service.save_workflow(document(ONE, name="onboarding"))
    with pytest.raises(NotFound) as caught:
        await service.start_run("onbording")
    assert caught.value.suggestion == "onboarding"
    with pytest.raises(NotFound, match="onboarding 7"):
        await service.start_run("onboarding", version=7)


async def test_a_text_with_a_byte_order_mark_is_kept_and_read(service: Service) -> None:
    await service.save_workflow(b"\xef\xbb\xbf" + document(ONE).encode())
    workflow = await service.get_workflow("flow")
    assert workflow["text"] == document(ONE)
    assert workflow["document"]["start_at"] == "a"


async def test_yaml_means_the_same_as_json_and_its_text_is_kept(service: Service) -> None:
    text = "# ours\nname: flow\nstart_at: a\nnodes:\n  a: {class: Echo}\n"
    first = await service.save_workflow(text, syntax="yaml")
    models.SavedVersion.model_validate(first)
    workflow = await service.get_workflow("flow")
    models.Workflow.model_validate(workflow)
    assert (workflow["text"], workflow["syntax"]) == (text, "yaml")
    assert workflow["document"] == json.loads(document(ONE))
    again = await service.save_workflow(document(ONE))
    assert (again["created"], again["version"], again["hash"]) == (False, 1, first["hash"])
    assert (await service.get_workflow("flow"))["syntax"] == "json"
    with pytest.raises(DefinitionError) as caught:
        await service.save_workflow(text.replace("Echo", "Ecko"), syntax="yaml")
    assert [(f.pointer, f.line, f.column) for f in caught.value.faults] == [("/nodes/a/class", 5, 7)]
    validation = await service.validate_workflow(text.replace("Echo", "Ecko"), syntax="yaml")
    models.Validation.model_validate(validation)
    assert (validation["faults"][0]["line"], validation["faults"][0]["column"]) == (5, 7)


# --- starting -----------------------------------------------------------------------------------------------------


async def test_a_run_gives_its_output_and_its_tasks(service: Service) -> None:
    run = await ran(
        service, {"a": {"class": "Echo", "next_node": "b"}, "b": {"class": "Echo"}}, input={"n": 1}
    )
    models.Run.model_validate(run)
    assert (run["status"], run["input"]) == ("succeeded", {"n": 1})
    assert run["output"]["heard"] == {"heard": None, "run": run["id"]}
    assert run["duration_us"] >= 0
    tasks = await service.list_tasks(run["id"])
    for task in tasks:
        models.Task.model_validate(task)
    assert [(t["path"], t["status"], t["previous"]) for t in tasks] == [
        ("a", "completed", []),
        ("b", "completed", ["a"]),
    ]
    detail = await service.get_task(run["id"], "b")
    models.TaskDetail.model_validate(detail)
    assert detail["input"] == {"heard": None, "run": run["id"]}
    assert [line["message"] for line in detail["logs"]] == ["echoed"]
    with pytest.raises(NotFound):
        await service.get_task(run["id"], "c")


async def test_an_input_that_does_not_fit_names_every_place(service: Service) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n", "m"]}
    await service.save_workflow(document(ONE, input_schema=schema))
    with pytest.raises(InvalidInput) as caught:
        await service.start_run("flow", input={"n": "x"})
    assert [f.pointer for f in caught.value.faults] == ["/input/n", "/input"]
    with pytest.raises(InvalidInput) as caught:
        await service.start_run("flow", input={"n": 1, "m": "\ud800"})
    assert caught.value.faults[0].pointer == "/input/m"


async def test_labels_and_inputs_have_limits(service: Service) -> None:
    await service.save_workflow(document(ONE, labels={"team": "growth"}))
    run, _ = await service.start_run("flow", labels={"team": "sales", "who": "me"})
    assert run["labels"] == {"team": "sales", "who": "me"}
    with pytest.raises(LimitExceeded, match="labels"):
        await service.start_run("flow", labels={f"l{i}": "x" for i in range(33)})
    with pytest.raises(InvalidInput):
        await service.start_run("flow", labels={"l": "x" * 1001})
    with pytest.raises(LimitExceeded, match="input") as caught:
        await service.start_run("flow", input="x" * (17 * 1024 * 1024))
    assert caught.value.unit == "bytes"
    await until_over(service, run["id"])


async def test_a_key_starts_one_run_and_belongs_to_its_request(service: Service, store: Store) -> None:
    await service.save_workflow(document(ONE))
    started = await asyncio.gather(
        *(service.start_run("flow", input=1, idempotency_key="k") for _ in range(10))
    )
    assert len({run["id"] for run, _ in started}) == 1
    assert sum(created for _, created in started) == 1
    with pytest.raises(Conflict) as caught:
        await service.start_run("flow", input=2, idempotency_key="k")
    assert caught.value.reason == "idempotency_key_reused"
    run, created = await service.start_run("flow", input=1, idempotency_key="other")
    assert created
    await until_over(service, run["id"])
    await until_over(service, started[0][0]["id"])


async def test_a_key_is_free_again_after_thirty_days(tmp_path: Path) -> None:
    now = [1_795_363_200_000_000]
    store = MemoryStore(now_us=lambda: now[0])
    await store.open()
    async with serving(store, tmp_path, work=False) as service:
        await service.save_workflow(document(ONE))
        first, _ = await service.start_run("flow", input=1, idempotency_key="k")
        now[0] += KEY_LIFE_US + 10_000_000
        service.engine.clock.heard(now[0])
        second, created = await service.start_run("flow", input=2, idempotency_key="k")
        assert created
        assert second["id"] != first["id"]
        again, created = await service.start_run("flow", input=2, idempotency_key="k")
        assert (again["id"], created) == (second["id"], False)
    await store.close()


async def test_variables_are_evaluated_once_at_the_start(service: Service) -> None:
    run = await ran(
        service,
        {"a": {"class": "Echo"}},
        input={"n": 3},
        vars={"twice": "{{ input.n * 2 }}", "who": "{{ run.id }}"},
        output="{{ vars.twice }}",
    )
    assert run["output"] == 6
    state = await service.state_at(run["id"])
    models.RunState.model_validate(state)
    assert state["variables"] == {"twice": 6, "who": run["id"]}


async def test_a_large_value_is_a_blob_in_the_journal_and_whole_elsewhere(service: Service) -> None:
    large = "y" * 100_000
    run = await ran(service, {"a": {"class": "Large"}}, input=large)
    assert run["input"] == large
    assert run["output"] == "x" * 100_000
    events = (await service.read_journal(run["id"], kind="task_completed"))["items"]
    assert events[0]["output"]["$blob"]["bytes"] == 100_002
    task = await service.get_task(run["id"], "a")
    assert (task["output"], task["output_bytes"]) == ("x" * 100_000, 100_002)


# --- following and changing ---------------------------------------------------------------------------------------


async def test_a_run_waits_for_a_signal_says_so_and_takes_it_once(service: Service) -> None:
    await service.save_workflow(document(ASK))
    run, _ = await service.start_run("flow")
    run = await until_status(service, run["id"], "waiting")
    assert run["waiting_for"]["sentence"] == "Waits for signal `go` in `a`"
    explained = await service.explain(run["id"])
    models.Explanation.model_validate(explained)
    assert explained["sentence"] == run["waiting_for"]["sentence"]
    assert [w["kind"] for w in explained["wakers"]] == ["signal"]
    (task,) = await service.list_tasks(run["id"])
    assert (task["status"], task["waiting_for"]["name"]) == ("waiting", "go")
    taken = await service.signal(run["id"], "go", {"yes": True}, idempotency_key="s1")
    again = await service.signal(run["id"], "go", {"yes": True}, idempotency_key="s1")
    models.SignalTaken.model_validate(taken)
    assert taken == again
    run = await until_over(service, run["id"])
    assert run["output"]["heard"] == ["ready", {"yes": True}]
    steps = (await service.get_task(run["id"], "a"))["steps"]
    assert [(s["status"], s["value"]) for s in steps] == [
        ("completed", "ready"),
        ("completed", {"yes": True}),
    ]
    with pytest.raises(Conflict):
        await service.signal(run["id"], "go", 1)
    with pytest.raises(NotFound):
        await service.signal("run_unknown", "go", 1)


async def test_pausing_holds_a_run_and_says_who_did(service: Service) -> None:
    await service.save_workflow(document(ASK))
    run, _ = await service.start_run("flow")
    await until_status(service, run["id"], "waiting")
    run = await service.pause(run["id"], reason="lunch")
    assert run["status"] == "paused"
    assert run["waiting_for"]["sentence"] == "Paused by operator: lunch"
    assert (await service.pause(run["id"]))["seq"] == run["seq"]
    (line,) = (await service.list_runs(RunFilter(statuses=("paused",))))["items"]
    models.RunSummary.model_validate(line)
    await service.signal(run["id"], "go", 1)
    assert (await service.resume(run["id"]))["status"] != "paused"
    assert (await until_over(service, run["id"]))["status"] == "succeeded"
    with pytest.raises(Conflict):
        await service.pause(run["id"])


async def test_a_cancelled_run_keeps_the_reason(service: Service) -> None:
    await service.save_workflow(document(ASK))
    run, _ = await service.start_run("flow")
    await until_status(service, run["id"], "waiting")
    await service.cancel(run["id"], reason="wrong address")
    assert (await until_over(service, run["id"]))["status"] == "cancelled"
    assert (await service.explain(run["id"]))["sentence"].endswith("wrong address")
    assert [t["status"] for t in await service.list_tasks(run["id"])] == ["cancelled"]


async def test_a_secret_that_a_person_writes_is_kept_nowhere(service: Service) -> None:
    await service.save_workflow(document(ASK))
    run, _ = await service.start_run("flow", input={"token": SECRET}, labels={"token": SECRET})
    await until_status(service, run["id"], "waiting")
    await service.pause(run["id"], reason=f"the token is {SECRET}")
    await service.signal(run["id"], "go", SECRET)
    await service.resume(run["id"])
    run = await until_over(service, run["id"])
    seen = [run, await service.read_journal(run["id"]), await service.list_tasks(run["id"])]
    assert run["status"] == "succeeded"
    assert SECRET not in json.dumps(seen)


async def test_a_run_is_found_by_label_and_text(service: Service) -> None:
    await service.save_workflow(document(ONE))
    first, _ = await service.start_run("flow", labels={"team": "growth"})
    second, _ = await service.start_run("flow", labels={"team": "sales"})
    for run in (first, second):
        await until_over(service, run["id"])
    page = await service.list_runs(RunFilter(labels={"team": "growth"}))
    assert [line["id"] for line in page["items"]] == [first["id"]]
    page = await service.list_runs(RunFilter(text=second["id"][4:12]), limit=1)
    assert second["id"] in {line["id"] for line in page["items"]}
    paged = await service.list_runs(RunFilter(), limit=1)
    rest = await service.list_runs(RunFilter(), limit=1, cursor=paged["next"])
    assert {paged["items"][0]["id"], rest["items"][0]["id"]} == {first["id"], second["id"]}


async def test_a_failed_run_is_retried_where_it_failed(service: Service) -> None:
    Broken.mended = False
    nodes = {"a": {"class": "Echo", "next_node": "b"}, "b": {"class": "Broken", "retry": {"max_attempts": 1}}}
    run = await ran(service, nodes)
    assert (run["status"], run["error"]["type"], run["error"]["path"]) == ("failed", "ValueError", "b")
    assert "not yet" in (await service.explain(run["id"]))["sentence"]
    Broken.mended = True
    await service.retry(run["id"])
    run = await until_over(service, run["id"])
    assert (run["status"], run["output"]) == ("succeeded", "mended")
    task = await service.get_task(run["id"], "b")
    assert [a["error"] and a["error"]["type"] for a in task["attempts"]] == ["ValueError", None]
    with pytest.raises(Conflict) as caught:
        await service.retry(run["id"])
    assert caught.value.reason == "run_not_failed"


async def test_a_task_in_doubt_waits_for_a_person(service: Service) -> None:
    await service.save_workflow(document({"pay": {"class": "Pay", "next_node": "b"}, "b": {"class": "Echo"}}))
    run, _ = await service.start_run("flow")
    run = await until_status(service, run["id"], "waiting")
    assert run["tasks"]["in_doubt"] == 1
    assert run["waiting_for"]["sentence"].startswith("A person must resolve `pay`")
    with pytest.raises(UsageError):
        await service.resolve(run["id"], "pay", "shrug")
    with pytest.raises(NotFound):
        await service.resolve(run["id"], "payy", "done")
    await service.resolve(run["id"], "pay", "done", output={"paid": True}, message="the bank says so")
    run = await until_over(service, run["id"])
    assert run["output"]["heard"] == {"paid": True}
    with pytest.raises(Conflict) as caught:
        await service.resolve(run["id"], "pay", "done")
    assert caught.value.reason == "task_not_in_doubt"


async def test_a_fork_shares_the_past_and_goes_its_own_way(service: Service) -> None:
    nodes = {
        "a": {"class": "Echo", "next_node": "r"},
        "r": {"class": "Choose"},
        "left": {"class": "Echo"},
        "right": {"class": "Echo"},
    }
    run = await ran(service, nodes, vars={"n": 1}, output="{{ vars.n }}")
    events = (await service.read_journal(run["id"]))["items"]
    completed = next(e["seq"] for e in events if e["kind"] == "task_completed" and e["path"] == "a")
    cut = max(
        e["seq"] for e in events if e["group"] == next(x["group"] for x in events if x["seq"] == completed)
    )
    state = await service.state_at(run["id"], cut + 1)
    assert state["seq"] == cut
    assert [t["path"] for t in state["open"]] == ["r"]
    fork = await service.fork(run["id"], seq=cut, patch={"variables": {"n": 2}})
    assert fork["forked_from"] == {"run": run["id"], "seq": cut}
    fork = await until_over(service, fork["id"])
    assert (run["output"], fork["output"]) == (1, 2)
    tasks = await service.list_tasks(fork["id"])
    assert [(t["path"], t["from_parent"]) for t in tasks] == [("a", True), ("r", False), ("left", False)]
    assert (await service.get_task(fork["id"], "a"))["output"]["run"] == run["id"]
    assert tasks[1]["decision"]["reason"] == "it is nearer"
    with pytest.raises(UsageError):
        await service.fork(run["id"], seq=10_000)
    with pytest.raises(UsageError):
        await service.fork(run["id"], seq=cut, patch={"nodes": {}})


async def test_the_journal_is_read_in_pages_and_by_kind(service: Service) -> None:
    run = await ran(service, {"a": {"class": "Echo", "next_node": "b"}, "b": {"class": "Echo"}})
    whole = (await service.read_journal(run["id"]))["items"]
    assert [e["seq"] for e in whole] == list(range(1, run["seq"] + 1))
    paged: list[Any] = []
    after = "0"
    while after is not None:
        page = await service.read_journal(run["id"], after=int(after), limit=2)
        paged += page["items"]
        after = page["next"]
    assert paged == whole
    of_b = (await service.read_journal(run["id"], node="b", kind="task_completed"))["items"]
    assert [e["path"] for e in of_b] == ["b"]
    with pytest.raises(NotFound):
        await service.read_journal("run_unknown")


async def test_without_a_worker_runs_are_kept_and_the_service_is_not_ready(
    store: Store, tmp_path: Path
) -> None:
    async with serving(store, tmp_path, work=False) as service:
        await service.save_workflow(document(ONE))
        run, _ = await service.start_run("flow")
        assert run["status"] == "queued"
        assert "no worker is alive" in (await service.explain(run["id"]))["sentence"]
        ready = await service.ready()
        models.Readiness.model_validate(ready)
        assert ready["ready"] is False
        run_id = run["id"]
    async with serving(store, tmp_path) as service:
        assert (await until_over(service, run_id))["status"] == "succeeded"
        assert (await service.ready())["ready"] is True
        system = await service.system()
        models.SystemInfo.model_validate(system)
        assert len(system["workers"]) == 1


async def test_node_classes_and_the_schema_are_there_for_editors(service: Service) -> None:
    classes = await service.node_classes()
    for one in classes:
        models.NodeClass.model_validate(one)
    by_name = {one["name"]: one for one in classes}
    assert by_name["Choose"]["routes"] == ["left", "right"]
    assert (by_name["Pay"]["effect"], by_name["Pay"]["routes"]) == ("irreversible", None)
    assert "properties" in await service.workflow_schema()
    assert await service.outbox() == {"items": [], "next": None}
