"""The checks: every fault at once, at its place, with the nearest right thing."""

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.checks import Report, check
from orchestrator.model.refused import WORKFLOW_FIELDS
from tests.unit.model.samples import KNOWN, ONBOARDING, chain, workflow


def faults_of(document: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in check(document, KNOWN).faults]


def hints_of(document: Any) -> list[tuple[str, str]]:
    report = check(document, KNOWN)
    assert report.faults == ()
    return [(hint.pointer, hint.code) for hint in report.hints]


def message_of(document: Any) -> str:
    (fault,) = check(document, KNOWN).faults
    return fault.message


def test_the_onboarding_workflow_is_accepted_without_a_hint() -> None:
    report = check(ONBOARDING, KNOWN)
    assert report.faults == ()
    assert report.hints == ()
    assert report.accepted
    assert report.definition is not None
    assert report.definition.nodes["step_route_user"].allowed == ("step_escalate", "step_standard_process")


def test_a_near_name_is_suggested_and_followed() -> None:
    document = copy.deepcopy(ONBOARDING)
    document["nodes"]["step_send_email"]["next_node"] = "step_ned"
    (fault,) = check(document, KNOWN).faults
    assert str(fault) == "/nodes/step_send_email/next_node: no node `step_ned`; did you mean `step_end`?"
    assert fault.suggestion == "step_end"


def test_every_fault_is_reported_at_once_in_document_order() -> None:
    document: dict[str, Any] = {
        "x-note": "kept out",
        "nme": "typo",
        "start_at": "frist",
        "nodes": {
            "first": {"class": "SetNod", "next_node": "second", "cache": "1h"},
            "second": {
                "class": "Mail",
                "params": {"subjet": 1, "copies": "many"},
                "next_node": ["third", "fourht"],
            },
            "third": {
                "class": "SetNode",
                "params": {"a": "{{ 1 + }}", "b": ["{{ nodes.gone }}"]},
                "timeout": "soon",
            },
            "fourth": {"class": "SetNode", "retry": {"max_attempts": 0}, "on_error": {"Timeout": "nowhere"}},
        },
        "budget": {"tokens": 0},
    }
    assert faults_of(document) == [
        ("", "missing"),
        ("/nme", "unknown_key"),
        ("/start_at", "unknown_node"),
        ("/nodes/first/class", "unknown_class"),
        ("/nodes/first/cache", "wrong_type"),
        ("/nodes/second/params", "missing_param"),
        ("/nodes/second/params/subjet", "unknown_param"),
        ("/nodes/second/params/copies", "bad_param"),
        ("/nodes/second/next_node/1", "unknown_node"),
        ("/nodes/third/params/a", "expression"),
        ("/nodes/third/params/b/0", "unknown_node"),
        ("/nodes/third/timeout", "wrong_value"),
        ("/nodes/fourth/retry/max_attempts", "wrong_value"),
        ("/nodes/fourth/on_error/Timeout", "unknown_node"),
        ("/budget/tokens", "wrong_value"),
    ]


@pytest.mark.parametrize(
    "document", [None, [], "x", 1, object(), {}, {"nodes": {}}, {"nodes": []}, {"nodes": {"a": 1}}]
)
def test_what_is_no_workflow_is_refused(document: Any) -> None:
    report = check(document, KNOWN)
    assert report.faults
    assert report.document is None
    assert report.definition is None


# -- fields that aren't acted on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", WORKFLOW_FIELDS)
def test_a_workflow_field_of_later_is_refused_in_words(field: str) -> None:
    assert message_of(workflow({"a": {}}, **{field: []})) == f"`{field}` is not acted on by this release"


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"tokens": 0}, "this must be greater than or equal to 1"),
        ({"tokens": 1.5}, "a whole number is due here"),
        ({"cost_usd": 0}, "this must be greater than 0"),
        ({"on_exceeded": "stop"}, "this must be 'fail' or 'pause'"),
        ({"token": 5}, "a budget has no `token`; did you mean `tokens`?"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(budget: dict[str, Any], words: str) -> None:
    assert words in message_of(workflow({"a": {}}, budget=budget))


@pytest.mark.parametrize(
    ("join", "pointer", "words"),
    [
        ("al", "/join", "`join` is one of `all`, `any`, `each`, `one_of_each`, a number, or"),
        (0, "/join", "`join` is a whole number from 1 to 1,000,000, and this is 0"),
        (1.5, "/join", "and this is 1.5"),
        (True, "/join", "`join` is one of"),
        ({}, "/join", "the join has no `count`"),
        ({"count": "2"}, "/join/count", "`count` is a whole number from 1 to 1,000,000, and this is a text"),
        (
            {"count": 1, "rest": "cancle"},
            "/join/rest",
            "`rest` is one of `ignore`, `cancel`; did you mean `cancel`?",
        ),
        ({"count": 1, "cuont": 1}, "/join/cuont", "a join has no `cuont`; did you mean `count`?"),
        (4, "/join", "`a` waits for 4 arrivals, and at most 3 can come, from `s`, `b`, `c`"),
        ({"count": 5}, "/join", "`a` waits for 5 arrivals"),
    ],
)
def test_a_join_that_means_nothing_or_can_never_be_is_refused(join: Any, pointer: str, words: str) -> None:
    nodes: dict[str, Any] = {
        "s": {"next_node": ["b", "c", "a"]},
        "b": {"next_node": "a"},
        "c": {"next_node": "a"},
        "a": {"join": join},
    }
    (fault,) = check(workflow(nodes), KNOWN).faults
    assert fault.pointer == f"/nodes/a{pointer}"
    assert words in fault.message


@pytest.mark.parametrize(
    "nodes",
    [
        {"s": {"next_node": "a"}, "a": {"next_node": ["s", "j"]}, "j": {"join": 7}},
        {
            "s": {"next_node": ["b", "c"]},
            "b": {"next_node": "w"},
            "c": {"next_node": "w"},
            "w": {"join": "each", "next_node": "j"},
            "j": {"join": 2},
        },
        {"s": {"next_node": "a", "on_error": "j"}, "a": {"next_node": "j"}, "j": {"join": 2}},
        {"s": {"next_node": ["j", "e"]}, "e": {}, "j": {"join": "any"}},
    ],
    ids=["a loop before it", "each before it", "an error way", "any of one"],
)
def test_a_join_that_may_get_its_arrivals_is_accepted(nodes: dict[str, Any]) -> None:
    assert not [f for f in check(workflow(nodes), KNOWN).faults if f.code == "join_never"]


def test_a_node_that_is_cancelled_must_be_there() -> None:
    document = workflow({"ask": {"cancels": ["ask", "tell_m", "ask"], "next_node": "tell_me"}, "tell_me": {}})
    found = {fault.pointer: fault.message for fault in check(document, KNOWN).faults}
    assert found == {
        "/nodes/ask/cancels/1": "no node `tell_m`; did you mean `tell_me`?",
        "/nodes/ask/cancels/2": "`ask` stands in this list twice",
    }


def test_what_a_failure_does_is_one_of_two() -> None:
    document = workflow({"a": {}}, on_failure="finish_branch")
    words = "`on_failure` is one of `stop`, `finish_branches`; did you mean `finish_branches`?"
    assert message_of(document) == words


def test_the_values_of_now_are_accepted() -> None:
    document = workflow({"a": {"join": "all"}}, on_failure="stop", on_parent_cancel="cancel")
    assert faults_of(document) == []


def test_notes_are_allowed_wherever_fields_are() -> None:
    document = workflow(
        {"a": {"x-n": 1, "retry": {"x-n": 1}}},
        budget={"x-n": 1},
        positions={"a": {"x": 1, "y": 2.5}, "x-n": 1},
    )
    document["x-n"] = {"any": ["thing"]}
    assert faults_of(document) == []


# -- shape ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        ({"next_node": 1}, ("/nodes/a/next_node", "wrong_type")),
        ({"next_node": []}, ("/nodes/a/next_node", "empty")),
        ({"next_node": {}}, ("/nodes/a/next_node", "empty")),
        ({"next_node": ["b", "b"]}, ("/nodes/a/next_node/1", "repeated")),
        ({"next_node": ["b", 1]}, ("/nodes/a/next_node/1", "wrong_type")),
        ({"next_node": {"x": ["b", "gone~way"]}}, ("/nodes/a/next_node/x/1", "bad_id")),
        ({"next_node": ""}, ("/nodes/a/next_node", "bad_id")),
        ({"on_error": []}, ("/nodes/a/on_error", "wrong_type")),
        ({"on_error": {"E": ["b"]}}, ("/nodes/a/on_error/E", "wrong_type")),
        ({"when": 1}, ("/nodes/a/when", "wrong_type")),
        ({"when": "input.x >"}, ("/nodes/a/when", "expression")),
        ({"when": "{{ input.x }} and"}, ("/nodes/a/when", "expression")),
        ({"params": []}, ("/nodes/a/params", "wrong_value")),
        ({"timeout": 0}, ("/nodes/a/timeout", "wrong_value")),
        ({"retry": {"jitter": 2}}, ("/nodes/a/retry/jitter", "wrong_value")),
        ({"retry": {"max_attempts": True}}, ("/nodes/a/retry/max_attempts", "wrong_value")),
        ({"class": ""}, ("/nodes/a/class", "wrong_type")),
        ({"class": None}, ("/nodes/a/class", "wrong_type")),
        ({"nextnode": "b"}, ("/nodes/a/nextnode", "unknown_key")),
    ],
)
def test_a_wrong_shape_is_one_fault_at_its_place(node: dict[str, Any], fault: tuple[str, str]) -> None:
    document = workflow({"a": {"next_node": "b", **node}, "b": {}})
    assert [found for found in faults_of(document) if found[1] != "unreachable"] == [fault]


@pytest.mark.parametrize("name", ["", "a/b", "x" * 201, "tab\there", 5, None])
def test_a_workflow_has_a_name_that_can_stand_in_an_address(name: Any) -> None:
    document = workflow({"a": {}})
    document["name"] = name
    assert [pointer for pointer, _ in faults_of(document)] == ["/name"]


@pytest.mark.parametrize("node", ["", "a b", "ü", "x" * 129, "a/b"])
def test_an_id_is_of_few_characters(node: str) -> None:
    document = workflow({"a": {}})
    document["nodes"][node] = {"class": "SetNode"}
    assert [code for _, code in faults_of(document)] == ["bad_id"]


def test_there_are_at_most_32_labels_and_10_000_nodes() -> None:
    assert faults_of(workflow({"a": {}}, labels={str(n): "" for n in range(33)})) == [("/labels", "too_many")]
    many = workflow({f"n{n}": {} for n in range(10_001)})
    assert faults_of(many) == [("/nodes", "too_many")]


# -- classes and routes ---------------------------------------------------------------------------------------------


def test_a_class_is_known_with_and_without_its_ending() -> None:
    assert faults_of(workflow({"a": {"class": "Set", "next_node": "b"}, "b": {"class": "SetNode"}})) == []
    assert "did you mean `StartNode`?" in message_of(workflow({"a": {"class": "StarNode"}}))


def test_routes_need_a_class_that_decides() -> None:
    document = workflow({"a": {"routes": ["b"], "next_node": "b"}, "b": {}})
    assert faults_of(document) == [("/nodes/a/routes", "does_not_decide")]
    assert faults_of(workflow({"a": {"class": "Choose", "routes": ["b"]}, "b": {}})) == []


def test_routes_mean_nothing_beside_labels() -> None:
    document = workflow(
        {"a": {"class": "If", "routes": ["b"], "next_node": {"true": "b", "*": "b"}}, "b": {}}
    )
    assert faults_of(document) == [("/nodes/a/routes", "routes_and_labels")]


def test_undeclared_routes_are_a_hint_and_go_where_nothing_else_leads() -> None:
    document = workflow({"a": {"class": "Choose"}, "b": {"next_node": "d"}, "c": {"next_node": "d"}, "d": {}})
    assert hints_of(document) == [("/nodes/a", "undeclared_routes")]
    definition = check(document, KNOWN).definition
    assert definition is not None
    assert definition.nodes["a"].allowed == ("b", "c")


def test_routes_of_a_class_that_aren_t_here_are_left_out_unless_none_remains() -> None:
    document = workflow({"a": {"class": "RouteUserByType"}, "step_escalate": {}})
    assert faults_of(document) == []
    assert faults_of(workflow({"a": {"class": "RouteUserByType"}}))[0] == ("/nodes/a", "no_routes")


def test_a_map_without_a_rest_on_a_class_that_does_not_decide_is_a_hint() -> None:
    assert hints_of(workflow({"a": {"next_node": {"x": "b"}}, "b": {}})) == [
        ("/nodes/a/next_node", "no_rest")
    ]
    assert hints_of(workflow({"a": {"next_node": {"x": "b", "*": "b"}}, "b": {}})) == []
    assert hints_of(workflow({"a": {"class": "If", "next_node": {"true": "b"}}, "b": {}})) == []


# -- params ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "faults"),
    [
        ({"subject": "Hi"}, []),
        ({"subject": "{{ input.x }}", "copies": "{{ input.n }}", "tags": ["{{ input.t }}", "a"]}, []),
        ({"subject": "Hi", "options": "{{ input.o }}"}, []),
        ({"subject": "Hi", "options": {"html": "{{ input.h }}"}}, []),
        ({"subject": 5}, [("subject", "bad_param")]),
        ({"subject": "Hi", "copies": -1}, [("copies", "bad_param")]),
        ({"subject": "Hi", "options": {"htm": "{{ input.h }}"}}, [("options/htm", "unknown_param")]),
        ({"subject": "Hi", "tags": ["{{ input.t }}", "c"]}, [("tags/1", "bad_param")]),
    ],
)
def test_params_are_checked_but_for_expressions(
    params: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    document = workflow({"a": {"class": "Mail", "params": params}})
    assert faults_of(document) == [(f"/nodes/a/params/{place}", code) for place, code in faults]


def test_a_missing_param_is_named() -> None:
    assert message_of(workflow({"a": {"class": "Mail"}})) == "class `MailNode` needs the parameter `subject`"


def test_an_input_schema_is_a_schema_that_leads_nowhere_else() -> None:
    good = {
        "type": "object",
        "properties": {"pattern": {"$ref": "#/$defs/x"}},
        "$defs": {"x": {"type": "string"}},
    }
    assert faults_of(workflow({"a": {}}, input_schema=good)) == []
    assert faults_of(workflow({"a": {}}, input_schema={"type": "strin"})) == [
        ("/input_schema/type", "bad_schema")
    ]
    for address in ("http://localhost/x", "file:///etc/passwd", "other.json"):
        schema = {"properties": {"a": {"$ref": address}}}
        assert faults_of(workflow({"a": {}}, input_schema=schema)) == [
            ("/input_schema/properties/a/$ref", "bad_schema")
        ]


# -- expressions ----------------------------------------------------------------------------------------------------


def test_an_output_can_be_read_only_behind_its_node() -> None:
    nodes = chain("a", "b", "c")
    nodes["b"]["params"] = {"x": "{{ nodes.a }}", "y": "{{ nodes.c }}", "z": "{{ nodes.b }}"}
    assert faults_of(workflow(nodes)) == [("/nodes/b/params/y", "not_yet"), ("/nodes/b/params/z", "not_yet")]


def test_an_output_can_be_read_around_a_loop() -> None:
    nodes: dict[str, Any] = {
        "a": {"next_node": "b"},
        "b": {"next_node": {"more": "c", "*": "d"}},
        "c": {"next_node": "b"},
        "d": {},
    }
    nodes["b"] |= {
        "class": "If",
        "params": {"x": "{{ nodes.c | default(0) }}", "y": "{{ nodes.b | default(0) }}"},
    }
    assert faults_of(workflow(nodes)) == []


def test_an_output_can_be_read_behind_an_error() -> None:
    nodes = {"a": {"on_error": "b"}, "b": {"params": {"x": "{{ nodes.a | default(previous.error) }}"}}}
    assert faults_of(workflow(nodes)) == []


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"output": "{{ nodes.b }}"}, ("/output", "unknown_node")),
        ({"output": {"x": ["{{ previous }}"]}}, ("/output/x/0", "not_available")),
        ({"output": "{{ secrets.X }}"}, ("/output", "secret_kept")),
        ({"output": "{{ item }}"}, ("/output", "not_available")),
        ({"vars": {"v": "{{ nodes.a }}"}}, ("/vars/v", "not_available")),
        ({"vars": {"v": "{{ vars.w }}", "w": 1}}, ("/vars/v", "not_available")),
        ({"vars": {"v": "{{ secrets.X }}"}}, ("/vars/v", "secret_kept")),
        ({"vars": {"v": "{{ 1 +"}}, ("/vars/v", "expression")),
    ],
)
def test_what_is_not_there_can_t_be_read(fields: dict[str, Any], fault: tuple[str, str]) -> None:
    assert faults_of(workflow({"a": {}}, **fields)) == [fault]


def test_what_is_there_can_be_read() -> None:
    document = workflow(
        {
            "a": {
                "params": {"x": "{{ secrets.X ~ vars.v ~ run.id ~ now ~ input.y }}"},
                "when": "input.go | default(true)",
            }
        },
        vars={"v": "{{ input.w | default(now) }}"},
        output={"x": "{{ nodes.a.x }}", "all": "{{ nodes | keys }}"},
    )
    assert faults_of(document) == []


# -- the graph ------------------------------------------------------------------------------------------------------


def test_a_node_that_nothing_leads_to_is_a_fault() -> None:
    assert faults_of(workflow({**chain("a", "b"), **chain("c", "d")})) == [
        ("/nodes/c", "unreachable"),
        ("/nodes/d", "unreachable"),
    ]


def test_a_loop_without_exit_is_a_fault_and_so_is_the_way_into_it() -> None:
    nodes = chain("a", "b", "c")
    nodes["c"]["next_node"] = "b"
    assert faults_of(workflow(nodes)) == [("/nodes/a", "no_end"), ("/nodes/b", "endless_loop")]


def test_a_loop_with_two_entries_is_a_hint() -> None:
    nodes = {
        "a": {"next_node": ["b", "c"]},
        "b": {"next_node": "c"},
        "c": {"class": "If", "next_node": {"x": "b", "*": "d"}},
    }
    assert hints_of(workflow({**nodes, "d": {}})) == [("/nodes/b", "two_entries")]


def test_too_many_ways_are_refused() -> None:
    nodes: dict[str, Any] = {f"n{n}": {"class": "Agent"} for n in range(2_000)}
    assert faults_of(workflow(nodes)) == [("/nodes", "too_many")]


# -- whatever is sent -----------------------------------------------------------------------------------------------

FIELDS = (
    "name start_at nodes class params next_node routes when retry on_error timeout labels vars output budget tasks "
    "positions input_schema x-a a b for_each join"
)
KEYS = st.sampled_from(FIELDS.split())
LEAVES = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "a", "b", "SetNode", "*", "{{ nodes.a }}", "{{ 1 +", "5m", "all"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_json_gets_a_report(document: dict[str, Any]) -> None:
    report = check(document, KNOWN)
    assert isinstance(report, Report)
    assert (report.definition is None) is bool(report.faults)


@given(st.dictionaries(st.sampled_from("abcd"), st.dictionaries(KEYS, TREES, max_size=4), min_size=1))
def test_any_nodes_get_a_report(nodes: dict[str, dict[str, Any]]) -> None:
    report = check(workflow(nodes), KNOWN)
    assert (report.definition is None) is bool(report.faults)
    again = check(workflow(nodes), KNOWN)
    assert again.faults == report.faults


def test_a_large_document_is_checked_soon() -> None:
    nodes = chain(*(f"n{n}" for n in range(3_000)))
    for place, node in enumerate(nodes.values()):
        node["params"] = {"x": "{{ input.x }} and {{ nodes.n0 }}"} if place else {}
    began = time.process_time()
    assert faults_of(workflow(nodes)) == []
    assert time.process_time() - began < 10


def test_thousands_of_wrong_names_are_answered_soon() -> None:
    nodes: dict[str, Any] = {f"n{n}": {"next_node": f"wrong{n}", "class": f"Wrong{n}"} for n in range(3_000)}
    began = time.process_time()
    assert len(faults_of(workflow(nodes))) >= 6_000
    assert time.process_time() - began < 15


# --- effect, doubt, queue, priority ---------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["write", "irreversible"])
def test_a_document_may_tighten_an_effect(effect: str) -> None:
    report = check(workflow({"a": {"class": "Mail", "params": {"subject": "x"}, "effect": effect}}), KNOWN)
    assert report.definition is not None
    assert report.definition.nodes["a"].effect == effect


def test_a_document_can_not_loosen_an_effect() -> None:
    document = workflow({"a": {"class": "Pay", "effect": "write"}})
    (fault,) = check(document, KNOWN).faults
    assert (fault.pointer, fault.code, fault.suggestion) == (
        "/nodes/a/effect",
        "effect_loosened",
        "irreversible",
    )
    assert "class `PayNode` has effect `irreversible`" in fault.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("effect", "harmless"),
        ("on_doubt", "hope"),
        ("queue", "g p u"),
        ("queue", ""),
        ("priority", 101),
        ("priority", "high"),
        ("priority", 1.5),
    ],
)
def test_what_they_can_not_be_is_a_fault(field: str, value: Any) -> None:
    assert [pointer for pointer, _ in faults_of(workflow({"a": {field: value}}))] == [f"/nodes/a/{field}"]


def test_where_a_task_waits_is_the_nodes_own() -> None:
    report = check(workflow({"a": {"queue": "gpu", "priority": -3, "next_node": "b"}, "b": {}}), KNOWN)
    assert report.definition is not None
    nodes = report.definition.nodes
    assert [(node.queue, node.priority) for node in nodes.values()] == [("gpu", -3), ("default", 0)]
