"""Tasks in lists: paged, filtered, items counted in the task that has them, and small in memory."""

import tracemalloc
from time import perf_counter

from orchestrator.engine.views.runs import View
from orchestrator.engine.views.tasklog import TaskLog
from orchestrator.engine.views.tasks import present_of, task_page
from orchestrator.engine.views.tasktable import EVERY_TASK, TaskFilter
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.events import encode
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import ErrorInfo, ItemChunk, Origin, Payload, Timing, rfc3339
from orchestrator.stores.contract import QueueRow, TaskKind
from tests.unit.engine.runs import START_US, Run, definition_of, payload

EACH = {
    "a": {"class": "Plain", "next_node": "each"},
    "each": {
        "class": "Plain",
        "for_each": "{{ previous }}",
        "max_parallel": 3,
        "on_item_error": "collect",
        "next_node": "z",
    },
    "z": {"class": "Plain"},
}
OOPS = ErrorInfo(type="ValueError", message="no", retryable=False)


def begun(count: int = 5) -> Run:
    run = Run(EACH)
    run.complete("a", list(range(count)))
    chunk = ItemChunk(count=count, payload=payload(list(range(count))))
    run.do(c.StartItems(path="each", chunks=(chunk,), timing=run.timing(500)))
    return run


def log_of(run: Run) -> TaskLog:
    log = TaskLog(run_id="run_1")
    log.extend(encode(event) for event in run.events)
    return log


def paged(
    run: Run,
    where: TaskFilter = EVERY_TASK,
    *,
    start: int = 0,
    limit: int = 100,
    rows: tuple[QueueRow, ...] = (),
) -> tuple[list[View], int | None]:
    present = present_of(rows, status=run.state.status, now_us=run.now_us)
    return task_page(log_of(run), run.definition, present, where=where, start=start, limit=limit)


def paths(page: tuple[list[View], int | None]) -> list[str]:
    return [view["path"] for view in page[0]]


def held(path: str) -> QueueRow:
    return QueueRow(
        run_id="run_1",
        path=path,
        kind=TaskKind.EXECUTE,
        queue="default",
        priority=0,
        queued_us=0,
        due_us=0,
        worker="w1",
        leased_us=1,
    )


def test_the_items_of_a_task_are_counted_in_it() -> None:
    run = begun()
    run.complete("each[0]", 1)
    run.fail("each[1]", OOPS)
    (each,) = paged(run, TaskFilter(node="each", items=False), rows=(held("each[2]"),))[0]
    assert each["items"] == {
        "count": 5,
        "scheduled": 5,
        "ready": 2,
        "running": 1,
        "waiting": 0,
        "in_doubt": 0,
        "completed": 1,
        "failed": 1,
        "skipped": 0,
        "cancelled": 0,
        "first_failures": [
            {
                "path": "each[1]",
                "item": 1,
                "error": {
                    "type": "ValueError",
                    "message": "no",
                    "path": None,
                    "node": None,
                    "attempt": None,
                    "retryable": False,
                    "details": None,
                },
            }
        ],
    }
    assert [view["items"] for view in paged(run, TaskFilter(node="a"))[0]] == [None]


def test_a_list_is_paged_and_says_where_it_goes_on() -> None:
    run = begun()
    assert paths(paged(run)) == ["a", "each", "each[0]", "each[1]", "each[2]"]
    first = paged(run, limit=2)
    assert (paths(first), first[1]) == (["a", "each"], 2)
    last = paged(run, start=2, limit=3)
    assert (paths(last), last[1]) == (["each[0]", "each[1]", "each[2]"], None)
    assert paged(run, start=99) == ([], None)


def test_a_list_shows_what_is_asked_for() -> None:
    run = begun()
    run.fail("each[1]", OOPS)
    run.complete("each[0]", 1)
    assert paths(paged(run, TaskFilter(items=False))) == ["a", "each"]
    of = TaskFilter(of="each")
    assert paths(paged(run, of)) == [f"each[{item}]" for item in range(5)]
    page = paged(run, of, start=3, limit=1)
    assert (paths(page), page[1]) == (["each[3]"], 4)
    failed = frozenset({TaskStatus.FAILED})
    assert paths(paged(run, TaskFilter(of="each", statuses=failed))) == ["each[1]"]
    assert paths(paged(run, TaskFilter(statuses=failed))) == ["each[1]"]
    assert paths(paged(run, TaskFilter(of="a"))) == []
    assert paths(paged(run, TaskFilter(node="each", visit=2))) == []
    assert [view["item"] for view in paged(run, of)[0]] == [0, 1, 2, 3, 4]


def test_a_task_that_a_worker_holds_is_listed_as_running_and_not_as_ready() -> None:
    run, rows = begun(), (held("each[2]"),)
    running, ready = frozenset({TaskStatus.RUNNING}), frozenset({TaskStatus.READY})
    assert paths(paged(run, TaskFilter(of="each", statuses=running), rows=rows)) == ["each[2]"]
    assert paths(paged(run, TaskFilter(of="each", statuses=ready), rows=rows)) == ["each[0]", "each[1]"]


def test_an_item_that_is_taken_up_again_is_counted_once() -> None:
    run = Run({**EACH, "each": {**EACH["each"], "on_item_error": "fail"}})
    run.complete("a", [1, 2])
    chunk = ItemChunk(count=2, payload=payload([1, 2]))
    run.do(c.StartItems(path="each", chunks=(chunk,), timing=run.timing(500)))
    run.complete("each[0]", 1)
    run.fail("each[1]", OOPS)
    run.do(c.Deadline(timer="grace"), after_us=11_000_000)
    assert run.state.status is RunStatus.FAILED
    run.do(c.RetryRun())
    (each,) = paged(run, TaskFilter(node="each", items=False))[0]
    assert (each["items"]["completed"], each["items"]["failed"], each["items"]["ready"]) == (1, 0, 1)
    record = log_of(run).tasks["each[1]"]
    assert (record.status.value, record.attempt, len(record.attempts)) == ("ready", 2, 1)


def test_what_is_read_of_a_finished_task_is_a_copy() -> None:
    run = begun()
    log = log_of(run)
    log.tasks["a"].reason = "changed"
    assert log.tasks["a"].reason == ""
    assert log.tasks["a"].previous == Origin()


def test_a_hundred_thousand_items_are_small_and_a_page_of_them_is_quick() -> None:
    count = 100_000
    at, timing = (
        rfc3339(START_US),
        Timing(worker="w1", queued_at=rfc3339(START_US), started_at=rfc3339(START_US)),
    )
    events: list[e.Event] = [
        e.RunStarted(run_id="run_1", workflow="flow", version=1),
        e.TaskScheduled(path="each", node="each", visit=1),
        e.ItemsStarted(path="each", node="each", attempt=1, count=count, chunks=[]),
    ]
    for item in range(count):
        path = f"each[{item}]"
        events.append(e.TaskScheduled(path=path, node="each", visit=1, item=item))
        if item == 70_000:
            events.append(e.TaskFailed(path=path, node="each", attempt=1, error=OOPS, timing=timing))
        else:
            done = e.TaskCompleted(path=path, node="each", attempt=1, output=Payload(), timing=timing)
            events.append(done)
    for seq, event in enumerate(events, 1):
        event.seq, event.at = seq, at
    lines = [encode(event) for event in events]
    del events
    log = TaskLog(run_id="run_1")
    tracemalloc.start()
    log.extend(lines)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 80 * 1024 * 1024, f"{kept:,} bytes"
    definition = definition_of(EACH)
    present = present_of([], status=RunStatus.RUNNING, now_us=START_US)
    began = perf_counter()
    failed = TaskFilter(of="each", statuses=frozenset({TaskStatus.FAILED}))
    views, following = task_page(log, definition, present, where=failed, start=0, limit=100)
    assert ([view["path"] for view in views], following) == (["each[70000]"], None)
    views, following = task_page(
        log, definition, present, where=TaskFilter(of="each"), start=99_900, limit=50
    )
    assert (len(views), following) == (50, 99_950)
    views, _ = task_page(log, definition, present, where=TaskFilter(items=False), start=0, limit=100)
    assert views[0]["items"]["completed"] == count - 1
    assert perf_counter() - began < 2, "three pages of a run with 100,000 items"
