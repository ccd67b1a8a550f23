"""Bodies: what isn't JSON to everybody, is too long or too deep is refused before anything looks at it."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api import bodies
from orchestrator.api.problems import Refusal
from tests.unit.api.conftest import Connect
from tests.unit.api.fake import FakeService

START = "/api/v1/workflows/w/runs"
JSON = {"Content-Type": "application/json"}

BAD = {
    "nothing but a space": b" ",
    "not JSON": b"hello",
    "two values": b"{} {}",
    "a trailing comma": b'{"input": 1,}',
    "a comment": b'{"input": 1 /* one */}',
    "NaN": b'{"input": NaN}',
    "Infinity": b'{"input": -Infinity}',
    "a number out of range": b'{"input": 1e999}',
    "an integer of 5,000 digits": b'{"input": ' + b"1" * 5000 + b"}",
    "an integer of 65 bits": b'{"input": 18446744073709551616}',
    "a negative integer of 65 bits": b'{"input": [-9223372036854775809]}',
    "a raw NUL": b'{"input": "\x00"}',
    "a NUL between": b'{"input"\x00: 1}',
    "a lone high surrogate": b'{"input": "\\ud800"}',
    "a lone low surrogate": b'{"input": "\\udc00x"}',
    "a surrogate pair the wrong way round": b'{"input": "\\udc00\\ud800"}',
    "a high surrogate and a letter": b'{"input": "\\ud800\\u0041"}',
    "not UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-8 of a surrogate": b'{"input": "\xed\xa0\x80"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"input": 1}'.encode("utf-16"),
    "a key twice": b'{"input": 1, "input": 2}',
    "a key twice, spelt differently": b'{"input": {"a": 1, "\\u0061": 2}}',
    "an open string": b'{"input": "',
    "100,000 lists": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 open objects": b'{"a":' * 100_000,
    "a little too deep": b'{"input": ' + b"[" * 64 + b"]" * 64 + b"}",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_what_is_not_strict_json_is_refused_in_words(
    body: bytes, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.post(START, content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_json", "too_deep", "duplicate_key")
    assert service.calls == []


GOOD: dict[str, Any] = {
    "a NUL as JSON writes it": "\x00",
    "an emoji": "\U0001f600",
    "brackets in a string": '[[[[{{{{"\\"' * 100,
    "as deep as allowed": json.loads("[" * 63 + "]" * 63),
    "large integers": [2**64 - 1, -(2**63)],
    "null": None,
}


@pytest.mark.parametrize("value", GOOD.values(), ids=GOOD.keys())
async def test_what_is_json_arrives_as_it_was_sent(
    value: Any, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.post(START, content=json.dumps({"input": value}), headers=JSON)
    assert answer.status_code == 201
    assert service.calls[-1][1]["input"] == value
    assert answer.json()["input"] == value


async def test_a_body_that_is_left_out_means_an_empty_object(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.post(START, headers=JSON)
    assert answer.status_code == 201
    assert service.calls[-1][1] == {
        "workflow": "w",
        "input": None,
        "labels": {},
        "version": None,
        "idempotency_key": None,
        "priority": 0,
    }


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"inputs": 1}, "/inputs", "unknown field `inputs`"),
        ({"labels": {"a": 1}}, "/labels/a", "string"),
        ({"labels": {str(n): "" for n in range(33)}}, "/labels", "32"),
        ({"labels": {"": "x"}}, "/labels/", "at least 1"),
        ({"version": 0}, "/version", "greater than"),
        ({"version": "1"}, "/version", "integer"),
        ({"version": True}, "/version", "integer"),
        ([], "", "StartRun"),
    ],
)
async def test_a_body_of_the_wrong_shape_names_the_place(
    body: Any, pointer: str, said: str, client: httpx2.AsyncClient
) -> None:
    answer = await client.post(START, json=body)
    assert answer.status_code == 422
    fault = answer.json()["errors"][0]
    assert fault["pointer"] == pointer
    assert said in fault["message"]


async def test_a_document_of_2_mib_is_refused_with_limit_and_size(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.post("/api/v1/workflows", content=b" " * 2 * 1024 * 1024, headers=JSON)
    body = answer.json()
    assert answer.status_code == 413
    assert (body["value"], body["unit"]) == (2 * 1024 * 1024, "bytes")
    assert body["maximum"] == 1024 * 1024
    assert body["limit"] == "workflow document"
    assert service.calls == []


async def test_a_body_that_does_not_say_its_length_is_cut_off_at_the_limit(connect: Connect) -> None:
    client = connect(payload_bytes_max=1024)
    sent = 0

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal sent
        for _ in range(1000):
            sent += 1024
            yield b" " * 1024

    answer = await client.post(START, content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert sent < 100 * 1024


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json-seq"]
)
@pytest.mark.parametrize("path", ["/api/v1/workflows", START, "/api/v1/runs/r1/pause", "/api/v1/session"])
async def test_changes_are_taken_as_json_only(
    kind: str, path: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.post(path, content=b"{}", headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert service.calls == []


async def test_compressed_bodies_are_not_unpacked(client: httpx2.AsyncClient) -> None:
    answer = await client.post(START, content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")


async def test_a_document_reaches_the_engine_byte_for_byte(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    text = b'{ "name" : "\xc3\xa4",\n "nodes": NaN }'
    assert (await client.post("/api/v1/workflows", content=text, headers=JSON)).status_code == 201
    assert (await client.post("/api/v1/workflows/validate", content=text, headers=JSON)).status_code == 200
    assert [call[1] for call in service.calls] == [{"text": text, "syntax": "json"}] * 2


@pytest.mark.parametrize(
    "kind", ["application/yaml", "application/x-yaml", "text/yaml; charset=utf-8", "TEXT/X-YAML"]
)
async def test_a_document_may_be_yaml(kind: str, client: httpx2.AsyncClient, service: FakeService) -> None:
    headers = {"Content-Type": kind}
    assert (await client.post("/api/v1/workflows", content=b"name: w", headers=headers)).status_code == 201
    assert (
        await client.post("/api/v1/workflows/validate", content=b"name: w", headers=headers)
    ).status_code == 200
    assert [call[1] for call in service.calls] == [{"text": b"name: w", "syntax": "yaml"}] * 2


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (START, "application/yaml"),
        ("/api/v1/runs/r1/signals/workflows", "application/yaml"),
        ("/api/v1/workflows", "application/yaml; charset=utf-16"),
        ("/api/v1/workflows", "text/yml"),
    ],
)
async def test_nothing_else_is_taken_as_yaml(
    path: str, kind: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.post(path, content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert service.calls == []


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_refusal(raw: bytes) -> None:
    try:
        value = bodies.strict_json(raw)
    except Refusal:
        return
    assert value == json.loads(raw)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(_VALUES, st.booleans())
def test_any_json_value_is_read_back_equal(value: Any, plain: bool) -> None:
    assert bodies.strict_json(json.dumps(value, ensure_ascii=plain).encode()) == value
