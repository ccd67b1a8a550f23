"""`/node-classes`: what nodes can be made of."""

from fastapi import APIRouter, Request, Response

from orchestrator.api import models
from orchestrator.api.answers import page
from orchestrator.api.context import service_of

router = APIRouter(tags=["node classes"])


@router.get(
    "/node-classes",
    operation_id="list_node_classes",
    summary="List node classes",
    response_model=models.Items[models.NodeClass],
)
async def list_node_classes(request: Request) -> Response:
    """Every node class that this server knows, with the JSON Schema of its parameters."""
    return page(await service_of(request).node_classes())
