"""Parameters of paths, queries and headers, with the rules that they must keep."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.routing import APIRoute

from orchestrator.api.problems import Refusal
from orchestrator.errors import Fault, NotFound
from orchestrator.model.document import NAME_RULE, is_workflow_name

LIST_LIMIT_MAX = 1000
_ID_PATTERN = "^[A-Za-z0-9_.:-]{1,128}$"

RunId = Annotated[str, Path(description="The run's id.", pattern=_ID_PATTERN, examples=["01jdaq8v5e7r2k"])]
WorkflowName = Annotated[
    str,
    Path(
        description=f"The workflow's name: {NAME_RULE}.",
        min_length=1,
        max_length=200,
        examples=["Agentic User Onboarding"],
    ),
]
TaskPath = Annotated[
    str,
    Path(
        description="The task's path; it may hold `/`, `@` and `[`.",
        min_length=1,
        max_length=1000,
        examples=["step_route_user"],
    ),
]
SignalName = Annotated[
    str, Path(description="The signal's name.", pattern=_ID_PATTERN, examples=["approved"])
]
VersionNumber = Annotated[int, Path(description="The version's number.", ge=1, le=2**31 - 1)]

Cursor = Annotated[str | None, Query(description="`next` of the page before.", min_length=1, max_length=2000)]
Limit = Annotated[int, Query(description="How many at most.", ge=1, le=LIST_LIMIT_MAX)]
Text = Annotated[str, Query(description="Text to look for, without case.", max_length=200)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Makes a repeat harmless: the same key with the same body gets the first answer. "
        "1 to 255 printable ASCII characters; kept for 30 days.",
        pattern="^[ -~]{1,255}$",
        alias="Idempotency-Key",
        examples=["6f1c4b1e-order-4711"],
    ),
]


def known_query(request: Request) -> None:
    """Refuse a query parameter that the route doesn't have.

    A typing error in a filter would otherwise silently mean "everything".
    """
    if not request.url.query:
        return
    route = request.scope.get("route")
    operation = route.operation_id if isinstance(route, APIRoute) else None
    fields = _query_names(request.app).get(operation or "", ())
    faults: list[Fault] = []
    for name in request.query_params:
        if name not in fields:
            near = next(iter(get_close_matches(name, fields, 1)), None)
            known = f"; did you mean `{near}`?" if near else _listed(fields)
            faults.append(
                Fault(
                    pointer="/query",
                    code="unknown_parameter",
                    message=f"unknown parameter `{name[:100]}`{known}",
                    suggestion=near,
                )
            )
    if faults:
        raise Refusal(
            "; ".join(fault.message for fault in faults[:3]),
            status=422,
            code="invalid_request",
            faults=faults,
        )


def _query_names(app: FastAPI) -> Mapping[str, Sequence[str]]:
    """Query parameters by operation, as OpenAPI has them: the description and the check can't differ."""
    known: dict[str, list[str]] | None = getattr(app.state, "query_names", None)
    if known is None:
        known = {}
        for operations in app.openapi()["paths"].values():
            for operation in operations.values():
                names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
                known[operation["operationId"]] = names
        app.state.query_names = known
    return known


def _listed(names: Iterable[str]) -> str:
    known = ", ".join(f"`{name}`" for name in names)
    return f"; known are {known}" if known else "; none is known here"


def checked_name(name: str) -> str:
    """A workflow's name that may exist. One that can't is not there."""
    if not is_workflow_name(name):
        raise NotFound("workflow", name)
    return name


def name_filter(name: str | None) -> str | None:
    """A workflow's name as a filter."""
    if name is not None and not is_workflow_name(name):
        raise invalid_parameter("workflow", f"a workflow's name is {NAME_RULE}")
    return name


def checked_path(path: str) -> str:
    """A task's path that may exist. One that can't is not there."""
    if not path.isprintable():
        raise NotFound("task", path)
    return path


def checked_place(cursor: str | None) -> int:
    """The place in a list that its cursor stands for."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()):
        raise invalid_parameter("cursor", "this cursor isn't one of this list")
    return int(cursor)


def invalid_parameter(name: str, message: str, *, place: str = "query") -> Refusal:
    """A parameter whose rule can't be said in a schema."""
    fault = Fault(pointer=f"/{place}/{name}", code="invalid_parameter", message=message)
    return Refusal(
        str(fault), status=422, code="invalid_request", title="The parameters have faults", faults=[fault]
    )


def labels_of(texts: list[str]) -> dict[str, str]:
    """`key:value` texts as a filter."""
    labels: dict[str, str] = {}
    for text in texts:
        key, colon, value = text.partition(":")
        if not key or not colon:
            raise invalid_parameter("label", f"a label filter is `key:value`, not {text[:100]!r}")
        if labels.setdefault(key, value) != value:
            raise invalid_parameter("label", f"the label `{key[:100]}` can't have two values at once")
    return labels


def microseconds_of(name: str, text: str | None) -> int | None:
    """A time of the query as microseconds since the epoch; a time without a zone is refused."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise invalid_parameter(name, "the time needs its zone: 2026-11-22T16:00:00Z")
        since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid_parameter(name, "not a time of RFC 3339, as in 2026-11-22T16:00:00Z") from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides success, for OpenAPI."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
