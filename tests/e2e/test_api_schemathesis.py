"""Whatever a client sends, with and without the key: never a 5xx, never an answer that OpenAPI doesn't know."""

# What schemathesis hands out is generic over the transport and leaves the parameter open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks

from tests.e2e.api_server import ApiServer, api_server

pytestmark = pytest.mark.slow
Case = Any

KEY = "a key for this test only"
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
EXAMPLES = int(os.environ.get("ORCHESTRATOR_TESTS_API_EXAMPLES", "30"))
ROOT = Path(__file__).resolve().parents[2]

# The stream over many runs never ends by itself; it has tests of its own.
SCHEMA = schemathesis.openapi.from_path(str(ROOT / "ui" / "openapi.json")).exclude(operation_id="follow_runs")
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


WAITING = {
    "name": "waiting",
    "start_at": "hold",
    "nodes": {
        "hold": {"class": "WaitNode", "params": {"signal": "go"}, "next_node": "end"},
        "end": {"class": "EndNode"},
    },
}
SHOWN = {"X-API-Key": KEY}


@schemathesis.serializer("application/gzip")
def as_gzip(context: Any, value: Any) -> bytes:
    """The body of an import: packed as a run's file is, whatever is in it."""
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return gzip.compress(content)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    # Thousands of wrong keys come from here, and the right one must still be heard.
    settings = {"ORCHESTRATOR_API_KEY": KEY, "ORCHESTRATOR_WRONG_KEYS_MAX": "1000000"}
    with api_server(tmp_path_factory.mktemp("schemathesis"), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def runs(server: ApiServer) -> list[str]:
    """Two runs: one waits for a signal, one is over."""
    made: list[str] = []
    with httpx2.Client(base_url=f"{server.url}/api/v1", headers=SHOWN) as client:
        assert client.post("/workflows", json=WAITING).status_code == 201
        for _ in range(2):
            made.append(client.post("/workflows/waiting/runs", json={}).json()["id"])
        assert client.post(f"/runs/{made[1]}/cancel", json={}).status_code == 202
    return made


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
def test_with_the_key_every_answer_is_a_described_one(case: Case, server: ApiServer) -> None:
    case.call_and_validate(base_url=server.url, headers=SHOWN, checks=CHECKS, timeout=20)


# A stream of a run that waits doesn't end; a workflow that is deleted would be missing to the others.
@SCHEMA.exclude(operation_id=["follow_run", "delete_workflow"]).include(path_regex=r"\{").parametrize()
@settings(max_examples=max(10, EXAMPLES // 2), deadline=None, suppress_health_check=SLOW)
def test_what_is_there_answers_as_described_too(case: Case, server: ApiServer, runs: list[str]) -> None:
    there = {"run_id": runs[len(str(case.body)) % 2], "path": "hold", "version": 1, "name": "waiting"}
    if "signals" in case.path:
        there["name"] = "go"
    case.path_parameters = {name: there[name] for name in case.path_parameters}
    case.call_and_validate(base_url=server.url, headers=SHOWN, checks=CHECKS, timeout=20)


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
def test_without_the_key_nothing_is_done(case: Case, server: ApiServer) -> None:
    response = case.call(base_url=server.url, timeout=20)
    case.validate_response(response, checks=[checks.not_a_server_error])
    if case.operation.path.startswith("/api/") and "session" not in case.operation.path:
        assert 400 <= response.status_code < 500
