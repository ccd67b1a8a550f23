"""What users test workflows and stores with: a lab on a virtual clock, and the conformance suite of the contract.

    from orchestrator.testing import Lab, in_lab

The names stand here and are imported when they are first asked for. With pytest there is the fixture `workflow_lab`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.testing.clock import NoInputOutput, Stalled
    from orchestrator.testing.lab import Document, Lab, in_lab
    from orchestrator.testing.run import Decision, Failure, LabRun, Step
    from orchestrator.testing.stand_ins import Call, StandIn

__all__ = [
    "Call",
    "Decision",
    "Document",
    "Failure",
    "Lab",
    "LabRun",
    "NoInputOutput",
    "Stalled",
    "StandIn",
    "Step",
    "in_lab",
]

_HOMES = {
    "orchestrator.testing.clock": "NoInputOutput Stalled",
    "orchestrator.testing.lab": "Document Lab in_lab",
    "orchestrator.testing.run": "Decision Failure LabRun Step",
    "orchestrator.testing.stand_ins": "Call StandIn",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker knows the names above, and so finds wrong ones

    def __getattr__(name: str) -> Any:
        """Import a public name at its first use, and keep it.

        Raises:
            AttributeError: there is no such public name.
        """
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: Any = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
