"""YAML: the same meaning as JSON, or faults with pointer, line and column; never another exception, never for long."""

import json
import time
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import DefinitionError
from orchestrator.model.limits import Limits
from orchestrator.model.reading import read_document, read_source
from orchestrator.model.yaml_text import VALUES_MAX


def value_of(text: str | bytes) -> dict[str, Any]:
    return read_source(text, syntax="yaml").document


def faults_of(text: str | bytes, **limits: int) -> list[tuple[str, str, int | None, int | None]]:
    with pytest.raises(DefinitionError) as caught:
        read_source(text, syntax="yaml", limits=Limits(**limits))
    return [(f.pointer, f.code, f.line, f.column) for f in caught.value.faults]


def test_a_workflow_is_read_as_its_json_would_be() -> None:
    text = """\
# who answers
name: Expenses
start_at: ask
labels: &labels {team: growth, "on": yes}
nodes:
  ask:
    class: Wait
    params: {signal: decision, timeout: 3d}
    next_node:
      true: pay
      "*": refuse
  pay:
    class: Set
    params:
      values:
        text: >-
          one
          line
        same: *labels
  refuse: {class: Stop, params: {succeed: false, message: "no: {{ input.x }}"}}
"""
    assert value_of(text) == {
        "name": "Expenses",
        "start_at": "ask",
        "labels": {"team": "growth", "on": "yes"},
        "nodes": {
            "ask": {
                "class": "Wait",
                "params": {"signal": "decision", "timeout": "3d"},
                "next_node": {"true": "pay", "*": "refuse"},
            },
            "pay": {
                "class": "Set",
                "params": {"values": {"text": "one line", "same": {"team": "growth", "on": "yes"}}},
            },
            "refuse": {"class": "Stop", "params": {"succeed": False, "message": "no: {{ input.x }}"}},
        },
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("TRUE", True),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"), ("n", "n"),
        ("2026-11-22", "2026-11-22"), ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"), ("12:30:00", "12:30:00"),
        ("1", 1), ("-1", -1), ("0", 0), ("1.5", 1.5), ("1e3", 1000.0), ("-1.5E-3", -0.0015),
        ("012", "012"), ("0x10", "0x10"), ("0o7", "0o7"), ("1_000", "1_000"), ("+1", "+1"), (".5", ".5"), ("1.", "1."),
        ("'1'", "1"), ('"true"', "true"), ("! 1", "1"), ("nan", "nan"), ("inf", "inf"), ("=", "="), ("<<", "<<"),
        ("{{ input.x }}", None), ("'{{ input.x }}'", "{{ input.x }}"), ("a: b", None),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_they_mean_in_json_or_are_texts(written: str, value: Any) -> None:
    if written in ("{{ input.x }}", "a: b"):
        assert faults_of(f"a: {written}")[0][1] in ("not_yaml", "not_json")
        return
    found = value_of(f"a: {written}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_texts_as_they_are_written() -> None:
    text = "{true: 1, 2: 3, null: 4, 1.0: 5, on: 6}"
    assert value_of(text) == {"true": 1, "2": 3, "null": 4, "1.0": 5, "on": 6}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", [("", "not_an_object", 1, 1)]),
        ("- a\n", [("", "not_an_object", 1, 1)]),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", [("/b/c", "duplicate_key", 4, 3)]),
        ("a: .inf\nb: [1, .NaN]\nc: 1e999\nd: 18446744073709551616\n",
         [("/a", "bad_number", 1, 1), ("/b/1", "bad_number", 2, 8), ("/c", "bad_number", 3, 1),
          ("/d", "bad_number", 4, 1)]),
        ("a: !!python/object/apply:os.system [id]", [("", "yaml_tag", 1, 4)]),
        ("a: !!str 1", [("", "yaml_tag", 1, 4)]),
        ("a: !secret x", [("", "yaml_tag", 1, 4)]),
        ("a: !!binary aGk=", [("", "yaml_tag", 1, 4)]),
        ("? [a]\n: 1", [("", "not_json", 1, 3)]),
        ("? {a: 1}\n: 1", [("", "not_json", 1, 3)]),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", [("", "yaml_merge", 3, 3)]),
        ("a: *x", [("", "not_yaml", 1, 4)]),
        ("a: &x [*x]", [("", "yaml_alias", 1, 8)]),
        ("a: &x {b: {c: *x}}", [("", "yaml_alias", 1, 15)]),
        ("a: 1\n---\nb: 2\n", [("", "not_yaml", 2, 1)]),
        ("a: [1, 2\nb: 3", [("", "not_yaml", 2, 2)]),
        ("a:\n\t- 1", [("", "not_yaml", 2, 1)]),
        ('a: "\\0"', [("/a", "not_storable", 1, 1)]),
        ('a: "\\ud83d"', [("", "not_yaml", 1, 7)]),
        ("a: \0", [("", "not_yaml", 1, 1)]),
        (b"a: \xe4", [("", "not_utf8", None, None)]),
        ('{"a": 1, "a": 2}', [("/a", "duplicate_key", None, None)]),
        ("%YAML 3.0\n---\na: 1", [("", "not_yaml", 1, 1)]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str | bytes, faults: list[Any]) -> None:
    assert faults_of(text) == faults


def test_a_fault_of_the_checks_gets_its_line_too() -> None:
    source = read_source("name: x\nnodes:\n  a:\n    class: End\n    list: [1, {b: 2}]\n", syntax="yaml")
    assert source.places is not None
    wanted = {
        "": (1, 1),
        "/nodes/a/class": (4, 5),
        "/nodes/a/list/1/b": (5, 16),
        "/nodes/a/next_node": (3, 3),
    }
    assert {pointer: source.places.of(pointer) for pointer in wanted} == wanted


def test_aliases_are_taken_as_what_they_stand_for_within_the_limits() -> None:
    assert value_of("a: &x [1, {b: &y two}]\nc: *x\n*y : *y\n") == {
        "a": [1, {"b": "two"}],
        "c": [1, {"b": "two"}],
        "two": "two",
    }
    deep = "a: &x " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 40 + "*x" + "]" * 40
    assert faults_of(deep)[0][1] == "too_deep"


BOMBS = {
    "billion laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)),
    "a long text again and again": "a: &a " + "x" * 500_000 + "\nb: [" + "*a," * 1_000 + "]",
    "deep lists": "[" * 500_000,
    "deep maps": "{a: " * 200_000,
    "deep by indentation": "\n".join(" " * depth + "a:" for depth in range(1_000)),
    "dashes": "- " * 500_000,
    "question marks": "? " * 500_000,
    "colons": ": " * 500_000,
    "anchors": "&a " * 300_000,
    "tags": "!" * 1_000_000,
    "directives": "%" * 1_000_000,
    "an open text": '"' + "a" * 1_000_000,
    "many values": "a: [" + "1," * (VALUES_MAX + 10) + "]",
    "tabs": "\t" * 1_000_000,
    "brackets closed": "]" * 1_000_000,
    "a key without end": "a" * 1_000_000 + ": 1",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_before_it_bursts(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(DefinitionError) as caught:
        value_of(text)
    assert time.thread_time() - began < 10
    assert all(len(str(fault)) < 1_000 for fault in caught.value.faults)


def test_what_is_json_is_yaml_and_means_the_same() -> None:
    text = '{"a": "\\ud83d\\ude00 \\/", "b": [1e5, -0, 1.0],\t"' + "k" * 2_000 + '": null}'
    assert value_of(text) == read_document(text)


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
    | st.sampled_from(
        ["yes", "on", "no", "null", "1", "0x1", "1e5", "2026-01-01", "~", "<<", "*", "{{ a }}", "- a"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=20,
)


yaml: Any = pyyaml  # its types say little


class _Quoting(pyyaml.SafeDumper):
    """Writes every text between quotes, as whoever turns JSON into YAML has to."""


def _quoted(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


def _no_aliases(_dumper: Any, _data: Any) -> bool:
    return True


quoting: Any = _Quoting
quoting.add_representer(str, _quoted)
quoting.ignore_aliases = _no_aliases


@given(st.dictionaries(_TEXTS, _VALUES, max_size=4), st.booleans())
def test_json_written_as_yaml_means_the_same(document: dict[str, Any], flow: bool) -> None:
    text = yaml.dump(document, Dumper=quoting, sort_keys=False, default_flow_style=flow, allow_unicode=True)
    read = value_of(text)
    assert json.dumps(read) == json.dumps(document)


@given(st.text(st.characters(codec="utf-8"), max_size=200) | st.binary(max_size=200))
def test_any_text_is_a_map_or_a_list_of_faults(text: str | bytes) -> None:
    try:
        value = value_of(text)
    except DefinitionError:
        return
    assert json.loads(json.dumps(value)) == value
