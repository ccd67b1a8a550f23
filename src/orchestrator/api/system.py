"""`/system`: the server itself. `/session`: the page's way to show the key."""

from fastapi import APIRouter, Request, Response

from orchestrator.api import described, models
from orchestrator.api.answers import JSONAnswer
from orchestrator.api.bodies import read
from orchestrator.api.context import service_of
from orchestrator.api.params import problems
from orchestrator.api.security import COOKIE, SESSION_SECONDS, Keyring, address_of

router = APIRouter(tags=["system"])
open_router = APIRouter(tags=["system"])
"""What may be called without a key: asking whether one is needed, and showing it."""


@router.get(
    "/system", operation_id="get_system", summary="About this server", response_model=models.SystemInfo
)
async def get_system(request: Request) -> Response:
    """Version, store and workers."""
    return JSONAnswer(await service_of(request).system())


@open_router.get(
    "/session", operation_id="get_session", summary="Is a key needed?", response_model=models.Session
)
async def get_session(request: Request) -> Response:
    """Whether this server asks for a key, and whether the cookie of this browser is good."""
    keyring: Keyring = request.app.state.keyring
    known = not keyring.required or keyring.knows_session(request.cookies.get(COOKIE, ""))
    return JSONAnswer({"required": keyring.required, "authenticated": known})


@open_router.post(
    "/session",
    operation_id="open_session",
    summary="Show the key",
    status_code=204,
    response_class=Response,
    responses=problems(400, 401, 413, 415, 422, 429),
    openapi_extra=described.body(models.Login, required=True),
)
async def open_session(request: Request) -> Response:
    """Trade the key for a cookie that the page's scripts can't read. It lasts 12 hours."""
    keyring: Keyring = request.app.state.keyring
    asked = await read(request, models.Login, limit_bytes=16 * 1024)
    answer = Response(status_code=204)
    if keyring.required:
        keyring.check(asked.key, address=address_of(request))
        answer.set_cookie(
            COOKIE,
            keyring.open_session(),
            max_age=SESSION_SECONDS,
            path="/api",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return answer


@open_router.delete(
    "/session",
    operation_id="close_session",
    summary="Forget the cookie",
    status_code=204,
    response_class=Response,
)
async def close_session(request: Request) -> Response:
    """Take the cookie back from this browser."""
    answer = Response(status_code=204)
    answer.delete_cookie(
        COOKIE, path="/api", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return answer
