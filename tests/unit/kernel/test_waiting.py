"""DESIGN sections 3 and 7: signals, timers, children, and tasks that wait for several things at once."""

import pytest

from orchestrator.errors import LimitExceeded
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.messages import CancelChild, StartChild
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.turn import SIGNALS_UNREAD_MAX
from orchestrator.kernel.values import Wait
from tests.unit.kernel.world import SECOND, child, error, payload, run_of, signal, timer, value_of

# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_signal_that_came_early_is_kept_and_taken_when_a_task_asks() -> None:
    run = run_of({"a": {}})
    run.signal("go", "early")
    assert [kept.name for kept in run.state.signals] == ["go"]
    run.suspend("a", signal("go"))
    task = run.state.tasks["a"]
    assert task.status is TaskStatus.READY
    assert value_of(task.steps["signal:go"].result) == "early"
    assert run.state.signals == []


def test_a_signal_wakes_the_task_that_waits_for_it() -> None:
    run = run_of({"a": {}})
    run.suspend("a", signal("go"))
    assert run.state.status is RunStatus.WAITING
    assert [(w.kind, w.name) for w in wakers_of(run.state)] == [("signal", "go")]
    run.signal("other")
    assert run.state.status is RunStatus.WAITING
    run.signal("go")
    assert run.rows.keys() == {"a"}


def test_signals_of_one_name_are_taken_in_their_order_and_once() -> None:
    run = run_of({"fork": {"next_node": ["a", "b"]}, "a": {}, "b": {}})
    run.complete("fork")
    for number in (1, 2, 3):
        run.signal("go", number)
    run.suspend("a", signal("go"), signal("go", step="second"))
    run.suspend("b", signal("go"))
    steps = run.state.tasks["a"].steps
    assert [value_of(steps[step].result) for step in ("signal:go", "second")] == [1, 2]
    assert value_of(run.state.tasks["b"].steps["signal:go"].result) == 3


def test_of_two_tasks_that_wait_for_a_signal_the_older_takes_it() -> None:
    run = run_of({"fork": {"next_node": ["a", "b"]}, "a": {}, "b": {}})
    run.complete("fork")
    run.suspend("b", signal("go"))
    run.suspend("a", signal("go"))
    run.signal("go")
    assert run.rows.keys() == {"a"}


def test_a_signal_with_a_known_key_changes_nothing_not_even_after_the_end() -> None:
    run = run_of({"a": {}})
    run.signal("go", key="once")
    assert run.signal("go", key="once") == []
    run.complete("a")
    assert run.signal("go", key="once") == []


def test_a_finished_run_refuses_signals_and_says_what_it_is() -> None:
    run = run_of({"a": {}})
    run.complete("a")
    run.refused(c.DeliverSignal(name="go", payload=payload(1), key="k"), "run_over")


def test_a_run_that_is_stopping_keeps_a_signal_but_gives_it_to_nobody() -> None:
    run = run_of({"a": {}})
    run.do(c.CancelRun())
    assert [event.kind for event in run.signal("go")] == ["signal_received"]


def test_unread_signals_have_a_limit_that_is_named() -> None:
    run = run_of({"a": {}})
    run.checked = False
    for number in range(SIGNALS_UNREAD_MAX):
        run.signal("go", key=str(number))
    with pytest.raises(LimitExceeded, match="unread signals: 1,001 is more than the limit of 1,000"):
        run.signal("go", key="one more")


def test_a_signal_that_is_waited_for_is_taken_however_many_others_are_unread() -> None:
    """Found by reading: the run waited for one signal and refused it because of the others."""
    run = run_of({"a": {}})
    run.suspend("a", signal("wanted"))
    run.checked = False
    for number in range(SIGNALS_UNREAD_MAX):
        run.signal("noise", key=str(number))
    run.signal("wanted", key="wanted")
    assert run.state.tasks["a"].status is TaskStatus.READY


def test_a_signal_that_does_not_come_in_time_is_an_error_of_its_step() -> None:
    run = run_of({"a": {}})
    run.suspend("a", signal("go", due_us=run.now_us + SECOND))
    run.do(c.FireTimer(path="a"), after_us=SECOND)
    failure = run.state.tasks["a"].steps["signal:go"].error
    assert failure is not None
    assert failure.type == "signal_timeout"


# --- timers -----------------------------------------------------------------------------------------------------------


def test_a_sleeping_task_has_a_timer_row_and_is_ready_after_its_time() -> None:
    run = run_of({"a": {}})
    due = run.now_us + 3 * SECOND
    run.suspend("a", timer(due))
    assert (run.rows["a"].timer, run.rows["a"].due_us) == (True, due)
    run.do(c.FireTimer(path="a"), after_us=5 * SECOND)
    assert run.rows["a"].timer is False
    assert run.last(e.TaskResumed).by == "timer"


def test_a_timer_that_comes_early_changes_nothing_and_is_set_again() -> None:
    run = run_of({"a": {}})
    due = run.now_us + 3 * SECOND
    run.suspend("a", timer(due))
    assert run.do(c.FireTimer(path="a")) == []
    assert run.rows["a"].due_us == due


def test_a_timer_that_comes_after_a_signal_is_refused() -> None:
    run = run_of({"a": {}})
    run.suspend("a", signal("go", due_us=run.now_us + SECOND))
    run.signal("go")
    run.refused(c.FireTimer(path="a"), "task_not_waiting")


def test_a_task_that_waits_for_several_things_goes_on_with_the_first_and_the_others_keep_their_time() -> None:
    run = run_of({"a": {}})
    first, second = run.now_us + SECOND, run.now_us + 9 * SECOND
    run.suspend("a", timer(first, "short"), timer(second, "long"), signal("go"))
    assert run.rows["a"].due_us == first
    assert len(wakers_of(run.state)) == 3
    run.do(c.FireTimer(path="a"), after_us=SECOND)
    assert run.state.tasks["a"].steps.keys() == {"short"}
    run.suspend("a", timer(run.now_us + 100 * SECOND, "long"), signal("go"))
    assert run.rows["a"].due_us == second, "it is not put off by asking again"


def test_a_timer_ends_every_wait_whose_time_has_come() -> None:
    run = run_of({"a": {}})
    run.suspend("a", timer(run.now_us + 1, "one"), timer(run.now_us + 2, "two"))
    events = run.do(c.FireTimer(path="a"))
    assert [event.kind for event in events] == ["task_resumed", "task_resumed"]


@pytest.mark.parametrize(
    "waits",
    [
        (),
        (Wait(step="s", kind="timer"),),
        (Wait(step="s", kind="child"),),
        (Wait(step="s", kind="rain", due_us=1),),
    ],
)
def test_a_task_cannot_wait_for_what_will_never_come(waits: tuple[Wait, ...]) -> None:
    """Found by reading: it was a run that waits for ever, without a waker."""
    run = run_of({"a": {}})
    run.refused(c.SuspendTask(path="a", waits=waits), "no_waker" if waits else "no_waits")


# --- children ---------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_for_a_child_starts_it_once() -> None:
    run = run_of({"a": {}})
    run.suspend("a", child("run_c"), timer(run.now_us + 1))
    run.do(c.FireTimer(path="a"))
    run.suspend("a", child("run_c"))
    starts = [m for m in run.messages if isinstance(m, StartChild)]
    assert [(m.to, m.workflow, m.parent.path, m.depth) for m in starts] == [("run_c", "other", "a", 1)]


def test_the_end_of_a_child_wakes_its_parent_and_a_repeat_changes_nothing() -> None:
    run = run_of({"a": {}})
    run.suspend("a", child("run_c"))
    run.finish_child("run_c", output="from the child")
    assert value_of(run.state.tasks["a"].steps["child"].result) == "from the child"
    again = c.FinishChild(run="run_c", path="a", step="child", output=payload(1))
    assert run.do(again) == []
    assert run.do(c.FinishChild(run="run_x", path="nobody", step="child")) == []


def test_the_failure_of_a_child_is_the_answer_of_its_step() -> None:
    run = run_of({"a": {}})
    run.suspend("a", child("run_c"))
    run.finish_child("run_c", failed=error("ChildError"))
    assert run.state.tasks["a"].steps["child"].error == error("ChildError")


def test_a_child_that_ends_while_its_task_runs_again_is_heard_of() -> None:
    """Found by reading: the message was dropped, and the task waited for a child that had ended."""
    run = run_of({"a": {}})
    run.suspend("a", child("run_c"), timer(run.now_us + 1))
    run.do(c.FireTimer(path="a"))
    row = run.rows["a"].epoch
    run.finish_child("run_c", output="in time")
    assert run.rows["a"].epoch == row, "the lease of the attempt that runs is left alone"
    run.suspend("a", child("run_c"))
    assert run.last(e.TaskSuspended).ready
    assert run.state.tasks["a"].status is TaskStatus.READY
    assert value_of(run.state.tasks["a"].steps["child"].result) == "in time"


def test_a_child_that_is_not_asked_for_again_is_still_waited_for() -> None:
    """Found by random runs: its end was ignored, and asking for it later meant waiting for ever."""
    run = run_of({"a": {}})
    run.suspend("a", child("run_c"), timer(run.now_us + 1))
    run.do(c.FireTimer(path="a"))
    run.suspend("a", signal("go"))
    run.finish_child("run_c", output="meanwhile")
    run.suspend("a", child("run_c"))
    assert run.state.tasks["a"].status is TaskStatus.READY


def test_children_that_are_waited_for_are_cancelled_with_their_parent() -> None:
    run = run_of({"a": {}})
    run.suspend("a", child("run_c"))
    run.do(c.CancelRun())
    assert run.state.status is RunStatus.CANCELLED
    assert [m.to for m in run.messages if isinstance(m, CancelChild)] == ["run_c"]


def test_a_retried_task_starts_its_child_anew() -> None:
    run = run_of({"fork": {"next_node": ["a", "b"]}, "a": {}, "b": {}})
    run.complete("fork")
    run.suspend("a", child("run_c"), signal("go"))
    run.fail("b")
    run.do(c.RetryRun())
    task = run.state.tasks["a"]
    assert task.waits.keys() == {"signal:go"}
    assert task.generation == 1
    run.suspend("a", child("run_c_1"))
    assert "run_c_1" in run.children


def test_a_fresh_wait_takes_no_signal_that_came_before() -> None:
    run = run_of({"a": {"next_node": "b"}, "b": {}})
    run.signal("go", "early")
    run.suspend("a", Wait(step="s", kind="signal", name="go", fresh=True))
    assert run.state.tasks["a"].status is TaskStatus.WAITING
    run.signal("go", "in time")
    assert value_of(run.state.tasks["a"].steps["s"].result) == "in time"
    run.complete("a")
    run.suspend("b", signal("go"))
    assert value_of(run.state.tasks["b"].steps["signal:go"].result) == "early", (
        "what came before stays for others"
    )


def test_a_fresh_wait_keeps_its_beginning_when_it_is_asked_for_again() -> None:
    run = run_of({"a": {}})
    fresh = Wait(step="s", kind="signal", name="go", fresh=True)
    run.suspend("a", fresh, timer(run.now_us + SECOND))
    run.do(c.FireTimer(path="a"), after_us=2 * SECOND)
    run.signal("go", "meanwhile")
    run.suspend("a", fresh)
    assert value_of(run.state.tasks["a"].steps["s"].result) == "meanwhile"


def test_a_fork_keeps_what_a_fresh_wait_passes_over() -> None:
    run = run_of({"a": {}})
    run.signal("go", "early")
    run.suspend("a", Wait(step="s", kind="signal", name="go", fresh=True))
    fork = run.fork()
    fork.suspend("a", Wait(step="s", kind="signal", name="go", fresh=True))
    assert fork.state.tasks["a"].status is TaskStatus.WAITING
    fork.signal("go", "new")
    assert value_of(fork.state.tasks["a"].steps["s"].result) == "new"
