"""OpenAPI for what FastAPI can't see: bodies that the routes read themselves, and event streams."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.api import models

BODIES: tuple[type[BaseModel], ...] = (
    models.StartRun,
    models.Reason,
    models.Nothing,
    models.ForkRun,
    models.RaiseBudget,
    models.Signal,
    models.Resolve,
    models.Login,
)
ALSO: tuple[type[BaseModel], ...] = (models.Problem, models.JournalEvent)
_REF = "#/components/schemas/{model}"

EXAMPLE_DOCUMENT: dict[str, Any] = {
    "name": "Agentic User Onboarding",
    "start_at": "step_start",
    "nodes": {
        "step_start": {"class": "StartNode", "next_node": "step_get_user"},
        "step_get_user": {"class": "GetUserDataNode", "next_node": "step_route_user"},
        "step_route_user": {"class": "RouteUserByTypeNode"},
        "step_escalate": {"class": "EscalateToPremiumSupportNode", "next_node": "step_send_email"},
        "step_standard_process": {"class": "ProcessStandardUserNode", "next_node": "step_send_email"},
        "step_send_email": {"class": "SendWelcomeEmailNode", "next_node": "step_end"},
        "step_end": {"class": "EndNode"},
    },
}

EXAMPLE_YAML = """\
name: Greeting
start_at: greet
nodes:
  greet:
    class: Set
    params:
      values:
        text: "Hello, {{ input.name }}!"
"""


def body(model: type[BaseModel], *, required: bool = False) -> dict[str, Any]:
    """The request body of a route that reads it by `bodies.read`."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def document_body() -> dict[str, Any]:
    """The request body of a route that takes a workflow document as it stands."""
    schema = {
        "type": "object",
        "description": "A workflow document; its JSON Schema is at `/api/v1/schemas/workflow`.",
        "required": ["name", "start_at", "nodes"],
        "properties": {
            "name": {"type": "string"},
            "start_at": {"type": "string"},
            "nodes": {"type": "object", "additionalProperties": {"type": "object"}},
        },
    }
    content = {
        "application/json": {"schema": schema, "example": EXAMPLE_DOCUMENT},
        "application/yaml": {"schema": {"type": "string"}, "example": EXAMPLE_YAML},
    }
    return {"requestBody": {"required": True, "content": content}}


def run_file() -> dict[int | str, dict[str, Any]]:
    """The answer that is a run file."""
    content = {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The run file.", "content": content}}


def run_file_body() -> dict[str, Any]:
    """The request body that is a run file."""
    schema = {
        "type": "string",
        "format": "binary",
        "description": "What `GET /runs/{run_id}/export` answers.",
    }
    return {"requestBody": {"required": True, "content": {"application/gzip": {"schema": schema}}}}


def stream(description: str) -> dict[int | str, dict[str, Any]]:
    """The answer of a route that streams events."""
    return {
        200: {"description": description, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    }


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas that the routes refer to by name, and take out what FastAPI says about its own errors."""
    _, extra = models_json_schema([(model, "validation") for model in (*BODIES, *ALSO)], ref_template=_REF)
    components: dict[str, Any] = schema.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for name, found in extra.get("$defs", {}).items():
        schemas.setdefault(name, found)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["schemas"] = dict(sorted(schemas.items()))
    return schema
