"""The pre-built nodes, one file per family. They see only `orchestrator.sdk`, like anybody's.

This module is what the entry point `orchestrator.nodes` names: the registry takes every class that `__all__` lists.
"""

from orchestrator.nodes.data import SetNode
from orchestrator.nodes.flow import (
    EndNode,
    IfNode,
    StartNode,
    StopNode,
    SubWorkflowNode,
    SwitchNode,
    WaitNode,
)
from orchestrator.nodes.onboarding import (
    EscalateToPremiumSupportNode,
    GetUserDataNode,
    ProcessStandardUserNode,
    RouteUserByTypeNode,
    SendWelcomeEmailNode,
)

__all__ = [
    "EndNode",
    "EscalateToPremiumSupportNode",
    "GetUserDataNode",
    "IfNode",
    "ProcessStandardUserNode",
    "RouteUserByTypeNode",
    "SendWelcomeEmailNode",
    "SetNode",
    "StartNode",
    "StopNode",
    "SubWorkflowNode",
    "SwitchNode",
    "WaitNode",
]
