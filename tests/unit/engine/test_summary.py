from orchestrator.engine.runs.index import index_of
from orchestrator.engine.runs.summary import decode_summary, summarize
from orchestrator.kernel import commands as c
from orchestrator.kernel.values import ErrorInfo
from tests.unit.engine.runs import Run


def test_a_new_run_has_one_ready_task_and_waits_for_the_queue() -> None:
    run = Run({"a": {"class": "Plain", "next_node": "b"}, "b": {"class": "Plain"}})
    summary = decode_summary(summarize(run.state))
    assert (summary.tasks.total, summary.tasks.ready) == (1, 1)
    assert [(p.waker.kind, p.waker.path) for p in summary.waiting] == [("queue", "a")]
    assert summary.created_at == run.events[0].at
    assert summary.started_at == ""


def test_the_summary_of_a_wide_run_names_three_wakers_and_counts_them_all() -> None:
    names = [f"n{i}" for i in range(10)]
    nodes = {"a": {"class": "Plain", "next_node": names}} | {n: {"class": "Plain"} for n in names}
    run = Run(nodes)
    run.complete("a")
    summary = decode_summary(summarize(run.state))
    assert (summary.wakers, len(summary.waiting)) == (10, 3)
    assert (summary.tasks.total, summary.tasks.completed, summary.tasks.ready) == (11, 1, 10)


def test_tasks_in_doubt_and_waiting_are_told_apart() -> None:
    run = Run(
        {"a": {"class": "Plain", "next_node": ["b", "c"]}, "b": {"class": "Pay"}, "c": {"class": "Plain"}}
    )
    run.complete("a")
    run.do(c.StartTask(path="b", worker="w1"))
    run.do(c.DoubtTask(path="b", reason="worker w1 died"))
    run.wait_for_signal("c", name="go")
    summary = decode_summary(summarize(run.state))
    assert (summary.tasks.in_doubt, summary.tasks.waiting, summary.tasks.ready) == (1, 1, 0)


def test_a_long_error_is_shortened_and_loses_its_details() -> None:
    run = Run({"a": {"class": "Plain"}})
    run.fail("a", ErrorInfo(type="ValueError", message="x" * 5000, retryable=False))
    summary = decode_summary(summarize(run.state))
    assert summary.error is not None
    assert summary.error.type == "ValueError"
    assert len(summary.error.message) == 2001
    assert summary.waiting == ()
    assert summary.tasks.failed == 1


def test_the_index_row_follows_the_run_to_its_end() -> None:
    run = Run({"a": {"class": "Plain"}}, labels={"team": "growth"})
    first = index_of(run.state)
    assert (first.status, first.live, first.started_us, first.finished_us) == ("queued", True, None, None)
    assert first.labels == {"team": "growth"}
    run.fail("a", ErrorInfo(type="ValueError", message="no", retryable=False))
    last = index_of(run.state)
    assert (last.status, last.live, last.error) == ("failed", False, "ValueError: no")
    assert last.finished_us == run.now_us
