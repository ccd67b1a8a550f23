"""A corpus of bad bodies at every door that takes one: refused in words or kept whole, never a 5xx, never a hung run.

The doors are those of OpenAPI: a new route is in here the day it is there.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from orchestrator.api import openapi
from tests.faults.processes import Server, save, server, start, until_over, wait_until

pytestmark = [pytest.mark.slow]

JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}
MiB = 1024 * 1024
ANSWERED_WITHIN_SECONDS = 20.0
DOCUMENTS = ("/workflows", "/workflows/validate")

WAITING: dict[str, Any] = {
    "name": "waiting",
    "start_at": "hold",
    "nodes": {"hold": {"class": "WaitNode", "params": {"signal": "go"}}},
}


def doors() -> list[tuple[str, dict[str, Any]]]:
    """Every route that takes a body, and the schema of that body."""
    described = openapi.describe()
    found: list[tuple[str, dict[str, Any]]] = []
    for path, operations in described["paths"].items():
        for method in operations.keys() & {"post", "put", "patch"}:
            content = operations[method]["requestBody"]["content"]
            schema = next(iter(content.values()))["schema"]
            name = str(schema.get("$ref", "")).rpartition("/")[2]
            schema = described["components"]["schemas"].get(name, schema)
            found.append((path.removeprefix("/api/v1"), schema))
    return sorted(found, key=lambda door: door[0])


DOORS = doors()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("bodies")) as found, found.client() as client:
        save(client, WAITING)
        yield found


@pytest.fixture
def client(found: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{found.url}/api/v1", timeout=60) as client:
        yield client


class Runs:
    """A run that all of it is done to, and the next one once that is over. None of them may hang, whatever is sent."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        self.made = [start(client, "waiting")]

    def live(self) -> str:
        view = self.client.get(f"/runs/{self.made[-1]}").json()
        if view["status"] in ("cancelling", "succeeded", "failed", "cancelled"):
            self.made.append(start(self.client, "waiting"))
        return self.made[-1]

    def end(self) -> None:
        for run in self.made:
            self.client.post(f"/runs/{run}/resume", json={})
            self.client.post(f"/runs/{run}/signals/go", json={"payload": 1})
            assert until_over(self.client, run)["status"] in ("succeeded", "cancelled")


@pytest.fixture(scope="module")
def runs(found: Server) -> Iterator[Runs]:
    with found.client() as client:
        runs = Runs(client)
        yield runs
        runs.end()
        assert client.get(f"{found.url}/readyz").status_code == 200


@pytest.fixture
def run(runs: Runs) -> str:
    return runs.live()


def address(path: str, run: str) -> str:
    """The path of a door with what is there in it."""
    name = "go" if "/signals/" in path else "waiting"
    for place, value in {"{run_id}": run, "{path}": "hold", "{name}": name, "{version}": "1"}.items():
        path = path.replace(place, value)
    assert "{" not in path, f"the test doesn't know what to put into {path}"
    return path


def answered(answer: httpx2.Response, *, path: str, refused: bool | None = None) -> None:
    """An answer in order: soon, small, no 5xx; a refusal is a problem in words."""
    assert answer.status_code < 500, f"{path}: {answer.status_code}: {answer.text[:2000]}"
    assert answer.elapsed.total_seconds() < ANSWERED_WITHIN_SECONDS, path
    if path == "/workflows/validate" and answer.status_code == 200:
        assert answer.json()["valid"] is False or not refused
        return
    if refused is not None:
        assert (answer.status_code >= 400) is refused, f"{path}: {answer.status_code}: {answer.text[:2000]}"
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/problem+json")
        problem = answer.json()
        assert problem["code"]
        assert problem["detail"]
        assert len(answer.content) < MiB, "the refusal itself is huge"


# ------------------------------------------------------------------------------------------------- whole bodies

BODIES: dict[str, bytes] = {
    "no JSON": b"hello",
    "a raw NUL": b'{"a": "\x00"}',
    "only NULs": b"\x00" * 1_000,
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone surrogate in a key": b'{"\\udfff": 1}',
    "a surrogate in bytes": b'{"a": "\xed\xa0\x80"}',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "NaN": b'{"a": NaN}',
    "-Infinity": b'{"a": -Infinity}',
    "1e999": b'{"a": 1e999}',
    "65 bits": b'{"a": 18446744073709551616}',
    "5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "1 MB of digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists inside": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 open objects": b'{"a":' * 100_000,
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice by escape": b'{"a": 1, "\\u0061": 2}',
    "a key twice inside": b'{"a": {"b": [{"c": 1, "c": 2}]}}',
    "a key 100,000 times": b"{" + b",".join([b'"a": 1'] * 100_000) + b"}",
    "cut off": b'{"a": "',
    "two": b"{} {}",
    "a trailing comma": b'{"a": 1,}',
    "a comment": b"{} // done",
    "gzip": gzip.compress(b'{"a": 1}'),
    "a byte order mark and no more": b"\xef\xbb\xbf",
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"1",
    "an unknown field": b'{"nobody knows this field": 1}',
    "a prototype": b'{"__proto__": {"admin": true}}',
    "a constructor": b'{"constructor": {"prototype": {}}}',
    "an unknown text of 10 MiB": b'{"a": "' + b"x" * 10 * MiB + b'"}',
    "an unknown key of 10 MiB": b'{"' + b"x" * 10 * MiB + b'": 1}',
    "10 MiB of spaces": b" " * 10 * MiB,
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("path", [path for path, _ in DOORS])
def test_a_body_that_cannot_be_is_refused_at_every_door(
    path: str, case: str, client: httpx2.Client, run: str
) -> None:
    answer = client.post(address(path, run), content=BODIES[case], headers=JSON)
    answered(answer, path=path, refused=True)


# ------------------------------------------------------------------------------------------- values in every field

VALUES: dict[str, bytes] = {
    "NUL": b'"a\\u0000b"',
    "NUL in a key": b'{"\\u0000": 1}',
    "a lone surrogate": b'"\\udc00"',
    "NaN": b"NaN",
    "1e999": b"[1e999]",
    "65 bits": b"-9223372036854775809",
    "deep": b"[" * 60 + b"]" * 60,
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "a key twice": b'{"b": 1, "b": 2}',
    "a text of 10 MiB": b'"' + b"x" * 10 * MiB + b'"',
    "a list of a million": b"[" + b"1," * 999_999 + b"1]",
    "an empty text": b'""',
    "null": b"null",
    "true": b"true",
    "a negative number": b"-1",
    "a huge number": b"18446744073709551615",
    "a fraction": b"0.1",
    "a list": b'["x"]',
    "an object": b'{"x": 1}',
    "control characters": b'"\\u0001\\u001b[31m\\r\\n\\u202e"',
}


@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        (path, field)
        for path, schema in DOORS
        if path not in DOCUMENTS
        for field in schema.get("properties", ())
    ],
)
def test_a_field_takes_a_value_whole_or_refuses_it(
    path: str, field: str, case: str, client: httpx2.Client, run: str
) -> None:
    body = b'{"' + field.encode() + b'": ' + VALUES[case] + b"}"
    answer = client.post(address(path, run), content=body, headers=JSON)
    answered(answer, path=path)
    if answer.status_code == 201 and path.endswith("/runs") and field == "input":
        assert client.get(f"/runs/{answer.json()['id']}").json()["input"] == json.loads(VALUES[case])


@pytest.mark.parametrize("case", VALUES)
def test_a_signal_that_was_taken_comes_out_as_it_went_in(case: str, client: httpx2.Client) -> None:
    run = start(client, "waiting")
    body = b'{"payload": ' + VALUES[case] + b"}"
    answer = client.post(f"/runs/{run}/signals/go", content=body, headers=JSON)
    if answer.status_code >= 400:
        answered(answer, path="signal", refused=True)
        client.post(f"/runs/{run}/cancel", json={})
        assert until_over(client, run)["status"] == "cancelled"
        return
    over = until_over(client, run)
    assert (over["status"], over["output"]) == ("succeeded", json.loads(VALUES[case]))


# -------------------------------------------------------------------------------------------------- encodings

BOMB = b'{"a": "' + b"x" * 64 * MiB + b'"}'
ENCODED: dict[str, tuple[str, bytes]] = {
    "gzip": ("gzip", gzip.compress(BOMB)),
    "gzip of gzip": ("gzip, gzip", gzip.compress(gzip.compress(BOMB))),
    "deflate": ("deflate", zlib.compress(BOMB)),
    "br": ("br", b"\x8b\x03\x80abc\x03"),
    "zstd": ("zstd", b"\x28\xb5\x2f\xfd" + b"\0" * 100),
    "compress": ("compress", b"\x1f\x9d\x90"),
    "unknown": ("x-mine", b"{}"),
    "named, not done": ("gzip", b"{}"),
    "identity and gzip": ("identity, gzip", b"{}"),
}


@pytest.mark.parametrize("case", ENCODED)
@pytest.mark.parametrize("path", [path for path, _ in DOORS])
def test_a_compressed_body_is_refused_and_never_unpacked(
    path: str, case: str, client: httpx2.Client, run: str
) -> None:
    encoding, body = ENCODED[case]
    headers = {**JSON, "Content-Encoding": encoding}
    answer = client.post(address(path, run), content=body, headers=headers)
    assert answer.status_code == 415, answer.text[:500]
    answered(answer, path=path, refused=True)


# -------------------------------------------------------------------------------------------------------- YAML

_GOOD = "name: bad\nstart_at: a\nnodes:\n  a: {class: End, x-more: %s}\n"
YAMLS: dict[str, bytes] = {
    "no YAML": b"a: [1, 2\nb: }",
    "a raw NUL": b"name: \x00",
    "an escaped NUL": (_GOOD % '"\\0"').encode(),
    "a lone surrogate": (_GOOD % '"\\ud800"').encode(),
    "a surrogate in bytes": b"a: \xed\xa0\x80",
    "not UTF-8": b"a: \xff\xfe",
    "UTF-16": (_GOOD % "1").encode("utf-16"),
    "NaN": (_GOOD % ".nan").encode(),
    "infinity": (_GOOD % "-.inf").encode(),
    "1e999": (_GOOD % "1e999").encode(),
    "65 bits": (_GOOD % "18446744073709551616").encode(),
    "a million digits": (_GOOD % ("9" * 1_000_000)).encode(),
    "deep lists": (_GOOD % ("[" * 100_000 + "]" * 100_000)).encode(),
    "deep maps": b"{a: " * 100_000,
    "deep by indentation": "\n".join(" " * depth + "a:" for depth in range(1_000)).encode(),
    "a key twice": (_GOOD % "1").encode() + b"name: other\n",
    "a node twice": (_GOOD % "1").encode() + b"  a: {class: End}\n",
    "billion laughs": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))
    ).encode(),
    "an alias within itself": b"a: &a [*a]",
    "a merge": b"a: &a {b: 1}\nc:\n  <<: *a\n",
    "a Python object": b"!!python/object/apply:os.system [id]",
    "a Python name": (_GOOD % "!!python/name:os.system").encode(),
    "a tag of its own": (_GOOD % "!secret TOKEN").encode(),
    "binary": (_GOOD % "!!binary aGk=").encode(),
    "several documents": (_GOOD % "1").encode() + b"---\n" + (_GOOD % "1").encode(),
    "another version": b"%YAML 9.9\n---\n" + (_GOOD % "1").encode(),
    "a text of 10 MiB": (_GOOD % ("x" * 10 * MiB)).encode(),
    "many values": (_GOOD % ("[" + "1," * 400_000 + "]")).encode(),
    "a list": b"- a\n- b\n",
    "a text": b"hello",
    "nothing": b"",
    "a comment only": b"# nothing\n",
    "tabs": b"a:\n\tb: 1\n",
    "JSON with a key twice": b'{"a": 1, "a": 2}',
    "JSON, deep": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("case", YAMLS)
@pytest.mark.parametrize("path", DOCUMENTS)
def test_yaml_that_cannot_be_is_refused(path: str, case: str, client: httpx2.Client) -> None:
    before = client.get("/workflows").json()["items"]
    answer = client.post(path, content=YAMLS[case], headers=YAML)
    answered(answer, path=path, refused=True)
    if answer.status_code != 413:
        assert answer.json()["faults" if answer.status_code == 200 else "errors"]
    assert client.get("/workflows").json()["items"] == before, "something was saved"


def test_yaml_is_saved_run_and_read_back_as_it_was(client: httpx2.Client) -> None:
    text = "# kept\nname: from yaml\nstart_at: a\nnodes:\n  a: {class: Set, params: {values: {on: off}}}\n"
    assert client.post("/workflows", content=text.encode(), headers=YAML).status_code == 201
    assert client.post("/workflows", content=text.encode(), headers=YAML).status_code == 200
    assert client.get("/workflows/from yaml").json()["text"] == text
    assert until_over(client, start(client, "from yaml"))["output"] == {"on": "off"}


def test_the_corpus_is_used_at_every_door() -> None:
    paths = {path for path, _ in DOORS}
    assert {*DOCUMENTS, "/workflows/{name}/runs", "/runs/{run_id}/fork", "/runs/{run_id}/cancel"} <= paths
    assert len(paths) >= 11


def test_the_server_is_ready_after_all_of_it(client: httpx2.Client, found: Server) -> None:
    def ready() -> bool:
        return client.get(f"{found.url}/readyz").status_code == 200

    wait_until(ready, "the server is ready")
    assert found.process is not None
    assert found.process.poll() is None
