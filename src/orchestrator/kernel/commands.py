"""What the kernel can be asked: one struct a command.

Everything that isn't a rule comes in with a command: ids, results, evaluated expressions, random draws. A command that
the run's state doesn't allow is refused with `Conflict` and leaves no event; one that was carried out before (a signal
with a known key, a pause of a paused run) gives no event either, and that is success.
"""

import msgspec

from orchestrator.kernel.values import (
    NO_TIMING,
    CachedFrom,
    ErrorInfo,
    Handover,
    ItemChunk,
    Parent,
    Payload,
    Plan,
    Predecessor,
    Signalled,
    Timing,
    Usage,
    Wait,
)


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """The root of all commands."""


class StartRun(Command, frozen=True):
    """Begin a run. Allowed only on an empty journal. `request` tells a repeat from another request.

    `priority` is added to its nodes'.

    A run that `continues` another takes over the `signals` that nobody took there.
    """

    run_id: str
    workflow: str
    version: int
    namespace: str = "default"
    input: Payload | None = None
    labels: dict[str, str] = {}
    variables: dict[str, Payload] = {}
    parent: Parent | None = None
    depth: int = 0
    priority: int = 0
    request: str = ""
    continues: Predecessor | None = None
    signals: tuple[Signalled, ...] = ()


class RouteChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's Route says, before the kernel has checked it. No targets: the path ends here."""

    targets: tuple[str, ...] = ()
    reason: str | None = None
    confidence: float | None = None
    by: str = "function"
    model: str | None = None
    prompt_sha256: str | None = None
    usage: dict[str, float] | None = None
    cost_usd: float | None = None


class StopRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's Stop says."""

    succeed: bool = True
    message: str | None = None


class StartItems(Command, frozen=True):
    """The attempt of a node with `for_each` has evaluated it: these are the items."""

    path: str
    chunks: tuple[ItemChunk, ...] = ()
    timing: Timing = NO_TIMING


class CompleteTask(Command, frozen=True):
    """The attempt gave a result. A route that isn't allowed turns it into a failure.

    `enough` is, of an item, what `complete_when` gave after it: whether that was enough, or how many are. `cached`: the
    output is another task's, nothing ran; `cache_key`: it will be kept under this key. With a `plan` the task isn't
    complete yet: it waits for its block, and its output will be the block's.
    """

    path: str
    output: Payload
    route: RouteChoice | None = None
    stop: StopRequest | None = None
    handover: Handover | None = None
    plan: Plan | None = None
    plan_reason: str | None = None
    variables: dict[str, Payload] = {}
    enough: bool | int | None = None
    timing: Timing = NO_TIMING
    cached: CachedFrom | None = None
    cache_key: str = ""


class FailTask(Command, frozen=True):
    """The attempt failed. `draw` in [0, 1) spreads the delay; `later_us` is the author's RetryLater."""

    path: str
    error: ErrorInfo
    draw: float = 0.5
    later_us: int | None = None
    timing: Timing = NO_TIMING


class SkipTask(Command, frozen=True):
    """The node's `when` was false."""

    path: str
    reason: str = "`when` is false"


class StartTask(Command, frozen=True):
    """An irreversible attempt is about to begin: journal it first."""

    path: str
    worker: str = ""


class StartStep(Command, frozen=True):
    """An irreversible step is about to begin: journal it first."""

    path: str
    step: str
    name: str
    args_sha256: str = ""


class RecordStep(Command, frozen=True):
    """A step gave a result or failed for good. A step that has an answer keeps it: this is refused.

    `usage` is what it used; None: what was reserved for it, if anything was.
    """

    path: str
    step: str
    name: str
    args_sha256: str = ""
    effect: str = "write"
    result: Payload | None = None
    error: ErrorInfo | None = None
    started_at: str = ""
    usage: Usage | None = None


class ReserveBudget(Command, frozen=True):
    """A step is about to make a call that uses at most this much."""

    path: str
    step: str
    usage: Usage


class SettleBudget(Command, frozen=True):
    """What the call of a step used that has no answer to record. None: as much as was reserved."""

    path: str
    step: str
    usage: Usage | None = None


class SuspendTask(Command, frozen=True):
    """The task's code waits for all of these at once, and was unwound."""

    path: str
    waits: tuple[Wait, ...]


class FireTimer(Command, frozen=True):
    """The queue says that a waiting task's time has come; the kernel looks which waits are due."""

    path: str


class AbandonTask(Command, frozen=True):
    """The worker has ended the task, or never began it (`began` false), because the run is stopping."""

    path: str
    began: bool = True


class DoubtTask(Command, frozen=True):
    """The worker that ran an irreversible attempt (or step) is gone, or can't say how it ended."""

    path: str
    reason: str


class NoteLate(Command, frozen=True):
    """A worker that lost its lease has the result of an irreversible attempt (or of its step) after all."""

    path: str
    attempt: int
    result: Payload
    step: str | None = None
    worker: str = ""


class ResolveTask(Command, frozen=True):
    """A person says what became of a task in doubt: `done` (with its output), `retry`, `skip` or `fail`."""

    path: str
    action: str
    output: Payload | None = None
    message: str | None = None
    by: str = "operator"


class DeliverSignal(Command, frozen=True):
    """A signal arrives. `key` makes a repeat harmless."""

    name: str
    payload: Payload
    key: str
    sender: str | None = None


class FinishChild(Command, frozen=True):
    """A run that the task `path` waits for has ended."""

    run: str
    path: str
    step: str
    output: Payload | None = None
    error: ErrorInfo | None = None


class PauseRun(Command, frozen=True):
    """Start nothing new."""

    by: str = "operator"
    reason: str | None = None


class ResumeRun(Command, frozen=True):
    """Take the pause back."""

    by: str = "operator"
    reason: str | None = None


class RaiseBudget(Command, frozen=True):
    """A person gives the run more: new limits by budget (`tasks`, `duration` in microseconds, `tokens`, `cost_usd`)."""

    limits: dict[str, int | float]
    by: str = "operator"
    reason: str | None = None


class CancelRun(Command, frozen=True):
    """End the run; what runs is told. `from_parent`: whoever waited for it is gone, and it may be meant to go on."""

    by: str = "operator"
    reason: str | None = None
    from_parent: bool = False


class RetryRun(Command, frozen=True):
    """Take up a failed run where it failed."""

    by: str = "operator"
    reason: str | None = None


class EraseRun(Command, frozen=True):
    """Record that the data of a run that is over is taken out of its journal."""

    by: str = "operator"
    reason: str | None = None


class FinishRun(Command, frozen=True):
    """The value of the workflow's `output`, asked for by `needs_output`; or why it could not be had."""

    output: Payload | None = None
    error: ErrorInfo | None = None


class FinishHandover(Command, frozen=True):
    """The run `run`, which goes on for this one, exists; or why it can't be started."""

    run: str
    error: ErrorInfo | None = None


class Deadline(Command, frozen=True):
    """A timer of the run itself has come: `grace` (stop waiting for what was told) or `budget` (its duration)."""

    timer: str


class TaskPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a fork puts in the place of a task's result.

    Of a task that is open at the cut: it completes with this output, route and variables. Of one that had completed by
    then: its output is replaced, and that is all that can be.
    """

    output: Payload
    route: RouteChoice | None = None
    variables: dict[str, Payload] = {}


class ForkRun(Command, frozen=True):
    """Continue, as the new run `run_id`, the state that this is handled on (a copy of the parent's at `seq`).

    `patches` change the past by task path. That nothing builds on a replaced output is for the caller to see:
    a state doesn't know what its closed tasks have read.
    """

    run_id: str
    parent_run: str
    seq: int
    version: int | None = None
    input: Payload | None = None
    variables: dict[str, Payload] = {}
    request: str = ""
    patches: dict[str, TaskPatch] = {}
    by: str = "operator"
