"""The state of one run: the fold of its journal, as far as anything later can depend on it.

Cost per event must not grow with the run's length, so closed tasks leave the state; of their outputs only those stay
that something can still read. `values` counts its readers: the latest visit of each node, the current value of each
variable, arrivals that wait at a join, and every open task's `previous` and `reads`.
"""

from collections.abc import Iterable, Sequence

import msgspec

from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import (
    NO_ORIGIN,
    NO_READS,
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
    Usage,
    Wait,
)


class Mutable(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A part of the state, changed in place by `apply` and by nothing else."""


class StepState(Mutable):
    """A step that has its answer."""

    name: str
    args_sha256: str = ""
    kind: str = "step"
    result: Payload | None = None
    error: ErrorInfo | None = None


class OpenStep(Mutable):
    """An irreversible step that began and has no answer yet."""

    step: str
    name: str


class Spent(Mutable):
    """An amount of what calls use; money in billionths of a US dollar."""

    tokens: int = 0
    nano_usd: int = 0

    def add(self, usage: Usage) -> None:
        """More of it."""
        self.tokens += usage.tokens
        self.nano_usd += usage.nano_usd

    def take(self, usage: Usage) -> None:
        """Less of it."""
        self.tokens -= usage.tokens
        self.nano_usd -= usage.nano_usd


class Items(Mutable):
    """How far the items of a `for_each` are. What is finished leaves only a number here.

    Attributes:
        chunks: the values, by reference if they are large.
        next: the first item that was never scheduled.
        open: items that were scheduled and aren't done; of a run that failed they may be set aside.
        bytes: size of the outputs so far.
        after: the event that began them, in the run that lies `state.forks - forks` forks before this one.
    """

    count: int
    chunks: list[ItemChunk]
    next: int = 0
    open: dict[int, None] = {}
    completed: int = 0
    skipped: int = 0
    failed: int = 0
    withdrawn: int = 0
    bytes: int = 0
    after: int = 0
    forks: int = 0

    @property
    def done(self) -> int:
        """How many have a place in the list."""
        return self.completed + self.skipped + self.failed


class Block(Mutable):
    """How far the plan that a task laid is: so many of its tasks are `open`, plans in it counting as their own task.

    `done`: nothing in it is live, and the task puts its output together.
    """

    open: int = 0
    done: bool = False


class TaskState(Mutable):
    """A task that is open, or that failed or was stopped and could be taken up again by a retry.

    Attributes:
        attempt: the number of the current attempt, from 1; it never goes back.
        tries: attempts that failed since the task was scheduled or reopened; compared with `max_attempts`.
        deferrals: how often the author asked for RetryLater; these aren't tries.
        generation: how often the task was reopened; ids of its child runs depend on it.
        not_before_us: an attempt can't have begun before this time.
        started: the irreversible attempt began.
        open_steps: irreversible steps that began and have no answer yet.
        compensates: path of the task that it takes back; None for every other task.
        late: joins that have run while this was on its way to them; what it sends them is swallowed.
        late_result: what a worker without a lease said that came out of what is in doubt, or will be.
        reserved: what steps that are being called may use, by step; `used` what the others did.
        item: the place of an item in the list of its `for_each`; None for any other task.
        items: of a `for_each`, its items once they are known.
        block: of a task that laid a plan, how far that is.
    """

    path: str
    node: str
    visit: int
    status: TaskStatus = TaskStatus.READY
    attempt: int = 1
    tries: int = 0
    deferrals: int = 0
    generation: int = 0
    previous: Origin = NO_ORIGIN
    reads: Reads = NO_READS
    scheduled_at: str = ""
    not_before_us: int = 0
    started: bool = False
    open_steps: dict[str, OpenStep] = {}
    steps: dict[str, StepState] = {}
    waits: dict[str, Wait] = {}
    doubt: str | None = None
    late_result: Payload | None = None
    error: ErrorInfo | None = None
    compensates: str | None = None
    late: list[str] = []
    reserved: dict[str, Usage] = {}
    used: Spent = msgspec.field(default_factory=Spent)
    item: int | None = None
    items: Items | None = None
    block: Block | None = None

    @property
    def holds(self) -> bool:
        """Whether it waits for tasks of its own, the items of a `for_each` or the block of a plan."""
        return self.items is not None or (self.block is not None and not self.block.done)

    @property
    def open_step(self) -> OpenStep | None:
        """The first irreversible step that has no answer yet: the one to ask about if the task is in doubt."""
        return next(iter(self.open_steps.values()), None)

    @property
    def touched(self) -> bool:
        """Whether an irreversible part of it began and nobody knows yet how it ended."""
        return self.started or bool(self.open_steps)


class Held(Mutable):
    """A value and the number of its readers."""

    payload: Payload
    readers: int = 0


class Arrival(Mutable):
    """Something came to a node from `source`; `origin` is what `previous` will show of it; `late` as of a task."""

    source: str
    origin: Origin = NO_ORIGIN
    late: list[str] = []


class Signal(Mutable):
    """A signal that nobody has taken yet."""

    seq: int
    name: str
    payload: Payload


class Ending(Mutable):
    """Why the run will end: `failure`, `cancel`, `stop` (a Stop node said so) or `continue` (as `handover`)."""

    cause: str
    grace_until_us: int
    error: ErrorInfo | None = None
    output: Payload | None = None
    reason: str | None = None
    handover: Handover | None = None


class Undo(Mutable):
    """A visit (or an item of one) to be taken back by `node` if the run ends badly; it reads the value of `path`."""

    path: str
    node: str


class Compensation(Mutable):
    """The run takes back what it did, since event `began_seq`: of `total` visits so many are done, so many failed."""

    began_seq: int
    total: int
    completed: int = 0
    failed: int = 0


class Counts(Mutable):
    """How many tasks were scheduled and how they ended."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0


class Erased(msgspec.Struct, frozen=True):
    """When the run's data was erased, and by whom."""

    at: str
    by: str


class RunState(Mutable):
    """One run.

    Attributes:
        tasks: open tasks by path, in the order of their scheduling.
        set_aside: failed and stopped tasks of a run that failed or is about to, for a retry.
        late: join -> how many open tasks and waiting arrivals are late for it: the rest of the round that it ran in.
        held_back: joins that don't run because a failed task could have reached them.
        ready: how many open tasks are ready; `live` counts open tasks by node.
        latest: node id -> path of its latest completed visit.
        variables: name -> key in `values`.
        sinks: node id -> path of the latest visit at which a path of the run ended.
        arrivals: node id -> what came and was not taken yet.
        undo: visits with a compensation, by order of completion; emptied from the newest.
        continues: the run that this one goes on for. handover: the run that goes on for this one.
        plans: path of the task that laid it -> plan, as long as something in it may run.
        carried_tasks: tasks that the runs before it in its chain have scheduled.
        imported: the file that it came from; such a run is read and forked, and never goes on by itself.
        erased: its data was taken out of its journal, or is about to be; nothing goes on from it.
        forks: how many forks lie between this run and the first of its line; part of the keys of variables.
        active_us: time that the run was queued or running, up to `active_since_us`.
        spent: what calls have used; `reserved` what those that are being made may use.
        limits: budgets that were raised, and their limits.
        spent_out: budgets that pause the run until they are raised.
    """

    run_id: str = ""
    workflow: str = ""
    version: int = 0
    namespace: str = "default"
    rules: int = 0
    format: int = 0
    status: RunStatus = RunStatus.QUEUED
    seq: int = 0
    input: Payload | None = None
    labels: dict[str, str] = {}
    parent: Parent | None = None
    depth: int = 0
    priority: int = 0
    request: str = ""
    forked_from: ForkOrigin | None = None
    imported: Imported | None = None
    erased: "Erased | None" = None
    created_at: str = ""
    started_at: str = ""
    finished_at: str = ""
    begun: bool = False
    paused: bool = False
    ending: Ending | None = None
    output: Payload | None = None
    error: ErrorInfo | None = None
    tasks: dict[str, TaskState] = {}
    set_aside: dict[str, TaskState] = {}
    ready: int = 0
    live: dict[str, int] = {}
    visits: dict[str, int] = {}
    values: dict[str, Held] = {}
    latest: dict[str, str] = {}
    variables: dict[str, str] = {}
    sinks: dict[str, str] = {}
    arrivals: dict[str, list[Arrival]] = {}
    late: dict[str, int] = {}
    held_back: list[str] = []
    signals: list[Signal] = []
    signal_keys: dict[str, int] = {}
    counts: Counts = msgspec.field(default_factory=Counts)
    undo: list[Undo] = []
    compensation: Compensation | None = None
    continues: Predecessor | None = None
    handover: Handover | None = None
    plans: dict[str, Plan] = {}
    carried_tasks: int = 0
    forks: int = 0
    active_us: int = 0
    active_since_us: int | None = None
    spent: Spent = msgspec.field(default_factory=Spent)
    reserved: Spent = msgspec.field(default_factory=Spent)
    limits: dict[str, int | float] = {}
    spent_out: list[str] = []

    @property
    def held(self) -> bool:
        """Nothing new starts: a person paused the run, or a budget is spent."""
        return self.paused or bool(self.spent_out)

    @property
    def moves(self) -> bool:
        """Whether something may still happen to the run by itself: it is live, and its own."""
        return self.status.live and self.imported is None

    # values and their readers

    def hold(self, key: str) -> None:
        """One more reader of the value."""
        self.values[key].readers += 1

    def let_go(self, key: str) -> None:
        """One reader less; without any the value is forgotten."""
        held = self.values[key]
        held.readers -= 1
        if held.readers <= 0:
            del self.values[key]

    def let_all_go(self, keys: Iterable[str]) -> None:
        """One reader less of each of the values."""
        values = self.values
        for key in keys:
            held = values[key]
            held.readers -= 1
            if held.readers <= 0:
                del values[key]

    def keep(self, key: str, payload: Payload) -> None:
        """Store a value; whoever reads it must hold it before this event is over."""
        known = self.values.get(key)
        if known is None:
            self.values[key] = Held(payload=payload)
        else:
            known.payload = payload

    def take(self, arrivals: Iterable[Arrival]) -> None:
        """These no longer wait."""
        for arrival in arrivals:
            if arrival.late:
                self.count_late(arrival.late, -1)
            self.let_all_go(origin_keys(arrival.origin))

    def count_late(self, joins: Iterable[str], step: int) -> None:
        """One more (or less) open task or waiting arrival that is late for each of the joins."""
        for join in joins:
            count = self.late.get(join, 0) + step
            if count:
                self.late[join] = count
            else:
                del self.late[join]

    def payload(self, key: str) -> Payload:
        """The value that a reader holds."""
        return self.values[key].payload

    def container(self, item: TaskState) -> TaskState:
        """The task that the item belongs to: open, or set aside with its run."""
        path = container_path(item.path)
        return self.tasks.get(path) or self.set_aside[path]


def item_path(path: str, item: int) -> str:
    """The path of an item of the task `path`."""
    return f"{path}[{item}]"


def container_path(path: str) -> str:
    """The path of the task that an item belongs to. `[` can't be in a node's id."""
    return path.rpartition("[")[0]


def origin_keys(origin: Origin) -> Sequence[str]:
    """Every value that the origin stands for."""
    if origin.sources is None:
        return () if origin.path is None else (origin.path,)
    keys: list[str] = [] if origin.path is None else [origin.path]
    for several in origin.sources.values():
        for one in several:
            keys.extend(origin_keys(one))
    return keys


def is_larger_than(origin: Origin, limit: int) -> bool:
    """Whether the origin stands for more than `limit` outputs; looks at no more of it than that."""
    todo, seen = [origin], 0
    while todo and seen <= limit:
        seen += 1
        for several in (todo.pop().sources or {}).values():
            todo.extend(several)
    return bool(todo)


def read_keys(task: TaskState) -> Sequence[str]:
    """Every value that the task holds."""
    keys, reads = origin_keys(task.previous), task.reads
    if reads is NO_READS:
        return keys
    return [*keys, *reads.nodes.values(), *reads.variables.values()]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RunState)


def encode_state(state: RunState) -> bytes:
    """A snapshot."""
    return _encoder.encode(state)


def decode_state(data: bytes) -> RunState:
    """The inverse of `encode_state`.

    Raises:
        msgspec.ValidationError: the snapshot was made by a release that this one doesn't understand.
    """
    return _decoder.decode(data)
