"""The errors that a node's author raises or meets.

Raise `RetryLater` when nothing happened out there and another try may do, `PermanentFailure` when trying again is
pointless. Any other exception fails the attempt too, and is tried again as the node's `retry` says.

`SignalTimeout` and `ChildFailed` are final answers of a step: they are recorded, and whoever runs the node again meets
them again. So they are never worth a retry of the task; catch them, or lead them on with `on_error`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Fault, NodeError, OutputNotStorable, PermanentFailure, RetryLater

__all__ = [
    "ChildFailed",
    "InvalidParams",
    "NodeError",
    "OutputNotStorable",
    "PermanentFailure",
    "RetryLater",
    "SignalTimeout",
]


class SignalTimeout(NodeError, TimeoutError):
    """`ctx.wait_for_signal(..., timeout=...)` waited in vain."""

    code = "signal_timeout"
    retryable = False

    def __init__(self, signal: str, *, timeout_seconds: float | None = None) -> None:
        self.signal, self.timeout_seconds = signal, timeout_seconds
        within = "in time" if timeout_seconds is None else f"within {timeout_seconds:g} s"
        super().__init__(f"the signal {signal!r} did not come {within}")


class ChildFailed(NodeError):
    """`ctx.run_workflow(...)`: the child run failed or was cancelled.

    `error` is the child's own error as `{"type", "message", ...}`, None if it was cancelled; `run_id` names the child.
    """

    code = "child_failed"
    retryable = False

    def __init__(
        self,
        workflow: str,
        *,
        run_id: str = "",
        status: str = "failed",
        error: Mapping[str, Any] | None = None,
    ) -> None:
        self.workflow, self.run_id, self.status = workflow, run_id, status
        self.error = dict(error) if error is not None else None
        which = f" (run {run_id})" if run_id else ""
        why = f": {self.error.get('type', 'error')}: {self.error.get('message', '')}" if self.error else ""
        super().__init__(f"the workflow {workflow!r}{which} {_ENDS.get(status, status)}{why}")


_ENDS = {"failed": "failed", "cancelled": "was cancelled"}


class InvalidParams(NodeError):
    """The params of a task, expressions evaluated, are not what its class takes; `faults` lists every reason.

    Each fault's pointer begins at the params (`/amount`).
    """

    code = "invalid_params"
    retryable = False

    def __init__(self, class_name: str, faults: Sequence[Fault]) -> None:
        self.class_name, self.faults = class_name, tuple(faults)
        super().__init__(f"params of {class_name}: " + "; ".join(str(fault) for fault in self.faults))
