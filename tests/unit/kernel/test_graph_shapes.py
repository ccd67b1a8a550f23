"""Graphs shaped as people draw them in automation tools, not nested: merges among nodes that run on every arrival,
loops with a way aside, branches that rejoin far behind, error outputs. Each runs in many orders and always the same."""

import random
from typing import Any

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel.status import RunStatus
from tests.unit.kernel.world import definition_of, payload, started

EACH = {"join": "each"}

SHAPES: dict[str, tuple[dict[str, Any], dict[str, list[str]], dict[str, int]]] = {
    "a merge behind nodes that run on every arrival": (
        {
            "trigger": {"next_node": ["fetch", "lookup"]},
            "fetch": {**EACH, "next_node": "clean"},
            "lookup": {**EACH, "next_node": ["clean", "merge"]},
            "clean": {**EACH, "next_node": "merge"},
            "merge": {"next_node": "send"},
            "send": {**EACH},
        },
        {},
        {"trigger": 1, "fetch": 1, "lookup": 1, "clean": 2, "merge": 1, "send": 1},
    ),
    "a loop that gives items to a branch and goes on": (
        {
            "trigger": {"next_node": "items"},
            "items": {**EACH, "next_node": {"item": "work", "done": "report"}},
            "work": {**EACH, "next_node": ["items", "log"]},
            "log": {**EACH},
            "report": {**EACH},
        },
        {"items": ["item", "item", "item", "done"]},
        {"trigger": 1, "items": 4, "work": 3, "log": 3, "report": 1},
    ),
    "two branches of a choice that meet in three places": (
        {
            "trigger": {"next_node": "kind"},
            "kind": {"next_node": {"mail": ["draft", "tag"], "call": "tag", "*": "store"}},
            "draft": {**EACH, "next_node": ["merge", "store"]},
            "tag": {**EACH, "next_node": ["merge", "store"]},
            "merge": {"next_node": "store"},
            "store": {**EACH},
        },
        {"kind": ["mail"]},
        {"trigger": 1, "kind": 1, "draft": 1, "tag": 1, "merge": 1, "store": 3},
    ),
    "a merge in a loop with a way back from behind it": (
        {
            "trigger": {"next_node": ["left", "right"]},
            "left": {**EACH, "next_node": "merge"},
            "right": {**EACH, "next_node": "merge"},
            "merge": {"next_node": "enough"},
            "enough": {**EACH, "next_node": {"no": ["left", "right"], "yes": "out"}},
            "out": {**EACH},
        },
        {"enough": ["no", "no", "yes"]},
        {"trigger": 1, "left": 3, "right": 3, "merge": 3, "enough": 3, "out": 1},
    ),
    "an error output that rejoins, and a merge that waits for it": (
        {
            "trigger": {"next_node": ["ask", "other"]},
            "ask": {"on_error": "fallback", "next_node": "merge"},
            "fallback": {"next_node": "merge"},
            "other": {"next_node": "merge"},
            "merge": {},
        },
        {"ask": ["!"]},
        {"trigger": 1, "ask": 1, "fallback": 1, "other": 1, "merge": 1},
    ),
    "a wide fan-in in levels, as scientific workflows have it": (
        {
            "stage": {"next_node": [f"split{i}" for i in range(4)]},
            **{f"split{i}": {"next_node": [f"map{i}{j}" for j in range(3)]} for i in range(4)},
            **{f"map{i}{j}": {"next_node": [f"gather{j}", "stats"]} for i in range(4) for j in range(3)},
            **{f"gather{j}": {"next_node": ["stats", "final"]} for j in range(3)},
            "stats": {"next_node": "final"},
            "final": {},
        },
        {},
        {
            "stage": 1,
            "stats": 1,
            "final": 1,
            **{f"split{i}": 1 for i in range(4)},
            **{f"map{i}{j}": 1 for i in range(4) for j in range(3)},
            **{f"gather{j}": 1 for j in range(3)},
        },
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_graph_as_people_draw_it_runs_alike_in_every_order(shape: str) -> None:
    nodes, decisions, visits = SHAPES[shape]
    definition = definition_of(nodes)
    for seed in range(60):
        rng = random.Random(seed)
        run = started(definition, checked=seed < 5)
        while run.state.status.live:
            path = rng.choice(run.open)
            task = run.state.tasks[path]
            ways = decisions.get(task.node)
            way = ways[min(task.visit, len(ways)) - 1] if ways is not None else None
            if way == "!":
                run.fail(path)
            elif way is not None:
                run.do(c.CompleteTask(path=path, output=payload(1), route=c.RouteChoice(targets=(way,))))
            else:
                run.complete(path)
        assert run.state.status is RunStatus.SUCCEEDED
        assert run.visits() == visits, f"seed {seed}"
