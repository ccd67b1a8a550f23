"""DESIGN section 3, how a run flows: arrivals, joins, loops, choices, and how a run ends. One sentence, one test."""

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.status import RunStatus
from tests.unit.kernel.world import error, payload, run_of, signal, value_of

DIAMOND = {
    "fork": {"next_node": ["a", "b"]},
    "a": {"next_node": "join"},
    "b": {"next_node": "join"},
    "join": {},
}


def test_a_run_of_one_node_gives_its_output() -> None:
    run = run_of({"only": {}})
    run.complete("only", {"answer": 42})
    assert run.state.status is RunStatus.SUCCEEDED
    assert value_of(run.state.output) == {"answer": 42}


def test_a_chain_hands_each_output_to_the_next_node() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}})
    run.complete("a", "from a")
    assert run.open == ["b"]
    assert run.previous("b") == "from a"


def test_the_first_node_has_no_previous() -> None:
    assert run_of({"a": {}}).previous("a") is None


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_diamond_joins_both_arms_whoever_comes_first(order: str) -> None:
    run = run_of(DIAMOND)
    run.complete("fork")
    run.complete(order[0])
    assert run.open == [order[1]]
    run.complete(order[1])
    assert run.open == ["join"]
    assert run.previous("join") == {"a": "a", "b": "b"}


def test_a_fast_branch_never_waits_for_a_slow_sibling() -> None:
    run = run_of(
        {"fork": {"next_node": ["fast", "slow"]}, "fast": {"next_node": "behind"}, "slow": {}, "behind": {}}
    )
    run.complete("fork")
    run.complete("fast")
    assert run.open == ["slow", "behind"]


def test_a_join_waits_for_another_waiting_join_that_can_reach_it_whatever_the_saved_order() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "d"]},
            "last": {},
            "first": {"next_node": "last"},
            "a": {"next_node": "first"},
            "b": {"next_node": "first"},
            "d": {"next_node": "last"},
        }
    )
    run.complete("fork")
    run.complete("a")
    run.complete("d")
    assert run.waiting_joins == ["first", "last"]
    run.complete("b")
    assert run.open == ["first"]
    run.complete("first")
    assert run.previous("last") == {"d": "d", "first": "first"}


def test_a_join_waits_for_a_task_that_is_to_be_tried_again() -> None:
    run = run_of(DIAMOND)
    run.complete("fork")
    run.complete("a")
    run.fail("b", retryable=True)
    assert run.open == ["b"]


def test_a_join_waits_for_a_suspended_task() -> None:
    run = run_of(DIAMOND)
    run.complete("fork")
    run.suspend("b", signal("go"))
    run.complete("a")
    assert run.open == ["b"]


def test_a_join_waits_for_a_task_in_doubt() -> None:
    run = run_of(DIAMOND)
    run.complete("fork")
    run.do(c.StartTask(path="b"))
    run.do(c.DoubtTask(path="b", reason="lost"))
    run.complete("a")
    assert run.open == ["b"]


def test_an_exclusive_choice_passes_straight_through_where_it_meets_again() -> None:
    run = run_of(
        {
            "choice": {"next_node": {"yes": "a", "no": "b"}},
            "a": {"next_node": "meet"},
            "b": {"next_node": "meet"},
            "meet": {},
        }
    )
    run.complete("choice", route=["yes"])
    run.complete("a")
    assert run.open == ["meet"]
    assert run.previous("meet") == {"a": "a"}


def test_a_detour_of_an_agent_is_waited_for_while_it_may_still_come_back() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["agent", "b"]},
            "agent": {"class": "Choose", "routes": ["detour", "join"]},
            "detour": {"next_node": "join"},
            "b": {"next_node": "join"},
            "join": {},
        }
    )
    run.complete("fork")
    run.complete("b")
    run.complete("agent", route=["detour"])
    assert run.open == ["detour"]
    run.complete("detour")
    assert run.open == ["join"]
    assert run.previous("join") == {"b": "b", "detour": "detour"}


def test_nothing_waits_for_the_branch_that_was_not_taken() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["choice", "b"]},
            "choice": {"next_node": {"join": "join", "away": "away"}},
            "b": {"next_node": "join"},
            "away": {},
            "join": {},
        }
    )
    run.complete("fork")
    run.complete("b")
    run.complete("choice", route=["away"])
    assert run.open == ["away", "join"]


def test_a_join_in_a_loop_does_not_wait_for_the_next_round() -> None:
    run = run_of(
        {
            "head": {"next_node": ["x", "y"]},
            "x": {"next_node": "join"},
            "y": {"next_node": "join"},
            "join": {"next_node": {"again": "head", "done": "end"}},
            "end": {},
        }
    )
    for round_number in ("", "@2"):
        run.complete(f"head{round_number}")
        run.complete(f"y{round_number}")
        run.complete(f"x{round_number}")
        assert run.open == [f"join{round_number}"]
        run.complete(f"join{round_number}", route=["again" if not round_number else "done"])
    assert run.open == ["end"]


def test_a_join_behind_a_loop_waits_until_the_loop_is_left() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["loop", "b"]},
            "loop": {"next_node": {"again": "loop", "done": "join"}},
            "b": {"next_node": "join"},
            "join": {},
        }
    )
    run.complete("fork")
    run.complete("b")
    run.complete("loop", route=["again"])
    assert run.open == ["loop@2"]
    run.complete("loop@2", route=["done"])
    assert run.open == ["join"]


def test_an_edge_back_makes_no_join_and_each_visit_has_its_own_path() -> None:
    run = run_of(
        {"check": {"next_node": {"again": "fix", "done": "end"}}, "fix": {"next_node": "check"}, "end": {}}
    )
    run.complete("check", route=["again"])
    run.complete("fix")
    run.complete("check@2", route=["again"])
    run.complete("fix@2")
    assert run.open == ["check@3"]


def test_several_visits_of_one_source_are_a_list_in_previous_of_a_join() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["loop", "b"]},
            "loop": {"next_node": {"more": ["loop", "join"], "done": "join"}},
            "b": {"next_node": "join"},
            "join": {},
        }
    )
    run.complete("fork")
    run.complete("loop", "first", route=["more"])
    run.complete("loop@2", "second", route=["done"])
    run.complete("b")
    assert run.previous("join") == {"loop": ["first", "second"], "b": "b"}


def test_of_two_joins_that_wait_for_each_other_the_first_in_the_saved_order_runs() -> None:
    nodes = {
        "start": {"next_node": ["b", "a"]},
        "a": {"next_node": {"on": "b", "end": "end"}},
        "b": {"next_node": {"on": "a", "end": "end"}},
        "end": {},
    }
    run = run_of(nodes)
    run.complete("start")
    assert run.open == ["a"]
    assert run.waiting_joins == ["b"]
    other = run_of({"start": nodes["start"], "b": nodes["b"], "a": nodes["a"], "end": {}})
    other.complete("start")
    assert other.open == ["b"]


def test_a_knot_of_joins_waits_for_a_live_task_that_can_reach_it() -> None:
    run = run_of(
        {
            "start": {"next_node": ["a", "b", "slow"]},
            "a": {"next_node": {"on": "b", "end": "end"}},
            "b": {"next_node": {"on": "a", "end": "end"}},
            "slow": {"next_node": "b"},
            "end": {},
        }
    )
    run.complete("start")
    assert run.open == ["slow"]
    run.complete("slow")
    assert run.open == ["a"]


def test_a_skipped_node_has_a_null_output_and_passes_on_what_led_to_it() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {"next_node": "d"}, "d": {"params": {"x": "{{ nodes.b }}"}}})
    run.complete("a", "from a")
    run.skip("b")
    assert run.previous("d") == "from a"
    assert value_of(run.state.payload(run.state.tasks["d"].reads.nodes["b"])) is None


def test_a_skipped_branch_passes_previous_through_a_join() -> None:
    run = run_of(DIAMOND)
    run.complete("fork", "from fork")
    run.skip("a")
    run.complete("b", "from b")
    assert run.previous("join") == {"a": "from fork", "b": "from b"}


def test_a_skipped_join_passes_on_the_map_of_what_came_to_it() -> None:
    run = run_of({**DIAMOND, "join": {"next_node": "after"}, "after": {}})
    run.complete("fork")
    run.complete("a")
    run.complete("b")
    run.skip("join")
    assert run.previous("after") == {"a": "a", "b": "b"}


def test_of_a_map_a_skipped_node_follows_the_rest() -> None:
    run = run_of({"a": {"next_node": {"x": "b", "*": "d"}}, "b": {}, "d": {}})
    run.skip("a")
    assert run.open == ["d"]


def test_a_skipped_node_whose_map_has_no_rest_ends_its_path() -> None:
    run = run_of({"a": {"next_node": {"x": "b"}}, "b": {}})
    run.skip("a")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_row_of_skipped_diamonds_ends_in_an_error_before_it_fills_the_memory() -> None:
    """Each skipped diamond doubles what is passed on; found by reading: 40 of them were 2**40 outputs."""
    nodes = {}
    for i in range(40):
        nodes[f"f{i}"] = {"next_node": [f"a{i}", f"b{i}"]}
        nodes[f"a{i}"] = {"next_node": f"f{i + 1}"}
        nodes[f"b{i}"] = {"next_node": f"f{i + 1}"}
    run = run_of({**nodes, "f40": {}})
    run.checked = False
    while run.state.status.live:
        run.skip(run.open[0])
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None
    assert run.state.error.type == "limit_exceeded"
    assert "more than 10,000 outputs" in run.state.error.message


def test_the_output_of_a_run_is_asked_for_where_the_workflow_says_what_it_is() -> None:
    run = run_of({"a": {}}, output="{{ nodes.a }}")
    run.complete("a")
    assert value_of(run.state.output) == "the output"
    assert [event.group for event in run.events[-2:]] == [3, 4], (
        "the answer is a command, and a group, of its own"
    )


def test_the_output_of_a_run_with_several_sinks_is_asked_for() -> None:
    run = run_of({"a": {"next_node": ["b", "d"]}, "b": {}, "d": {}})
    run.complete("a")
    run.complete("b")
    run.complete("d")
    assert run.state.sinks == {"b": "b", "d": "d"}
    assert value_of(run.state.output) == "the output"


def test_a_run_whose_output_cannot_be_had_fails_with_that() -> None:
    run = run_of({"a": {}}, output="{{ nodes.a.nothing }}")
    run.output_error = error("expression_failed")
    run.complete("a")
    assert run.state.status is RunStatus.FAILED
    assert run.state.error == error("expression_failed")


def test_a_run_that_goes_on_does_not_take_an_output() -> None:
    run_of({"a": {}}).refused(c.FinishRun(output=payload(1)), "not_finishing")


def test_the_events_of_one_command_share_the_number_of_the_first() -> None:
    run = run_of({"a": {"next_node": ["b", "d"]}, "b": {}, "d": {}})
    events = run.complete("a")
    assert [(event.seq, event.group, event.kind) for event in events] == [
        (3, 3, "task_completed"),
        (4, 3, "task_scheduled"),
        (5, 3, "task_scheduled"),
    ]


def test_a_scheduled_task_records_which_values_its_expressions_read() -> None:
    run = run_of(
        {
            "a": {"next_node": "b"},
            "b": {"next_node": {"again": "a", "on": "d"}},
            "d": {"params": {"a": "{{ nodes.a }}", "x": "{{ vars.x }}"}},
        },
    )
    run.complete("a", variables={"x": payload("old")})
    run.complete("b", route=["again"])
    run.complete("a@2", variables={"x": payload("new")})
    run.complete("b@2", route=["on"])
    scheduled = run.last(e.TaskScheduled)
    assert scheduled.reads.nodes == {"a": "a@2"}
    assert value_of(run.state.payload(scheduled.reads.variables["x"])) == "new"


def test_values_that_a_task_reads_stay_as_they_were_when_it_was_scheduled() -> None:
    run = run_of(
        {
            "fork": {"next_node": ["reader", "writer"]},
            "reader": {"params": {"x": "{{ vars.x }}"}},
            "writer": {},
        },
    )
    run.complete("fork", variables={"x": payload("old")})
    run.complete("writer", variables={"x": payload("new")})
    assert value_of(run.state.payload(run.state.tasks["reader"].reads.variables["x"])) == "old"
    assert value_of(run.state.payload(run.state.variables["x"])) == "new"


def test_a_loop_of_ten_thousand_tasks_keeps_a_state_of_bounded_size() -> None:
    run = run_of(
        {
            "head": {"next_node": ["x", "y"]},
            "x": {"next_node": "join"},
            "y": {"next_node": "join", "params": {"seen": "{{ nodes.join | default(0) }} {{ vars.n }}"}},
            "join": {"next_node": {"again": "head", "done": "end"}},
            "end": {},
        }
    )
    run.checked = False
    sizes: set[tuple[int, ...]] = set()
    for turn in range(1, 2_501):
        visit = "" if turn == 1 else f"@{turn}"
        run.complete(f"head{visit}", variables={"n": payload(turn)})
        run.complete(f"x{visit}")
        run.complete(f"y{visit}")
        state = run.state
        sizes.add(
            (
                len(state.tasks),
                len(state.values),
                len(state.latest),
                len(state.arrivals),
                len(state.set_aside),
            )
        )
        run.complete(f"join{visit}", route=["again"])
    assert run.state.counts.completed == 10_000
    assert max(values for _, values, *_ in sizes) <= 6
    assert len(sizes) <= 2, "the first round, and all others alike"
