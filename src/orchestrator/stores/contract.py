"""The store's contract: everything that the engine asks of a place where runs are kept.

The port speaks the domain ("commit if the run is still at N", "lease up to N due tasks"), never SQL. A store never
decodes a payload, an event or a snapshot: they are bytes to it. All methods are asynchronous and may be called from
one event loop at a time. Every key and query carries a namespace; run ids are unique over all namespaces.

Time. The store's clock alone judges leases and due times. Delays travel to the store as delays (`delay_us`), and
answers carry the store's time as `now_us` (microseconds since the epoch), from which an engine derives its own `now`.
A store may keep runs in partitions, each with its own clock (a Redis cluster): a row is judged by the clock of its
run's partition, and the times of two answers may disagree by the skew of the machines.

Text. Ids, paths, queues, labels, errors and notes are text that every store can keep: no NUL, no lone surrogate. Who
makes them from foreign text escapes it first; one such character refuses a whole batch (PostgreSQL).

The rows of one run:

* the *head*: the seq of the last event, whether the run is held, the last few commit ids with their answers, and an
  opaque `summary` that lists show;
* the *journal*: events 1..seq, append only;
* the *queue*: at most one row a path. A row is `ready` (due, free), `delayed` (due later, free), or leased. Rows of a
  held run are not given out, whatever they are;
* *blobs* and at most one *snapshot*, which commit with the events they belong to;
* the *index row*: the few fields that lists filter and sort by.

A worker owns leases by name: a lease lives as long as its worker's registration, which `heartbeat` extends. It does
not end by itself when a task takes long.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import msgspec

NAMESPACE = "default"

T = TypeVar("T")


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The shape of everything that crosses the contract: immutable, named fields."""


# --- what is kept -------------------------------------------------------------------------------------------------


class Keeps(StrEnum):
    """What of the acknowledged outlives the end of the store itself (killed, or its machine without power)."""

    EVERYTHING = "everything"
    ALL_BUT_LAST = "all_but_last"
    """The last moments may be lost."""
    NOTHING_SURE = "nothing_sure"
    """All of it may be lost."""


class Durability(Struct, frozen=True, kw_only=True):
    """`keeps`; in words what could be lost (empty: nothing), and commands that cure it, if the operator can."""

    keeps: Keeps
    words: str = ""
    cure: Sequence[str] = ()


# --- commit -------------------------------------------------------------------------------------------------------


class TaskKind(StrEnum):
    """What a queue row asks the worker that claims it to do."""

    EXECUTE = "execute"
    """Run the node's code."""
    TIMER = "timer"
    """Tell the kernel that the time has come; nothing of the user's runs."""
    MESSAGE = "message"
    """Deliver `payload` to another run, then finish the row."""


class Lease(Struct, frozen=True, kw_only=True):
    """A lease that a commit stands on. If it is gone, the whole commit is refused (`FENCED`).

    With `finish` its queue row ends with this commit; otherwise the worker keeps it, and the row's count of lost
    workers goes back to zero, because something new was recorded.
    """

    path: str
    epoch: int
    finish: bool = True


class Enqueue(Struct, frozen=True, kw_only=True):
    """A queue row that should exist after the commit.

    If the path has a row that another lease holds, it is left as it is (so that "make sure it is queued" can be
    repeated). Otherwise it is written: due `delay_us` after the store's now, free, with no lost workers. With
    `leased` it is given to the committing worker at once, and the answer carries its epoch. In a held run it is
    written free and waits for the run to be released, whatever `leased` says.
    """

    path: str
    kind: TaskKind = TaskKind.EXECUTE
    queue: str = "default"
    priority: int = 0
    delay_us: int = 0
    leased: bool = False
    payload: bytes = b""


class Blob(Struct, frozen=True, kw_only=True):
    """A value too large for the journal, written once. `blob_id` is unique within its run."""

    blob_id: str
    codec: str
    data: bytes


class RunIndex(Struct, frozen=True, kw_only=True):
    """What lists of runs filter, sort and search by. Written whole whenever one of its fields changed."""

    workflow: str
    version: int
    status: str
    live: bool
    labels: Mapping[str, str] = {}
    error: str = ""
    created_us: int = 0
    started_us: int | None = None
    finished_us: int | None = None
    parent_run: str | None = None


class Commit(Struct, frozen=True, kw_only=True):
    """One atomic change of one run. All of it happens, or none.

    In order: a repeated `commit_id` gets its answer, the leases of `stands_on` are checked (of a run that doesn't exist
    all are lost), then the version, then whose turn it is, then everything is written: finished rows end,
    `withdraw` ends rows whoever holds them, `hold` sets or lifts the run's hold, `enqueue` rows are written, events,
    blobs, snapshot, summary and index row are stored.

    `expected` is the seq of the last event that the writer knows; 0 creates the run (it needs `index` and events).
    `None` means that no events are added and the version doesn't matter (to finish a delivered message, to give up a
    row).

    `commit_id` makes a repeat harmless: as long as it is among the last `COMMITS_REMEMBERED` accepted for the run, a
    repeat gets the first OK answer, granted leases included, with the time of now. A later repeat is refused by its
    version if it has events, and by its lease if it finishes one; a commit with neither may be applied again, so it
    must be one that can be ("make sure this row exists"). Refusals aren't remembered: nothing was written.

    `turn` is the name of a writer that was refused often, and asks for the run. If its commit is refused because the
    run exists and isn't at `expected`, and nobody has the turn, the turn is that writer's for `TURN_US` by the store's
    clock. Until then every other commit with an `expected` (but None) is a CONFLICT, even at the right seq. Asking
    again while somebody has it doesn't prolong it. It ends before its time when a commit that carries its name is
    accepted. A turn that got lost (with a failover, say) does no harm: the version guards the run.
    """

    commit_id: str
    run_id: str
    expected: int | None
    namespace: str = NAMESPACE
    worker: str = ""
    events: Sequence[bytes] = ()
    stands_on: Sequence[Lease] = ()
    withdraw: Sequence[str] = ()
    hold: bool | None = None
    enqueue: Sequence[Enqueue] = ()
    blobs: Sequence[Blob] = ()
    snapshot: bytes | None = None
    summary: bytes | None = None
    index: RunIndex | None = None
    turn: str = ""


TURN_US = 1_000_000
"""How long a run is kept for a writer that was refused often: longer than loading and deciding again takes."""

COMMITS_REMEMBERED = 8
"""Also the most commits of one run in one batch: of more, the repeated batch would no longer find the first."""


class Outcome(StrEnum):
    """What became of a commit."""

    OK = "ok"
    CONFLICT = "conflict"
    """The run is not at `expected` (or exists already, or doesn't exist), or another writer is at it in this moment:
    then `seq` may well be `expected`, and the commit may be sent again. Nothing was written."""
    FENCED = "fenced"
    """A lease that it stood on is gone; `lost` names the paths. Nothing was written."""


class Granted(Struct, frozen=True, kw_only=True):
    """A lease given with a commit's answer or a heartbeat's."""

    run_id: str
    path: str
    epoch: int


class CommitAnswer(Struct, frozen=True, kw_only=True):
    """`seq` is the run's last seq after an OK, or as the store has it after a refusal (0: no such run)."""

    outcome: Outcome
    seq: int
    leases: Sequence[Granted] = ()
    lost: Sequence[str] = ()
    now_us: int = 0


# --- queue --------------------------------------------------------------------------------------------------------


class Claim(Struct, frozen=True, kw_only=True):
    """A due task, leased to the claiming worker.

    `epoch` is higher than that of any lease before it for this path, also after the row ended and came back. It comes
    from a counter of the whole store or partition: it has gaps, and between runs it means nothing. `lost` counts the
    workers that died with this row in their hands since something was last recorded for it. `rolled_back`: since the
    row was written, the store has lost its newest writes (a failover), and somebody may have had it in that time.
    """

    namespace: str
    run_id: str
    path: str
    kind: TaskKind
    queue: str
    priority: int
    epoch: int
    queued_us: int
    due_us: int
    lost: int = 0
    rolled_back: bool = False
    payload: bytes = b""


class ClaimAnswer(Struct, frozen=True, kw_only=True):
    """`next_due_us` is when the next delayed row of these queues falls due, if any is known (a hint)."""

    claims: Sequence[Claim]
    now_us: int
    next_due_us: int | None = None


class HeartbeatAnswer(Struct, frozen=True, kw_only=True):
    """Everything that the worker owns, as the store has it."""

    now_us: int
    owned: Sequence[Granted]


class QueueRow(Struct, frozen=True, kw_only=True):
    """A queue row as an observer sees it (for `explain`, task status and the reconciler)."""

    run_id: str
    path: str
    kind: TaskKind
    queue: str
    priority: int
    queued_us: int
    due_us: int
    worker: str | None = None
    epoch: int = 0
    leased_us: int | None = None
    lost: int = 0
    held: bool = False
    note: str = ""


class WorkerRow(Struct, frozen=True, kw_only=True):
    """A registered worker. `info` is opaque to the store."""

    worker: str
    seen_us: int
    expires_us: int
    leases: int
    info: bytes = b""


# --- accounts -----------------------------------------------------------------------------------------------------


SLOT_WAIT_US = 5_000_000
"""When a task that waits for a slot looks again, called or not: the net below the call."""
SLOT_CALL_US = 2_000_000
"""How long a slot is kept for a task that was called; then whoever comes first may take it."""


class Limit(Struct, frozen=True, kw_only=True):
    """What a task must have before it starts: one of `concurrency` slots, or one of `rate` starts in `per_us`.

    `account` names what is counted, over all runs, the namespace included; `name` is what people call it. The numbers
    come with each call: who asks is judged by its own.
    """

    account: str
    name: str
    concurrency: int | None = None
    rate: int | None = None
    per_us: int = 1_000_000


class Acquired(StrEnum):
    """What became of asking for slots."""

    GRANTED = "granted"
    WAITS = "waits"
    """The lease was given back, and the row waits in line; its note says for what."""
    FENCED = "fenced"
    """The lease is gone."""


class SlotHolder(Struct, frozen=True, kw_only=True):
    """A task that has a slot."""

    run_id: str
    path: str


class AccountRow(Struct, frozen=True, kw_only=True):
    """An account in use, as an observer sees it: who has a slot (or took a start), how many wait."""

    account: str
    holders: Sequence[SlotHolder] = ()
    waiting: int = 0


# --- erasing ------------------------------------------------------------------------------------------------------


class Leftover(Struct, frozen=True, kw_only=True):
    """What takes the place of a run's snapshot (None: it has none any more), summary and index row."""

    snapshot: bytes | None
    summary: bytes
    index: RunIndex


# --- reading ------------------------------------------------------------------------------------------------------


class LoadedRun(Struct, frozen=True, kw_only=True):
    """A run as far as it is needed to go on: `snapshot` (state at `snapshot_seq`) and the events after it.

    With `load(after=N)` the snapshot is left out where the events after N are enough.
    """

    run_id: str
    namespace: str
    seq: int
    held: bool
    index: RunIndex
    summary: bytes = b""
    snapshot_seq: int = 0
    snapshot: bytes | None = None
    events: Sequence[bytes] = ()


class RunRow(Struct, frozen=True, kw_only=True):
    """One line in a list of runs."""

    run_id: str
    namespace: str
    seq: int
    index: RunIndex
    summary: bytes = b""


class RunFilter(Struct, frozen=True, kw_only=True):
    """All given conditions must hold. `text` looks (without case) in run id, workflow, labels and error."""

    namespace: str = NAMESPACE
    statuses: Sequence[str] = ()
    workflow: str | None = None
    labels: Mapping[str, str] = {}
    created_after_us: int | None = None
    created_before_us: int | None = None
    text: str = ""
    parent_run: str | None = None
    live: bool | None = None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`cursor` continues the list; None at its end."""

    items: Sequence[T]
    cursor: str | None = None


class FeedItem(Struct, frozen=True, kw_only=True):
    """One event of a feed over runs. Items of one run come in seq order; `cursor` resumes after this item."""

    run_id: str
    workflow: str
    cursor: str
    event: bytes


class WorkflowVersion(Struct, frozen=True, kw_only=True):
    """An immutable version. `text` is the document as it was saved last with this meaning; `record` is opaque."""

    namespace: str
    name: str
    version: int
    meaning: str
    created_us: int
    saved_us: int
    text: bytes
    record: bytes


class WorkflowRow(Struct, frozen=True, kw_only=True):
    """One line in a list of workflows. `current` is the version saved last, which new runs take."""

    namespace: str
    name: str
    current: int
    versions: int
    created_us: int
    saved_us: int
    record: bytes


# --- wake-ups -----------------------------------------------------------------------------------------------------


class QueueWake(Struct, frozen=True, kw_only=True):
    """Rows of these queues became due, or were written to fall due later (claim again, and learn when). A hint: it may
    be lost, late or repeated."""

    queues: Sequence[str]


class RunAdvanced(Struct, frozen=True, kw_only=True):
    """The run has a new event or another hold. A hint."""

    run_id: str
    workflow: str
    seq: int


class Notice(Struct, frozen=True, kw_only=True):
    """A live notice (start, progress, log line) that is not journalled. May be lost."""

    run_id: str
    workflow: str
    data: bytes


Wake = QueueWake | RunAdvanced | Notice


# --- the port -----------------------------------------------------------------------------------------------------


class Store(Protocol):
    """Where runs are kept. One implementation is right if it passes `orchestrator.testing.conformance`."""

    @property
    def url(self) -> str:
        """How the store was named, without credentials."""
        ...

    @property
    def commits_at_once(self) -> int:
        """How many batches it is worth to send before the first is answered. No two of them hold the same run."""
        ...

    def durability(self) -> Durability:
        """What of the acknowledged could be lost, as was found by `open`. Who starts the process decides what to do."""
        ...

    async def open(self) -> None:
        """Connect, migrate, and check that what is acknowledged will be kept.

        Raises:
            StoreIncompatible: the data belongs to a newer release, or a migration was changed after it ran; or the
                store is set up so that it throws data away.
            StoreUnavailable: it can't be reached or written.
        """
        ...

    async def close(self) -> None:
        """Let go of everything. Leases of this process's workers end as by `forget_worker`."""
        ...

    async def now_us(self) -> int:
        """The store's clock."""
        ...

    # the heart

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Apply commits of many runs in one round trip and one disk sync; one answer for each, in order.

        A refused commit doesn't touch the others. Commits of the same run in one batch apply in order. What was
        answered OK is durable as far as the store keeps what it acknowledges.

        Raises:
            StoreUnavailable: nothing of the batch happened.
            CommitUnknown: any of it may have happened; repeat the same batch.
        """
        ...

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        """What is needed to continue the run: latest snapshot and the events after it, or the events after `after`."""
        ...

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        """A blob of the run."""
        ...

    async def rewrite(
        self, run_id: str, *, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None = None
    ) -> bool:
        """Put these bytes in the place of as many events of the run, from seq `after + 1` on: to erase what they hold.

        With `rest` all blobs of the run end in the same operation, and what it says takes the place of snapshot,
        summary and index row (workflow and times in it are as they were). From then on no call gives the old bytes,
        feeds included; a store that leaves deleted bytes in its files overwrites them, as far as it can. Seqs, commit
        ids and queue rows stay as they are, nobody is woken. May be repeated.

        False: the run isn't at seq `expected`, or there is none; nothing was changed.

        Raises:
            UsageError: more events than there are after `after`.
            StoreUnavailable: it may have happened; repeat it.
        """
        ...

    # cached outputs

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        """What was put under the key, unless its time is over by the store's clock."""
        ...

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        """Keep the value under the key for `ttl_us` from the store's now, in the place of what was there.

        With a `ttl_us` of 0 nothing is there any more. Keys are text of up to 200 characters; values are as large as
        blobs. An entry may be dropped before its time (a store short of memory): what it holds is computed again.
        """
        ...

    async def expire_cached(self, *, limit: int) -> int:
        """Remove up to `limit` entries whose time is over; how many. Stores that do so by themselves answer 0."""
        ...

    # the queue

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        """Lease up to `limit` due rows of runs that aren't held: highest priority first, then longest due.

        An unregistered worker gets nothing until its first heartbeat. In a partitioned store the order holds within a
        partition, and partitions take turns. After a mass wake-up a store may consider the longest due first and the
        rest with the next claims. Leases whose answer was lost are in the next heartbeat's `owned`.

        Raises:
            StoreUnavailable: no claim is known to have been made.
        """
        ...

    async def release(
        self, worker: str, leases: Sequence[Granted], *, delay_us: int = 0, note: str = ""
    ) -> None:
        """Give leases back: the rows are free again, due after `delay_us`, and no worker counts as lost.

        A lease that the worker no longer owns is passed over. `note` says why (shown by `explain`).
        """
        ...

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        """Take what each of these limits asks for, for a task that the worker holds; or give the task back to wait.

        All or nothing. A slot belongs to its lease, and ends with it, whatever ends that: a commit, a release, the end
        of the worker. So the slots in use are live leases at every moment, and asking again under the same lease
        changes nothing. A start that a rate counts isn't given back.

        A task that can't have all of it goes back to the queue in the same operation, and no worker counts as lost. It
        stands in line: when a slot becomes free, the first in line is called (its row falls due, its queue is woken),
        and for `SLOT_CALL_US` nobody else gets that slot. Uncalled it falls due after `SLOT_WAIT_US`. For a rate it
        falls due at its turn. Tasks of held runs stay in line and aren't called.

        Raises:
            StoreUnavailable: it may have happened; the lease tells, or giving it back.
        """
        ...

    async def heartbeat(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """Register the worker, or extend its registration to `lease_us` from the store's now.

        Callable from another thread than the loop's: stores that need it have `heartbeat_blocking` with the same
        contract, for the heartbeat's own thread and connection. `owned` is as of one moment between call and answer:
        leases that a claim or commit gives or ends meanwhile may be in it or not.

        Raises:
            StoreUnavailable: not every partition answered (an `owned` with holes would cancel work that goes on). Those
                that did have extended the registration.
        """
        ...

    def heartbeat_blocking(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """As `heartbeat`, called on the heartbeat's own thread. Uses no event loop."""
        ...

    async def forget_worker(self, worker: str, *, lost: bool = False) -> None:
        """End a registration. Its leases become free; with `lost` they count a lost worker.

        No lease outlives its owner's registration: one that is being given at this moment either becomes free too or
        keeps the worker registered.
        """
        ...

    async def expire_workers(self) -> list[str]:
        """Forget (as lost) every worker whose registration has ended by the store's clock; gives their names.

        Goes by partition, each with its own clock: a name may come more than once. A worker whose rows are in use at
        this moment may be left for the next call.
        """
        ...

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Of these runs with the seq the caller knows, those that have another seq now (0: gone)."""
        ...

    # observing

    async def queue_rows(self, run_id: str) -> list[QueueRow]:
        """All queue rows of the run."""
        ...

    async def queue_depth(self) -> dict[str, int]:
        """Free due rows by queue."""
        ...

    async def accounts(self) -> list[AccountRow]:
        """All accounts in use, by name."""
        ...

    async def workers(self) -> list[WorkerRow]:
        """All registered workers."""
        ...

    async def get_run(self, run_id: str) -> RunRow | None:
        """The run's line."""
        ...

    async def list_runs(self, where: RunFilter, *, limit: int, cursor: str | None = None) -> Page[RunRow]:
        """Newest first, by `created_us`, then run id.

        A store may bound the work of one call: a page may be short, even empty, and still have a cursor. Raises
        UsageError for a cursor that this store didn't make.
        """
        ...

    async def read_journal(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[bytes]:
        """Committed events with seq > after, in order. An unknown run has none."""
        ...

    async def read_feed(
        self,
        *,
        cursor: str | None,
        limit: int,
        run_id: str | None = None,
        workflow: str | None = None,
        namespace: str = NAMESPACE,
    ) -> tuple[list[FeedItem], str]:
        """Committed events of many runs after the cursor, and the cursor to go on with (also when there are none).

        `cursor=None` means from now on: no items, and the cursor of this moment. Nothing is skipped and nothing
        comes twice as long as each call passes the cursor that the one before gave.
        """
        ...

    # workflows

    async def save_version(
        self, name: str, *, meaning: str, text: bytes, record: bytes, namespace: str = NAMESPACE
    ) -> tuple[WorkflowVersion, bool]:
        """Save a version, or find the one with the same meaning (its text becomes `text`). True: it is new.

        Either way it becomes the workflow's current version, and a deleted workflow is there again.
        """
        ...

    async def get_version(
        self, name: str, version: int | None = None, *, namespace: str = NAMESPACE, deleted: bool = False
    ) -> WorkflowVersion | None:
        """A version, by default the current one. With `deleted` also of a deleted workflow (its runs still need it)."""
        ...

    async def list_versions(self, name: str, *, namespace: str = NAMESPACE) -> list[WorkflowVersion]:
        """All versions, newest first."""
        ...

    async def list_workflows(
        self, *, namespace: str = NAMESPACE, text: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[WorkflowRow]:
        """Saved and not deleted workflows by name."""
        ...

    async def delete_workflow(self, name: str, *, namespace: str = NAMESPACE) -> bool:
        """Hide the workflow; False if there is none.

        The check is of this moment and not one with starting a run: a run that starts meanwhile goes on, with
        `get_version(deleted=True)`.

        Raises:
            Conflict: it has live runs (reason `workflow_has_live_runs`).
        """
        ...

    # wake-ups

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        """Call back on the event loop for every wake-up, this process's own included; the result ends it.

        A callback must not block and must not raise.
        """
        ...

    def notify(self, notice: Notice) -> None:
        """Tell all processes on this store, as well as can be. Never blocks, never fails."""
        ...
