"""Every error as a problem of RFC 9457: one table from the exception tree to HTTP, and the handlers that use it.

An exception that isn't in the table is our bug: the answer says only that, with an incident number that stands in the
log beside the traceback, so that nothing of the server's inside leaks.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator import errors
from orchestrator.api.answers import encode
from orchestrator.model.pointers import join_pointer

log = logging.getLogger("orchestrator.api")

MEDIA_TYPE = "application/problem+json"
ERRORS_SHOWN_MAX = 1000
NAME_SHOWN_MAX = 200


class Refusal(Exception):
    """The API refuses a request before the engine hears of it."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        title: str | None = None,
        faults: Sequence[errors.Fault] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.status, self.code, self.title = detail, status, code, title
        self.faults, self.extra, self.headers = faults, extra or {}, headers or {}


@dataclass(frozen=True, slots=True)
class Mapped:
    """How a class of exceptions is answered. `public` false: its message stays in the log."""

    status: int
    title: str
    public: bool = True
    retry_after_seconds: int | None = None


TABLE: Mapping[type[errors.OrchestratorError], Mapped] = {
    errors.OrchestratorError: Mapped(500, "Internal error", public=False),
    errors.UsageError: Mapped(400, "The request can't be meant"),
    errors.InvalidInput: Mapped(422, "The input has faults"),
    errors.InvalidRunFile: Mapped(422, "The run file can't be imported"),
    errors.DefinitionError: Mapped(422, "The workflow has faults"),
    errors.NotFound: Mapped(404, "Not found"),
    errors.Conflict: Mapped(409, "Not possible in this state"),
    errors.LimitExceeded: Mapped(422, "Over a limit"),
    errors.StoreError: Mapped(503, "The store has a problem", public=False, retry_after_seconds=1),
    errors.StoreUnavailable: Mapped(
        503, "The store can't be reached; nothing happened", retry_after_seconds=1
    ),
    errors.VersionConflict: Mapped(409, "Somebody else changed the run first; try again"),
    errors.Fenced: Mapped(409, "Somebody else owns the task now"),
    errors.CommitUnknown: Mapped(
        503, "It may or may not have happened; repeat it with the same Idempotency-Key", retry_after_seconds=1
    ),
    errors.EncryptionKeyMissing: Mapped(503, "An encryption key is missing"),
    errors.StoreIncompatible: Mapped(503, "The store belongs to another release"),
    errors.NodeError: Mapped(422, "A node failed"),
    errors.RetryLater: Mapped(503, "Try again later", retry_after_seconds=1),
    errors.PermanentFailure: Mapped(422, "A node failed for good"),
    errors.RouteNotAllowed: Mapped(422, "The route isn't allowed"),
    errors.OutputNotStorable: Mapped(422, "The value can't be kept"),
    errors.ExpressionFailed: Mapped(422, "An expression failed"),
    errors.TaskTimeout: Mapped(422, "A task took too long"),
    errors.StepMismatch: Mapped(409, "The node's code changed under a recorded step"),
    errors.InternalError: Mapped(500, "Internal error", public=False),
}
"""One row for each class of `errors.py`; a subclass defined elsewhere is answered as its nearest ancestor here."""


def mapped(error: type[errors.OrchestratorError]) -> Mapped:
    """The row of a class of errors."""
    for ancestor in error.__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor]
    return TABLE[errors.OrchestratorError]


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str | None = None,
    faults: Sequence[errors.Fault] = (),
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as an answer."""
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **(extra or {}),
    }
    if faults:
        body["errors"] = [fault_view(fault) for fault in faults[:ERRORS_SHOWN_MAX]]
    return Response(encode(_storable(body)), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def fault_view(fault: errors.Fault) -> dict[str, Any]:
    """A fault as clients see it."""
    return {
        "pointer": fault.pointer,
        "code": fault.code,
        "message": fault.message,
        "suggestion": fault.suggestion,
        **({"line": fault.line, "column": fault.column} if fault.line is not None else {}),
    }


def from_error(error: errors.OrchestratorError) -> Response:
    """The problem that an error of the package is."""
    row = mapped(type(error))
    if not row.public:
        return unexpected(error)
    headers = {} if row.retry_after_seconds is None else {"Retry-After": str(row.retry_after_seconds)}
    status, code, detail, extra = row.status, error.code, str(error), dict[str, Any]()
    faults: Sequence[errors.Fault] = ()
    match error:
        case errors.DefinitionError():
            faults = error.faults
            detail = _count(len(faults))
            extra["hints"] = [fault_view(hint) for hint in error.hints]
        case errors.InvalidInput():
            faults = error.faults
        case errors.NotFound():
            extra |= {"what": error.what, "name": error.name, "suggestion": error.suggestion}
        case errors.Conflict():
            code = error.reason
        case errors.LimitExceeded():
            status = 413 if error.unit == "bytes" else row.status
            extra |= {
                "limit": error.limit,
                "value": error.value,
                "maximum": error.maximum,
                "unit": error.unit,
            }
        case errors.RetryLater() if error.delay_seconds is not None:
            headers["Retry-After"] = str(max(1, round(error.delay_seconds)))
        case _:
            pass
    return problem(status, code, detail, title=row.title, faults=faults, extra=extra, headers=headers)


def _count(faults: int) -> str:
    return f"{faults:,} fault" + ("" if faults == 1 else "s")


def unexpected(error: BaseException) -> Response:
    """The answer to our own bug: an incident number and nothing else; the log has the rest."""
    incident = secrets.token_hex(4)
    log.error("incident %s: %s", incident, type(error).__name__, exc_info=error)
    return problem(
        500,
        "internal",
        f"This is a bug in Agentic Orchestrator. The server's log has it as incident {incident}.",
        title="Internal error",
        extra={"incident": incident},
    )


def from_refusal(refusal: Refusal) -> Response:
    """The problem that a refusal of the API itself is."""
    return problem(
        refusal.status,
        refusal.code,
        refusal.detail,
        title=refusal.title,
        faults=refusal.faults,
        extra=refusal.extra,
        headers=refusal.headers,
    )


_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    401: "unauthorized",
    403: "forbidden",
    413: "too_large",
}


def from_http(error: HTTPException, *, path: str, method: str) -> Response:
    """The problem that an error of the framework is: no such route, no such method."""
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"there is nothing at {path}"
    elif error.status_code == 405:
        detail = f"{path} doesn't take {method}"
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return problem(error.status_code, code, detail, headers=error.headers)


def faults_of(details: Sequence[ErrorDetails], *, base: str = "") -> list[errors.Fault]:
    """Pydantic's complaints as faults with pointers; they never repeat a value, nor all of a long name."""
    found: list[errors.Fault] = []
    for detail in details[:ERRORS_SHOWN_MAX]:
        # The last step of a complaint about a key of a map is the marker "[key]"; the pointer ends at the map's entry.
        steps = [_shortened(step) for step in detail["loc"] if step != "[key]"]
        found.append(
            errors.Fault(pointer=join_pointer(base, *steps), code=detail["type"], message=_sentence(detail))
        )
    return found


def _shortened(step: int | str) -> int | str:
    if isinstance(step, int) or len(step) <= NAME_SHOWN_MAX:
        return step
    return step[:NAME_SHOWN_MAX] + "…"


def _sentence(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return f"unknown field `{_shortened(detail['loc'][-1])}`"
    if detail["type"] == "missing":
        return f"`{detail['loc'][-1]}` is missing"
    text = detail["msg"]
    return text[:1].lower() + text[1:]


def invalid_body(error: ValidationError) -> Refusal:
    """A body of the wrong shape."""
    faults = faults_of(error.errors(include_url=False, include_context=False, include_input=False))
    return Refusal(
        "; ".join(str(fault) for fault in faults[:3]),
        status=422,
        code="invalid_request",
        title="The body has faults",
        faults=faults,
    )


def install(app: FastAPI) -> None:
    """Let the application answer every error as a problem."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Response]] = {
        errors.OrchestratorError: _on_error,
        Refusal: _on_refusal,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _on_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.OrchestratorError)
    return from_error(error)


def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return from_refusal(error)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return from_http(error, path=request.url.path, method=request.method)


def _on_invalid(_request: Request, error: Exception) -> Response:
    """Parameters of the path, the query or a header that aren't what the route declares."""
    assert isinstance(error, RequestValidationError)
    details: Sequence[ErrorDetails] = error.errors()
    faults = faults_of(details)
    return problem(
        422,
        "invalid_request",
        "; ".join(str(fault) for fault in faults[:3]),
        title="The parameters have faults",
        faults=faults,
    )


class CatchAll:
    """The last resort: what no handler knows becomes a 500 that leaks nothing, with the usual headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def remember(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, remember)
        except Exception as error:  # noqa: BLE001  (the one edge of the API: whatever it is, the client gets an answer)
            answer = unexpected(error)
            if not started:
                await answer(scope, receive, send)


def _storable(value: Any) -> Any:
    """The same with lone surrogates written out, so that an error about bad text can always be sent."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            entries: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]  (a problem's own dict)
            return {_storable(key): _storable(entry) for key, entry in entries.items()}
        case list():
            things: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  (a problem's own list)
            return [_storable(thing) for thing in things]
        case _:
            return value
