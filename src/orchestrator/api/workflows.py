"""`/workflows`: save, check, read and delete workflows, and start their runs."""

from fastapi import APIRouter, Request, Response

from orchestrator.api import described, models
from orchestrator.api.answers import JSONAnswer, page
from orchestrator.api.bodies import read, read_raw, syntax_of
from orchestrator.api.context import DOCUMENT_BYTES_MAX, service_of, value_limit
from orchestrator.api.params import (
    Cursor,
    IdempotencyKey,
    Limit,
    Text,
    VersionNumber,
    WorkflowName,
    checked_name,
    problems,
)

router = APIRouter(prefix="/workflows", tags=["workflows"])


@router.post(
    "",
    operation_id="save_workflow",
    summary="Save a version",
    status_code=201,
    response_model=models.SavedVersion,
    responses={
        200: {
            "model": models.SavedVersion,
            "description": "A version of the same meaning was there already.",
        },
        **problems(400, 413, 415, 422, 503),
    },
    openapi_extra=described.document_body(),
)
async def save_workflow(request: Request) -> Response:
    """Save the document as it stands; saving the same meaning again answers with the version that has it.

    It is JSON, or with `Content-Type: application/yaml` YAML, which means the same.

    A document with faults is refused with all of them, each with its place, what is wrong and the nearest right thing.
    """
    text = await read_raw(request, limit_bytes=DOCUMENT_BYTES_MAX, limit_name="workflow document")
    saved = await service_of(request).save_workflow(text, syntax=syntax_of(request))
    return JSONAnswer(saved, 201 if saved["created"] else 200)


@router.post(
    "/validate",
    operation_id="validate_workflow",
    summary="Check a document without saving it",
    response_model=models.Validation,
    responses=problems(413, 415),
    openapi_extra=described.document_body(),
)
async def validate_workflow(request: Request) -> Response:
    """All faults and hints of a document, and its graph as far as it can be drawn.

    A text that isn't JSON (or YAML, as its `Content-Type` says) is a fault like any other: the answer is 200.
    """
    text = await read_raw(request, limit_bytes=DOCUMENT_BYTES_MAX, limit_name="workflow document")
    return JSONAnswer(await service_of(request).validate_workflow(text, syntax=syntax_of(request)))


@router.get(
    "",
    operation_id="list_workflows",
    summary="List workflows",
    response_model=models.Items[models.WorkflowSummary],
    responses=problems(400, 422, 503),
)
async def list_workflows(
    request: Request, limit: Limit = 100, cursor: Cursor = None, text: Text = ""
) -> Response:
    """Workflows by name, each with its current version and its last run."""
    found = await service_of(request).list_workflows(text=text, limit=limit, cursor=cursor)
    return page(found["items"], found["next"])


@router.get(
    "/{name}",
    operation_id="get_workflow",
    summary="Read a workflow",
    response_model=models.Workflow,
    responses=problems(404, 422, 503),
)
async def get_workflow(request: Request, name: WorkflowName) -> Response:
    """The current version, with its text as it was saved."""
    return JSONAnswer(await service_of(request).get_workflow(checked_name(name)))


@router.delete(
    "/{name}",
    operation_id="delete_workflow",
    summary="Delete a workflow",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409, 422, 503),
)
async def delete_workflow(request: Request, name: WorkflowName) -> Response:
    """Hide the workflow; its finished runs stay. With live runs it is refused (409)."""
    await service_of(request).delete_workflow(checked_name(name))
    return Response(status_code=204)


@router.get(
    "/{name}/versions",
    operation_id="list_workflow_versions",
    summary="List the versions of a workflow",
    response_model=models.Items[models.WorkflowVersion],
    responses=problems(404, 422, 503),
)
async def list_workflow_versions(request: Request, name: WorkflowName) -> Response:
    """All versions, newest first."""
    return page(await service_of(request).list_versions(checked_name(name)))


@router.get(
    "/{name}/versions/{version}",
    operation_id="get_workflow_version",
    summary="Read one version",
    response_model=models.Workflow,
    responses=problems(404, 422, 503),
)
async def get_workflow_version(request: Request, name: WorkflowName, version: VersionNumber) -> Response:
    """One version, with its text as it was saved."""
    return JSONAnswer(await service_of(request).get_workflow(checked_name(name), version=version))


@router.post(
    "/{name}/runs",
    operation_id="start_run",
    summary="Start a run",
    tags=["runs"],
    status_code=201,
    response_model=models.Run,
    responses={
        200: {"model": models.Run, "description": "The run that this Idempotency-Key started before."},
        **problems(400, 404, 409, 413, 415, 422, 503),
    },
    openapi_extra=described.body(models.StartRun),
)
async def start_run(request: Request, name: WorkflowName, idempotency_key: IdempotencyKey = None) -> Response:
    """Start a run of the current version, or of `version`. What this answers with 201 is durable."""
    asked = await read(request, models.StartRun, limit_bytes=value_limit(request))
    run, created = await service_of(request).start_run(
        checked_name(name),
        input=asked.input,
        labels=asked.labels,
        version=asked.version,
        priority=asked.priority,
        idempotency_key=idempotency_key,
    )
    return JSONAnswer(run, 201 if created else 200)
