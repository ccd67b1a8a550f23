"""What a node's author imports.

A node class derives from `BaseNode` (or is a function under `@node`), says what it takes, gives and does to the world,
and does its work in `execute(params, ctx)`. It returns an output, a `Route` that chooses the way, a `Plan` of new
nodes, a `Stop` or a `Continue`. The `Context` is its view of the run and its way to durable steps, sleeps, signals and
child runs. The `Registry` knows the classes by name.

Built-in nodes import from here and from nowhere else, so what they can do a stranger's can too.
"""

from orchestrator.errors import UsageError
from orchestrator.model.declarations import ClassDeclaration
from orchestrator.model.durations import Duration, PositiveDuration
from orchestrator.sdk.context import Arrival, Context, LogLevel, Usage
from orchestrator.sdk.effect import ANY, Effect
from orchestrator.sdk.errors import (
    ChildFailed,
    InvalidParams,
    NodeError,
    OutputNotStorable,
    PermanentFailure,
    RetryLater,
    SignalTimeout,
)
from orchestrator.sdk.functions import FunctionNode, node
from orchestrator.sdk.node import BaseNode, NoParams
from orchestrator.sdk.outbox import Outbox, OutboxMessage, OutboxPage
from orchestrator.sdk.registry import LoadProblem, Registry, Reload, default_registry, register
from orchestrator.sdk.results import Continue, DecidedBy, Plan, Route, Stop

__all__ = [
    "ANY",
    "Arrival",
    "BaseNode",
    "ChildFailed",
    "ClassDeclaration",
    "Context",
    "Continue",
    "DecidedBy",
    "Duration",
    "Effect",
    "FunctionNode",
    "InvalidParams",
    "LoadProblem",
    "LogLevel",
    "NoParams",
    "NodeError",
    "Outbox",
    "OutboxMessage",
    "OutboxPage",
    "OutputNotStorable",
    "PermanentFailure",
    "Plan",
    "PositiveDuration",
    "Registry",
    "Reload",
    "RetryLater",
    "Route",
    "SignalTimeout",
    "Stop",
    "Usage",
    "UsageError",
    "default_registry",
    "node",
    "register",
]
