"""DESIGN section 5: irreversible tasks and steps, in doubt, and how a person resolves it."""

import pytest

from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.model.declarations import ClassDeclaration, Effect
from orchestrator.model.definition import compile_definition
from orchestrator.model.document import WorkflowDocument
from tests.unit.kernel.world import SECOND, World, payload, run_of, value_of

PAY = {"pay": {"class": "Pay", "next_node": "after"}, "after": {}}


def in_doubt(nodes: dict[str, dict[str, object]] | None = None) -> World:
    run = run_of(nodes or PAY)
    run.do(c.StartTask(path="pay", worker="w1"))
    run.do(c.DoubtTask(path="pay", reason="its worker is gone"))
    return run


def step_in_doubt() -> World:
    run = run_of(PAY)
    run.do(c.StartStep(path="pay", step="charge", name="charge", args_sha256="abc"))
    run.do(c.DoubtTask(path="pay", reason="its worker is gone"))
    return run


def resolve(run: World, action: str, output: object = None) -> None:
    run.do(c.ResolveTask(path="pay", action=action, output=payload(output), by="ann", message="looked"))


def test_an_irreversible_attempt_begins_once() -> None:
    run = run_of(PAY)
    run.do(c.StartTask(path="pay"))
    run.refused(c.StartTask(path="pay"), "already_started")


def test_a_task_whose_worker_died_in_an_irreversible_attempt_is_in_doubt_and_waits_for_a_person() -> None:
    run = in_doubt()
    assert run.state.tasks["pay"].status is TaskStatus.IN_DOUBT
    assert run.state.status is RunStatus.WAITING
    assert run.rows == {}
    assert [(w.kind, w.reason) for w in wakers_of(run.state)] == [("operator", "in_doubt")]


def test_a_task_that_has_begun_nothing_irreversible_cannot_be_in_doubt() -> None:
    run_of(PAY).refused(c.DoubtTask(path="pay", reason="?"), "not_started")


def test_an_error_of_an_irreversible_attempt_is_doubt() -> None:
    run = run_of(PAY)
    run.do(c.StartTask(path="pay"))
    run.fail("pay", retryable=True)
    assert run.last(e.TaskInDoubt).reason == "the attempt failed after it began: Oops happened"


def test_retry_later_is_the_word_that_nothing_happened() -> None:
    run = run_of(PAY)
    run.do(c.StartTask(path="pay"))
    run.fail("pay", later_us=1_000)
    task = run.state.tasks["pay"]
    assert (task.status, task.touched) == (TaskStatus.READY, False)
    run.do(c.StartTask(path="pay"))


def test_an_error_before_an_irreversible_attempt_begins_is_an_error() -> None:
    run = run_of(PAY)
    run.fail("pay")
    assert run.state.status is RunStatus.FAILED


def test_done_completes_the_task_with_the_given_output() -> None:
    run = in_doubt()
    resolve(run, "done", "receipt 7")
    assert run.previous("after") == "receipt 7"
    assert run.last(e.TaskResolved).by == "ann"


def test_retry_lets_the_attempt_begin_again() -> None:
    run = in_doubt()
    resolve(run, "retry")
    assert run.rows.keys() == {"pay"}
    assert run.state.tasks["pay"].attempt == 2
    run.do(c.StartTask(path="pay"))
    run.complete("pay")
    assert run.open == ["after"]


def test_skip_passes_on_what_led_there() -> None:
    run = in_doubt()
    resolve(run, "skip")
    assert run.last(e.TaskSkipped).reason == "looked"
    assert run.open == ["after"]
    assert run.previous("after") is None


def test_fail_fails_the_task_and_its_handler_takes_over() -> None:
    run = in_doubt()
    resolve(run, "fail")
    assert run.state.error is not None
    assert (run.state.error.type, run.state.error.message) == ("in_doubt", "looked")
    handled = in_doubt({"pay": {"class": "Pay", "on_error": "after"}, "after": {}})
    resolve(handled, "fail")
    assert handled.open == ["after"]


def test_done_needs_a_route_where_the_node_must_decide() -> None:
    run = in_doubt({"pay": {"class": "Pay", "next_node": {"yes": "after"}}, "after": {}})
    run.refused(c.ResolveTask(path="pay", action="done", output=payload(1)), "route_needed")
    resolve(run, "skip")
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_resolution_that_does_not_exist_is_refused() -> None:
    """Found by reading: the doubt was taken away and the task stayed where it was, without a waker."""
    in_doubt().refused(c.ResolveTask(path="pay", action="forget"), "unknown_resolution")


def test_a_task_that_is_not_in_doubt_cannot_be_resolved() -> None:
    run_of(PAY).refused(c.ResolveTask(path="pay", action="retry"), "task_not_in_doubt")


# --- steps ------------------------------------------------------------------------------------------------------------


def test_of_a_step_in_doubt_done_gives_its_result_and_the_task_runs_on() -> None:
    run = step_in_doubt()
    assert run.last(e.TaskInDoubt).step == "charge"
    resolve(run, "done", "charge 7")
    task = run.state.tasks["pay"]
    assert task.status is TaskStatus.READY
    assert value_of(task.steps["charge"].result) == "charge 7"
    assert run.rows.keys() == {"pay"}


def test_of_a_step_in_doubt_retry_lets_the_step_begin_again() -> None:
    run = step_in_doubt()
    resolve(run, "retry")
    run.do(c.StartStep(path="pay", step="charge", name="charge"))


@pytest.mark.parametrize("action", ["skip", "fail"])
def test_of_a_step_in_doubt_skip_and_fail_mean_the_task(action: str) -> None:
    run = step_in_doubt()
    resolve(run, action)
    assert "pay" not in run.state.tasks


def test_a_step_begins_once_and_keeps_its_answer() -> None:
    run = run_of(PAY)
    run.do(c.StartStep(path="pay", step="s", name="s"))
    run.refused(c.StartStep(path="pay", step="s", name="s"), "already_started")
    run.do(c.RecordStep(path="pay", step="s", name="s", result=payload(1)))
    run.refused(c.RecordStep(path="pay", step="s", name="s", result=payload(2)), "step_recorded")
    run.refused(c.StartStep(path="pay", step="s", name="s"), "already_started")
    assert not run.state.tasks["pay"].touched


def test_a_step_recorded_beside_an_irreversible_one_leaves_that_open() -> None:
    """Found by reading: after a crash the irreversible step would have been done again."""
    run = run_of(PAY)
    run.do(c.StartStep(path="pay", step="charge", name="charge"))
    run.do(c.RecordStep(path="pay", step="look", name="look", result=payload(1)))
    assert run.state.tasks["pay"].touched
    run.do(c.DoubtTask(path="pay", reason="lost"))
    assert run.last(e.TaskInDoubt).step == "charge"


def test_two_irreversible_steps_may_be_open_at_once_and_each_is_asked_about() -> None:
    """Found by reading: the second was refused as if it had begun before."""
    run = run_of(PAY)
    run.do(c.StartStep(path="pay", step="one", name="one"))
    run.do(c.StartStep(path="pay", step="two", name="two"))
    run.do(c.DoubtTask(path="pay", reason="lost"))
    resolve(run, "done", 1)
    run.do(c.DoubtTask(path="pay", reason="lost"))
    assert run.last(e.TaskInDoubt).step == "two"
    resolve(run, "retry")
    assert not run.state.tasks["pay"].touched


# --- `on_doubt` ----------------------------------------------------------------------------------------------------


def decided(policy: str, **fields: object) -> World:
    return in_doubt({"pay": {**PAY["pay"], "on_doubt": policy, **fields}, "after": {}})


def test_a_node_may_say_that_a_doubt_is_skipped() -> None:
    run = decided("skip")
    assert run.open == ["after"]
    resolved = run.last(e.TaskResolved)
    assert (resolved.action, resolved.by) == ("skip", "on_doubt")
    assert "its worker is gone" in (run.last(e.TaskSkipped).reason or "")


def test_a_node_may_say_that_a_doubt_fails() -> None:
    run = decided("fail")
    assert run.state.status is RunStatus.FAILED
    assert run.last(e.TaskFailed).error.type == "in_doubt"
    assert "`on_doubt` of `pay` is `fail`" in run.last(e.TaskFailed).error.message


def test_a_doubt_that_is_retried_waits_as_retry_says_and_asks_in_the_end() -> None:
    run = decided("retry", retry={"max_attempts": 3, "initial": 4, "jitter": 0})
    assert run.rows["pay"].due_us == run.now_us + 4 * SECOND
    assert [w.kind for w in wakers_of(run.state)] == ["timer"]
    run.do(c.StartTask(path="pay"), after_us=4 * SECOND)
    run.fail("pay", retryable=True)
    assert run.rows["pay"].due_us == run.now_us + 8 * SECOND
    run.do(c.StartTask(path="pay"), after_us=8 * SECOND)
    run.do(c.DoubtTask(path="pay", reason="again"))
    assert run.state.tasks["pay"].status is TaskStatus.IN_DOUBT
    assert [event.action for event in run.events if isinstance(event, e.TaskResolved)] == ["retry", "retry"]
    resolve(run, "done")
    assert run.open == ["after"]


def test_a_doubt_that_is_retried_has_three_attempts_if_nothing_is_said() -> None:
    assert decided("retry").definition.nodes["pay"].retry.max_attempts == 3
    assert in_doubt().definition.nodes["pay"].retry.max_attempts == 1


def test_a_step_in_doubt_is_begun_anew_where_the_node_says_so() -> None:
    run = run_of({"pay": {"on_doubt": "retry"}})
    run.do(c.StartStep(path="pay", step="charge", name="charge"))
    run.do(c.DoubtTask(path="pay", reason="its worker is gone"))
    assert run.state.tasks["pay"].status is TaskStatus.READY
    run.do(c.StartStep(path="pay", step="charge", name="charge"), after_us=2 * SECOND)


def test_a_document_may_ask_where_the_class_says_otherwise_and_the_other_way_round() -> None:
    careless = {"Pay": ClassDeclaration(name="Pay", effect=Effect.IRREVERSIBLE, on_doubt="skip")}
    document = {"name": "w", "start_at": "a", "nodes": {"a": {"class": "Pay"}}}
    for said, holds in ((None, "skip"), ("ask", "ask")):
        written = {**document, "nodes": {"a": {"class": "Pay", "on_doubt": said}}}
        definition = compile_definition(WorkflowDocument.model_validate(written), careless)
        assert definition.nodes["a"].on_doubt == holds


# --- late results ---------------------------------------------------------------------------------------------------


def late(run: World, *, attempt: int = 1, step: str | None = None) -> None:
    run.do(c.NoteLate(path="pay", attempt=attempt, result=payload("late"), step=step, worker="w1"))


def test_a_late_result_is_kept_beside_the_doubt_and_decides_nothing() -> None:
    run = in_doubt()
    late(run)
    task = run.state.tasks["pay"]
    assert task.status is TaskStatus.IN_DOUBT
    assert value_of(task.late_result) == "late"
    assert run.last(e.LateResultNoted).worker == "w1"
    resolve(run, "retry")
    assert run.state.tasks["pay"].late_result is None


def test_a_late_result_that_comes_before_the_doubt_stands_in_it() -> None:
    run = run_of(PAY)
    run.do(c.StartTask(path="pay", worker="w1"))
    late(run)
    run.do(c.DoubtTask(path="pay", reason="its worker is gone"))
    assert value_of(run.last(e.TaskInDoubt).late) == "late"


def test_a_late_result_of_a_step_belongs_to_the_step_that_is_open() -> None:
    run = step_in_doubt()
    run.refused(c.NoteLate(path="pay", attempt=1, result=payload(1)), "late_not_asked")
    late(run, step="charge")
    assert run.state.tasks["pay"].late_result is not None


def test_a_late_result_is_taken_once_of_the_attempt_in_doubt_and_of_nothing_else() -> None:
    run = in_doubt()
    run.refused(c.NoteLate(path="pay", attempt=2, result=payload(1)), "late_not_asked")
    late(run)
    run.refused(c.NoteLate(path="pay", attempt=1, result=payload(1)), "late_not_asked")
    resolve(run, "done")
    run.refused(c.NoteLate(path="pay", attempt=1, result=payload(1)), "task_not_open")
    run.refused(c.NoteLate(path="after", attempt=1, result=payload(1)), "late_not_asked")
