"""Every error has its answer, and no answer tells more than it should."""

import inspect
import logging

import httpx2
import pytest

from orchestrator import errors
from orchestrator.api import problems
from tests.unit.api.fake import FakeService

MADE: dict[type[errors.OrchestratorError], errors.OrchestratorError] = {
    errors.DefinitionError: errors.DefinitionError(
        [
            errors.Fault(
                pointer="/nodes/a/next_node", code="unknown_node", message="no node `b`", suggestion="c"
            )
        ],
        [errors.Fault(pointer="/nodes/c", code="routes_not_declared", message="say which")],
    ),
    errors.NotFound: errors.NotFound("run", "r9", suggestion="r1"),
    errors.Conflict: errors.Conflict("run r1 has finished", reason="run_finished"),
    errors.LimitExceeded: errors.LimitExceeded("workflow document", value=2, maximum=1, unit="bytes"),
    errors.ExpressionFailed: errors.ExpressionFailed("no `x`", pointer="/vars/a"),
    errors.TaskTimeout: errors.TaskTimeout(1.5),
    errors.RetryLater: errors.RetryLater(delay_seconds=7),
}
TREE = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.OrchestratorError)
]


def instance(error: type[errors.OrchestratorError]) -> errors.OrchestratorError:
    return MADE[error] if error in MADE else error("what happened in /secret/place")


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
async def test_every_error_has_a_row_of_its_own_and_a_whole_problem(
    error: type[errors.OrchestratorError], client: httpx2.AsyncClient, service: FakeService
) -> None:
    assert error in problems.TABLE
    service.raises = instance(error)
    answer = await client.get("/api/v1/runs/r1")
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code >= 400
    assert body["type"] == f"/problems/{body['code']}"
    assert body["title"]
    assert body["detail"]
    if not problems.TABLE[error].public:
        assert body["code"] == "internal"
        assert "secret" not in answer.text
        assert len(body["incident"]) == 8


def test_the_table_has_no_row_for_what_is_no_error_of_ours() -> None:
    assert set(problems.TABLE) == set(TREE)


def test_a_subclass_from_elsewhere_is_answered_as_its_nearest_ancestor() -> None:
    class StillRunning(errors.Conflict):
        pass

    assert problems.mapped(StillRunning) is problems.TABLE[errors.Conflict]


async def test_all_faults_of_a_document_are_told_with_place_and_suggestion(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.raises = MADE[errors.DefinitionError]
    answer = await client.post("/api/v1/workflows", json={})
    assert answer.status_code == 422
    body = answer.json()
    assert body["code"] == "invalid_definition"
    assert body["errors"] == [
        {"pointer": "/nodes/a/next_node", "code": "unknown_node", "message": "no node `b`", "suggestion": "c"}
    ]
    assert body["hints"][0]["code"] == "routes_not_declared"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MADE[errors.NotFound], 404, "not_found"),
        (MADE[errors.Conflict], 409, "run_finished"),
        (MADE[errors.LimitExceeded], 413, "limit_exceeded"),
        (errors.LimitExceeded("labels", value=40, maximum=32), 422, "limit_exceeded"),
        (errors.StoreUnavailable("disk full"), 503, "store_unavailable"),
        (errors.CommitUnknown("the answer was lost"), 503, "commit_unknown"),
    ],
)
async def test_clients_can_tell_errors_apart(
    client: httpx2.AsyncClient,
    service: FakeService,
    error: errors.OrchestratorError,
    status: int,
    code: str,
) -> None:
    service.raises = error
    answer = await client.get("/api/v1/runs/r1")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_an_error_that_nobody_knows_leaks_nothing_and_is_in_the_log(
    client: httpx2.AsyncClient, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.raises = KeyError("/etc/shadow hunter2")
    with caplog.at_level(logging.ERROR, "orchestrator.api"):
        answer = await client.get("/api/v1/runs/r1")
    body = answer.json()
    assert answer.status_code == 500
    assert body["code"] == "internal"
    assert "hunter2" not in answer.text
    assert body["incident"] in caplog.text
    assert "hunter2" in caplog.text
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/runs/", 404),
        ("GET", "/api/v1/runs/a/b", 404),
        ("PUT", "/api/v1/runs", 405),
        ("GET", "/api/v2/runs", 404),
    ],
)
async def test_wrong_addresses_are_problems_too(
    client: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert path in answer.json()["detail"]


def test_an_error_about_text_that_no_json_can_hold_can_still_be_sent() -> None:
    answer = problems.from_error(errors.NotFound("workflow", "a\ud800b"))
    assert b"\\\\ud800" in bytes(answer.body)
