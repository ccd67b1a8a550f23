"""The journal's vocabulary: every kind of event, what it records, and how it reads as JSON.

An event is an immutable fact. It records its consequences (which successors got an arrival, whether a failure is
tried again and when), so that `apply` makes no choices and an old journal reads the same under newer rules. Events of
one command form a group: they share `group`, the seq of the first of them, and are committed together or not at all.

A kind's name and its fields are compatibility data: add fields with defaults, never change or remove one. Golden
journals in `tests/replay` hold each release to that. These kinds are reserved for later releases and must not be
used otherwise: approval_requested, approval_resolved, run_migrated.
"""

from collections.abc import Iterable

import msgspec

from orchestrator.kernel.values import (
    NO_ORIGIN,
    NO_READS,
    NO_TIMING,
    CachedFrom,
    Chosen,
    ErrorInfo,
    ForkOrigin,
    Handover,
    Imported,
    ItemChunk,
    Origin,
    Parent,
    Payload,
    Plan,
    Predecessor,
    Reads,
    Timing,
    Wait,
)

JOURNAL_FORMAT = 1
"""Of the events' JSON. A worker that doesn't know a run's format gives its tasks back."""

RULES_VERSION = 1
"""Of the kernel's rules. A run keeps to the rules that it was started under."""


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Event(msgspec.Struct, tag_field="kind", tag=_snake, omit_defaults=True, kw_only=True):
    """What all events have. `seq`, `group` and `at` are set once, by the kernel, when the group is sealed."""

    seq: int = 0
    group: int = 0
    at: str = ""

    @property
    def kind(self) -> str:
        """The kind's name in the journal, such as `task_completed`."""
        return str(self.__struct_config__.tag)


class TaskEvent(Event, kw_only=True):
    """An event of one task."""

    path: str
    node: str


# --- the run ------------------------------------------------------------------------------------------------------


class RunStarted(Event):
    """The run exists. A fork's first event names its origin, and lists the tasks that it schedules anew.

    `imported`: this journal was read from a file. It is looked at and forked, and never goes on by itself.
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
    forked_from: ForkOrigin | None = None
    continues: Predecessor | None = None
    reopened: list[str] = []
    returned: list[str] = []
    imported: Imported | None = None
    rules: int = RULES_VERSION
    format: int = JOURNAL_FORMAT


class VariablesSet(Event):
    """Variables got new values, by the task `path` (or at a fork by its patch)."""

    values: dict[str, Payload]
    path: str | None = None
    node: str | None = None


class RunPatched(Event):
    """A fork changes its parent's past; follows on `run_started`.

    `outputs` take the place of results that were there at the cut. The tasks `completed` were open there: they end with
    what a person gave, `routes` names the ways that were forced; their decisions and completions follow in this group.
    """

    outputs: dict[str, Payload] = {}
    completed: list[str] = []
    routes: dict[str, list[str]] = {}
    by: str = "operator"


class SignalReceived(Event):
    """A signal was accepted. It waits, in order, until a task takes it."""

    name: str
    payload: Payload
    key: str
    sender: str | None = None


class RunPaused(Event):
    """Nothing new starts until `run_resumed`."""

    by: str = "operator"
    reason: str | None = None


class RunResumed(Event):
    """What the pause held may start."""

    by: str = "operator"
    reason: str | None = None


class BudgetExceeded(Event):
    """A budget of the run is spent. `action`: `fail`, then `run_stopping` follows, or `pause`, until it is raised.

    Limits and values are tasks, microseconds, tokens or US dollars.
    """

    budget: str
    limit: int | float
    value: int | float
    action: str = "fail"


class BudgetRaised(Event):
    """A person gave the run more: the new limit of one budget."""

    budget: str
    limit: int | float
    by: str = "operator"
    reason: str | None = None


class CancelRequested(Event):
    """Somebody cancelled the run. Running tasks are told, and have until `grace_until_us` to report."""

    grace_until_us: int
    by: str = "operator"
    reason: str | None = None


class RunStopping(Event):
    """The run will end: as failed (`error`), or by a Stop node as succeeded (`output`), or as another (`handover`).

    Nothing new is scheduled.
    """

    cause: str
    grace_until_us: int
    error: ErrorInfo | None = None
    output: Payload | None = None
    handover: Handover | None = None


class RunContinued(Event):
    """The run goes on as the run `run`, which takes over `signals` unread signals, and what the chain has spent.

    What the failure or stop of a task had set aside is let go. The end follows once the successor exists.
    """

    run: str
    input: Payload | None = None
    latest: bool = False
    tasks: int = 0
    active_us: int = 0
    signals: int = 0


class CompensationStarted(Event):
    """Everything else is over: the run begins to take back `count` visits, newest first. From now on no retry."""

    count: int


class RunRetried(Event):
    """A failed run goes on: these tasks are ready again, under their old paths, with their recorded steps.

    `returned`: tasks of joins that had failed for want of arrivals: withdrawn, and what they had taken waits again.
    """

    reopened: list[str]
    returned: list[str] = []
    by: str = "operator"
    reason: str | None = None


class DataErased(Event):
    """What people gave and got in this run was taken out of its journal. Comes after the end, and nothing after it."""

    by: str = "operator"
    reason: str | None = None


class RunSucceeded(Event):
    """The end. `stopped`: a Stop node ended the run before its time."""

    output: Payload
    stopped: bool = False


class RunFailed(Event):
    """The end, unless the run is retried."""

    error: ErrorInfo


class RunCancelled(Event):
    """The end."""

    reason: str | None = None


class ArrivalSwallowed(Event):
    """The arrival at `place` among those that wait at `node` is dropped.

    reasons: `late` (the join has run without it), `surplus` (it ran with as many as it wants), `cancelled` (a join with
    `rest: cancel`, or a node that `cancels` this one, withdrew what led to it).
    """

    node: str
    source: str
    reason: str
    place: int = 0


class JoinHeldBack(Event):
    """A join `all` that was about to run doesn't: tasks that failed (`failed`) could have reached it."""

    node: str
    failed: list[str]


# --- tasks --------------------------------------------------------------------------------------------------------


class TaskScheduled(TaskEvent):
    """A task is ready. It takes the oldest arrival at its node, a join (`join`) all that are there, or `takes` of them.

    late: the joins that ran while what led to this task was on its way to them: what it sends them is swallowed.
    outran: of a join by number, the open tasks that were still on their way to it, and are late for it from now on.
    outran_at: the joins at which arrivals wait that were on their way to it.
    taken: the places of the arrivals that it takes, where these aren't the first.
    compensates: it takes no arrival but takes back what the task of this path did.
    item: the place of an item in the list of its `for_each`, from 0. It takes no arrival, and reads what the task reads
        that has the items.
    """

    visit: int
    previous: Origin = NO_ORIGIN
    reads: Reads = NO_READS
    join: bool = False
    compensates: str | None = None
    takes: int = 0
    late: list[str] = []
    outran: list[str] = []
    outran_at: list[str] = []
    taken: list[int] = []
    item: int | None = None


class ItemsStarted(TaskEvent):
    """The list of a `for_each` is known. The task waits until its items are done; they are scheduled in windows."""

    attempt: int
    count: int
    chunks: list[ItemChunk]
    timing: Timing = NO_TIMING


class TaskStarted(TaskEvent):
    """An irreversible attempt begins. Only irreversible tasks record this, before they touch the world."""

    attempt: int
    worker: str = ""


class StepStarted(TaskEvent):
    """An irreversible step begins."""

    step: str
    name: str
    args_sha256: str = ""


class StepRecorded(TaskEvent):
    """A step's result, or its final failure. Whoever asks for this step again gets this answer."""

    step: str
    name: str
    args_sha256: str = ""
    effect: str = "write"
    result: Payload | None = None
    error: ErrorInfo | None = None
    started_at: str = ""


class BudgetReserved(TaskEvent):
    """An upper bound of what a step may use was set aside, before it is called."""

    step: str
    attempt: int
    tokens: int = 0
    cost_usd: float = 0.0


class BudgetSettled(TaskEvent):
    """What was used, in the place of what was reserved for it (if it was). `step` empty: by the task beside its steps.

    `lost`: nobody can say what the call used, its answer was lost; all that was reserved counts.
    """

    step: str = ""
    tokens: int = 0
    cost_usd: float = 0.0
    lost: bool = False


class DecisionMade(TaskEvent):
    """A node chose where the run goes. Precedes the completion of its task, in the same group."""

    chosen: list[Chosen]
    allowed: list[str]
    reason: str | None = None
    confidence: float | None = None
    by: str = "rule"
    model: str | None = None
    prompt_sha256: str | None = None
    usage: dict[str, float] | None = None
    cost_usd: float | None = None


class TaskCompleted(TaskEvent):
    """The task's result, and the nodes that got an arrival from it. None: this path of the run ends here.

    `compensate`: the node that takes it back, should the run fail or be cancelled. `cached`: nothing ran, the output is
    another task's. `cache_key`: the output is kept under it, for tasks to come.
    """

    attempt: int
    output: Payload
    arrivals: list[str] = []
    timing: Timing = NO_TIMING
    compensate: str | None = None
    cached: CachedFrom | None = None
    cache_key: str = ""


class TaskFailed(TaskEvent):
    """An attempt failed. Tried again at `retry_us`; or handled by the node in `arrivals`; else for good.

    `compensate`: nobody knows whether it did its work, and this node takes it back. `collected`: an item failed for
    good, and its error takes its place in the list.
    """

    attempt: int
    error: ErrorInfo
    retry_us: int | None = None
    deferred: bool = False
    collected: bool = False
    arrivals: list[str] = []
    timing: Timing = NO_TIMING
    compensate: str | None = None


class GraphExtended(TaskEvent):
    """The task laid a plan: nodes under its path, for this run only. What led to the task leads to the first of them.

    The task waits until nothing in this block is live any more.
    """

    attempt: int
    plan: Plan
    reason: str | None = None
    timing: Timing = NO_TIMING


class PlanFinished(TaskEvent):
    """The block under this task is done; the task is ready, and its output is put together from what this names.

    `reads.nodes` are, where the plan says what its output is, what that reads; else the plan's sinks, by their ids.
    Where there is nothing to put together, the completion follows on the block at once, without this.
    """

    reads: Reads = NO_READS


class TaskSkipped(TaskEvent):
    """`when` was false, or a person skipped the task. Output null; what led here is passed on."""

    arrivals: list[str] = []
    reason: str | None = None


class TaskCancelled(TaskEvent):
    """The task was withdrawn. `unknown`: it may have touched the world. `children`: the runs that it waited for.

    `compensate`: nobody knows whether it did its work, and this node takes it back.
    `final`: the run goes on without it, and a retry doesn't take it up.
    """

    reason: str
    final: bool = False
    unknown: bool = False
    children: list[str] = []
    compensate: str | None = None


class TaskSuspended(TaskEvent):
    """The task waits, and holds no worker. `waits` is everything that it waits for; `children` the runs to start.

    `ready`: something else that it waited for had ended before its code was unwound, so it is ready again at once.
    """

    attempt: int
    waits: list[Wait]
    children: list[str] = []
    ready: bool = False


class TaskResumed(TaskEvent):
    """One of its waits is over: the step `step` has its answer, and the task is ready again.

    `by`: timer, signal (with `signal`, the seq that it takes), child, or timeout (the signal did not come).
    """

    step: str
    by: str
    signal: int | None = None
    result: Payload | None = None
    error: ErrorInfo | None = None


class TaskInDoubt(TaskEvent):
    """An irreversible attempt began and nobody knows how it ended. `step` if one of its steps did."""

    attempt: int
    reason: str
    step: str | None = None
    late: Payload | None = None


class LateResultNoted(TaskEvent):
    """A worker without a lease had this result of an irreversible attempt, or of its step. Shown beside the doubt; it
    decides nothing."""

    attempt: int
    result: Payload
    step: str | None = None
    worker: str = ""


class TaskResolved(TaskEvent):
    """A person, or the node's `on_doubt`, said what became of a task in doubt: done, retry, skip or fail. The
    consequence follows; a retry by `on_doubt` begins at `retry_us`."""

    action: str
    by: str = "operator"
    message: str | None = None
    retry_us: int | None = None


AnyEvent = (
    RunStarted
    | VariablesSet
    | RunPatched
    | SignalReceived
    | RunPaused
    | RunResumed
    | BudgetExceeded
    | BudgetRaised
    | CancelRequested
    | RunStopping
    | CompensationStarted
    | RunContinued
    | RunRetried
    | RunSucceeded
    | RunFailed
    | RunCancelled
    | DataErased
    | ArrivalSwallowed
    | JoinHeldBack
    | TaskScheduled
    | ItemsStarted
    | TaskStarted
    | StepStarted
    | StepRecorded
    | BudgetReserved
    | BudgetSettled
    | DecisionMade
    | TaskCompleted
    | TaskFailed
    | GraphExtended
    | PlanFinished
    | TaskSkipped
    | TaskCancelled
    | TaskSuspended
    | TaskResumed
    | TaskInDoubt
    | LateResultNoted
    | TaskResolved
)

KINDS: tuple[type[Event], ...] = AnyEvent.__args__

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """The event as it stands in the journal: one line of JSON."""
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The inverse of `encode`.

    Raises:
        msgspec.ValidationError: not an event that this release knows.
    """
    return _decoder.decode(data)


def decode_all(lines: Iterable[bytes]) -> list[AnyEvent]:
    """Several events, in order."""
    return [_decoder.decode(line) for line in lines]
