"""The API as a client meets it: a real server, a real store, real streams."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.api import models
from tests.e2e.api_server import ApiServer, api_server

ROOT = Path(__file__).resolve().parents[2]
ONBOARDING = (ROOT / "examples" / "onboarding.json").read_bytes()
NAME = "Agentic User Onboarding"
JSON = {"Content-Type": "application/json"}
SECRET = "hunter2-and-more"

WAITING: dict[str, Any] = {
    "name": "waiting",
    "start_at": "before",
    "nodes": {
        "before": {"class": "SetNode", "params": {"values": {"x": "{{ input.x }}"}}, "next_node": "hold"},
        "hold": {"class": "WaitNode", "params": {"signal": "go"}, "next_node": "after"},
        "after": {"class": "EndNode"},
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api"), ORCHESTRATOR_SECRET_TOKEN=SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: ApiServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.url}/api/v1", timeout=20) as client:
        yield client


def save(client: httpx2.Client, document: dict[str, Any] | bytes) -> dict[str, Any]:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = client.post("/workflows", content=text, headers=JSON)
    assert answer.status_code in (200, 201), answer.text
    models.SavedVersion.model_validate(answer.json())
    return answer.json()


def start(client: httpx2.Client, name: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/workflows/{name}/runs", json=body)
    assert answer.status_code == 201, answer.text
    models.Run.model_validate(answer.json())
    return answer.json()


def until(client: httpx2.Client, run: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = client.get(f"/runs/{run}").json()
        if condition(found):
            return found
        time.sleep(0.02)
    raise AssertionError(f"it never came: {client.get(f'/runs/{run}').text}")


def ended(run: dict[str, Any]) -> bool:
    return run["status"] in ("succeeded", "failed", "cancelled")


def events(
    client: httpx2.Client, path: str, *, last: str | None = None, stop_at: str = ""
) -> list[dict[str, str]]:
    """Events of a stream up to its end, or up to the first whose data holds `stop_at`."""
    found: list[dict[str, str]] = []
    now: dict[str, str] = {}
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                now[name] = value
                continue
            if "event" in now:
                found.append(now)
                if stop_at and stop_at in now["data"]:
                    return found
            now = {}
    return found


@pytest.mark.parametrize(
    ("user_type", "taken", "left"),
    [
        (None, "step_escalate", "step_standard_process"),
        ("standard", "step_standard_process", "step_escalate"),
    ],
)
def test_the_onboarding_workflow_runs_both_ways_and_tells_why(
    client: httpx2.Client, user_type: str | None, taken: str, left: str
) -> None:
    assert save(client, ONBOARDING)["hints"] == []
    run = start(
        client, NAME, input={} if user_type is None else {"user_type": user_type}, labels={"team": "a"}
    )
    stream = events(client, f"/runs/{run['id']}/events")
    done = until(client, run["id"], ended)
    assert done["status"] == "succeeded"
    assert done["error"] is None
    models.Run.model_validate(done)

    tasks = client.get(f"/runs/{run['id']}/tasks").json()["items"]
    for task in tasks:
        models.Task.model_validate(task)
        detail = client.get(f"/runs/{run['id']}/tasks/{task['path']}").json()
        models.TaskDetail.model_validate(detail)
    by_node = {task["node"]: task for task in tasks}
    assert taken in by_node
    assert left not in by_node
    decision = by_node["step_route_user"]["decision"]
    assert [chosen["node"] for chosen in decision["chosen"]] == [taken]
    assert decision["reason"]

    journal = client.get(f"/runs/{run['id']}/journal", params={"limit": 1000}).json()["items"]
    assert [event["seq"] for event in journal] == list(range(1, done["seq"] + 1))
    for event in journal:
        models.JournalEvent.model_validate(event)
    streamed = [json.loads(one["data"]) for one in stream if one["event"] == "journal"]
    assert streamed == journal
    assert stream[-1]["event"] == "end"
    assert json.loads(stream[-1]["data"]) == {"status": "succeeded"}

    mails = client.get("/outbox", params={"run": run["id"]}).json()["items"]
    assert len(mails) == 1
    models.OutboxItem.model_validate(mails[0])


def test_a_stream_resumes_without_gap_or_repeat_from_everywhere(client: httpx2.Client) -> None:
    save(client, ONBOARDING)
    run = start(client, NAME)
    until(client, run["id"], ended)
    whole = [one for one in events(client, f"/runs/{run['id']}/events") if one["event"] == "journal"]
    ids = [one["id"] for one in whole]
    assert ids == [str(n) for n in range(1, len(ids) + 1)]
    for last in ids:
        rest = events(client, f"/runs/{run['id']}/events", last=last)
        assert [one["id"] for one in rest if one["event"] == "journal"] == ids[int(last) :]
        assert rest[-1]["event"] == "end"


def test_a_stream_over_many_runs_shows_each_run_in_order(client: httpx2.Client, server: ApiServer) -> None:
    save(client, ONBOARDING)
    found: list[dict[str, str]] = []
    listening = threading.Event()
    runs: list[str] = []

    def listen() -> None:
        now: dict[str, str] = {}
        with (
            httpx2.Client(base_url=f"{server.url}/api/v1", timeout=20) as own,
            own.stream("GET", "/events", params={"workflow": NAME}) as answer,
        ):
            for line in answer.iter_lines():
                listening.set()
                if line:
                    name, _, value = line.partition(": ")
                    now[name] = value
                    continue
                if "event" in now:
                    found.append(now)
                    kinds = [json.loads(one["data"]).get("kind") for one in found]
                    if kinds.count("run_succeeded") == 3:
                        return
                now = {}

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert listening.wait(10)
    runs = [start(client, NAME)["id"] for _ in range(3)]
    thread.join(20)
    assert not thread.is_alive()
    journal = [json.loads(one["data"]) for one in found if one["event"] == "journal"]
    for run in runs:
        seqs = [event["seq"] for event in journal if event["run"] == run]
        assert seqs == list(range(1, len(seqs) + 1))
    for one in found:
        if one["event"] == "run":
            models.RunSummary.model_validate(json.loads(one["data"]))


def test_a_run_waits_for_its_signal_and_says_so(client: httpx2.Client) -> None:
    save(client, WAITING)
    run = start(client, "waiting", input={"x": 1})
    waiting = until(client, run["id"], lambda found: found["status"] == "waiting")
    assert "go" in waiting["waiting_for"]["sentence"]
    explained = client.get(f"/runs/{run['id']}/explain").json()
    models.Explanation.model_validate(explained)
    assert explained["wakers"][0]["kind"] == "signal"
    models.RunState.model_validate(client.get(f"/runs/{run['id']}/state").json())

    assert client.delete("/workflows/waiting").status_code == 409
    signal = f"/runs/{run['id']}/signals/go"
    first = client.post(signal, json={"payload": {"ok": True}}, headers={"Idempotency-Key": "k"})
    again = client.post(signal, json={"payload": {"ok": True}}, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert until(client, run["id"], ended)["status"] == "succeeded"
    late = client.post(signal, json={"payload": 1})
    assert late.status_code == 409
    assert client.delete("/workflows/waiting").status_code == 204
    assert client.get("/workflows/waiting").status_code == 404


def test_a_run_can_be_paused_resumed_cancelled_and_forked(client: httpx2.Client) -> None:
    save(client, WAITING)
    run = start(client, "waiting", input={"x": 1})["id"]
    until(client, run, lambda found: found["status"] == "waiting")
    assert client.post(f"/runs/{run}/pause", json={"reason": "lunch"}).json()["status"] == "paused"
    assert client.post(f"/runs/{run}/pause", json={}).status_code == 200
    assert client.post(f"/runs/{run}/resume", json={}).json()["status"] in ("waiting", "running")
    seq = client.get(f"/runs/{run}").json()["seq"]
    fork = client.post(f"/runs/{run}/fork", json={"seq": seq, "patch": {}})
    assert fork.status_code == 201, fork.text
    assert fork.json()["forked_from"] == {"run": run, "seq": seq}
    for one in (run, fork.json()["id"]):
        assert client.post(f"/runs/{one}/cancel", json={"reason": "enough"}).status_code == 202
        assert until(client, one, ended)["status"] == "cancelled"
    assert client.post(f"/runs/{run}/retry", json={}).status_code == 409


def test_a_key_starts_one_run_however_often_it_is_sent(client: httpx2.Client) -> None:
    save(client, ONBOARDING)
    headers = {"Idempotency-Key": "order-4711"}
    first = client.post(f"/workflows/{NAME}/runs", json={"input": {"a": 1}}, headers=headers)
    again = client.post(f"/workflows/{NAME}/runs", json={"input": {"a": 1}}, headers=headers)
    other = client.post(f"/workflows/{NAME}/runs", json={"input": {"a": 2}}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_lists_are_filtered_and_come_in_pages(client: httpx2.Client) -> None:
    save(client, {**WAITING, "name": "listed"})
    made = [start(client, "listed", input={"x": n}, labels={"n": str(n)})["id"] for n in range(5)]
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {"workflow": "listed", "limit": "2", **({"cursor": cursor} if cursor else {})}
        page = client.get("/runs", params=query).json()
        for run in page["items"]:
            models.RunSummary.model_validate(run)
        found += [run["id"] for run in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == made[::-1]
    assert [run["id"] for run in client.get("/runs", params={"label": "n:3"}).json()["items"]] == [made[3]]
    assert client.get("/runs", params={"cursor": "nonsense"}).status_code in (400, 422)
    workflows = client.get("/workflows").json()["items"]
    for one in workflows:
        models.WorkflowSummary.model_validate(one)
    assert "listed" in [one["name"] for one in workflows]
    for run_id in made:
        assert client.post(f"/runs/{run_id}/cancel", json={}).status_code == 202


def test_all_faults_come_at_once_and_versions_are_kept(client: httpx2.Client) -> None:
    broken = json.loads(ONBOARDING)
    broken["nodes"]["step_start"]["next_node"] = "step_get_usr"
    broken["nodes"]["step_get_user"]["class"] = "GetUserDatNode"
    answer = client.post("/workflows", json=broken)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_definition")
    pointers = {fault["pointer"]: fault for fault in answer.json()["errors"]}
    assert pointers["/nodes/step_start/next_node"]["suggestion"] == "step_get_user"
    assert pointers["/nodes/step_get_user/class"]["suggestion"] == "GetUserDataNode"
    checked = client.post("/workflows/validate", json=broken).json()
    models.Validation.model_validate(checked)
    assert not checked["valid"]
    assert client.post("/workflows/validate", content=b"{", headers=JSON).json()["valid"] is False

    first = save(client, {**WAITING, "name": "versions"})
    assert save(client, {**WAITING, "name": "versions"})["created"] is False
    second = save(client, {**WAITING, "name": "versions", "description": "now with words", "vars": {"a": 1}})
    assert (first["version"], second["version"]) == (1, 2)
    listed = client.get("/workflows/versions/versions").json()["items"]
    assert [one["version"] for one in listed] == [2, 1]
    for one in listed:
        models.WorkflowVersion.model_validate(one)
    for path in ("/workflows/versions", "/workflows/versions/versions/1"):
        models.Workflow.model_validate(client.get(path).json())
    assert client.get("/workflows/versions/versions/3").status_code == 404


def test_editors_get_schemas_and_classes(client: httpx2.Client) -> None:
    classes = client.get("/node-classes").json()["items"]
    for one in classes:
        models.NodeClass.model_validate(one)
    assert {"StartNode", "RouteUserByTypeNode"} <= {one["name"] for one in classes}
    schema = client.get("/schemas/workflow").json()
    assert schema["type"] == "object"
    models.SystemInfo.model_validate(client.get("/system").json())


@pytest.mark.parametrize(
    "path",
    [
        "/runs/nobody",
        "/runs/nobody/tasks",
        "/runs/nobody/tasks/a",
        "/runs/nobody/journal",
        "/runs/nobody/state",
        "/runs/nobody/explain",
        "/runs/nobody/events",
        "/workflows/nobody",
        "/workflows/nobody/versions",
        "/workflows/nobody/versions/1",
    ],
)
def test_what_is_not_there_is_404_everywhere(path: str, client: httpx2.Client) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/workflows/nobody/runs", {}),
        ("/runs/nobody/pause", {}),
        ("/runs/nobody/resume", {}),
        ("/runs/nobody/cancel", {}),
        ("/runs/nobody/retry", {}),
        ("/runs/nobody/fork", {"seq": 1}),
        ("/runs/nobody/signals/go", {}),
        ("/runs/nobody/tasks/a/resolve", {"action": "retry"}),
    ],
)
def test_what_is_not_there_cannot_be_changed(path: str, body: Any, client: httpx2.Client) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_bad_documents_are_refused_while_a_run_beside_goes_on(client: httpx2.Client) -> None:
    save(client, WAITING)
    run = start(client, "waiting", input={"x": 1})["id"]
    good = json.dumps(WAITING)
    bodies = {
        "2 MiB": good[:-1].encode() + b" " * 2 * 1024 * 1024 + b"}",
        "deep": b'{"name": ' + b"[" * 100_000,
        "NaN": good.replace('"x"', '"y": NaN, "x"').encode(),
        "NUL": good.replace("waiting", "wai\x00ting").encode(),
        "written NUL": good.replace("waiting", "wai\\u0000ting").encode(),
        "surrogate": good.replace("waiting", "wai\\ud800ting").encode(),
        "duplicate": good.replace('"start_at"', '"name": "b", "start_at"').encode(),
        "empty id": good.replace('"before"', '""').encode(),
        "unknown class": good.replace("SetNode", "SettNode").encode(),
        "a call": good.replace("input.x", "input.x.upper()").encode(),
        "empty": b"",
        "a list": b"[]",
        "not UTF-8": b"\xff\xfe",
    }
    for what, body in bodies.items():
        answer = client.post("/workflows", content=body, headers=JSON)
        assert 400 <= answer.status_code < 500, (what, answer.status_code, answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json"
    client.post(f"/runs/{run}/signals/go", json={})
    assert until(client, run, ended)["status"] == "succeeded"


@pytest.mark.parametrize(
    "expression",
    [
        "input.__class__.__mro__",
        "range(10 ** 9)",
        "('a' * 10) * 10",
        "'%1000000000d' | format(1)",
        "input.x.y.z",
    ],
)
def test_an_expression_that_would_escape_or_burn_fails_at_most_its_own_task(
    expression: str, client: httpx2.Client
) -> None:
    text = json.dumps({**WAITING, "name": "escaping"}).replace("input.x", expression)
    answer = client.post("/workflows", content=text, headers=JSON)
    if answer.status_code != 201:
        assert answer.status_code == 422, answer.text
        return
    failed = until(client, start(client, "escaping", input={"x": 1})["id"], ended)
    assert failed["status"] == "failed"
    assert failed["error"]["type"] == "expression_failed"
    assert failed["error"]["node"] == "before"


def test_a_secret_is_in_no_answer(client: httpx2.Client, server: ApiServer) -> None:
    document = {**WAITING, "name": "secretive"}
    document["nodes"] = {
        "a": {"class": "SetNode", "params": {"values": {"t": "{{ secrets.TOKEN }}"}}, "next_node": "b"},
        "b": {"class": "EndNode"},
    }
    document["start_at"] = "a"
    save(client, document)
    run = start(client, "secretive")["id"]
    stream = events(client, f"/runs/{run}/events")
    until(client, run, ended)
    texts = [json.dumps(stream), server.log]
    paths = ["", "/tasks", "/tasks/a", "/tasks/b", "/journal", "/state", "/explain"]
    texts += [client.get(f"/runs/{run}{path}").text for path in paths]
    assert not [text for text in texts if SECRET in text]


def test_kill_minus_9_loses_nothing_and_streams_go_on(tmp_path: Path) -> None:
    with api_server(tmp_path) as server:
        with httpx2.Client(base_url=f"{server.url}/api/v1", timeout=20) as client:
            save(client, WAITING)
            run = start(client, "waiting", input={"x": 1})["id"]
            until(client, run, lambda found: found["status"] == "waiting")
            path = f"/runs/{run}/events"
            seen = events(client, path, stop_at='"task_suspended"')
            server.kill()
            server.start()
            client.post(f"/runs/{run}/signals/go", json={"payload": 1})
            last = [one["id"] for one in seen if one["event"] == "journal"][-1]
            seen += events(client, path, last=last)
            until(client, run, ended)
            whole = events(client, path)
        ids = [one["id"] for one in seen if one["event"] == "journal"]
        assert ids == [str(n) for n in range(1, len(ids) + 1)]
        assert ids == [one["id"] for one in whole if one["event"] == "journal"]


def test_uvicorn_stops_at_once_with_a_stream_open(tmp_path: Path) -> None:
    with api_server(tmp_path) as server, httpx2.Client(base_url=f"{server.url}/api/v1", timeout=20) as client:
        save(client, WAITING)
        run = start(client, "waiting", input={"x": 1})["id"]
        with client.stream("GET", f"/runs/{run}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            assert server.stop() < 5
            for _ in lines:
                pass
        assert server.process is not None
        assert "Traceback" not in server.log


def own_address() -> str | None:
    """An address of this machine that isn't loopback, if there is one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


@pytest.mark.skipif(own_address() is None, reason="this machine has no address but loopback")
def test_on_the_network_uvicorn_answers_nobody_without_a_key(tmp_path: Path) -> None:
    with api_server(tmp_path, host="0.0.0.0") as server:
        for path in ("/api/v1/runs", "/healthz", "/"):
            answer = httpx2.get(f"http://{own_address()}:{server.port}{path}", headers={"Host": "localhost"})
            assert (answer.status_code, answer.json()["code"]) == (403, "network_needs_key")
        assert httpx2.get(f"{server.url}/api/v1/runs").status_code == 200
