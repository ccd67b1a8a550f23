"""Lists and searches over 100,000 finished runs: every filter, the first page, a page in the middle, and the last ones.

The runs are written by the store's own `commit`, and asked for as the API asks: pages of 100, as data to be shown.

    python benchmarks/lists.py --runs 100000
"""

import time
from typing import Any

import harness

from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.index import index_of
from orchestrator.engine.runs.summary import summarize
from orchestrator.engine.service.facade import Service
from orchestrator.kernel.events import RunStarted, encode
from orchestrator.kernel.state import Counts, RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import ErrorInfo, rfc3339
from orchestrator.stores.contract import Commit, RunFilter

FIRST_US = 1_750_000_000_000_000
STEP_US = 1_000_000
PAGE = 100
TRIES = 5


def finished(number: int) -> RunState:
    """A run that has ended: 20 workflows, one in ten failed, one in fifty cancelled, four labels."""
    at = rfc3339(FIRST_US + number * STEP_US)
    status, error = RunStatus.SUCCEEDED, None
    if number % 10 == 0:
        status = RunStatus.FAILED
        error = ErrorInfo(type="TimeoutError", message=f"order {number} was not answered in time")
    elif number % 50 == 1:
        status = RunStatus.CANCELLED
    return RunState(
        run_id=f"run_{number:08d}",
        workflow=f"Workflow {number % 20}",
        version=1 + number % 3,
        status=status,
        seq=1,
        labels={
            "customer": f"c{number % 1_000}",
            "region": ("north", "south", "east")[number % 3],
            "parity": ("even", "odd")[number % 2],
            "digit": str(number % 10),
        },
        error=error,
        created_at=at,
        started_at=at,
        finished_at=at,
        counts=Counts(total=5, completed=5),
    )


async def fill(engine: Engine, runs: int) -> None:
    """Write the runs, a thousand at a time."""
    for first in range(0, runs, 1_000):
        batch: list[Commit] = []
        for number in range(first, min(first + 1_000, runs)):
            state = finished(number)
            event = RunStarted(
                seq=1,
                group=1,
                at=state.created_at,
                run_id=state.run_id,
                workflow=state.workflow,
                version=state.version,
            )
            batch.append(
                Commit(
                    commit_id=engine.new_commit_id(),
                    run_id=state.run_id,
                    expected=0,
                    events=[encode(event)],
                    summary=summarize(state),
                    index=index_of(state),
                )
            )
        await engine.store.commit(batch)


def filters(runs: int) -> dict[str, RunFilter]:
    """What people ask for: one of each, and some together."""
    middle = FIRST_US + runs // 2 * STEP_US
    return {
        "all": RunFilter(),
        "status": RunFilter(statuses=["failed"]),
        "rare status": RunFilter(statuses=["cancelled"]),
        "statuses": RunFilter(statuses=["failed", "cancelled"]),
        "no hit status": RunFilter(statuses=["waiting"]),
        "workflow": RunFilter(workflow="Workflow 7"),
        "workflow and status": RunFilter(workflow="Workflow 10", statuses=["failed"]),
        "workflow without hit": RunFilter(workflow="Workflow 7", statuses=["failed"]),
        "label": RunFilter(labels={"customer": "c500"}),
        "common label": RunFilter(labels={"region": "north"}),
        "labels": RunFilter(labels={"region": "north", "customer": "c501"}),
        "common labels": RunFilter(labels={"region": "north", "parity": "even"}),
        "labels that never meet": RunFilter(labels={"parity": "even", "digit": "1"}),
        "time": RunFilter(created_after_us=middle, created_before_us=middle + 3_600 * STEP_US),
        "long ago": RunFilter(created_before_us=FIRST_US + 500 * STEP_US),
        "text: run id": RunFilter(text="run_00000042"),
        "text: label": RunFilter(text="customer=c777"),
        "text: error": RunFilter(text="order 12340 was"),
        "text: common": RunFilter(text="not answered"),
        "text: no hit": RunFilter(text="nothing has this"),
        "text in a workflow": RunFilter(workflow="Workflow 7", text="nothing has this"),
        "text in a status": RunFilter(statuses=["failed"], text="nothing has this"),
        "text with a label": RunFilter(labels={"region": "north"}, text="nothing has this"),
        "live": RunFilter(live=True),
        "parent": RunFilter(parent_run="run_00000001"),
    }


async def _pages(service: Service, where: RunFilter) -> list[float]:
    """Seconds of the first page, and of one in the middle and one at the end as far as there are any."""
    taken: list[float] = []
    cursor: str | None = None
    for depth in range(3):
        tries: list[float] = []
        page: dict[str, Any] = {}
        for _ in range(TRIES):
            begin = time.perf_counter()
            page = await service.list_runs(where, cursor=cursor, limit=PAGE)
            tries.append(time.perf_counter() - begin)
        taken.append(min(tries))  # the others met a neighbour on the machine
        cursor = page["next"]
        if cursor is None:
            break
        if depth < 2:  # far down: as if somebody had paged there
            cursor = await _deep(service, where, cursor, pages=(3, 30)[depth])
    return taken


async def _deep(service: Service, where: RunFilter, cursor: str, *, pages: int) -> str:
    for _ in range(pages):
        page = await service.list_runs(where, cursor=cursor, limit=10 * PAGE)
        if page["next"] is None:
            break
        cursor = page["next"]
    return cursor


async def measure(url: str, *, runs: int) -> dict[str, Any]:
    """The slowest page of each filter, in milliseconds."""
    async with harness.engine_with_worker(url, {}) as engine:
        await fill(engine, runs)
        service = Service(engine)
        service.start()
        slowest = {
            name: round(max(await _pages(service, where)) * 1_000, 2) for name, where in filters(runs).items()
        }
        service.close()
    worst = max(slowest, key=lambda name: slowest[name])
    return {"runs": runs, "milliseconds": slowest[worst], "worst": worst, "slowest": slowest}


if __name__ == "__main__":
    harness.main(measure, about=__doc__, runs=100_000)
