"""`/healthz` and `/readyz`, for whoever watches the process. They need no key and tell nothing but this."""

from fastapi import APIRouter, Request, Response

from orchestrator.api import models
from orchestrator.api.answers import JSONAnswer
from orchestrator.api.context import service_of

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="get_health", summary="Does it answer?", response_model=models.Health)
async def get_health() -> Response:
    """The process answers; nothing more is said."""
    return JSONAnswer({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Does work get on?",
    response_model=models.Readiness,
    responses={503: {"model": models.Readiness, "description": "Not now; `checks` says what is amiss."}},
)
async def get_readiness(request: Request) -> Response:
    """Progress, not presence: the store answers, and a worker has asked it for work not long ago."""
    answer = await service_of(request).ready()
    return JSONAnswer(answer, 200 if answer["ready"] else 503)
