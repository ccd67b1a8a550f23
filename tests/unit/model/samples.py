"""Documents and classes that the tests of the model share."""

import copy
from typing import Any

from orchestrator.model.declarations import ClassDeclaration, Effect

ONBOARDING: dict[str, Any] = {
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

MAIL_PARAMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "to": {"type": "string"},
        "subject": {"type": "string", "minLength": 1, "description": "What the mail is about."},
        "copies": {"type": "integer", "minimum": 0},
        "options": {"$ref": "#/$defs/Options"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["subject"],
    "additionalProperties": False,
    "$defs": {
        "Options": {
            "type": "object",
            "properties": {"html": {"type": "boolean"}},
            "additionalProperties": False,
        }
    },
}

KNOWN: dict[str, ClassDeclaration] = {
    declaration.name: declaration
    for declaration in (
        ClassDeclaration(name="StartNode", effect=Effect.PURE),
        ClassDeclaration(name="EndNode", effect=Effect.PURE),
        ClassDeclaration(name="SetNode", effect=Effect.PURE, summary="Gives data."),
        ClassDeclaration(name="IfNode", effect=Effect.PURE, routes=()),
        ClassDeclaration(name="AgentNode", routes=("*",)),
        ClassDeclaration(name="ChooseNode", routes=()),
        ClassDeclaration(name="PayNode", effect=Effect.IRREVERSIBLE),
        ClassDeclaration(name="MailNode", params_schema=MAIL_PARAMS, title="Mail", summary="Sends a mail."),
        ClassDeclaration(name="GetUserDataNode", effect=Effect.READ),
        ClassDeclaration(name="RouteUserByTypeNode", routes=("step_escalate", "step_standard_process")),
        ClassDeclaration(name="EscalateToPremiumSupportNode"),
        ClassDeclaration(name="ProcessStandardUserNode"),
        ClassDeclaration(name="SendWelcomeEmailNode"),
    )
}


def workflow(nodes: dict[str, dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """A document that starts with its first node; a node without a class is a `SetNode`."""
    filled = {node: {"class": "SetNode", **copy.deepcopy(written)} for node, written in nodes.items()}
    return {"name": "test", "start_at": next(iter(nodes)), "nodes": filled, **copy.deepcopy(fields)}


def chain(*ids: str) -> dict[str, dict[str, Any]]:
    """Nodes one after another."""
    following = [*ids[1:], None]
    return {node: {"next_node": after} if after else {} for node, after in zip(ids, following, strict=True)}
