"""Reading text: strict JSON or a list of faults, never another kind of exception."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import DefinitionError
from orchestrator.model.document import read_document
from orchestrator.model.limits import Limits
from orchestrator.model.reading import examine


def faults_of(text: bytes | str) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as caught:
        read_document(text)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


def test_an_object_is_read_in_its_order() -> None:
    assert list(read_document('{"b": 1, "a": [1.5, true, null, "ü"]}').items()) == [
        ("b", 1),
        ("a", [1.5, True, None, "ü"]),
    ]


def test_bytes_are_utf8_with_or_without_a_mark() -> None:
    assert read_document('{"a": "ü"}'.encode()) == {"a": "ü"}
    assert read_document(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", [("", "not_json")]),
        ("{", [("", "not_json")]),
        ('{"a": 1,}', [("", "not_json")]),
        ("{} {}", [("", "not_json")]),
        ("{'a': 1}", [("", "not_json")]),
        ('{"a": "\x01"}', [("", "not_json")]),
        ("[]", [("", "not_an_object")]),
        ('"x"', [("", "not_an_object")]),
        ("null", [("", "not_an_object")]),
        (b'{"a": "\xff"}', [("", "not_utf8")]),
        ('{"a": NaN}', [("/a", "bad_number")]),
        ('{"a": [1, -Infinity]}', [("/a/1", "bad_number")]),
        ('{"a": 1e999}', [("/a", "bad_number")]),
        ('{"a": -1e999}', [("/a", "bad_number")]),
        ('{"a": 18446744073709551616}', [("/a", "bad_number")]),
        ('{"a": -9223372036854775809}', [("/a", "bad_number")]),
        ('{"a": ' + "9" * 10_000 + "}", [("/a", "bad_number")]),
        ('{"a": "x\\u0000y"}', [("/a", "not_storable")]),
        ('{"a": "\\ud800"}', [("/a", "not_storable")]),
        ('{"a": ["\\udc00\\ud800"]}', [("/a/0", "not_storable")]),
        ('{"a\\u0000": 1}', [("", "not_storable")]),
        ('{"a": {"\\ud800": 1}}', [("/a", "not_storable")]),
        ('{"a": 1, "a": 2}', [("/a", "duplicate_key")]),
        (
            '{"n": {"x/y": {"k": 1, "k": 1, "k": 2}}}',
            [("/n/x~1y/k", "duplicate_key"), ("/n/x~1y/k", "duplicate_key")],
        ),
        (
            '{"a": NaN, "b": {"c": 1, "c": 1e999}}',
            [("/a", "bad_number"), ("/b/c", "duplicate_key"), ("/b/c", "bad_number")],
        ),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", [("", "too_deep")]),
    ],
)
def test_what_is_no_strict_json_is_a_fault_at_its_place(
    text: bytes | str, faults: list[tuple[str, str]]
) -> None:
    assert faults_of(text) == faults


def test_the_largest_and_deepest_document_is_read() -> None:
    text = '{"a": ' + "[" * 63 + "]" * 63 + "}"
    assert read_document(text)["a"]
    assert read_document('{"a": [18446744073709551615, -9223372036854775808]}')
    body = '{"a": "' + "x" * (1024 * 1024 - 9) + '"}'
    assert len(body) == 1024 * 1024
    assert read_document(body)
    assert faults_of(body + " ") == [("", "too_large")]


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_a_document_nested_a_hundred_thousand_deep_is_one_clear_fault(opening: str) -> None:
    began = time.process_time()
    assert faults_of(opening * 100_000) == [("", "too_deep")]
    assert faults_of('{"a": ' + opening * 100_000 + "1") == [("", "too_deep")]
    assert time.process_time() - began < 1


def test_a_document_of_two_mebibytes_is_one_clear_fault() -> None:
    assert faults_of(b" " * (2 * 1024 * 1024)) == [("", "too_large")]


def test_brackets_within_texts_are_no_depth() -> None:
    assert read_document(json.dumps({"a": "[" * 500, '"{[': '\\"[[['}))


@pytest.mark.parametrize("text", ['{"a": "' + "\\" * 500_001, '"' * 500_000, '{"' + '\\"' * 400_000])
def test_quotes_and_backslashes_without_end_are_answered_soon(text: str) -> None:
    began = time.process_time()
    assert faults_of(text) == [("", "not_json")]
    assert time.process_time() - began < 2


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str | bytes) -> None:
    try:
        read: Any = read_document(text)
    except DefinitionError as error:
        read = {str(fault): fault.code for fault in error.faults}
        assert read
    assert isinstance(read, dict)


json_objects = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(json_objects)
def test_what_json_writes_is_read_back(value: dict[str, Any]) -> None:
    assert read_document(json.dumps(value)) == value
    assert read_document(json.dumps(value, ensure_ascii=False).encode()) == value


def test_python_values_are_examined_alike() -> None:
    circle: list[Any] = []
    circle.append(circle)
    value = {"a": object(), "b": float("nan"), "c": (1,), 4: 1, "d": 2**70, "e": "\ud800", "f": circle}
    codes = {(fault.pointer[:2], fault.code) for fault in examine(value)}
    assert codes == {
        ("/a", "not_json"),
        ("/b", "bad_number"),
        ("/c", "not_json"),
        ("", "not_json"),
        ("/d", "bad_number"),
        ("/e", "not_storable"),
        ("/f", "too_deep"),
    }


def test_a_value_that_unfolds_without_end_is_refused() -> None:
    fold: list[Any] = [1]
    for _ in range(50):
        fold = [fold, fold]
    assert [fault.code for fault in examine(fold, limits=Limits(document_bytes_max=10_000))] == ["too_large"]
