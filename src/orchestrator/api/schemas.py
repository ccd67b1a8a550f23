"""`/schemas`: JSON Schemas for editors."""

from typing import Any

from fastapi import APIRouter, Request, Response

from orchestrator.api.answers import JSONAnswer
from orchestrator.api.context import service_of

router = APIRouter(prefix="/schemas", tags=["schemas"])


@router.get(
    "/workflow",
    operation_id="get_workflow_schema",
    summary="JSON Schema of the workflow document",
    response_model=dict[str, Any],
)
async def get_workflow_schema(request: Request) -> Response:
    """The schema of a document, with the classes that this server knows and the parameters of each."""
    return JSONAnswer(await service_of(request).workflow_schema())
