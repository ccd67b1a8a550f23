from typing import Any

import pytest

from orchestrator.engine.views import words
from orchestrator.engine.views.crew import Asked, Crew, Member
from orchestrator.engine.views.explain import (
    Explained,
    Hold,
    Pending,
    Situation,
    by_path,
    explain,
    explain_end,
    pending_of,
    tell_join,
)
from orchestrator.kernel import commands as c
from orchestrator.kernel.joins import waiting_joins
from orchestrator.kernel.outlook import Waker
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import ErrorInfo, Usage, Wait, microseconds, rfc3339
from orchestrator.stores.contract import QueueRow, TaskKind
from tests.unit.engine.runs import START_US, Run
from tests.unit.kernel.world import World, run_of

SECOND = 1_000_000


def row(
    path: str,
    run: Run,
    *,
    kind: TaskKind = TaskKind.EXECUTE,
    age: int = 3 * SECOND,
    queue: str = "default",
    **more: Any,
) -> QueueRow:
    return QueueRow(
        run_id="run_1",
        path=path,
        kind=kind,
        priority=0,
        queued_us=run.now_us - age,
        due_us=run.now_us,
        queue=queue,
        **more,
    )


def said(run: Run, *rows: QueueRow, hold: Hold | None = None, crew: Crew | None = None) -> Explained:
    pending = pending_of(run.state)
    return explain(
        Situation(
            status=run.state.status,
            now_us=run.now_us,
            pending=pending,
            rows=by_path(rows),
            total=len(pending),
            hold=hold or Hold(),
            crew=crew,
        )
    )


ONE = {"a": {"class": "Plain"}}
WIDE = {
    "a": {"class": "Plain", "next_node": ["b", "c", "d", "e"]},
    **{n: {"class": "Plain"} for n in "bcde"},
}


def test_a_signal_with_a_deadline() -> None:
    run = Run(ONE)
    run.wait_for_signal("a", name="approve", due_us=START_US + 37 * 60 * SECOND)
    sentence = said(run).sentence
    assert sentence == "Waits for signal `approve` in `a` until 16:37 UTC, 37 min left"
    (waker,) = said(run).wakers
    assert (waker["kind"], waker["name"], waker["path"]) == ("signal", "approve", "a")
    assert waker["at"] == rfc3339(START_US + 37 * 60 * SECOND)


def test_a_signal_without_a_deadline() -> None:
    run = Run(ONE)
    run.wait_for_signal("a", name="approve")
    assert said(run).sentence == "Waits for signal `approve` in `a`"
    assert said(run).wakers[0]["at"] is None


def test_a_timer() -> None:
    run = Run(ONE)
    wait = Wait(step="sleep", kind="timer", due_us=START_US + 3 * 24 * 3600 * SECOND)
    run.do(c.SuspendTask(path="a", waits=(wait,)))
    assert said(run).sentence == "Waits in `a` until 2026-11-25 16:00 UTC, 3 days left"


def test_a_child_run() -> None:
    run = Run(ONE)
    run.do(c.SuspendTask(path="a", waits=(Wait(step="s", kind="child", run="run_9", workflow="Billing"),)))
    assert said(run).sentence == "Waits in `a` for run `run_9` of `Billing`"
    (waker,) = said(run).wakers
    assert (waker["kind"], waker["run"], waker["name"]) == ("child", "run_9", None)


def test_the_next_attempt() -> None:
    run = Run({"a": {"class": "Plain", "retry": {"initial": 4, "jitter": 0}}})
    run.fail("a", ErrorInfo(type="TimeoutError", message="no answer"))
    assert said(run).sentence == "Attempt 2 of `a` starts in 4 s, after `TimeoutError: no answer`"
    run.now_us += 5 * SECOND
    assert said(run).sentence == "Attempt 2 of `a` is about to start, after `TimeoutError: no answer`"
    running = said(run, row("a", run, worker="w1", leased_us=run.now_us - 2 * SECOND))
    assert running.sentence == "Runs `a` (attempt 2) since 2 s"
    assert running.wakers[0]["worker"] == "w1"


def test_a_task_that_no_worker_can_take() -> None:
    run = Run(ONE)
    note = "worker `w1` lacks class `Foo`"
    assert said(run, row("a", run, note=note)).sentence == f"Ready: `a` is queued since 3 s; {note}"
    queued = "Ready: `a` is queued since 3 s"
    asked = {"a": Asked("Foo", 2)}
    old, none = Member("w1", classes={"Foo": 1}), Member("w2", classes={"Bar": 2})
    gpu = Member("w3", queues=("gpu",), classes={"Foo": 2})
    cases: list[tuple[tuple[Member, ...], str, str]] = [
        ((), "default", "; no worker is alive"),
        ((old, gpu), "mail", "; no worker serves queue `mail`"),
        (
            (old, none, gpu),
            "default",
            "; no worker has class `Foo` in version 2 (`w1` has version 1, `w2` lacks it)",
        ),
        ((gpu,), "gpu", ""),
        ((old, Member("w4")), "default", ""),
        (
            (Member("w5", queues=("gpu",), classes={}),),
            "gpu",
            "; no worker that serves queue `gpu` has class `Foo` in version 2 (`w5` lacks it)",
        ),
    ]
    for members, queue, ending in cases:
        assert said(run, row("a", run, queue=queue), crew=Crew(members, asked)).sentence == queued + ending
    assert said(run, row("a", run)).sentence == "Ready: `a` is queued since 3 s"
    assert (
        said(run, row("a", run, lost=1)).sentence == "Ready: `a` is queued again since 3 s; it lost 1 worker"
    )
    assert said(run).sentence == "Ready: `a` is about to be queued"


def test_several_tasks_that_run_are_told_together() -> None:
    run = Run(WIDE)
    run.complete("a")
    rows = [row(n, run, worker="w1", leased_us=run.now_us) for n in "bcde"]
    assert said(run, *rows).sentence == "Runs `b`, `c`, `d` and 1 other"
    two = said(run, *rows[:2])
    assert two.sentence == "Runs `b` and `c`, and 2 others"
    assert [w["kind"] for w in two.wakers] == ["lease", "lease", "queue", "queue"]


def test_a_running_task_beside_a_waiting_one() -> None:
    run = Run(
        {"a": {"class": "Plain", "next_node": ["b", "c"]}, "b": {"class": "Plain"}, "c": {"class": "Plain"}}
    )
    run.complete("a")
    run.wait_for_signal("c", name="go")
    sentence = said(run, row("b", run, worker="w1", leased_us=run.now_us - 5 * SECOND)).sentence
    assert sentence == "Runs `b` since 5 s. Waits for signal `go` in `c`"


def test_a_paused_run_says_who_paused_it_and_why() -> None:
    run = Run(ONE)
    run.do(c.PauseRun(reason="lunch"))
    explained = said(run, row("a", run, held=True), hold=Hold("operator", "lunch"))
    assert explained.sentence == "Paused by operator: lunch"
    assert [w["kind"] for w in explained.wakers] == ["operator", "queue"]
    assert explained.wakers[1]["sentence"] == "Ready: `a` starts when the run goes on"
    assert said(run).sentence == "Paused"


def test_a_doubt_asks_for_a_person() -> None:
    run = Run({"pay": {"class": "Pay"}})
    run.do(c.StartTask(path="pay", worker="w1"))
    run.do(c.DoubtTask(path="pay", reason="worker w1 died"))
    assert said(run).sentence == "A person must resolve `pay`: worker w1 died"


def test_a_run_that_is_being_cancelled_says_how_long_tasks_have() -> None:
    run = Run(ONE)
    run.do(c.CancelRun(reason="wrong"))
    explained = said(run, row("a", run, worker="w1", leased_us=run.now_us))
    assert explained.sentence == "Is being cancelled; tasks that run have 10 s left. Runs `a` since 0 µs"
    assert {w["kind"] for w in explained.wakers} == {"timer", "lease"}


def test_every_waker_has_its_view_in_the_order_of_what_tells_most() -> None:
    waker = Waker(kind="approval", path=None)
    situation = Situation(RunStatus.RUNNING, START_US, [Pending(waker=waker)], {}, 1)
    assert explain(situation).sentence == "Waits for approval"
    empty = Situation(RunStatus.RUNNING, START_US, [], {}, 0)
    assert "bug" in explain(empty).sentence


def test_a_run_whose_budget_is_spent_says_what_lifts_the_pause() -> None:
    run = Run(ONE, budget={"tokens": 10})
    run.do(c.ReserveBudget(path="a", step="ask", usage=Usage(tokens=11)))
    assert said(run).sentence == "Paused: the budget of tokens is spent; the run goes on once it is raised"


def test_a_run_that_is_over() -> None:
    error = ErrorInfo(type="ValueError", message="no", path="a")
    assert explain_end(RunStatus.SUCCEEDED, error=None, took_us=3_200_000) == "Succeeded after 3.2 s"
    assert explain_end(RunStatus.FAILED, error=error, took_us=None) == "Failed at `a`: ValueError: no"
    assert explain_end(RunStatus.CANCELLED, error=None, took_us=None, reason="wrong") == "Cancelled: wrong"


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (-5, "0 µs"),
        (999, "999 µs"),
        (176_000, "176 ms"),
        (4_200_000, "4.2 s"),
        (4_000_000, "4 s"),
        (75 * SECOND, "75 s"),
        (37 * 60 * SECOND, "37 min"),
        (125 * 60 * SECOND, "2 h 5 min"),
        (120 * 60 * SECOND, "2 h"),
        (72 * 3600 * SECOND, "3 days"),
    ],
)
def test_durations_read_as_people_say_them(us: int, text: str) -> None:
    assert words.duration(us) == text


def test_times_are_told_as_exactly_as_their_distance_asks() -> None:
    now_us = microseconds("2026-11-22T16:00:00Z")
    assert words.moment(now_us + 30 * SECOND, now_us=now_us) == "16:00:30 UTC"
    assert words.moment(now_us + 3600 * SECOND, now_us=now_us) == "17:00 UTC"
    assert words.moment(now_us + 10 * 3600 * SECOND, now_us=now_us) == "2026-11-23 02:00 UTC"


def test_names_are_shown_three_at_most() -> None:
    assert words.names(["a"]) == "`a`"
    assert words.names(["a", "b"]) == "`a` and `b`"
    assert words.names(["a", "b", "c"]) == "`a`, `b` and `c`"
    assert words.names(["a", "b", "c", "d"]) == "`a`, `b`, `c` and 1 other"
    assert words.names(["a"], total=5) == "`a` and 4 others"


def joins_of(run: World) -> list[str]:
    return [tell_join(join) for join in waiting_joins(run.state, run.definition, limit=10)]


def race(join: Any, **more: Any) -> World:
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "c"]},
            **{arm: {"next_node": "j"} for arm in "abc"},
            "j": {"join": join, "next_node": {"again": "fork", "*": "end"}},
            "end": {},
        },
        **more,
    )
    run.complete("fork")
    return run


def test_a_join_says_what_it_waits_for() -> None:
    run = race("all")
    run.complete("b")
    assert joins_of(run) == ["`j` has 1 arrival and waits for what can still come, from `a` and `c`"]
    run = race({"count": 3})
    run.complete("b")
    assert joins_of(run) == ["`j` waits for 2 of 3 more, from `a` and `c`"]


def test_a_join_whose_next_round_is_held_says_what_holds_it() -> None:
    run = race("any")
    run.complete("a")
    run.complete("j", route=["again"])
    run.complete("fork@2")
    run.complete("a@2")
    assert joins_of(run) == ["`j` begins its next round, with 1 arrival, when this one is over: `b` and `c`"]


def test_a_join_that_is_held_back_says_so() -> None:
    run = race("all", on_failure="finish_branches")
    run.complete("a")
    run.fail("b")
    run.complete("c")
    assert joins_of(run) == ["`j` is held back with 2 arrivals: a task that could have reached it failed"]
