"""The reference store: plain dictionaries, simple enough to be read and believed.

It is the oracle of the conformance suite and of the model tests, and the store of simulations and examples. What is
kept lives as long as the object: several engines may share one, an engine's end loses nothing of it. It knows no
randomness, and takes its clock from outside, so that a simulation is repeated byte for byte.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.errors import Conflict, StoreUnavailable
from orchestrator.stores.contract import (
    COMMITS_REMEMBERED,
    NAMESPACE,
    TURN_US,
    AccountRow,
    Acquired,
    Blob,
    Claim,
    ClaimAnswer,
    Commit,
    CommitAnswer,
    Durability,
    Enqueue,
    FeedItem,
    Granted,
    HeartbeatAnswer,
    Keeps,
    Leftover,
    Limit,
    LoadedRun,
    Notice,
    Outcome,
    Page,
    QueueRow,
    QueueWake,
    RunAdvanced,
    RunFilter,
    RunIndex,
    RunRow,
    TaskKind,
    Wake,
    WorkerRow,
    WorkflowRow,
    WorkflowVersion,
)
from orchestrator.stores.memory_accounts import Accounts
from orchestrator.stores.rules import (
    check_batch,
    check_cached,
    check_limit,
    check_limits,
    check_rewrite,
    cursor_int,
    machine_clock,
    pack_cursor,
    search_text,
    unpack_cursor,
)


@dataclass(slots=True)
class _Row:
    """One queue row. It is leased while `worker` is set."""

    run_id: str
    path: str
    kind: TaskKind
    queue: str
    priority: int
    payload: bytes
    order: int
    queued_us: int
    due_us: int
    worker: str | None = None
    epoch: int = 0
    leased_us: int | None = None
    lost: int = 0
    note: str = ""


@dataclass(slots=True)
class _Run:
    """Everything of one run but its queue rows."""

    run_id: str
    namespace: str
    index: RunIndex
    held: bool = False
    summary: bytes = b""
    events: list[bytes] = field(default_factory=list[bytes])
    snapshot_seq: int = 0
    snapshot: bytes | None = None
    blobs: dict[str, Blob] = field(default_factory=dict[str, Blob])
    turn: str = ""
    turn_until_us: int = 0
    recent: deque[tuple[str, CommitAnswer]] = field(default_factory=lambda: deque(maxlen=COMMITS_REMEMBERED))


@dataclass(slots=True)
class _Worker:
    seen_us: int
    expires_us: int
    info: bytes


@dataclass(slots=True)
class _Workflow:
    versions: list[WorkflowVersion]
    current: int
    deleted: bool = False


class MemoryStore:
    """The contract in plain dictionaries.

    Methods may be called from several threads; wake-ups go to the loop of `open`.
    """

    def __init__(self, *, now_us: Callable[[], int] | None = None) -> None:
        self._clock = now_us or machine_clock()
        self._lock = threading.RLock()
        self._runs: dict[str, _Run] = {}
        self._queue: dict[tuple[str, str], _Row] = {}
        self._accounts = Accounts(self._queue, lambda run_id: self._runs[run_id].held)
        self._workers: dict[str, _Worker] = {}
        self._workflows: dict[tuple[str, str], _Workflow] = {}
        self._feed: list[tuple[str, int]] = []
        self._cached: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._last_epoch = 0
        self._last_order = 0
        self._last_us = 0
        self._callbacks: dict[int, Callable[[Wake], None]] = {}
        self._last_callback = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """How the store was named."""
        return "memory:"

    @property
    def commits_at_once(self) -> int:
        """One after another."""
        return 1

    def durability(self) -> Durability:
        """Nothing outlives the process, and nobody expects it to."""
        return Durability(keeps=Keeps.NOTHING_SURE)

    async def open(self) -> None:
        """Be ready. What an earlier `close` left is still there."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """End the registrations of all workers, and refuse calls until the next `open`."""
        if self._loop is None:
            return
        with self._lock:
            for worker in list(self._workers):
                self._forget(worker, lost=False)
        self._loop = None

    async def now_us(self) -> int:
        """The clock that was given, as long as it doesn't run backwards."""
        return self._now()

    # --- commit -------------------------------------------------------------------------------------------------------

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Apply commits, one answer for each, in order."""
        self._check_open()
        check_batch(batch)
        with self._lock:
            now = self._now()
            answers = [self._commit_one(commit, now) for commit in batch]
            self._sweep(now)
            return answers

    def _commit_one(self, commit: Commit, now: int) -> CommitAnswer:
        run = self._runs.get(commit.run_id)
        if run is not None and run.namespace != commit.namespace:
            run = None
        seq = len(run.events) if run else 0
        if run is not None:
            for commit_id, answer in run.recent:
                if commit_id == commit.commit_id:
                    return msgspec.structs.replace(answer, now_us=now)
        lost = [
            lease.path
            for lease in commit.stands_on
            if run is None or not self._holds(run, lease.path, lease.epoch)
        ]
        if lost:
            return CommitAnswer(outcome=Outcome.FENCED, seq=seq, lost=lost, now_us=now)
        if run is None:
            if commit.expected != 0 or commit.index is None or commit.run_id in self._runs:
                return CommitAnswer(outcome=Outcome.CONFLICT, seq=0, now_us=now)
            run = _Run(commit.run_id, commit.namespace, commit.index)
            self._runs[commit.run_id] = run
        elif commit.expected is not None and not self._may_write(commit, run, now):
            return CommitAnswer(outcome=Outcome.CONFLICT, seq=seq, now_us=now)
        answer = self._apply(commit, run, now)
        run.recent.append((commit.commit_id, answer))
        return answer

    def _may_write(self, commit: Commit, run: _Run, now: int) -> bool:
        """Whether the run is where the commit expects it, and nobody else has it to himself."""
        taken = run.turn_until_us > now
        if commit.expected == 0 or commit.expected != len(run.events):
            if commit.turn and not taken:
                run.turn, run.turn_until_us = commit.turn, now + TURN_US
            return False
        if taken and commit.turn != run.turn:
            return False
        if commit.turn and commit.turn == run.turn:
            run.turn_until_us = 0
        return True

    def _sweep(self, now: int) -> None:
        """Leases may have ended: so have their slots, and whoever is next is called."""
        self._wake_queues([self._queue[key] for key in self._accounts.sweep(now)])

    def _holds(self, run: _Run, path: str, epoch: int) -> bool:
        row = self._queue.get((run.run_id, path))
        return row is not None and row.worker is not None and row.epoch == epoch

    def _apply(self, commit: Commit, run: _Run, now: int) -> CommitAnswer:
        """Write an accepted commit, in the order that the contract gives."""
        for lease in commit.stands_on:
            if lease.finish:
                self._queue.pop((run.run_id, lease.path), None)
            elif row := self._queue.get((run.run_id, lease.path)):
                row.lost = 0
        for path in commit.withdraw:
            self._queue.pop((run.run_id, path), None)
        if commit.hold is not None:
            run.held = commit.hold
        granted = [
            given for wanted in commit.enqueue if (given := self._enqueue(run, wanted, commit.worker, now))
        ]
        self._feed.extend((run.run_id, len(run.events) + place) for place in range(len(commit.events)))
        run.events.extend(commit.events)
        for blob in commit.blobs:
            run.blobs.setdefault(blob.blob_id, blob)
        if commit.snapshot is not None:
            run.snapshot, run.snapshot_seq = commit.snapshot, len(run.events)
        if commit.summary is not None:
            run.summary = commit.summary
        if commit.index is not None:
            run.index = commit.index
        self._wake_after(commit, run)
        return CommitAnswer(outcome=Outcome.OK, seq=len(run.events), leases=granted, now_us=now)

    def _enqueue(self, run: _Run, wanted: Enqueue, worker: str, now: int) -> Granted | None:
        """Write one row, unless somebody holds it; the lease, if it was given at once."""
        key = (run.run_id, wanted.path)
        existing = self._queue.get(key)
        if existing is not None and existing.worker is not None:
            return None
        self._last_order += 1
        row = _Row(
            run.run_id,
            wanted.path,
            wanted.kind,
            wanted.queue,
            wanted.priority,
            wanted.payload,
            self._last_order,
            queued_us=now,
            due_us=now + wanted.delay_us,
        )
        self._queue[key] = row
        if wanted.leased and worker in self._workers and not run.held:
            return self._lease(row, worker, now)
        return None

    def _lease(self, row: _Row, worker: str, now: int) -> Granted:
        self._last_epoch += 1
        row.worker, row.epoch, row.leased_us, row.note = worker, self._last_epoch, now, ""
        return Granted(run_id=row.run_id, path=row.path, epoch=row.epoch)

    def _wake_after(self, commit: Commit, run: _Run) -> None:
        if commit.hold is False:
            rows = self._rows_of(run.run_id)
        else:
            rows = [self._queue[run.run_id, wanted.path] for wanted in commit.enqueue]
        self._wake_queues(row for row in rows if row.worker is None and not run.held)
        if commit.events or commit.hold is not None:
            self._wake(RunAdvanced(run_id=run.run_id, workflow=run.index.workflow, seq=len(run.events)))

    # --- reading one run ----------------------------------------------------------------------------------------------

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        """The latest snapshot and the events after it, or the events after `after`."""
        self._check_open()
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return None
            start = run.snapshot_seq if after is None else max(after, 0)
            return LoadedRun(
                run_id=run_id,
                namespace=run.namespace,
                seq=len(run.events),
                held=run.held,
                index=run.index,
                summary=run.summary,
                snapshot_seq=run.snapshot_seq if after is None else 0,
                snapshot=run.snapshot if after is None else None,
                events=run.events[start:],
            )

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        """A blob of the run."""
        self._check_open()
        with self._lock:
            run = self._runs.get(run_id)
            return run.blobs.get(blob_id) if run else None

    async def read_journal(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[bytes]:
        """Committed events with seq > after, in order."""
        self._check_open()
        limit, after = check_limit(limit), max(after, 0)
        with self._lock:
            run = self._runs.get(run_id)
            return run.events[after : after + limit] if run else []

    async def rewrite(
        self, run_id: str, *, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None = None
    ) -> bool:
        """Put other bytes in the place of events that are there."""
        self._check_open()
        with self._lock:
            run = self._runs.get(run_id)
            if run is None or len(run.events) != expected:
                return False
            check_rewrite(after, len(events), expected)
            run.events[after : after + len(events)] = events
            if rest is not None:
                run.blobs.clear()
                run.snapshot, run.snapshot_seq = rest.snapshot, 0 if rest.snapshot is None else expected
                run.summary, run.index = rest.summary, rest.index
            return True

    # --- cached outputs -----------------------------------------------------------------------------------------------

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        """What was put under the key, unless its time is over."""
        self._check_open()
        with self._lock:
            value, until_us = self._cached.get((namespace, key), (b"", 0))
            return value if until_us > self._now() else None

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        """Keep the value under the key for a time."""
        self._check_open()
        check_cached(key, ttl_us)
        with self._lock:
            if ttl_us:
                self._cached[namespace, key] = (value, self._now() + ttl_us)
            else:
                self._cached.pop((namespace, key), None)

    async def expire_cached(self, *, limit: int) -> int:
        """Remove up to `limit` entries whose time is over."""
        self._check_open()
        limit = check_limit(limit)
        with self._lock:
            now = self._now()
            over = [key for key, (_, until_us) in self._cached.items() if until_us <= now][:limit]
            for key in over:
                del self._cached[key]
            return len(over)

    # --- the queue ----------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        """Lease up to `limit` due rows: highest priority first, then longest due."""
        self._check_open()
        limit = check_limit(limit)
        with self._lock:
            now = self._now()
            if worker not in self._workers:
                return ClaimAnswer(claims=[], now_us=now)
            free = [
                row
                for row in self._queue.values()
                if row.worker is None and row.queue in queues and not self._runs[row.run_id].held
            ]
            due = sorted(
                (row for row in free if row.due_us <= now),
                key=lambda row: (-row.priority, row.due_us, row.order),
            )
            claims = [self._claim_row(row, worker, now) for row in due[:limit]]
            next_due = min((row.due_us for row in free if row.due_us > now), default=None)
            return ClaimAnswer(claims=claims, now_us=now, next_due_us=next_due)

    def _claim_row(self, row: _Row, worker: str, now: int) -> Claim:
        self._lease(row, worker, now)
        return Claim(
            namespace=self._runs[row.run_id].namespace,
            run_id=row.run_id,
            path=row.path,
            kind=row.kind,
            queue=row.queue,
            priority=row.priority,
            epoch=row.epoch,
            queued_us=row.queued_us,
            due_us=row.due_us,
            lost=row.lost,
            payload=row.payload,
        )

    async def release(
        self, worker: str, leases: Sequence[Granted], *, delay_us: int = 0, note: str = ""
    ) -> None:
        """Give leases back; no worker counts as lost."""
        self._check_open()
        with self._lock:
            now = self._now()
            freed: list[_Row] = []
            for lease in leases:
                row = self._queue.get((lease.run_id, lease.path))
                if row is not None and row.worker == worker and row.epoch == lease.epoch:
                    row.worker, row.leased_us = None, None
                    row.due_us, row.note = now + delay_us, note
                    freed.append(row)
            self._wake_queues(row for row in freed if not self._runs[row.run_id].held)
            self._sweep(now)

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        """Take what each of the limits asks for, or give the task back to wait."""
        self._check_open()
        check_limits(limits)
        with self._lock:
            now, key = self._now(), (lease.run_id, lease.path)
            row = self._queue.get(key)
            if row is None or row.worker != worker or row.epoch != lease.epoch:
                return Acquired.FENCED
            refused = self._accounts.acquire(key, row.epoch, limits, now)
            if refused is None:
                return Acquired.GRANTED
            row.worker, row.leased_us = None, None
            row.due_us, row.note = now + refused[0], refused[1]
            self._wake_queues([] if self._runs[row.run_id].held else [row])
            self._sweep(now)
            return Acquired.WAITS

    async def heartbeat(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """Register the worker, or extend its registration."""
        return self.heartbeat_blocking(worker, lease_us=lease_us, info=info)

    def heartbeat_blocking(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """As `heartbeat`, on any thread."""
        self._check_open()
        with self._lock:
            now = self._now()
            self._workers[worker] = _Worker(now, now + lease_us, info)
            owned = [
                Granted(run_id=row.run_id, path=row.path, epoch=row.epoch)
                for row in self._queue.values()
                if row.worker == worker
            ]
            return HeartbeatAnswer(now_us=now, owned=owned)

    async def forget_worker(self, worker: str, *, lost: bool = False) -> None:
        """End a registration and free its leases."""
        self._check_open()
        with self._lock:
            self._forget(worker, lost=lost)

    async def expire_workers(self) -> list[str]:
        """Forget, as lost, every worker whose registration has ended."""
        self._check_open()
        with self._lock:
            now = self._now()
            ended = sorted(name for name, worker in self._workers.items() if worker.expires_us <= now)
            for name in ended:
                self._forget(name, lost=True)
            return ended

    def _forget(self, worker: str, *, lost: bool) -> None:
        if self._workers.pop(worker, None) is None:
            return
        rows = [row for row in self._queue.values() if row.worker == worker]
        for row in rows:
            row.worker, row.leased_us = None, None
            row.lost += lost
        self._wake_queues(row for row in rows if not self._runs[row.run_id].held)
        self._sweep(self._now())

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Of these runs, those with another seq than the caller knows."""
        self._check_open()
        with self._lock:
            found = {run_id: len(run.events) if (run := self._runs.get(run_id)) else 0 for run_id in versions}
            return {run_id: seq for run_id, seq in found.items() if seq != versions[run_id]}

    # --- observing ----------------------------------------------------------------------------------------------------

    async def queue_rows(self, run_id: str) -> list[QueueRow]:
        """All queue rows of the run, by path."""
        self._check_open()
        with self._lock:
            return [
                QueueRow(
                    run_id=row.run_id,
                    path=row.path,
                    kind=row.kind,
                    queue=row.queue,
                    priority=row.priority,
                    queued_us=row.queued_us,
                    due_us=row.due_us,
                    worker=row.worker,
                    epoch=row.epoch,
                    leased_us=row.leased_us,
                    lost=row.lost,
                    held=self._runs[run_id].held,
                    note=row.note,
                )
                for row in sorted(self._rows_of(run_id), key=lambda row: row.path)
            ]

    async def queue_depth(self) -> dict[str, int]:
        """Free due rows by queue; rows of held runs don't count."""
        self._check_open()
        with self._lock:
            now = self._now()
            depth: dict[str, int] = {}
            for row in self._queue.values():
                if row.worker is None and row.due_us <= now and not self._runs[row.run_id].held:
                    depth[row.queue] = depth.get(row.queue, 0) + 1
            return depth

    async def accounts(self) -> list[AccountRow]:
        """All accounts in use, by name."""
        self._check_open()
        with self._lock:
            return self._accounts.rows()

    async def workers(self) -> list[WorkerRow]:
        """All registered workers, by name."""
        self._check_open()
        with self._lock:
            return [
                WorkerRow(
                    worker=name,
                    seen_us=worker.seen_us,
                    expires_us=worker.expires_us,
                    leases=sum(row.worker == name for row in self._queue.values()),
                    info=worker.info,
                )
                for name, worker in sorted(self._workers.items())
            ]

    async def get_run(self, run_id: str) -> RunRow | None:
        """The run's line."""
        self._check_open()
        with self._lock:
            run = self._runs.get(run_id)
            return _line(run) if run else None

    async def list_runs(self, where: RunFilter, *, limit: int, cursor: str | None = None) -> Page[RunRow]:
        """Newest first."""
        self._check_open()
        limit = check_limit(limit)
        parts = None if cursor is None else unpack_cursor("runs", cursor, int, str)
        before = None if parts is None else (cursor_int(parts[0]), str(parts[1]))
        with self._lock:
            runs = sorted(
                (run for run in self._runs.values() if _matches(run, where)),
                key=lambda run: (run.index.created_us, run.run_id),
                reverse=True,
            )
            rest = [run for run in runs if before is None or (run.index.created_us, run.run_id) < before]
            page = rest[:limit]
            more = (
                pack_cursor("runs", page[-1].index.created_us, page[-1].run_id) if len(rest) > limit else None
            )
            return Page(items=[_line(run) for run in page], cursor=more)

    async def read_feed(
        self,
        *,
        cursor: str | None,
        limit: int,
        run_id: str | None = None,
        workflow: str | None = None,
        namespace: str = NAMESPACE,
    ) -> tuple[list[FeedItem], str]:
        """Committed events of many runs after the cursor, and the cursor to go on with."""
        self._check_open()
        limit = check_limit(limit)
        with self._lock:
            if cursor is None:
                return [], pack_cursor("feed", len(self._feed))
            position = cursor_int(unpack_cursor("feed", cursor, int)[0])
            items: list[FeedItem] = []
            while position < len(self._feed) and len(items) < limit:
                owner, place = self._feed[position]
                position += 1
                run = self._runs[owner]
                if (
                    run.namespace == namespace
                    and run_id in (None, owner)
                    and workflow in (None, run.index.workflow)
                ):
                    at = pack_cursor("feed", position)
                    event = run.events[place]
                    items.append(FeedItem(run_id=owner, workflow=run.index.workflow, cursor=at, event=event))
            return items, pack_cursor("feed", position)

    # --- workflows ----------------------------------------------------------------------------------------------------

    async def save_version(
        self, name: str, *, meaning: str, text: bytes, record: bytes, namespace: str = NAMESPACE
    ) -> tuple[WorkflowVersion, bool]:
        """Save a version, or find the one with the same meaning and take over the text."""
        self._check_open()
        with self._lock:
            now = self._now()
            workflow = self._workflows.setdefault((namespace, name), _Workflow([], 0))
            workflow.deleted = False
            for place, known in enumerate(workflow.versions):
                if known.meaning == meaning:
                    saved = msgspec.structs.replace(known, text=text, saved_us=now)
                    workflow.versions[place] = saved
                    workflow.current = saved.version
                    return saved, False
            saved = WorkflowVersion(
                namespace=namespace,
                name=name,
                version=len(workflow.versions) + 1,
                meaning=meaning,
                created_us=now,
                saved_us=now,
                text=text,
                record=record,
            )
            workflow.versions.append(saved)
            workflow.current = saved.version
            return saved, True

    async def get_version(
        self, name: str, version: int | None = None, *, namespace: str = NAMESPACE, deleted: bool = False
    ) -> WorkflowVersion | None:
        """A version, by default the current one."""
        self._check_open()
        with self._lock:
            workflow = self._workflows.get((namespace, name))
            if workflow is None or (workflow.deleted and not deleted):
                return None
            wanted = workflow.current if version is None else version
            return next((known for known in workflow.versions if known.version == wanted), None)

    async def list_versions(self, name: str, *, namespace: str = NAMESPACE) -> list[WorkflowVersion]:
        """All versions of a workflow that isn't deleted, newest first."""
        self._check_open()
        with self._lock:
            workflow = self._workflows.get((namespace, name))
            return [] if workflow is None or workflow.deleted else workflow.versions[::-1]

    async def list_workflows(
        self, *, namespace: str = NAMESPACE, text: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[WorkflowRow]:
        """Saved and not deleted workflows by name."""
        self._check_open()
        limit = check_limit(limit)
        after = None if cursor is None else str(unpack_cursor("workflows", cursor, str)[0])
        with self._lock:
            rest = [
                _workflow_line(workflow)
                for (owner, name), workflow in sorted(self._workflows.items())
                if owner == namespace
                and not workflow.deleted
                and text.casefold() in name.casefold()
                and (after is None or name > after)
            ]
            page = rest[:limit]
            return Page(
                items=page, cursor=pack_cursor("workflows", page[-1].name) if len(rest) > limit else None
            )

    async def delete_workflow(self, name: str, *, namespace: str = NAMESPACE) -> bool:
        """Hide the workflow; False if there is none."""
        self._check_open()
        with self._lock:
            workflow = self._workflows.get((namespace, name))
            if workflow is None or workflow.deleted:
                return False
            where = RunFilter(namespace=namespace, workflow=name, live=True)
            live = sum(_matches(run, where) for run in self._runs.values())
            if live:
                raise Conflict(
                    f"workflow {name!r} has {live} live {'run' if live == 1 else 'runs'}; "
                    "cancel them or let them end first",
                    reason="workflow_has_live_runs",
                )
            workflow.deleted = True
            return True

    # --- wake-ups -----------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        """Call back on the event loop of `open` for every wake-up; the result ends it."""
        self._last_callback += 1
        number = self._last_callback
        self._callbacks[number] = callback
        return lambda: _drop(self._callbacks, number)

    def notify(self, notice: Notice) -> None:
        """Tell everybody who subscribed."""
        self._wake(notice)

    def _wake_queues(self, rows: Iterable[_Row]) -> None:
        queues = sorted({row.queue for row in rows})
        if queues:
            self._wake(QueueWake(queues=queues))

    def _wake(self, wake: Wake) -> None:
        loop = self._loop
        if loop is None or loop.is_closed() or not self._callbacks:
            return
        loop.call_soon_threadsafe(self._deliver, wake)

    def _deliver(self, wake: Wake) -> None:
        for callback in list(self._callbacks.values()):
            callback(wake)

    # --- small helpers ------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._loop is None:
            raise StoreUnavailable("the memory store isn't open; call open() first")

    def _now(self) -> int:
        self._last_us = max(self._last_us, self._clock())
        return self._last_us

    def _rows_of(self, run_id: str) -> list[_Row]:
        return [row for row in self._queue.values() if row.run_id == run_id]


def _drop(callbacks: dict[int, Callable[[Wake], None]], number: int) -> None:
    callbacks.pop(number, None)


def _line(run: _Run) -> RunRow:
    return RunRow(
        run_id=run.run_id, namespace=run.namespace, seq=len(run.events), index=run.index, summary=run.summary
    )


def _workflow_line(workflow: _Workflow) -> WorkflowRow:
    current = workflow.versions[workflow.current - 1]
    return WorkflowRow(
        namespace=current.namespace,
        name=current.name,
        current=workflow.current,
        versions=len(workflow.versions),
        created_us=workflow.versions[0].created_us,
        saved_us=current.saved_us,
        record=current.record,
    )


def _matches(run: _Run, where: RunFilter) -> bool:
    index = run.index
    return (
        run.namespace == where.namespace
        and (not where.statuses or index.status in where.statuses)
        and where.workflow in (None, index.workflow)
        and where.labels.items() <= index.labels.items()
        and (where.created_after_us is None or index.created_us > where.created_after_us)
        and (where.created_before_us is None or index.created_us < where.created_before_us)
        and where.text.casefold() in search_text(run.run_id, index)
        and where.parent_run in (None, index.parent_run)
        and where.live in (None, index.live)
    )
