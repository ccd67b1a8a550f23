"""`/runs/{run_id}/tasks`: the tasks of a run, and the word of a person about one in doubt."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestrator.api import described, models
from orchestrator.api.answers import JSONAnswer, page
from orchestrator.api.bodies import read
from orchestrator.api.context import service_of, value_limit
from orchestrator.api.params import RunId, TaskPath, checked_path, checked_place, problems
from orchestrator.engine.views.tasktable import TaskFilter
from orchestrator.kernel.status import TaskStatus

router = APIRouter(prefix="/runs/{run_id}/tasks", tags=["tasks"])

TASKS_MAX = 10_000


@router.get(
    "",
    operation_id="list_tasks",
    summary="List the tasks of a run",
    response_model=models.Items[models.Task],
    responses=problems(404, 422, 503),
)
async def list_tasks(
    request: Request,
    run_id: RunId,
    node: Annotated[str | None, Query(description="Only tasks of this node.", max_length=200)] = None,
    visit: Annotated[int | None, Query(description="Only this visit of a node.", ge=1, le=2**31 - 1)] = None,
    status: Annotated[
        list[models.TaskStatus] | None, Query(description="Only tasks in one of these.", max_length=8)
    ] = None,
    of: Annotated[
        str | None,
        Query(
            description="Only the items of this `for_each` task, by its path.",
            max_length=1000,
            examples=["review@2"],
        ),
    ] = None,
    items: Annotated[
        bool, Query(description="False: no items; how far they are stands with the task that has them.")
    ] = True,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=TASKS_MAX)] = 1000,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=20)] = None,
) -> Response:
    """Tasks in the order of their scheduling; their values are with each single task. All conditions must hold."""
    start = checked_place(cursor)
    where = TaskFilter(
        node=node,
        visit=visit,
        statuses=frozenset(TaskStatus(one.value) for one in status or ()),
        of=of,
        items=items,
    )
    found = await service_of(request).task_page(run_id, where=where, start=start, limit=limit)
    following = found["next"]
    return page(found["items"], str(following) if following is not None else None)


@router.post(
    "/{path:path}/resolve",
    operation_id="resolve_task",
    summary="Say what became of a task in doubt",
    response_model=models.Run,
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=described.body(models.Resolve, required=True),
)
async def resolve_task(request: Request, run_id: RunId, path: TaskPath) -> Response:
    """End the doubt: it was done (with an output), is to be tried again, skipped, or counts as failed."""
    asked = await read(request, models.Resolve, limit_bytes=value_limit(request))
    run = await service_of(request).resolve(
        run_id, checked_path(path), asked.action, output=asked.output, message=asked.message
    )
    return JSONAnswer(run)


@router.get(
    "/{path:path}",
    operation_id="get_task",
    summary="Read a task",
    response_model=models.TaskDetail,
    responses=problems(404, 422, 503),
)
async def get_task(request: Request, run_id: RunId, path: TaskPath) -> Response:
    """A task with what it was given, what it gave, its steps and its log."""
    return JSONAnswer(await service_of(request).get_task(run_id, checked_path(path)))
