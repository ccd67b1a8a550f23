"""Putting the application together: one gate, one key, one router a resource, the page below."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import StatelessLifespan

from orchestrator.api import (
    described,
    events,
    health,
    node_classes,
    outbox,
    problems,
    runs,
    schemas,
    static,
    system,
    tasks,
    workflows,
)
from orchestrator.api.params import known_query
from orchestrator.api.params import problems as may_answer
from orchestrator.api.security import Gate, Keyring, access
from orchestrator.api.sse import Streams
from orchestrator.config import Settings

if TYPE_CHECKING:
    from orchestrator.engine.service.facade import Service

BASE = "/api/v1"

DESCRIPTION = """\
Durable workflows whose nodes may be fixed stations or agents that decide: one graph, one engine, one journal.

Errors are `application/problem+json` with a stable `code`. Lists are `{"items": [...], "next": cursor or null}`.
Times are RFC 3339 UTC. What was answered with success survives the death of every process of ours.
"""


def create_app(
    service: "Service | None", settings: Settings, *, lifespan: StatelessLifespan[FastAPI] | None = None
) -> FastAPI:
    """The application around a service; whoever calls this starts and stops the service.

    With `service` None a `lifespan` must set `app.state.service` before the first request.
    """
    settings.check_bind()
    app = FastAPI(
        title="Agentic Orchestrator",
        version=_version(),
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_url=f"{BASE}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.settings = settings
    app.state.keyring = Keyring(settings)
    app.state.closing = asyncio.Event()
    app.state.streams = Streams()
    problems.install(app)
    _route(app)
    # The outermost comes last: the gate stands before everything and sees every answer.
    app.add_middleware(problems.CatchAll)
    static.install(app)
    app.add_middleware(Gate, settings=settings)
    app.openapi = lambda: _openapi(app)
    return app


def _route(app: FastAPI) -> None:
    known = Depends(known_query)
    kept = APIRouter(
        prefix=BASE, dependencies=[Depends(access), known], responses=may_answer(401, 403, 429, 500)
    )
    for resource in (workflows, events, tasks, runs, node_classes, schemas, outbox, system):
        kept.include_router(resource.router)
    app.include_router(kept)
    app.include_router(system.open_router, prefix=BASE, dependencies=[known])
    app.include_router(health.router, dependencies=[known])


def _version() -> str:
    try:
        return version("agentic-orchestrator")
    except PackageNotFoundError:
        return "0"


def _openapi(app: FastAPI) -> dict[str, Any]:
    if not app.openapi_schema:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            license_info=app.license_info,
            routes=app.routes,
        )
        app.openapi_schema = described.complete(schema)
    return app.openapi_schema
