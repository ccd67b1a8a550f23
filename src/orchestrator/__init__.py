"""Agentic Orchestrator: durable workflows whose nodes may be fixed stations or agents that decide.

    from orchestrator import BaseNode, Context, Route

The public names stand here and nothing else. Each is imported when it is first asked for (PEP 562), so that
`import orchestrator` itself costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.errors import (
        Conflict,
        DefinitionError,
        Fault,
        LimitExceeded,
        NodeError,
        NotFound,
        OrchestratorError,
        PermanentFailure,
        RetryLater,
        StoreError,
        UsageError,
    )
    from orchestrator.model.declarations import ANY, ClassDeclaration, Effect
    from orchestrator.model.durations import Duration, PositiveDuration
    from orchestrator.sdk.context import Arrival, Context, Usage
    from orchestrator.sdk.errors import ChildFailed, SignalTimeout
    from orchestrator.sdk.functions import node
    from orchestrator.sdk.node import BaseNode
    from orchestrator.sdk.outbox import Outbox, OutboxMessage
    from orchestrator.sdk.registry import Registry, default_registry, register
    from orchestrator.sdk.results import Continue, Plan, Route, Stop

    __version__: str

__all__ = [
    "ANY",
    "Arrival",
    "BaseNode",
    "ChildFailed",
    "ClassDeclaration",
    "Conflict",
    "Context",
    "Continue",
    "DefinitionError",
    "Duration",
    "Effect",
    "Fault",
    "LimitExceeded",
    "NodeError",
    "NotFound",
    "OrchestratorError",
    "Outbox",
    "OutboxMessage",
    "PermanentFailure",
    "Plan",
    "PositiveDuration",
    "Registry",
    "RetryLater",
    "Route",
    "SignalTimeout",
    "Stop",
    "StoreError",
    "Usage",
    "UsageError",
    "__version__",
    "default_registry",
    "node",
    "register",
]

_HOMES = {
    "orchestrator.errors": (
        "Conflict DefinitionError Fault LimitExceeded NodeError NotFound OrchestratorError PermanentFailure RetryLater "
        "StoreError UsageError"
    ),
    "orchestrator.model.declarations": "ANY ClassDeclaration Effect",
    "orchestrator.model.durations": "Duration PositiveDuration",
    "orchestrator.sdk.context": "Arrival Context Usage",
    "orchestrator.sdk.errors": "ChildFailed SignalTimeout",
    "orchestrator.sdk.functions": "node",
    "orchestrator.sdk.node": "BaseNode",
    "orchestrator.sdk.outbox": "Outbox OutboxMessage",
    "orchestrator.sdk.registry": "Registry default_registry register",
    "orchestrator.sdk.results": "Continue Plan Route Stop",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker knows the names above, and so finds wrong ones

    def __getattr__(name: str) -> Any:
        """Import a public name at its first use, and keep it.

        Raises:
            AttributeError: there is no such public name.
        """
        if name == "__version__":
            metadata = importlib.import_module("importlib.metadata")
            try:
                value: Any = metadata.version("agentic-orchestrator")
            except metadata.PackageNotFoundError:
                value = "0+unknown"  # run from its sources, without having been installed
        elif name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
