"""The tables of legal moves, and the diagram in the docs that is drawn from them."""

from pathlib import Path

import pytest

from orchestrator.errors import InternalError
from orchestrator.kernel import events as e
from orchestrator.kernel.apply import apply
from orchestrator.kernel.diagram import RUN_ENDS, TASK_ENDS, diagrams
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import (
    RUN_MOVES,
    TASK_MOVES,
    RunStatus,
    TaskStatus,
    check_run_move,
    check_task_move,
)
from tests.unit.kernel.world import payload, run_of

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"


def test_the_diagram_in_the_docs_is_the_one_that_the_tables_draw() -> None:
    text = PAGE.read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- diagrams: begin -->\n")
    block, _, _ = rest.partition("<!-- diagrams: end -->")
    assert block == diagrams(), "paste what `python -m orchestrator.kernel.diagram` prints between the marks"


def test_succeeded_and_cancelled_never_change_and_failed_only_by_a_retry() -> None:
    out_of_an_end = {(old, new): why for (old, new), why in RUN_MOVES.items() if old in RUN_ENDS}
    assert all(
        old is RunStatus.FAILED and why.startswith("run_retried") for (old, _), why in out_of_an_end.items()
    )
    assert out_of_an_end


def test_a_completed_or_skipped_task_never_changes() -> None:
    assert {old for old, _ in TASK_MOVES if old in TASK_ENDS} == {TaskStatus.FAILED, TaskStatus.CANCELLED}


def test_every_live_status_of_a_run_can_be_cancelled() -> None:
    live = {status for status in RunStatus if status.live} - {RunStatus.CANCELLING}
    assert {old for old, new in RUN_MOVES if new is RunStatus.CANCELLING} == live


def test_a_move_that_is_not_in_the_table_is_a_bug_of_ours() -> None:
    with pytest.raises(InternalError, match="from succeeded to running"):
        check_run_move(RunStatus.SUCCEEDED, RunStatus.RUNNING)
    with pytest.raises(InternalError, match="from completed to ready"):
        check_task_move(TaskStatus.COMPLETED, TaskStatus.READY)


def test_an_event_that_does_not_follow_on_the_state_is_a_bug_of_ours() -> None:
    with pytest.raises(InternalError, match="event 2 of run  doesn't follow on 0"):
        apply(RunState(), e.RunPaused(seq=2))
    run = run_of({"a": {}})
    lost = e.TaskCompleted(seq=3, path="b", node="b", attempt=1, output=payload(1))
    with pytest.raises(InternalError, match="no open task 'b'"):
        apply(run.state, lost)
