"""Importing from n8n: what maps means the same, what doesn't is listed and refused. All exports are made here."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.n8n.expressions import Unmapped, template, translate
from orchestrator.cli.n8n.workflow import Imported, import_workflow
from orchestrator.errors import DefinitionError, UsageError
from orchestrator.model.expressions import compile_value
from orchestrator.testing import Lab

BASE = "n8n-nodes-base."
SCOPE: dict[str, Any] = {
    "previous": {"a": 2, "b": {"c d": "x"}, "list": [1, 2, 3], "name": " Ada ", "none": None},
    "nodes": {"First_step": {"mail": "a@b.c"}},
    "now": "2026-11-22T16:00:00Z",
    "run": {"id": "r1", "workflow": "w"},
}
IDS = {"First step": "First_step"}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("$json.a", 2),
        ("$json['b'][\"c d\"]", "x"),
        ("$json.list[1]", 2),
        ("$input.item.json.a", 2),
        ("$input.first().json.list.length", 3),
        ('$node["First step"].json.mail', "a@b.c"),
        ("$('First step').item.json.mail", "a@b.c"),
        ("$('First step').first().json[\"mail\"]", "a@b.c"),
        ("$json.a + 3 * 2", 8),
        ("($json.a + 3) * 2", 10),
        ("10 - 3 - 2", 5),
        ("7 % 4", 3),
        ("'Dear ' + $json.name.trim() + '!'", "Dear Ada!"),
        ("$json.a === 2 && $json.list.includes(3)", True),
        ("$json.a !== 2 || !($json.a > 1)", False),
        ("$json.a > 1 ? 'many' : 'one'", "many"),
        ("$json.none || 'nothing'", "nothing"),
        ("$json.name.trim().toUpperCase()", "ADA"),
        ("$json.list.join('-')", "1-2-3"),
        ("'a,b'.split(',')[1]", "b"),
        ("JSON.stringify($json.list)", "[1, 2, 3]"),
        ("Number('1.5') + 1", 2.5),
        ("-$json.a", -2),
        ("[1, $json.a]", [1, 2]),
        ("'it\\'s'", "it's"),
        ("$workflow.name", "w"),
        ("$execution.id", "r1"),
        ("$now", "2026-11-22T16:00:00Z"),
        ("true && null", None),
    ],
)
def test_an_expression_that_maps_gives_what_it_gave(source: str, value: Any) -> None:
    assert compile_value("{{ " + translate(source, IDS) + " }}").evaluate(SCOPE) == value


@pytest.mark.parametrize(
    "source",
    [
        "$json.list.map(i => i.x)", "new Date()", "$env.HOME", "$vars.x", "$('Nobody').item.json.a",
        "$('First step').all()", "$input.all()", "$items('A')", "$json?.a", "$json.a ?? 1", "`a ${1}`", "function(){}",
        "a", "$jmespath($json, 'a')", "$now.plus({days: 1})", "$json.a = 1", "$json.a++", "{a: 1}", "1 2", "(1", "",
        "$json.", "'open", "/x/.test('x')", "$json.constructor.constructor('x')()", "(" * 100, "$(1).item.json",
        "Math.round(1, 2)", "$today", "$json.list.slice(1)", "this", "\u00e4", "01",
    ],
)  # fmt: skip
def test_any_other_is_said_to_have_no_counterpart(source: str) -> None:
    with pytest.raises(Unmapped):
        translate(source, IDS)


@given(st.text(max_size=60) | st.text("$json.()[]'\"+-*/?:!&|=<> ab1", max_size=40))
def test_any_text_maps_to_what_compiles_or_is_unmapped(source: str) -> None:
    try:
        written = translate(source, IDS)
    except Unmapped:
        return
    compile_value("{{ " + written + " }}")


def test_texts_are_templates_only_with_their_sign() -> None:
    assert template("=Dear {{ $json.a }}: {{ '}}' }}!", IDS) == 'Dear {{ previous.a }}: {{ "}}" }}!'
    written = template("no {{ $json.a }}", IDS)
    assert compile_value(written).evaluate(SCOPE) == "no {{ $json.a }}"


# ---------------------------------------------------------------------------------------------------------- workflows


def node(name: str, kind: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    full = kind if "/" in kind else BASE + kind
    return {"name": name, "type": full, "typeVersion": more.pop("version", 1), "parameters": parameters or {},
            "position": [0, 0], **more}  # fmt: skip


def export(*nodes: dict[str, Any], ways: dict[str, Any], **more: Any) -> dict[str, Any]:
    """`ways`: by node a list of ports, each a list of names."""

    def ends(port: list[str]) -> list[dict[str, Any]]:
        return [{"node": end, "type": "main", "index": 0} for end in port]

    connections = {name: {"main": [ends(port) for port in ports]} for name, ports in ways.items()}
    return {"name": "exported", "nodes": list(nodes), "connections": connections, **more}


def kinds(imported: Imported) -> list[tuple[str, str]]:
    return [(finding.node, finding.kind) for finding in imported.findings]


TRIGGER = node("Begin", "manualTrigger")


def if_on(left: str, operation: str, right: Any) -> dict[str, Any]:
    one = {"leftValue": left, "rightValue": right, "operator": {"type": "number", "operation": operation}}
    return {"conditions": {"combinator": "and", "conditions": [one]}}


def assign(**values: Any) -> dict[str, Any]:
    pairs = [{"name": name, "value": value, "type": "string"} for name, value in values.items()]
    return {"assignments": {"assignments": pairs}}


async def test_what_maps_runs(workflow_lab: Lab) -> None:
    exported = export(
        TRIGGER,
        node("Check", "if", if_on("={{ $json.amount }}", "gt", 100), version=2.2),
        node("Ask", "wait", {"amount": 2, "unit": "days"}, version=1.1),
        node("Pay it", "set", assign(paid="={{ $('Begin').item.json.amount }}"), version=3.4),
        ways={"Begin": [["Check"]], "Check": [["Ask"], ["Pay it"]], "Ask": [["Pay it"]]},
    )
    imported = import_workflow(exported)
    assert imported.findings == []
    began = workflow_lab.now
    run = await workflow_lab.run(imported.document, input={"amount": 5})
    run.assert_succeeded({"paid": 5}).assert_not_visited("Ask")
    run = await workflow_lab.run(imported.document, input={"amount": 500})
    run.assert_succeeded({"paid": 500}).assert_visited("Ask")
    assert (workflow_lab.now - began).days == 2


async def test_every_arrival_runs_a_node_once_and_a_merge_waits(workflow_lab: Lab) -> None:
    exported = export(
        TRIGGER, node("A", "noOp"), node("B", "noOp"), node("Each", "noOp"), node("Merge", "merge"),
        node("Last", "noOp"),
        ways={"Begin": [["A", "B"]], "A": [["Each", "Merge"]], "B": [["Each", "Merge"]], "Merge": [["Last"]]},
    )  # fmt: skip
    run = await workflow_lab.run(import_workflow(exported).document)
    run.assert_succeeded().assert_visited(A=1, B=1, Each=2, Merge=1, Last=1)


async def test_a_switch_takes_its_first_rule_or_its_fallback(workflow_lab: Lab) -> None:
    def rule(name: str) -> dict[str, Any]:
        one = {"leftValue": "={{ $json.kind }}", "rightValue": name, "operator": {"operation": "equals"}}
        return {
            "outputKey": name,
            "renameOutput": True,
            "conditions": {"combinator": "and", "conditions": [one]},
        }

    parameters = {"rules": {"values": [rule("red"), rule("blue")]}, "options": {"fallbackOutput": "extra"}}
    exported = export(
        TRIGGER, node("Which", "switch", parameters, version=3.2),
        node("R", "noOp"), node("B", "noOp"), node("E", "noOp"),
        ways={"Begin": [["Which"]], "Which": [["R"], ["B"], ["E"]]},
    )  # fmt: skip
    document = import_workflow(exported).document
    for kind, taken in (("red", "R"), ("blue", "B"), ("green", "E")):
        run = await workflow_lab.run(document, input={"kind": kind})
        run.assert_succeeded().assert_visited(taken)
        assert len(run.visits) == 3


async def test_ways_that_lead_nowhere_end_their_path_and_disabled_nodes_pass(workflow_lab: Lab) -> None:
    exported = export(
        TRIGGER, node("Filter", "filter", if_on("={{ $json.n }}", "lt", 3)),
        node("Off", "stopAndError", {"errorMessage": "never"}, disabled=True), node("On", "noOp"),
        ways={"Begin": [["Filter"]], "Filter": [["Off"]], "Off": [["On"]]},
    )  # fmt: skip
    document = import_workflow(exported).document
    run = await workflow_lab.run(document, input={"n": 1})
    run.assert_succeeded({"n": 1}).assert_visited("On")
    assert run.skipped == ["Off"]
    run = await workflow_lab.run(document, input={"n": 5})
    run.assert_succeeded().assert_not_visited("On")


async def test_errors_are_led_on_as_they_were(workflow_lab: Lab) -> None:
    exported = export(
        TRIGGER,
        node("Child", "executeWorkflow", {"workflowId": {"value": "7", "cachedResultName": "nobody"}},
             onError="continueErrorOutput", retryOnFail=True, maxTries=2, waitBetweenTries=5000),
        node("Good", "noOp"), node("Bad", "noOp"), node("Also bad", "noOp"),
        ways={"Begin": [["Child"]], "Child": [["Good"], ["Bad", "Also bad"]]},
    )  # fmt: skip
    document = import_workflow(exported).document
    assert document["nodes"]["Child"]["retry"]["max_attempts"] == 2
    run = await workflow_lab.run(document)
    run.assert_succeeded().assert_visited("Bad", "Also_bad").assert_not_visited("Good")


async def test_of_several_triggers_the_input_names_one(workflow_lab: Lab) -> None:
    exported = export(
        TRIGGER, node("Hourly", "scheduleTrigger"), node("A", "noOp"), node("B", "noOp"),
        ways={"Begin": [["A"]], "Hourly": [["B"]]},
    )  # fmt: skip
    imported = import_workflow(exported)
    assert ("Hourly", "difference") in kinds(imported)
    run = await workflow_lab.run(imported.document)
    run.assert_visited("A").assert_not_visited("B")
    run = await workflow_lab.run(imported.document, input={"trigger": "Hourly"})
    run.assert_visited("B").assert_not_visited("A")


async def test_what_is_not_mapped_is_listed_kept_and_refused_at_its_place(workflow_lab: Lab) -> None:
    exported = export(
        TRIGGER,
        node("Fetch", "httpRequest", {"url": "={{ $json.url }}"}, credentials={"basic": {"id": "1"}}),
        node("Edit", "set", assign(good="={{ $json.a }}", bad="={{ $json.list.map(x => x) }}"), version=3.4),
        node("Agent", "@n8n/n8n-nodes-langchain.agent", {"text": "hi"}),
        node("Model", "@n8n/n8n-nodes-langchain.lmChat", {"model": "m"}),
        node("Note", "stickyNote", {"content": "read me"}),
        ways={"Begin": [["Fetch"]], "Fetch": [["Edit"]], "Edit": [["Agent", "Gone"]]},
        settings={"timezone": "Europe/Berlin"}, pinData={"Begin": []},
    )  # fmt: skip
    exported["connections"]["Model"] = {"ai_languageModel": [[{"node": "Agent", "type": "ai_languageModel"}]]}
    imported = import_workflow(exported)
    assert set(kinds(imported)) == {
        ("Fetch", "class"), ("Edit", "expression"), ("Agent", "class"), ("Model", "left_out"), ("Note", "left_out"),
        ("Edit", "left_out"), ("(workflow)", "left_out"),
    }  # fmt: skip
    assert all(finding.why and finding.cure for finding in imported.findings)
    nodes = imported.document["nodes"]
    assert nodes["Fetch"]["x-n8n"]["parameters"] == {"url": "={{ $json.url }}"}
    assert nodes["Agent"]["x-n8n"]["parts"][0]["parameters"] == {"model": "m"}
    assert imported.document["x-n8n-notes"] == ["read me"]
    assert nodes["Edit"]["params"]["values"]["good"] == "{{ previous.a }}"
    with pytest.raises(DefinitionError) as refused:
        await workflow_lab.save(imported.document)
    assert {fault.pointer for fault in refused.value.faults} == {
        "/nodes/Fetch/class", "/nodes/Agent/class", "/nodes/Edit/params/values/bad",
    }  # fmt: skip


@pytest.mark.parametrize(("version", "back"), [(3, 1), (1, 0)])
async def test_a_loop_over_items_keeps_its_exit(workflow_lab: Lab, version: int, back: int) -> None:
    ports: list[list[str]] = [[], []]
    ports[back] = ["Work"]
    exported = export(
        TRIGGER, node("Loop", "splitInBatches", version=version), node("Work", "noOp"),
        ways={"Begin": [["Loop"]], "Loop": ports[: back + 1], "Work": [["Loop"]]},
    )  # fmt: skip
    imported = import_workflow(exported)
    assert kinds(imported) == [("Loop", "class")]
    assert imported.document["nodes"]["Loop"]["next_node"] == {"loop": "Work", "done": "end"}
    with pytest.raises(DefinitionError) as refused:
        await workflow_lab.save(imported.document)
    assert [fault.pointer for fault in refused.value.faults] == ["/nodes/Loop/class"]


def test_older_forms_of_parameters_are_read_too() -> None:
    old_if = {"conditions": {"number": [{"value1": "={{ $json.n }}", "operation": "larger", "value2": 3}]}}
    old_set = {"values": {"string": [{"name": "a.b", "value": "x"}], "number": [{"name": "n", "value": 1}]},
               "keepOnlySet": True}  # fmt: skip
    old_switch = {
        "value1": "={{ $json.n }}",
        "rules": {"rules": [{"value2": 1, "output": 2}]},
        "fallbackOutput": 0,
    }
    exported = export(
        node("Start", "start"), node("If", "if", old_if), node("Set", "set", old_set), node("Sw", "switch", old_switch),
        node("Z", "noOp"),
        ways={"Start": [["If"]], "If": [["Set"], []], "Set": [["Sw"]], "Sw": [["Z"], [], ["Z"], []]},
    )  # fmt: skip
    nodes = import_workflow(exported).document["nodes"]
    assert nodes["If"]["params"] == {"condition": "{{ (previous.n > 3) }}"}
    assert nodes["Set"]["params"] == {"values": {"a": {"b": "x"}, "n": 1}}
    assert nodes["Sw"]["params"]["cases"] == [{"name": "2", "when": "{{ previous.n == 1 }}"}]
    assert nodes["Sw"]["next_node"]["*"] == "Z"


@pytest.mark.parametrize(
    "exported", [None, 1, [], {}, {"nodes": {}}, [1, 2], {"nodes": [], "connections": []}, {"nodes": []}]
)
def test_what_is_no_export_is_said(exported: Any) -> None:
    with pytest.raises(UsageError):
        import_workflow(exported)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["={{ $json.a }}", "all", "raw"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["conditions", "rules", "values", "assignments", "value", "name", "operator", "mode"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["if", "set", "switch", "wait", "filter", "executeWorkflow", "code"]), _JSON
        ),
        max_size=4,
    )
)
def test_whatever_the_parameters_are_the_import_answers(given_nodes: list[tuple[str, Any]]) -> None:
    nodes = [{**node(f"n{place}", kind, version=3), "parameters": parameters}
             for place, (kind, parameters) in enumerate(given_nodes)]  # fmt: skip
    ways = {"Begin": [[one["name"] for one in nodes]]}
    imported = import_workflow(export(TRIGGER, *nodes, ways=ways))
    assert len(imported.document["nodes"]) >= len(nodes) + 1
    json.dumps(imported.document)
