"""`/outbox`: the messages that nodes sent."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from orchestrator.api import models
from orchestrator.api.answers import page
from orchestrator.api.context import service_of
from orchestrator.api.params import Cursor, Limit, problems

router = APIRouter(tags=["outbox"])


@router.get(
    "/outbox",
    operation_id="list_outbox",
    summary="List sent messages",
    response_model=models.Items[models.OutboxItem],
    responses=problems(400, 422),
)
async def list_outbox(
    request: Request,
    run: Annotated[str | None, Query(description="Only of this run.", min_length=1, max_length=128)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Messages, newest first. In this release mail goes no further than this."""
    found = await service_of(request).outbox(run=run, limit=limit, cursor=cursor)
    return page(found["items"], found["next"])
