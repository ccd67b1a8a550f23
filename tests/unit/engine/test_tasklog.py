from orchestrator.engine.views.tasklog import TaskLog, origin_paths
from orchestrator.engine.views.tasks import present_of, task_view, task_views
from orchestrator.engine.views.tasktable import Ref, TaskRecord
from orchestrator.kernel import commands as c
from orchestrator.kernel.events import encode
from orchestrator.kernel.handle import handle
from orchestrator.kernel.state import RunState, decode_state, encode_state
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import ErrorInfo, Origin, Wait, rfc3339
from orchestrator.stores.contract import QueueRow, TaskKind
from tests.unit.engine.runs import Run, payload

DIAMOND = {
    "a": {"class": "Plain", "next_node": ["b", "c"]},
    "b": {"class": "Plain", "next_node": "d"},
    "c": {"class": "Plain", "next_node": "d", "retry": {"max_attempts": 2, "jitter": 0}},
    "d": {"class": "Plain"},
}
OOPS = ErrorInfo(type="TimeoutError", message="no answer")
FINAL = ErrorInfo(type="ValueError", message="no", retryable=False)


def folded(run: Run) -> TaskLog:
    log = TaskLog(run_id="run_1")
    log.extend(encode(event) for event in run.events)
    return log


def agree(log: TaskLog, state: RunState) -> None:
    """What the kernel still knows of tasks is what the log says of them."""
    known = {**state.tasks, **state.set_aside}
    for path, task in known.items():
        record = log.tasks[path]
        assert record.status is task.status, path
        assert record.attempt == task.attempt, path
        assert record.reads == task.reads, path
        assert record.waits.keys() == (task.waits.keys() if path in state.tasks else record.waits.keys())
        settled = {key for key, step in record.steps.items() if step.status in ("completed", "failed")}
        assert settled == set(task.steps), path
    over = [r for r in log.tasks.values() if r.over]
    assert len(over) == len(log.tasks) - len(state.tasks)
    counts = state.counts
    assert counts.total == len(log.tasks)
    assert counts.completed + counts.failed + counts.skipped + counts.cancelled == len(over)


def test_attempts_of_a_retried_task_are_kept_with_their_times() -> None:
    run = Run(DIAMOND)
    run.complete("a", took_us=400)
    run.fail("c", OOPS, took_us=300)
    log = folded(run)
    agree(log, run.state)
    record = log.tasks["c"]
    assert (record.status.value, record.attempt, record.not_before_us) == ("ready", 2, run.now_us + 1_000_000)
    run.complete("c", [1, 2], took_us=200)
    record = folded(run).tasks["c"]
    assert [(a.attempt, a.worker, a.error) for a in record.attempts] == [(1, "w1", OOPS), (2, "w1", None)]
    assert record.started_at == record.attempts[0].started_at
    assert record.finished_at == rfc3339(run.now_us)
    assert record.output == Ref("run_1", run.state.seq)
    assert record.output_bytes == 5
    assert record.error is None


def test_a_join_shows_the_paths_that_led_to_it() -> None:
    run = Run(DIAMOND)
    for path in ("a", "b", "c"):
        run.complete(path)
    record = folded(run).tasks["d"]
    assert sorted(origin_paths(record.previous)) == ["b", "c"]
    nested = Origin(sources={"x": [Origin(path="x"), Origin(sources={"y": [Origin(path="y@2")]})]})
    assert origin_paths(nested) == ["x", "y@2"]


def test_a_failed_run_that_is_retried_opens_its_tasks_again() -> None:
    run = Run(DIAMOND)
    run.complete("a")
    run.do(c.RecordStep(path="c", step="s1", name="look", result=payload(1)))
    run.do(c.RecordStep(path="c", step="s2", name="call", error=OOPS))
    run.fail("c", FINAL)
    run.do(c.Deadline(timer="grace"), after_us=11_000_000)
    log = folded(run)
    agree(log, run.state)
    assert log.tasks["b"].status.value == "cancelled"
    assert log.tasks["b"].reason == "the run is stopping"
    run.do(c.RetryRun())
    log = folded(run)
    agree(log, run.state)
    assert list(log.tasks["c"].steps) == ["s1"]
    assert log.tasks["c"].error is None
    run.complete("b")
    run.complete("c")
    run.complete("d")
    agree(folded(run), run.state)
    assert run.state.status is RunStatus.SUCCEEDED


def test_waits_become_steps_with_their_answers() -> None:
    run = Run({"a": {"class": "Plain"}})
    run.wait_for_signal("a", name="go")
    log = folded(run)
    agree(log, run.state)
    assert [(s.name, s.status) for s in log.tasks["a"].steps.values()] == [("go", "waiting")]
    run.do(c.DeliverSignal(name="go", payload=payload({"yes": True}), key="k"))
    log = folded(run)
    agree(log, run.state)
    (step,) = log.tasks["a"].steps.values()
    assert (step.status, step.value) == ("completed", Ref("run_1", run.state.seq))
    assert log.tasks["a"].status.value == "ready"


def test_a_child_that_ends_while_the_task_runs_is_a_step_too() -> None:
    run = Run({"a": {"class": "Plain"}})
    waits = (
        Wait(step="child", kind="child", run="run_c", workflow="W"),
        Wait(step="signal", kind="signal", name="go"),
    )
    run.do(c.SuspendTask(path="a", waits=waits))
    run.do(c.DeliverSignal(name="go", payload=payload(1), key="k"))
    run.do(c.FinishChild(run="run_c", path="a", step="child", output=payload(2)))
    log = folded(run)
    agree(log, run.state)
    assert {key: step.status for key, step in log.tasks["a"].steps.items()} == {
        "child": "completed",
        "signal": "completed",
    }


def test_a_doubt_and_its_resolution() -> None:
    run = Run({"a": {"class": "Pay", "next_node": "b"}, "b": {"class": "Plain"}})
    run.do(c.StartTask(path="a", worker="w1"))
    run.do(c.DoubtTask(path="a", reason="worker w1 died"))
    log = folded(run)
    agree(log, run.state)
    assert log.tasks["a"].doubt == "worker w1 died"
    assert log.tasks["a"].attempts[0].worker == "w1"
    run.do(c.ResolveTask(path="a", action="retry"))
    agree(folded(run), run.state)
    run.do(c.StartTask(path="a", worker="w2"))
    run.do(c.DoubtTask(path="a", reason="again"))
    run.do(c.ResolveTask(path="a", action="done", output=payload("paid")))
    log = folded(run)
    agree(log, run.state)
    assert log.tasks["a"].status.value == "completed"


def test_a_step_in_doubt_that_is_done_goes_on() -> None:
    run = Run({"a": {"class": "Plain"}})
    run.do(c.StartStep(path="a", step="s", name="pay"))
    assert folded(run).tasks["a"].steps["s"].status == "started"
    run.do(c.DoubtTask(path="a", reason="worker died"))
    run.do(c.ResolveTask(path="a", action="done", output=payload("paid")))
    log = folded(run)
    agree(log, run.state)
    assert (log.tasks["a"].steps["s"].status, log.tasks["a"].attempt) == ("completed", 2)


def test_a_fork_begins_with_the_tasks_of_its_parent() -> None:
    variables = {"params": {"v": "{{ vars.n }}"}}
    nodes = {**DIAMOND, "c": {**DIAMOND["c"], **variables}}
    run = Run(nodes, vars={"n": 1})
    run.complete("a")
    run.complete("b")
    parent = folded(run)
    state = decode_state(encode_state(run.state))
    state.seq = 0
    log = parent.fork("run_2")
    command = c.ForkRun(
        run_id="run_2", parent_run="run_1", seq=run.state.seq, variables={"n": payload(2)}, input=payload("x")
    )
    events = handle(state, command, now_us=run.now_us, definition=run.definition)
    log.extend(encode(event) for event in events)
    agree(log, state)
    assert [(r.path, r.from_parent) for r in log.tasks.values()] == [("a", True), ("b", True), ("c", False)]
    assert log.input == Ref("run_2", 1)
    key = log.tasks["c"].reads.variables.get("n")
    assert key is None or log.variables[key] == Ref("run_2", 1)
    assert parent.tasks["c"].from_parent is False
    assert parent.tasks["a"].from_parent is False


# --- views --------------------------------------------------------------------------------------------------------


def row(path: str, *, worker: str | None = None, **more: object) -> QueueRow:
    facts = {"queue": "default", "priority": 0, "queued_us": 0, "due_us": 0, **more}
    return QueueRow(
        run_id="run_1",
        path=path,
        kind=TaskKind.EXECUTE,
        worker=worker,
        leased_us=1_000_000 if worker else None,
        **facts,  # pyright: ignore[reportArgumentType]  (a test's own facts)
    )


def view_of(run: Run, record: TaskRecord, *rows: QueueRow) -> dict[str, object]:
    present = present_of(rows, status=run.state.status, now_us=run.now_us)
    return task_view(record, run.definition, present)


def test_a_task_that_a_worker_holds_is_running() -> None:
    run = Run(DIAMOND)
    record = folded(run).tasks["a"]
    idle = view_of(run, record, row("a", queued_us=run.now_us - 3_000_000))
    assert idle["status"] == "ready"
    assert idle["attempts"] == []
    waiting = idle["waiting_for"]
    assert isinstance(waiting, dict)
    assert waiting["sentence"] == "Ready: `a` is queued since 3 s"
    busy = view_of(run, record, row("a", worker="w7"))
    assert (busy["status"], busy["class"], busy["effect"]) == ("running", "Plain", "write")
    assert busy["attempts"] == [
        {
            "attempt": 1,
            "worker": "w7",
            "queued_at": rfc3339(0),
            "started_at": rfc3339(1_000_000),
            "finished_at": None,
            "error": None,
        }
    ]
    assert busy["started_at"] == rfc3339(1_000_000)


def test_a_finished_task_shows_its_decision_and_how_long_it_took() -> None:
    run = Run({"r": {"class": "Choose"}, "left": {"class": "Plain"}, "right": {"class": "Plain"}})
    run.complete("r", 1, took_us=700, route=c.RouteChoice(targets=("right",), reason="so", by="rule"))
    present = present_of([], status=run.state.status, now_us=run.now_us)
    views = task_views(folded(run), run.definition, present)
    assert [v["path"] for v in views] == ["r", "right"]
    assert views[0]["duration_us"] == 700
    assert views[0]["decision"] == {
        "chosen": [{"label": None, "node": "right"}],
        "allowed": ["left", "right"],
        "reason": "so",
        "confidence": None,
        "by": "rule",
        "model": None,
        "cost_usd": None,
    }
    assert views[0]["waiting_for"] is None
    assert views[1]["previous"] == ["r"]
