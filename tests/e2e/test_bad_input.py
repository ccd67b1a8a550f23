"""Whatever comes in: a clear refusal or the failure of its own task, while a run beside it finishes normally."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.faults.processes import Server, journal, run_of, save, server, start, until_over, wait_until

pytestmark = [pytest.mark.slow]

JSON = {"Content-Type": "application/json"}
MiB = 1024 * 1024
BLOCKED_AFTER_SECONDS = 1.0
REFUSED_WITHIN_SECONDS = 5.0

BESIDE: dict[str, Any] = {
    "name": "beside",
    "start_at": "write",
    "nodes": {
        "write": {"class": "LedgerNode", "params": {"value": 1}, "next_node": "wait"},
        "wait": {"class": "WaitNode", "params": {"for": "30ms"}, "next_node": "flaky"},
        "flaky": {
            "class": "FlakyNode",
            "params": {"fails": 1, "value": "{{ nodes.write.value + 1 }}"},
            "retry": {"initial": "30ms"},
            "next_node": "end",
        },
        "end": {"class": "EndNode"},
    },
}
SECRET = "hunter2-and-more"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "ORCHESTRATOR_BLOCKED_AFTER_SECONDS": str(BLOCKED_AFTER_SECONDS),
        "ORCHESTRATOR_SECRET_TOKEN": SECRET,
    }
    with server(tmp_path_factory.mktemp("bad"), environment=settings) as found:
        with found.client() as client:
            save(client, BESIDE)
        yield found


@pytest.fixture
def client(found: Server) -> Iterator[httpx2.Client]:
    with found.client() as client:
        yield client


@pytest.fixture(autouse=True)
def beside(found: Server, client: httpx2.Client) -> Iterator[str]:
    """A run beside every test of this file: it must end as if nothing were."""
    run = start(client, "beside")
    yield run
    over = until_over(client, run)
    assert over["status"] == "succeeded", over["error"]
    assert over["output"]["value"] == 2
    assert [e["path"] for e in journal(client, run) if e["kind"] == "task_completed"] == list(BESIDE["nodes"])
    assert found.process is not None
    assert found.process.poll() is None, "the server is gone"
    assert client.get(f"{found.url}/readyz").status_code == 200


def document(**nodes: Any) -> dict[str, Any]:
    return {"name": "bad", "start_at": next(iter(nodes)), "nodes": nodes}


def refused(answer: httpx2.Response, *statuses: int) -> dict[str, Any]:
    """A refusal as it should be: a problem with place, cause and cure, told soon."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:2000]}"
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    problem = answer.json()
    assert problem["code"]
    assert problem["title"]
    assert problem["detail"]
    assert problem["status"] == answer.status_code
    assert len(answer.content) < MiB, "the refusal itself is huge"
    assert answer.elapsed.total_seconds() < REFUSED_WITHIN_SECONDS
    return problem


# ------------------------------------------------------------------------------------------------------- documents


def _deep(times: int) -> bytes:
    inner = b"[" * times + b"]" * times
    return b'{"name": "bad", "start_at": "a", "nodes": {"a": {"class": "EndNode", "x-deep": ' + inner + b"}}}"


GOOD = json.dumps(document(a={"class": "EndNode"})).encode()
BODIES: dict[str, tuple[bytes, tuple[int, ...], str]] = {
    "2 MiB": (GOOD.replace(b"EndNode", b"EndNode" + b"x" * 2 * MiB), (413,), "1,048,576"),
    "2 MiB of spaces": (GOOD + b" " * 2 * MiB, (413,), "1,048,576"),
    "deep": (_deep(100_000), (400, 422), "64"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, (400, 422), "64"),
    "deep, never closed": (b"[" * 100_000, (400, 422), "64"),
    "NaN": (GOOD.replace(b'"EndNode"', b"NaN"), (400, 422), "NaN"),
    "infinity": (GOOD.replace(b'"EndNode"', b"-Infinity"), (400, 422), "Infinity"),
    "1e999": (GOOD.replace(b'"EndNode"', b"1e999"), (400, 422), "1e999"),
    "long integer": (GOOD.replace(b'"EndNode"', b"9" * 5_000), (400, 422), ""),
    "NUL raw": (GOOD.replace(b"bad", b"b\x00d"), (400, 422), ""),
    "NUL escaped in the name": (GOOD.replace(b"bad", b"b\\u0000d"), (422,), "/name"),
    "NUL escaped in an id": (GOOD.replace(b'"a"', b'"a\\u0000"'), (422,), "/nodes"),
    "NUL in a class": (GOOD.replace(b"EndNode", b"End\\u0000Node"), (422,), "/nodes/a/class"),
    "lone surrogate": (GOOD.replace(b"bad", b"b\\ud800d"), (400, 422), ""),
    "lone surrogate in a key": (GOOD.replace(b'"class"', b'"cl\\udc00ass"'), (400, 422), ""),
    "surrogate bytes": (GOOD.replace(b"bad", b"b\xed\xa0\x80d"), (400, 422), ""),
    "latin-1": (GOOD.replace(b"bad", b"b\xe4d"), (400, 422), "UTF-8"),
    "UTF-16": (GOOD.decode().encode("utf-16"), (400, 422), ""),
    "duplicate key": (GOOD.replace(b'{"name"', b'{"name": "other", "name"'), (400, 422), "name"),
    "duplicate node": (GOOD.replace(b'"a": {', b'"a": {"class": "StartNode"}, "a": {'), (400, 422), "a"),
    "duplicate key by escape": (GOOD.replace(b'{"name"', b'{"n\\u0061me": "o", "name"'), (400, 422), "name"),
    "empty": (b"", (400, 422), ""),
    "a byte order mark only": (b"\xef\xbb\xbf", (400, 422), ""),
    "cut off": (GOOD[:-3], (400, 422), ""),
    "two": (GOOD + GOOD, (400, 422), ""),
    "null": (b"null", (400, 422), ""),
    "a list": (b"[" + GOOD + b"]", (400, 422), ""),
    "a text": (b'"' + b"x" * 1000 + b'"', (400, 422), ""),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(1000), (400, 415, 422), ""),
    "an unknown class": (GOOD.replace(b"EndNode", b"EndNod"), (422,), "EndNode"),
    "an import path": (GOOD.replace(b"EndNode", b"os.system"), (422,), "/nodes/a/class"),
    "an empty id": (GOOD.replace(b'"a"', b'""'), (422,), "/nodes"),
    "no nodes": (b'{"name": "bad", "start_at": "a", "nodes": {}}', (422,), "/nodes"),
    "a long name": (GOOD.replace(b"bad", b"x" * 201), (422,), "/name"),
    "a name with a slash": (GOOD.replace(b"bad", b"a/b"), (422,), "/name"),
    "an empty name": (GOOD.replace(b"bad", b""), (422,), "/name"),
    "an unknown key": (GOOD.replace(b'"start_at"', b'"strat_at": "a", "start_at"'), (422,), "/strat_at"),
    "a prototype": (GOOD.replace(b'"start_at"', b'"__proto__": {}, "start_at"'), (422,), "/__proto__"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_document_that_cannot_be_is_refused_in_words(case: str, client: httpx2.Client) -> None:
    body, statuses, word = BODIES[case]
    before = saved(client)
    problem = refused(client.post("/workflows", content=body, headers=JSON), *statuses)
    assert word in json.dumps(problem, ensure_ascii=False), problem
    assert saved(client) == before, "something was saved"
    answer = client.post("/workflows/validate", content=body, headers=JSON)
    if answer.status_code == 200:
        assert answer.json()["valid"] is False
        assert answer.json()["faults"]
    else:
        refused(answer, *statuses, 413)


def saved(client: httpx2.Client) -> dict[str, int]:
    return {row["name"]: row["version"] for row in client.get("/workflows").json()["items"]}


def _end(**fields: Any) -> dict[str, Any]:
    return {"class": "EndNode", **fields}


def _set(value: Any, following: str | None = None) -> dict[str, Any]:
    return {
        "class": "SetNode",
        "params": {"values": {"x": value}},
        **({"next_node": following} if following else {}),
    }


DOCUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "a loop without exit": (
        document(a={"class": "SetNode", "next_node": "b"}, b={"class": "SetNode", "next_node": "a"}),
        "/nodes",
    ),
    "a node that leads to itself": (document(a={"class": "SetNode", "next_node": "a"}), "/nodes/a"),
    "a way to nowhere": (document(a=_set(1, "step_ned"), step_end=_end()), "step_end"),
    "a start that isn't there": ({"name": "bad", "start_at": "b", "nodes": {"a": _end()}}, "/start_at"),
    "what nothing leads to": (document(a=_end(), b=_end()), "/nodes/b"),
    "an expression that can't be read": (document(a=_set("{{ 1 + }}")), "/nodes/a/params"),
    "an escape to classes": (document(a=_set("{{ ''.__class__.__mro__ }}")), "/nodes/a/params"),
    "an escape by a filter": (document(a=_set("{{ input | attr('__class__') }}")), "/nodes/a/params"),
    "a call": (document(a=_set("{{ lipsum.__globals__['os'].popen('id') }}")), "/nodes/a/params"),
    "an output that can't be there yet": (
        document(a=_set("{{ nodes.b.x }}", "b"), b=_end()),
        "/nodes/a/params",
    ),
    "params of the wrong kind": (document(a={"class": "WaitNode", "params": {"for": {}}}), "/nodes/a/params"),
    "an endless timeout": (document(a=_end(timeout="999999999999999d")), "/nodes/a/timeout"),
    "a negative timeout": (document(a=_end(timeout=-1)), "/nodes/a/timeout"),
    "a huge retry": (document(a=_end(retry={"max_attempts": 10**18})), "/nodes/a/retry"),
    "what comes later": (document(a=_end(cache="1h")), "/nodes/a/cache"),
    "a huge expression": (document(a=_set("{{ " + "1 + " * 50_000 + "1 }}")), "/nodes/a/params"),
    "a deep expression": (
        document(a=_set("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}")),
        "/nodes/a/params",
    ),
    "a deep list expression": (
        document(a=_set("{{ " + "[" * 5_000 + "]" * 5_000 + " }}")),
        "/nodes/a/params",
    ),
    "many nots": (document(a=_set("{{ " + "not " * 20_000 + "1 }}")), "/nodes/a/params"),
    "a power": (document(a=_set("{{ 9 ** 9 ** 9 }}")), "/nodes/a/params"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_document_with_a_fault_is_refused_at_its_place(case: str, client: httpx2.Client) -> None:
    written, place = DOCUMENTS[case]
    problem = refused(client.post("/workflows", json=written), 422)
    assert place in json.dumps(problem["errors"]), problem["errors"]
    for fault in problem["errors"]:
        assert fault["code"]
        assert fault["message"]
    report = client.post("/workflows/validate", json=written)
    assert report.status_code == 200
    assert report.json()["valid"] is False
    assert place in json.dumps(report.json()["faults"])


def test_ten_thousand_nodes_are_taken_and_one_more_is_not(client: httpx2.Client) -> None:
    def chain(length: int) -> bytes:
        nodes: dict[str, Any] = {
            f"n{i}": {"class": "EndNode", "next_node": f"n{i + 1}"} for i in range(length - 1)
        }
        nodes[f"n{length - 1}"] = _end()
        return json.dumps({"name": "long", "start_at": "n0", "nodes": nodes}, separators=(",", ":")).encode()

    problem = refused(client.post("/workflows", content=chain(10_001), headers=JSON), 413, 422)
    assert "10,000" in json.dumps(problem)
    with httpx2.Client(base_url=client.base_url, timeout=60) as patient:
        assert patient.post("/workflows", content=chain(10_000), headers=JSON).status_code == 201


# --------------------------------------------------------------------------------------------- values at other doors

VALUES: dict[str, bytes] = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "NaN": b"NaN",
    "1e999": b"[1e999]",
    "lone surrogate": b'"\\udfff"',
    "duplicate key": b'{"a": 1, "a": 2}',
    "duplicate key inside": b'[{"a": {"b": 1, "b": 2}}]',
    "raw NUL": b'"\x00"',
    "not UTF-8": b'"\xff\xfe"',
    "66 bits": b"99999999999999999999",
    "20 MiB": b'"' + b"x" * 20 * MiB + b'"',
    "NUL in a text": b'"a\\u0000b"',
    "NUL in a key": b'{"\\u0000": 1}',
    "nothing": b"",
}


@pytest.mark.parametrize("door", ["input", "signal", "patch", "resolve"])
@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_cannot_be_is_refused_at_every_door(
    case: str, door: str, client: httpx2.Client, beside: str
) -> None:
    value = VALUES[case]
    path, before, after = {
        "input": ("/workflows/beside/runs", b'{"input": ', b"}"),
        "signal": (f"/runs/{beside}/signals/x", b'{"payload": ', b"}"),
        "patch": (f"/runs/{beside}/fork", b'{"seq": 1, "patch": {"input": ', b"}}"),
        "resolve": (f"/runs/{beside}/tasks/write/resolve", b'{"action": "done", "output": ', b"}"),
    }[door]
    refused(client.post(path, content=before + value + after, headers=JSON), 400, 413, 422)


ODD_VALUES: list[Any] = ["\uffff\U0010ffff", "x" * 70_000, [[1, [2, []]]] * 50, 2**63, -0.0]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_an_odd_value_that_is_json_comes_back_equal(value: Any, client: httpx2.Client) -> None:
    save(client, {"name": "echo", "start_at": "a", "nodes": {"a": {"class": "StartNode"}}})
    run = start(client, "echo", input={"value": value})
    over = until_over(client, run)
    assert over["status"] == "succeeded", over["error"]
    assert over["output"] == {"value": value}
    assert over["input"] == {"value": value}


def test_what_is_not_there_is_not_found_in_words(client: httpx2.Client) -> None:
    problem = refused(client.post("/workflows/besde/runs", json={}), 404)
    assert "beside" in json.dumps(problem), "the nearest name isn't told"
    for method, path in [
        ("GET", "/runs/run_0000000000000000000"),
        ("GET", "/runs/%00"),
        ("GET", "/runs/%ED%A0%80"),
        ("GET", "/runs/" + "x" * 4_000),
        ("GET", "/runs/..%2f..%2fetc%2fpasswd"),
        ("GET", "/runs/x/tasks/%00"),
        ("GET", "/workflows/%00"),
        ("GET", "/workflows/" + "x" * 300),
        ("DELETE", "/workflows/nobody"),
        ("POST", "/runs/nobody/pause"),
        ("POST", "/runs/nobody/cancel"),
        ("POST", "/runs/nobody/retry"),
        ("POST", "/runs/nobody/fork"),
        ("POST", "/runs/nobody/signals/x"),
        ("POST", "/runs/nobody/tasks/a/resolve"),
        ("GET", "/runs/nobody/events"),
        ("GET", "/nothing/here"),
    ]:
        body = {"fork": b'{"seq": 1}', "resolve": b'{"action": "retry"}'}.get(path.rsplit("/", 1)[-1], b"{}")
        sent = client.build_request(method, path)
        if method == "POST":
            sent = client.build_request(method, path, content=body, headers=JSON)
        refused(client.send(sent), 404, 422)


def test_an_empty_id_is_refused_at_every_door(client: httpx2.Client, beside: str) -> None:
    for path in (
        "/workflows//runs",
        "/runs//cancel",
        f"/runs/{beside}/signals/",
        f"/runs/{beside}/tasks//resolve",
    ):
        answer = client.post(path, json={})
        refused(answer, 404, 405, 422)
    refused(client.post("/workflows/beside/runs", json={}, headers={"Idempotency-Key": ""}), 400, 422)
    refused(client.post(f"/runs/{beside}/signals/%20", json={"payload": 1}), 404, 422)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "",
        "application/jsonp",
        "application/json; charset=utf-16",
    ],
)
def test_another_content_type_is_refused(kind: str, client: httpx2.Client) -> None:
    answer = client.post("/workflows/beside/runs", content=b"{}", headers={"Content-Type": kind})
    refused(answer, 415)


def test_changes_without_a_content_type_are_refused(client: httpx2.Client, beside: str) -> None:
    for path in ("/workflows", "/workflows/validate", "/workflows/beside/runs", f"/runs/{beside}/signals/x"):
        request = client.build_request("POST", path, content=GOOD)
        request.headers.pop("content-type", None)
        refused(client.send(request), 415)


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "-1"},
        {"limit": "0"},
        {"limit": "99999999999999999999"},
        {"limit": "many"},
        {"cursor": "../../etc"},
        {"cursor": "\x00"},
        {"cursor": "x" * 5_000},
        {"status": "sleeping"},
        {"label": "no colon"},
        {"created_after": "yesterday"},
        {"created_after": "99999-01-01T00:00:00Z"},
        {"created_before": "0000-00-00T00:00:00Z"},
        {"unknown": "1"},
    ],
)
def test_a_wrong_parameter_is_refused_by_name(params: dict[str, str], client: httpx2.Client) -> None:
    problem = refused(client.get("/runs", params=params), 400, 422)
    assert next(iter(params)) in json.dumps(problem)


def test_odd_but_possible_searches_are_answered(client: httpx2.Client) -> None:
    for params in (
        {"text": "'; DROP TABLE runs; --"},
        {"text": "%_\\"},
        {"workflow": "' OR 1=1"},
        {"label": "a:'"},
    ):
        answer = client.get("/runs", params=params)
        assert answer.status_code == 200, answer.text
        assert answer.json()["items"] == []


def test_positions_outside_the_journal_are_refused_or_empty(client: httpx2.Client, beside: str) -> None:
    for path, params in [
        (f"/runs/{beside}/journal", {"after": "-1"}),
        (f"/runs/{beside}/journal", {"after": "1e3"}),
        (f"/runs/{beside}/journal", {"after": str(2**70)}),
        (f"/runs/{beside}/state", {"seq": "-5"}),
        (f"/runs/{beside}/state", {"seq": str(2**70)}),
        (f"/runs/{beside}/events", {"after": "minus one"}),
    ]:
        refused(client.get(path, params=params), 400, 404, 409, 422)
    for seq in ("-1", "1.5", "x", "9" * 400):
        refused(client.get(f"/runs/{beside}/events", headers={"Last-Event-ID": seq}), 400, 422)
    assert client.get(f"/runs/{beside}/journal", params={"after": 10**9}).json()["items"] == []
    for seq in (0, -1, 10**9, 1.5, "1", None, 2**80):
        refused(client.post(f"/runs/{beside}/fork", json={"seq": seq}), 400, 404, 409, 422)


# ------------------------------------------------------------------------------------------------------ raw requests


def raw(found: Server, data: bytes, *, seconds: float = 5.0) -> bytes:
    """What the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", found.port), timeout=seconds) as line:
        answer = b""
        try:
            line.sendall(data)
            while part := line.recv(65536):
                answer += part
        except (TimeoutError, ConnectionError):
            pass
        return answer


def test_requests_that_are_none_are_refused(found: Server) -> None:
    host = f"Host: 127.0.0.1:{found.port}\r\n".encode()
    close = b"Connection: close\r\n"
    for data in [
        b"\x00" * 1_000 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n" + host + close + b"\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\n" + host + close + b"X-Big: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\n" + host + close + b"X: 1\r\n" * 20_000 + b"\r\n",
        b"GET /api/v1/runs?" + b"x" * 200_000 + b" HTTP/1.1\r\n" + host + close + b"\r\n",
        b"POST /api/v1/workflows HTTP/1.1\r\n" + host + close + b"Content-Length: -1\r\n\r\n{}",
        b"POST /api/v1/workflows HTTP/1.1\r\n"
        + host
        + close
        + b"Content-Length: 5\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /api/v1/workflows HTTP/1.1\r\n" + host + close + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\n" + close + b"\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\nHost: evil.example\r\n" + close + b"\r\n",
    ]:
        answer = raw(found, data)
        assert answer[9:10] in (b"4", b""), (data[:100], answer[:500])


def test_many_clients_that_never_finish_stop_nobody(found: Server, client: httpx2.Client) -> None:
    half = f"POST /api/v1/workflows HTTP/1.1\r\nHost: 127.0.0.1:{found.port}\r\nContent-Type: application/json\r\n"
    lines = [socket.create_connection(("127.0.0.1", found.port)) for _ in range(200)]
    try:
        for line in lines:
            line.sendall(half.encode() + b"Content-Length: 1000\r\n\r\n{")
        began = time.monotonic()
        assert client.get("/runs").status_code == 200
        assert time.monotonic() - began < REFUSED_WITHIN_SECONDS
    finally:
        for line in lines:
            line.close()


# ------------------------------------------------------------------------------------------------------ expressions

BURNERS = {
    "range": "{{ range(10 ** 12) | list | length }}",
    "repeat": "{{ 'x' * 10 ** 10 }}",
    "power": "{{ (input.big * input.big) | string | length }}",
    "escape by input": "{{ input[input.key] }}",
    "missing": "{{ input.nothing.deeper }}",
    "divide": "{{ 1 / (input.zero) }}",
    "sort": "{{ input.items | sort }}",
    "join": "{{ ([input.text] * 100000) | join }}",
    "replace": "{{ input.text | replace('x', input.text) | replace('x', input.text) | replace('x', input.text) }}",
}


@pytest.mark.parametrize("case", BURNERS)
def test_an_expression_that_burns_or_fails_hurts_its_own_task(case: str, client: httpx2.Client) -> None:
    written = {**document(a=_set(BURNERS[case], "end"), end=_end()), "name": f"burn {case}"}
    given = {"big": 10**18, "key": "__class__", "zero": 0, "items": [1, "a", None], "text": "x" * 1_000}
    began = time.monotonic()
    answer = client.post("/workflows", json=written)
    if answer.status_code == 422:
        refused(answer, 422)
        return
    assert answer.status_code == 201, answer.text
    over = until_over(client, start(client, f"burn {case}", input=given))
    assert time.monotonic() - began < REFUSED_WITHIN_SECONDS
    if case == "power":
        assert over["status"] in ("succeeded", "failed")
        return
    assert over["status"] == "failed", over["output"]
    assert over["error"]["node"] == "a"
    assert over["error"]["message"]


# ----------------------------------------------------------------------------------------------------- node's conduct

FAILS = {
    "20 MiB": "16,777,216",
    "not JSON": "object",
    "NaN": "",
    "infinite": "",
    "own loop": "",
    "deep": "",
    "surrogate": "",
    "surrogate key": "",
    "exit": "sys.exit",
    "exit 0": "sys.exit",
    "interrupt": "KeyboardInterrupt",
    "base exception": "the base of all",
    "generator exit": "GeneratorExit",
    "stop iteration": "",
    "recursion": "recursion",
    "unspeakable": "RuntimeError",
    "unspeakable to the end": "",
    "error with NUL": "\\x00",
    "error with surrogate": "\\ud800",
    "huge error": "xxx",
    "group": "two at once",
    "odd type": "odd",
    "odd route": "",
    "odd stop": "stopped",
    "huge stop": "xxx",
    "exit with an odd code": "",
    "object keys": "",
    "huge int": "",
    "unknown": "unknown way",
}
LIVES = {
    "1 MiB": {"text": "x" * MiB},
    "NUL": {"text": "a\x00b", "k\x00": 1},
}
FAILS_ON_THE_LOOP = {
    "exit in a task group": "",
    "exit in gather": "SystemExit",
    "sleep for ages": "100 years",
    "sleep for no number": "100 years",
    "odd signal": "can't be stored",
    "odd child": "can't be stored",
    "odd key": "can't be stored",
    "odd variable": "can't be stored",
    "step with NUL": "can't be stored",
    "odd step error": "odd",
}
EITHER = ["64 deep", "number keys", "65 bits", "log", "leave a task behind"]


def run_bad(client: httpx2.Client, how: str, node: str, **fields: Any) -> dict[str, Any]:
    name = f"bad {node} {how}"[:200]
    bad = {"class": node, "params": {"how": how}, "retry": {"max_attempts": 1}, **fields}
    save(client, {**document(bad=bad), "name": name})
    run = start(client, name)
    over = until_over(client, run)
    # Whatever is in it, all views of it can be shown.
    for view in ("", "/tasks", "/tasks/bad", "/journal", "/explain", f"/state?seq={over['seq']}"):
        assert client.get(f"/runs/{run}{view}").status_code == 200, view
    return over


@pytest.mark.parametrize("node", ["BadNode", "BadThreadNode"])
@pytest.mark.parametrize("how", FAILS)
def test_a_node_that_misbehaves_fails_its_own_task(how: str, node: str, client: httpx2.Client) -> None:
    over = run_bad(client, how, node)
    assert over["status"] == "failed", over["output"]
    error = over["error"]
    assert error["node"] == "bad"
    assert error["path"] == "bad"
    assert error["type"]
    assert error["message"]
    assert FAILS[how] in error["message"], error["message"][:500]
    assert len(error["message"]) < 5_000


@pytest.mark.parametrize("how", FAILS_ON_THE_LOOP)
def test_a_node_that_asks_for_the_impossible_fails_its_own_task(how: str, client: httpx2.Client) -> None:
    over = run_bad(client, how, "BadNode")
    assert over["status"] == "failed", over["output"]
    assert over["error"]["node"] == "bad"
    assert FAILS_ON_THE_LOOP[how] in over["error"]["message"]


@pytest.mark.parametrize("how", ["later for ages", "later for no number"])
def test_a_retry_at_an_impossible_time_is_waited_for_and_can_be_cancelled(
    how: str, client: httpx2.Client
) -> None:
    save(client, {**document(bad={"class": "BadNode", "params": {"how": how}}), "name": how})
    run = start(client, how)
    wait_until(
        lambda: any(e["kind"] == "task_failed" for e in journal(client, run)), "it asked for another try"
    )
    assert client.get(f"/runs/{run}/explain").status_code == 200
    assert client.post(f"/runs/{run}/cancel", json={}).status_code in (200, 202)
    assert until_over(client, run)["status"] == "cancelled"


def test_an_irreversible_step_that_fails_without_words_is_in_doubt(client: httpx2.Client) -> None:
    bad = {"class": "BadNode", "params": {"how": "unspeakable in an irreversible step"}}
    save(client, {**document(bad=bad), "name": "doubt"})
    run = start(client, "doubt")
    wait_until(lambda: run_of(client, run)["tasks"]["in_doubt"] == 1, "it is in doubt")
    answer = client.post(f"/runs/{run}/tasks/bad/resolve", json={"action": "done", "output": "x"})
    assert answer.status_code == 200, answer.text
    assert until_over(client, run)["status"] == "succeeded"


@pytest.mark.parametrize("node", ["BadNode", "BadThreadNode"])
@pytest.mark.parametrize("how", LIVES)
def test_a_large_or_odd_output_is_kept_whole(how: str, node: str, client: httpx2.Client) -> None:
    over = run_bad(client, how, node)
    assert over["status"] == "succeeded", over["error"]
    assert over["output"] == LIVES[how]


@pytest.mark.parametrize("how", EITHER)
def test_what_is_only_odd_ends_either_way(how: str, client: httpx2.Client) -> None:
    over = run_bad(client, how, "BadNode")
    assert over["status"] in ("succeeded", "failed")
    if over["status"] == "failed":
        assert over["error"]["node"] == "bad"
        assert over["error"]["type"] != "internal", over["error"]


def test_an_async_node_that_hangs_ends_at_its_timeout(client: httpx2.Client) -> None:
    over = run_bad(client, "hang", "BadNode", timeout="300ms")
    assert over["status"] == "failed"
    assert over["error"]["type"] == "timeout"
    assert over["duration_us"] < 2_500_000


@pytest.mark.parametrize("how", ["cancel itself", "swallow cancellation"])
def test_a_node_that_plays_with_cancellation_fails(how: str, client: httpx2.Client) -> None:
    over = run_bad(client, how, "BadNode", timeout="300ms")
    assert over["status"] == "failed"
    assert over["error"]["node"] == "bad"


def test_a_thread_that_hangs_ends_at_its_timeout(client: httpx2.Client) -> None:
    over = run_bad(client, "sleep", "BadThreadNode", timeout="300ms")
    assert over["status"] == "failed"
    assert over["error"]["type"] == "timeout"


@pytest.mark.parametrize("how", ["sleep", "burn"])
def test_a_node_that_blocks_the_loop_is_named_and_interrupted(
    how: str, client: httpx2.Client, found: Server
) -> None:
    began = time.monotonic()
    over = run_bad(client, how, "BadNode")
    assert over["status"] == "failed"
    assert over["error"]["type"] == "blocked_loop"
    assert over["error"]["node"] == "bad"
    assert time.monotonic() - began < 10
    assert "the event loop is blocked" in found.log


def test_a_workflow_that_never_ends_stops_at_its_budget(client: httpx2.Client) -> None:
    endless = {
        "name": "endless",
        "start_at": "a",
        "budget": {"tasks": 200},
        "nodes": {
            "a": {
                "class": "IfNode",
                "params": {"condition": True},
                "next_node": {"true": "b", "false": "end"},
            },
            "b": {"class": "SetNode", "next_node": "a"},
            "end": _end(),
        },
    }
    save(client, endless)
    over = until_over(client, start(client, "endless"))
    assert over["status"] == "failed"
    assert "200" in over["error"]["message"]


def test_a_run_that_hangs_can_be_cancelled(client: httpx2.Client) -> None:
    save(client, {**document(bad={"class": "BadNode", "params": {"how": "hang"}}), "name": "hangs"})
    run = start(client, "hangs")
    wait_until(lambda: run_of(client, run)["tasks"]["running"] == 1, "it runs")
    assert client.post(f"/runs/{run}/cancel", json={}).status_code in (200, 202)
    over = until_over(client, run)
    assert over["status"] == "cancelled"
    assert over["duration_us"] < 5_000_000
