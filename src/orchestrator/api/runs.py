"""`/runs`: find and read runs, and what a person may do to one."""

import tempfile
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from orchestrator.api import described, models
from orchestrator.api.answers import JSONAnswer, page
from orchestrator.api.bodies import read, spool
from orchestrator.api.context import service_of, settings_of, value_limit
from orchestrator.api.params import (
    Cursor,
    IdempotencyKey,
    Limit,
    RunId,
    SignalName,
    Text,
    checked_place,
    labels_of,
    microseconds_of,
    name_filter,
    problems,
)
from orchestrator.engine.travel.runfile import MEDIA_TYPE, SUFFIX, Limits
from orchestrator.errors import UsageError
from orchestrator.stores.contract import RunFilter

router = APIRouter(prefix="/runs", tags=["runs"])

_CHANGE = problems(400, 404, 409, 413, 415, 422, 503)
PLANS_MAX = 500
SMALL_BODY_BYTES = 16 * 1024
TIME_EXAMPLE = "2026-11-22T16:00:00Z"


@router.get(
    "",
    operation_id="list_runs",
    summary="List runs",
    response_model=models.Items[models.RunSummary],
    responses=problems(400, 422, 503),
)
async def list_runs(
    request: Request,
    status: Annotated[
        list[models.RunStatus] | None, Query(description="Only runs in one of these.", max_length=8)
    ] = None,
    workflow: Annotated[str | None, Query(description="Only runs of this workflow.", max_length=200)] = None,
    label: Annotated[
        list[str] | None,
        Query(
            description="Only runs with this label, as `key:value`.",
            max_length=32,
            examples=[["team:growth"]],
        ),
    ] = None,
    created_after: Annotated[
        str | None, Query(description="A time (RFC 3339).", max_length=40, examples=[TIME_EXAMPLE])
    ] = None,
    created_before: Annotated[
        str | None, Query(description="A time (RFC 3339).", max_length=40, examples=[TIME_EXAMPLE])
    ] = None,
    parent: Annotated[
        str | None, Query(description="Only runs that a task of this run started.", max_length=128)
    ] = None,
    text: Text = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Runs, newest first. All given conditions must hold; `status` and `label` may be given several times."""
    where = RunFilter(
        namespace=settings_of(request).namespace,
        statuses=tuple(one.value for one in status or ()),
        workflow=name_filter(workflow),
        labels=labels_of(label or []),
        created_after_us=microseconds_of("created_after", created_after),
        created_before_us=microseconds_of("created_before", created_before),
        text=text,
        parent_run=parent,
    )
    found = await service_of(request).list_runs(where, cursor=cursor, limit=limit)
    return page(found["items"], found["next"])


@router.post(
    "/import",
    operation_id="import_run",
    summary="Import a run",
    status_code=201,
    response_model=models.ImportAnswer,
    responses={**_CHANGE, 200: {"description": "The same file had been imported before."}},
    openapi_extra=described.run_file_body(),
)
async def import_run(request: Request) -> Response:
    """Read a run from a file that `GET .../export` made, here or elsewhere.

    It opens with its whole past: journal, tasks, state at any seq, forks. It never goes on by itself: all that can be
    done with it is to look at it and to fork it. Its id here comes from the file: the same file again is the same run.
    """
    with tempfile.TemporaryFile() as file:
        await spool(request, file, limit_bytes=Limits().file_bytes)
        answer = await service_of(request).import_run(file)
    return JSONAnswer(answer, 201 if answer["created"] else 200)


@router.get(
    "/{run_id}/export",
    operation_id="export_run",
    summary="Export a run",
    response_class=Response,
    responses={**problems(404, 422, 503), **described.run_file()},
)
async def export_run(request: Request, run_id: RunId) -> Response:
    """The run as one file: its version, its journal, its values; of a fork the parents' too. Secrets are hidden.

    JSON Lines, gzip'd. An answer that ends early lacks the file's last line, and no import takes it.
    """
    pieces = service_of(request).export_run(run_id)
    first = await anext(pieces)  # here and not in the answer: what is wrong is said as a problem

    async def whole() -> AsyncGenerator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {"Content-Disposition": f'attachment; filename="{run_id}{SUFFIX}"'}
    return StreamingResponse(whole(), media_type=MEDIA_TYPE, headers=headers)


@router.get(
    "/{run_id}",
    operation_id="get_run",
    summary="Read a run",
    response_model=models.Run,
    responses=problems(404, 422, 503),
)
async def get_run(request: Request, run_id: RunId) -> Response:
    """The run as it stands now."""
    return JSONAnswer(await service_of(request).get_run(run_id))


@router.get(
    "/{run_id}/state",
    operation_id="get_run_state",
    summary="What a run knew at a seq",
    response_model=models.RunState,
    responses=problems(404, 422, 503),
)
async def get_run_state(
    request: Request,
    run_id: RunId,
    seq: Annotated[
        int | None, Query(description="An event's seq; the last one if left out.", ge=1, le=2**53)
    ] = None,
) -> Response:
    """The run's state after a group of events; inside a group that of the group before, as `seq` tells."""
    return JSONAnswer(await service_of(request).state_at(run_id, seq))


@router.get(
    "/{run_id}/explain",
    operation_id="explain_run",
    summary="What a run waits for",
    response_model=models.Explanation,
    responses=problems(404, 422, 503),
)
async def explain_run(request: Request, run_id: RunId) -> Response:
    """What will move the run on: in a sentence, and as data."""
    return JSONAnswer(await service_of(request).explain(run_id))


@router.get(
    "/{run_id}/plans",
    operation_id="list_plans",
    summary="List the plans of a run",
    response_model=models.Items[models.LaidPlan],
    responses=problems(404, 422, 503),
)
async def list_plans(
    request: Request,
    run_id: RunId,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=PLANS_MAX)] = 100,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=20)] = None,
) -> Response:
    """What tasks of the run laid in front of it: nodes for this run only, each plan with its graph, in their order."""
    found = await service_of(request).list_plans(run_id, start=checked_place(cursor), limit=limit)
    return page(found["items"], found["next"])


@router.post(
    "/{run_id}/pause",
    operation_id="pause_run",
    summary="Pause a run",
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.Reason),
)
async def pause_run(request: Request, run_id: RunId) -> Response:
    """Let nothing new start. What runs ends. A paused run stays paused."""
    asked = await read(request, models.Reason, limit_bytes=SMALL_BODY_BYTES)
    return JSONAnswer(await service_of(request).pause(run_id, reason=asked.reason))


@router.post(
    "/{run_id}/resume",
    operation_id="resume_run",
    summary="Resume a paused run",
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.Reason),
)
async def resume_run(request: Request, run_id: RunId) -> Response:
    """Go on with a paused run."""
    asked = await read(request, models.Reason, limit_bytes=SMALL_BODY_BYTES)
    return JSONAnswer(await service_of(request).resume(run_id, reason=asked.reason))


@router.post(
    "/{run_id}/budget",
    operation_id="raise_budget",
    summary="Raise a run's budget",
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.RaiseBudget, required=True),
)
async def raise_budget(request: Request, run_id: RunId) -> Response:
    """Give the run more of what it may use. One that paused because a budget is spent goes on."""
    asked = await read(request, models.RaiseBudget, limit_bytes=SMALL_BODY_BYTES)
    raised = await service_of(request).raise_budget(
        run_id,
        tasks=asked.tasks,
        duration_seconds=asked.duration,
        tokens=asked.tokens,
        cost_usd=asked.cost_usd,
        reason=asked.reason,
    )
    return JSONAnswer(raised)


@router.post(
    "/{run_id}/cancel",
    operation_id="cancel_run",
    summary="Cancel a run",
    status_code=202,
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.Reason),
)
async def cancel_run(request: Request, run_id: RunId) -> Response:
    """Ask the run to end. Running tasks are told at once and have a moment of grace."""
    asked = await read(request, models.Reason, limit_bytes=SMALL_BODY_BYTES)
    return JSONAnswer(await service_of(request).cancel(run_id, reason=asked.reason), 202)


@router.post(
    "/{run_id}/retry",
    operation_id="retry_run",
    summary="Retry a failed run",
    status_code=202,
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.Nothing),
)
async def retry_run(request: Request, run_id: RunId) -> Response:
    """Take up the tasks that failed and those that the failure stopped, in the same run."""
    await read(request, models.Nothing, limit_bytes=SMALL_BODY_BYTES)
    return JSONAnswer(await service_of(request).retry(run_id), 202)


@router.post(
    "/{run_id}/erase",
    operation_id="erase_run",
    summary="Erase a run's data",
    status_code=200,
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.Reason),
)
async def erase_run(request: Request, run_id: RunId) -> Response:
    """Take inputs, outputs, errors' texts and everything else that people gave and got out of a run that is over.

    Hashes and sizes stand in their place. May be repeated. A run that has forks is refused, and names them.
    """
    asked = await read(request, models.Reason, limit_bytes=SMALL_BODY_BYTES)
    return JSONAnswer(await service_of(request).erase(run_id, reason=asked.reason), 200)


@router.post(
    "/{run_id}/fork",
    operation_id="fork_run",
    summary="Fork a run",
    status_code=201,
    response_model=models.Run,
    responses=_CHANGE,
    openapi_extra=described.body(models.ForkRun, required=True),
)
async def fork_run(request: Request, run_id: RunId) -> Response:
    """Start a new run that shares this one's history up to `seq`, and goes on with something different.

    `POST .../fork/plan` with the same body says beforehand what that means.
    """
    seq, changes = await _fork_asked(request)
    return JSONAnswer(await service_of(request).fork(run_id, seq=seq, patch=changes), 201)


@router.post(
    "/{run_id}/fork/plan",
    operation_id="plan_fork",
    summary="Plan a fork",
    response_model=models.ForkPlan,
    responses=_CHANGE,
    openapi_extra=described.body(models.ForkRun, required=True),
)
async def plan_fork(request: Request, run_id: RunId) -> Response:
    """What the fork would reuse, run again, repeat and cost. Nothing is started; refusals are those of the fork."""
    seq, changes = await _fork_asked(request)
    return JSONAnswer(await service_of(request).plan_fork(run_id, seq=seq, patch=changes))


async def _fork_asked(request: Request) -> tuple[int | None, dict[str, Any]]:
    asked = await read(request, models.ForkRun, limit_bytes=value_limit(request))
    changes = asked.model_dump(exclude_unset=True, exclude={"seq", "patch"})
    nested = asked.patch.model_dump(exclude_unset=True) if asked.patch is not None else {}
    twice = sorted(changes.keys() & nested.keys())
    if twice:
        raise UsageError(f"`{twice[0]}` is given twice, beside `patch` and in it")
    return asked.seq, {**changes, **nested}


@router.post(
    "/{run_id}/signals/{name}",
    operation_id="signal_run",
    summary="Send a signal",
    status_code=202,
    response_model=models.SignalTaken,
    responses=_CHANGE,
    openapi_extra=described.body(models.Signal),
)
async def signal_run(
    request: Request, run_id: RunId, name: SignalName, idempotency_key: IdempotencyKey = None
) -> Response:
    """Keep a signal for whoever in the run waits, or will wait, for it. It is taken once."""
    asked = await read(request, models.Signal, limit_bytes=value_limit(request))
    taken = await service_of(request).signal(run_id, name, asked.payload, idempotency_key=idempotency_key)
    return JSONAnswer(taken, 202)
