"""Expressions: what they mean, what they read, and what they say when they can't."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExpressionFailed, Fault
from orchestrator.model.expressions import References, compile_expression, compile_value
from orchestrator.model.plain import is_array, is_dict

SCOPE: dict[str, Any] = {
    "input": {
        "email": "a@b.c",
        "n": 3,
        "price": 2.5,
        "none": None,
        "yes": True,
        "list": [3, 1, 2],
        "people": [{"name": "Bo", "age": 30}, {"name": "Al", "age": 40}, {"name": "Cy", "age": 30}],
        "keys": "a key, no method",
        "deep": {"a": [{"b": "c"}]},
    },
    "nodes": {"step_get": {"user": {"type": "premium"}}, "a-b": 7, "skipped": None},
    "vars": {"count": 2},
    "previous": {"x": 1},
    "run": {"id": "r1"},
    "now": "2026-11-22T16:00:00Z",
    "secrets": {"TOKEN": "t0p"},
}


def value_of(text: Any, scope: dict[str, Any] | None = None) -> Any:
    return compile_value(text, pointer="/p").evaluate(SCOPE if scope is None else scope)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{ input.n }}", 3),
        ("{{input.n}}", 3),
        ("{{ input.list }}", [3, 1, 2]),
        ("{{ input.none }}", None),
        (" {{ input.n }}", " 3"),
        ("{{ input.n }}{{ input.n }}", "33"),
        ("Hi {{ input.email }}, {{ input.n + 1 }}!", "Hi a@b.c, 4!"),
        ("[{{ input.none }}|{{ input.yes }}|{{ input.price }}]", "[|true|2.5]"),
        ("{{ input.list }}!", "[3, 1, 2]!"),
        ("{{ input.deep }}!", '{"a": [{"b": "c"}]}!'),
        ("{{ '{{' }}", "{{"),
        ("{{ '{{' }} x {{ '}}' }}", "{{ x }}"),
        ("100 {% and {# and }} stay", "100 {% and {# and }} stay"),
        ('{{ nodes["a-b"] }}', 7),
        ("{{ nodes.step_get.user.type }}", "premium"),
        ("{{ nodes['step_get']['user'].type }}", "premium"),
        ("{{ input.deep.a[0].b }}", "c"),
        ("{{ input.list[-1] }}", 2),
        ("{{ input.list[1:] }}", [1, 2]),
        ("{{ input.email[:1] }}", "a"),
        ("{{ input.keys }}", "a key, no method"),
        ("{{ input['em' ~ 'ail'] }}", "a@b.c"),
        ("{{ 1 + 2 * 3 - 4 / 2 }}", 5.0),
        ("{{ 7 // 2 }}", 3),
        ("{{ -7 % 3 }}", 2),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ [1] + [2] }}", [1, 2]),
        ("{{ 1 ~ 'x' ~ none }}", "1x"),
        ("{{ 'big' if input.n > 2 else 'small' }}", "big"),
        ("{{ 'big' if input.n > 5 }}", None),
        ("{{ 1 < 2 <= 2 }}", True),
        ("{{ 1 < 2 < 2 }}", False),
        ("{{ 1 == 1.0 }}", True),
        ("{{ 1 == true }}", False),
        ("{{ [1, {'a': [2]}] == [1.0, {'a': [2]}] }}", True),
        ("{{ [true] == [1] }}", False),
        ("{{ 'x' in ['x'] and 'a' in 'abc' and 'n' in input }}", True),
        ("{{ 1 not in input.list }}", False),
        ("{{ not input.none or false }}", True),
        ("{{ null is none }}", True),
        ("{{ input.gone | default('d') }}", "d"),
        ("{{ input.gone.far.below | default('d') }}", "d"),
        ("{{ nodes.skipped.x | default(1) }}", 1),
        ("{{ nodes.skipped | default(1) }}", None),
        ("{{ nodes.skipped | default(1, true) }}", 1),
        ("{{ item | default('none') }}", "none"),
        ("{{ input.gone is defined }}", False),
        ("{{ input.n is defined }}", True),
        ("{{ input.gone is not defined }}", True),
        ("{{ {'a': {'b': [1, 2]}} }}", {"a": {"b": [1, 2]}}),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ [1, 2,] }}", [1, 2]),
        ("{{ input.list | sort | join(',') }}", "1,2,3"),
        ("{{ input.list | sort(reverse=true) }}", [3, 2, 1]),
        ("{{ input.people | map(attribute='name') | list }}", ["Bo", "Al", "Cy"]),
        ("{{ input.people | sort(attribute='age') | map('name') }}", ["Bo", "Cy", "Al"]),
        ("{{ input.people | selectattr('age', 'gt', 30) | map('name') }}", ["Al"]),
        ("{{ input.people | rejectattr('age', 'eq', 30) | length }}", 1),
        ("{{ input.people | sum('age') }}", 100),
        ("{{ (input.people | max('age')).name }}", "Al"),
        ("{{ [0, 1, '', 'x'] | select }}", [1, "x"]),
        ("{{ [1, 2, 3] | reject('odd') }}", [2]),
        ("{{ [1, 1.0, true, 'a', 'a', [1], [1]] | unique }}", [1, True, "a", [1]]),
        ("{{ ' Ab ' | trim | upper }}", "AB"),
        ("{{ 'Ab' | lower }}", "ab"),
        ("{{ 'a,b' | split(',') }}", ["a", "b"]),
        ("{{ 'a b' | replace(' ', '_') }}", "a_b"),
        ("{{ 'abcdef' | truncate(4) }}", "abc…"),
        ("{{ [[1], [2, 3]] | flatten }}", [1, 2, 3]),
        ("{{ [1, 2, 3] | batch(2) }}", [[1, 2], [3]]),
        ("{{ {'a': 1} | items }}", [["a", 1]]),
        ("{{ {'a': 1} | merge({'b': 2}) | keys }}", ["a", "b"]),
        ("{{ input.list | first }}", 3),
        ("{{ 'xyz' | last }}", "z"),
        ("{{ 'abc' | reverse }}", "cba"),
        ("{{ 2.567 | round(1) }}", 2.6),
        ("{{ 2.5 | round | string }}", "2"),
        ("{{ 2.1 | round(0, 'ceil') }}", 3),
        ("{{ '12' | int + 1 }}", 13),
        ("{{ 'x' | int(0) }}", 0),
        ("{{ '1.5' | float }}", 1.5),
        ("{{ 'yes' | bool }}", True),
        ("{{ {'a': none} | tojson }}", '{"a": null}'),
        ("{{ '[1, {\"a\": null}]' | fromjson }}", [1, {"a": None}]),
        ("{{ max(1, 5, 3) + min([4, 2]) + abs(-1) + len('ab') }}", 10),
        ("{{ now | add_time('1d') }}", "2026-11-23T16:00:00Z"),
        ("{{ now | add_time(-60) }}", "2026-11-22T15:59:00Z"),
        ("{{ now | timestamp }}", 1795363200.0),
        ("{{ 0 | datetime }}", "1970-01-01T00:00:00Z"),
        ("{{ '2026-01-02T00:30:00+02:00' | date }}", "2026-01-01"),
        ("{{ 'über' ~ '\\u00fc' }}", "überü"),
    ],
)
def test_an_expression_gives(text: str, expected: Any) -> None:
    value = value_of(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ input.emial }}", "`input` has no `emial`; there is `email`"),
        ("{{ input.emial }}", "did you mean `email`?"),
        ("{{ nodes.gone }}", "`nodes` has no `gone`; there is `step_get`, `a-b`, `skipped`"),
        ("{{ nodes.skipped.x }}", "`nodes.skipped` is null"),
        ("{{ input.list[7] }}", "`input.list` has no place 7: it has 3 entries"),
        ("{{ input.list.name }}", "`input.list` is a list, so it has no `name`"),
        ("{{ input.email.x }}", "`input.email` is a text"),
        ("{{ item.x }}", "there is no `item` here"),
        ("{{ input.gone | upper }}", "`| default(...)` allows it"),
        ("{{ 1 + 'a' }}", "can't add a number and a text"),
        ("{{ input.n < 'a' }}", "have no order"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1e308 * 10 }}", "not a finite number"),
        ("{{ 9223372036854775807 * 9 }}", "more than 64 bits"),
        ("{{ [] | first }}", "of an empty list"),
        ("{{ input.n | upper }}", "`upper` works on a text, and this is a number"),
        ("{{ inputs.x }}", "did you mean `input`?"),
        ("{{ input.x | uper }}", "did you mean `upper`?"),
        ("{{ 'a'.upper() }}", "there is a filter: `| upper`"),
        ("{{ range(9) }}", "there is no function `range`"),
        ("{{ 'a' | upper(1) }}", "filter `upper`: too many positional arguments"),
        ("{{ 'a' | join(sep=',') }}", "unexpected keyword argument 'sep'"),
        ("{{ 2 ** 3 }}", "`**` is not available"),
        ("{{ 'a' * 3 }}", "`*` works on numbers, and this is a text"),
        ("{{ secrets }}", "read by name only"),
        ("{{ secrets[input.email] }}", "read by name only"),
        ("{{ }}", "the expression is empty"),
        ("{{ a b }}", "unexpected `b`"),
        ("{{ 1 + }}", "doesn't parse"),
        ("{{ 'a }}", "is not closed"),
        ("{{ input.x", "not closed by `}}`"),
        ("{{ (1 }}", "unexpected `}`"),
        ("{{- input.n -}}", "mean nothing here"),
        ("{{ '\\d' }}", "is no escape"),
        ("{{ '\\ud800' }}", "lone surrogate"),
        ("{{ '\\x00' }}", "NUL"),
        ("{{ 99999999999999999999 }}", "more than 64 bits"),
        ("{{ 1e999 }}", "finite"),
        ("{{ {1: 2} }}", "the key of an object is a text"),
        ("{{ '[1e999]' | fromjson }}", "finite"),
        ("{{ '[NaN]' | fromjson }}", "no JSON"),
        ("{{ 'not a time' | timestamp }}", "as a time"),
    ],
)
def test_a_failing_expression_says_why_and_where(text: str, words: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        value_of({"a/b": [text]})
    assert words in str(caught.value)
    assert caught.value.pointer == "/p/a~1b/0"
    assert str(caught.value).startswith("/p/a~1b/0: expression `")


def test_a_value_is_not_in_the_message_of_a_missing_name() -> None:
    with pytest.raises(ExpressionFailed) as caught:
        value_of("{{ secrets.TOKN }}")
    assert "TOKEN" in str(caught.value)
    assert "t0p" not in str(caught.value)


def test_a_condition_stands_bare_or_in_braces() -> None:
    for text in ("input.n > 2", "{{ input.n > 2 }}", "  {{ input.n > 2 }} "):
        assert compile_expression(text, pointer="/when").evaluate(SCOPE) is True
    with pytest.raises(ExpressionFailed, match="one expression"):
        compile_expression("{{ input.n }} > 2", pointer="/when")


def test_references_are_known_before_evaluation() -> None:
    value = {
        "a": "{{ nodes.x.y + nodes['a-b'] }}",
        "b": ["{{ vars.v }} {{ previous }}", "{{ input.z | default(item) }}"],
        "c": "{{ secrets.S ~ run.id ~ now }}",
    }
    assert compile_value(value).references == References(
        nodes=frozenset({"x", "a-b"}),
        variables=frozenset({"v"}),
        secrets=frozenset({"S"}),
        previous=True,
        input=True,
        item=True,
        run=True,
        now=True,
    )


@pytest.mark.parametrize(
    "text", ["{{ nodes }}", "{{ nodes[input.x] }}", "{{ nodes | keys }}", "{{ nodes[1] }}"]
)
def test_a_dynamic_read_of_nodes_counts_as_all(text: str) -> None:
    references = compile_value(text).references
    assert references.all_nodes
    assert references.nodes == frozenset()


def test_a_dynamic_read_of_variables_counts_as_all() -> None:
    assert compile_value("{{ vars[input.x] }}").references.all_variables


def test_what_reads_nothing_is_constant() -> None:
    assert compile_value({"a": [1, "x", "{{ 1 + 1 }}"]}).constant
    assert not compile_value({"a": [1, "{{ now }}"]}).constant
    assert not compile_value("{{ 1 + 1 }}").references


@pytest.mark.parametrize("value", [{}, [], {"a": 1}, {"a": {"b": [1, {"c": 2}]}}, [[1], {"a": []}]])
def test_constants_are_fresh_copies(value: Any) -> None:
    template = compile_value(value)
    before = json.dumps(value)
    first = template.evaluate({})

    trees: list[Any] = [first]
    while trees:
        tree = trees.pop()
        if is_dict(tree):
            trees.extend(tree.values())
            tree["spoilt"] = True
        elif is_array(tree):
            trees.extend(tree)
            tree.append("spoilt")
    assert json.dumps(template.evaluate({})) == before
    assert json.dumps(value) == before


def test_faults_are_collected_where_a_list_is_given() -> None:
    faults: list[Fault] = []
    template = compile_value(
        {"a": "{{ 1 + }}", "b": "{{ x }}", "c": "{{ input.n }}"}, pointer="/q", faults=faults
    )
    assert [fault.pointer for fault in faults] == ["/q/a", "/q/b"]
    with pytest.raises(ExpressionFailed):
        template.evaluate(SCOPE)


def test_what_is_no_json_is_a_fault() -> None:
    faults: list[Fault] = []
    compile_value({"a": object(), "b": "nul\0"}, faults=faults)
    assert [fault.code for fault in faults] == ["not_json", "not_storable"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0{")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_data_without_expressions_evaluates_to_itself(value: Any) -> None:
    template = compile_value(value)
    assert template.constant
    assert template.evaluate({}) == value


@given(json_values)
def test_a_lone_expression_keeps_the_type_of_what_it_reads(value: Any) -> None:
    read = compile_value("{{ input.x }}").evaluate({"input": {"x": value}})
    assert read == value
    assert type(read) is type(value)


@given(json_values)
def test_json_text_of_a_value_reads_back(value: Any) -> None:
    scope = {"input": {"x": value}}
    assert compile_value("{{ input.x | tojson | fromjson == input.x }}").evaluate(scope) is True


@given(st.text(max_size=80))
def test_any_text_compiles_or_fails_in_words(text: str) -> None:
    for source in (text, "{{" + text + "}}", "{{ input." + text + " }}"):
        try:
            compile_value(source, pointer="/p").evaluate(SCOPE)
        except ExpressionFailed as failed:
            words = str(failed)
        else:
            words = "/p: "
        assert words.startswith("/p: ")


WORDS = (
    "input nodes vars previous now run secrets . [ ] ( ) { } , : | + - * / // % ~ == != < > <= in not and or is if "
    "else 'a' 1 2.5 true none x list people name upper default length tojson join map sort defined"
)
GRAMMAR = st.lists(st.sampled_from(WORDS.split()), max_size=14)


@given(GRAMMAR)
def test_any_row_of_words_gives_json_or_fails_in_words(words: list[str]) -> None:
    try:
        value = compile_expression(" ".join(words), pointer="/p").evaluate(SCOPE)
    except ExpressionFailed as failed:
        value = str(failed)
        words_of_failure = value
    else:
        words_of_failure = "/p: "
    assert words_of_failure.startswith("/p: ")
    json.dumps(value, allow_nan=False)
