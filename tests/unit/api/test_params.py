"""Parameters: what can't be meant is refused by name, and what is meant reaches the engine."""

from typing import Any

import httpx2
import pytest

from orchestrator.engine.views.tasktable import TaskFilter
from orchestrator.kernel.status import TaskStatus
from orchestrator.stores.contract import RunFilter
from tests.unit.api.fake import FakeService


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/api/v1/runs/%00", "/path/run_id"),
        ("/api/v1/runs/r1%0A", "/path/run_id"),
        ("/api/v1/runs/" + "a" * 129, "/path/run_id"),
        ("/api/v1/runs/r%C3%A4", "/path/run_id"),
        ("/api/v1/workflows/" + "a" * 201, "/path/name"),
        ("/api/v1/workflows/w/versions/0", "/path/version"),
        ("/api/v1/workflows/w/versions/x", "/path/version"),
        ("/api/v1/workflows/w/versions/99999999999999999999", "/path/version"),
        ("/api/v1/runs?limit=0", "/query/limit"),
        ("/api/v1/runs?limit=1001", "/query/limit"),
        ("/api/v1/runs?status=sleeping", "/query/status/0"),
        ("/api/v1/runs?created_after=yesterday", "/query/created_after"),
        ("/api/v1/runs?created_after=2026-11-22T16:00:00", "/query/created_after"),
        ("/api/v1/runs?created_before=0001-01-01T00:00:00%2B23:59", "/query/created_before"),
        ("/api/v1/runs?label=team", "/query/label"),
        ("/api/v1/runs?label=a:1&label=a:2", "/query/label"),
        ("/api/v1/runs?workflow=a%2Fb", "/query/workflow"),
        ("/api/v1/events?workflow=", "/query/workflow"),
        ("/api/v1/runs/r1/journal?after=-1", "/query/after"),
        ("/api/v1/runs/r1/state?seq=0", "/query/seq"),
        ("/api/v1/runs/r1/tasks?cursor=x", "/query/cursor"),
    ],
)
async def test_a_parameter_that_cannot_be_meant_is_named(
    path: str, pointer: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.get(path)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid_request")
    assert body["errors"][0]["pointer"] == pointer
    assert service.calls == []


@pytest.mark.parametrize("path", ["/api/v1/workflows/a%0Ab", "/api/v1/workflows/%00"])
async def test_a_name_that_no_workflow_can_have_is_not_found(
    path: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert service.calls == []


async def test_an_unknown_parameter_is_refused_with_the_nearest_one(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/v1/runs?statuss=running")
    assert answer.status_code == 422
    assert answer.json()["errors"][0] == {
        "pointer": "/query",
        "code": "unknown_parameter",
        "message": "unknown parameter `statuss`; did you mean `status`?",
        "suggestion": "status",
    }
    assert (await client.get("/healthz?deep=1")).status_code == 422
    assert (await client.get("/api/v1/runs/r1?x=1")).status_code == 422


async def test_filters_reach_the_engine_as_they_are_meant(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.get(
        "/api/v1/runs",
        params={
            "status": ["running", "failed"],
            "workflow": "Agentic User Onboarding",
            "label": ["team:growth", "url:http://x"],
            "created_after": "1970-01-01T01:00:00.000001+01:00",
            "created_before": "2026-11-22T16:00:00Z",
            "text": "smith",
            "parent": "run_1",
            "cursor": "c",
            "limit": 7,
        },
    )
    assert answer.json()["next"] == "more"
    assert service.calls[-1][1] == {
        "where": RunFilter(
            statuses=("running", "failed"),
            workflow="Agentic User Onboarding",
            labels={"team": "growth", "url": "http://x"},
            created_after_us=1,
            created_before_us=1_795_363_200_000_000,
            text="smith",
            parent_run="run_1",
        ),
        "cursor": "c",
        "limit": 7,
    }


@pytest.mark.parametrize(
    "path", ["review", "review@3", "review@3[17]", "plan/fetch@2", "plan/resolve", "a b"]
)
async def test_a_task_is_found_by_whatever_its_path_holds(
    path: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    assert (await client.get(f"/api/v1/runs/r1/tasks/{path}")).json() == {"path": path}
    answer = await client.post(f"/api/v1/runs/r1/tasks/{path}/resolve", json={"action": "done", "output": 1})
    assert answer.status_code == 200
    assert service.calls[-1][1] == {
        "run_id": "r1",
        "path": path,
        "action": "done",
        "output": 1,
        "message": None,
    }


async def test_tasks_come_in_pages(client: httpx2.AsyncClient) -> None:
    found: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = (
            await client.get(
                "/api/v1/runs/r1/tasks", params={"limit": 2, **({} if cursor is None else {"cursor": cursor})}
            )
        ).json()
        found += [task["path"] for task in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == ["n@0", "n@1", "n@2", "n@3", "n@4"]


async def test_filters_of_tasks_reach_the_engine(client: httpx2.AsyncClient, service: FakeService) -> None:
    asked = {"node": "review", "visit": 2, "status": ["failed", "in_doubt"], "of": "review@2", "cursor": "3"}
    assert (await client.get("/api/v1/runs/r1/tasks", params=asked)).json()["items"]
    where = service.calls[-1][1]["where"]
    assert where == TaskFilter(
        node="review",
        visit=2,
        statuses=frozenset({TaskStatus.FAILED, TaskStatus.IN_DOUBT}),
        of="review@2",
    )
    assert service.calls[-1][1]["start"] == 3
    await client.get("/api/v1/runs/r1/tasks", params={"items": "false"})
    assert service.calls[-1][1]["where"].items is False


@pytest.mark.parametrize("key", ["a" * 256, "caf\u00e9", "tab\tin it"])
async def test_an_idempotency_key_has_rules(key: str, client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/api/v1/workflows/w/runs", json={}, headers={b"Idempotency-Key": key.encode("latin-1")}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"


async def test_an_empty_idempotency_key_is_refused(client: httpx2.AsyncClient, service: FakeService) -> None:
    answer = await client.post("/api/v1/workflows/w/runs", json={}, headers={"Idempotency-Key": ""})
    assert answer.status_code == 422
    assert service.calls == []


async def test_a_key_that_started_a_run_answers_200(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.started["k"] = "r1"
    again = await client.post("/api/v1/workflows/w/runs", json={}, headers={"Idempotency-Key": "k"})
    other = await client.post("/api/v1/workflows/w/runs", json={}, headers={"Idempotency-Key": "l"})
    assert (again.status_code, other.status_code) == (200, 201)
    assert service.calls[0][1]["idempotency_key"] == "k"


async def test_a_fork_hands_on_only_what_was_given(client: httpx2.AsyncClient, service: FakeService) -> None:
    assert (
        await client.post("/api/v1/runs/r1/fork", json={"seq": 2, "patch": {"input": None}})
    ).status_code == 201
    assert (await client.post("/api/v1/runs/r1/fork", json={"seq": 2})).status_code == 201
    decided: dict[str, Any] = {"decisions": {"a": "b", "c@2": []}, "outputs": {"a": None}}
    assert (await client.post("/api/v1/runs/r1/fork", json=decided)).status_code == 201
    assert (await client.post("/api/v1/runs/r1/fork/plan", json={"vars": {"x": 1}})).status_code == 200
    assert [(name, call["seq"], call["patch"]) for name, call in service.calls] == [
        ("fork", 2, {"input": None}),
        ("fork", 2, {}),
        ("fork", None, decided),
        ("plan_fork", None, {"vars": {"x": 1}}),
    ]
    wrong: list[dict[str, Any]] = [{"seq": 0}, {"decisions": {"a": 1}}, {"variables": {}}]
    for body in wrong:
        assert (await client.post("/api/v1/runs/r1/fork", json=body)).status_code == 422, body
    twice = {"input": 1, "patch": {"input": 2}}
    assert (await client.post("/api/v1/runs/r1/fork", json=twice)).status_code == 400


async def test_not_ready_is_503_with_the_checks(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "checks": {"claimed": {"ok": False}}}
    assert (await client.get("/healthz")).json() == {"status": "ok"}
