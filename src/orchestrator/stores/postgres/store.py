"""The PostgreSQL store: what the contract asks, as calls of functions in the database."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

import psycopg

from orchestrator.errors import InternalError, StoreIncompatible, StoreUnavailable
from orchestrator.stores.contract import (
    NAMESPACE,
    AccountRow,
    Acquired,
    Blob,
    ClaimAnswer,
    Commit,
    CommitAnswer,
    Durability,
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
    RunRow,
    Wake,
    WorkerRow,
    WorkflowRow,
    WorkflowVersion,
)
from orchestrator.stores.postgres import commits, feeds, health, keeping, migrations, queue, reads, workflows
from orchestrator.stores.postgres.connections import Pool, Row, Together, address_of, connect
from orchestrator.stores.postgres.failures import translate
from orchestrator.stores.postgres.wakes import Wakes
from orchestrator.stores.rules import check_batch, check_cached, check_limit, check_limits

WORKFLOWS_CACHED_MAX = 50_000


class PostgresStore:
    """Runs in a schema of a PostgreSQL database, shared by any number of machines.

    `now_us` replaces the server's clock (for tests).
    """

    def __init__(self, url: str, *, now_us: Callable[[], int] | None = None) -> None:
        """Name the server; nothing is touched before `open`.

        Raises:
            UsageError: the URL doesn't name a PostgreSQL database.
        """
        self._address = address_of(url)
        self._source = now_us
        self._last_us = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool = Pool(self._address)
        self._wakes: Wakes | None = None
        self._durability = Durability(keeps=Keeps.EVERYTHING)
        self._versions: Together[WorkflowVersion | None] = Together()
        self._workers: set[str] = set()
        self._workflows: dict[str, str] = {}
        self._beat: psycopg.Connection[Row] | None = None
        self._beating = threading.Lock()
        self._callbacks: dict[int, Callable[[Wake], None]] = {}
        self._last_callback = 0

    @property
    def url(self) -> str:
        """How the store was named, without credentials."""
        return self._address.url

    @property
    def commits_at_once(self) -> int:
        """Each batch has a connection of its own, and a process of the server."""
        return 2

    def durability(self) -> Durability:
        """What the server's settings keep, as `open` found them."""
        return self._durability

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, look at the server's settings, bring the schema to the newest shape.

        Raises:
            StoreIncompatible: the server or the schema can't be used by this release. It was not touched.
            StoreUnavailable: the server can't be reached or written.
        """
        if self._loop is not None:
            return
        connection = await connect(self._address)
        try:
            self._durability = await health.look(connection, self._address)
            await migrations.migrate(connection, self._address)
        finally:
            await connection.close()
        self._pool = Pool(self._address)
        self._loop = asyncio.get_running_loop()
        self._wakes = Wakes(self._address, self._call_back)
        self._wakes.start()

    async def close(self) -> None:
        """End the registrations of this process's workers, and let go of the server."""
        if self._loop is None:
            return
        for worker in sorted(self._workers):
            try:
                self._tell_queues(await queue.forget(self._pool, worker, False, self._given()))
            except (StoreUnavailable, StoreIncompatible, InternalError):
                break  # the server is gone: the leases end by its clock
        self._workers.clear()
        self._loop = None
        if self._wakes is not None:
            await self._wakes.close()
        await self._pool.close()
        with self._beating:
            if self._beat is not None:
                self._beat.close()
            self._beat = None

    def _open_pool(self) -> Pool:
        if self._loop is None:
            raise StoreUnavailable(f"{self._address.place} isn't open; call open() first")
        return self._pool

    def _given(self) -> int | None:
        """The clock of a test, which never runs backwards; None means the server's."""
        if self._source is None:
            return None
        self._last_us = max(self._last_us, self._source())
        return self._last_us

    # --- the heart ----------------------------------------------------------------------------------------------------

    async def now_us(self) -> int:
        """The server's clock."""
        now = await reads.now_us(self._open_pool(), self._given())
        self._last_us = max(self._last_us, now)
        return self._last_us

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Apply commits in one round trip and one transaction."""
        pool = self._open_pool()
        check_batch(batch)
        if not batch:
            return []
        rounds = commits.rounds_of(batch)
        rows: list[Row] = []
        try:
            calls = [commits.parameters(one, self._given()) for one in rounds]
        except (UnicodeEncodeError, OverflowError) as error:
            raise translate(error, self._address.place) from error
        async with pool.lend(committing=True) as connection:
            if len(calls) == 1:
                cursor = connection.cursor(binary=True)
                await cursor.execute(commits.COMMIT, calls[0])
                rows += await cursor.fetchall()
            else:
                async with connection.transaction():
                    for call in calls:
                        cursor = connection.cursor(binary=True)
                        await cursor.execute(commits.COMMIT, call)
                        rows += await cursor.fetchall()
        answers: list[CommitAnswer | None] = [None] * len(batch)
        queues: set[str] = set()
        for one, row in zip(rounds, rows, strict=True):
            found, woken = commits.answers_of(one, row)
            queues.update(woken)
            queues |= commits.queues_to_wake(one.commits, found)
            for place, answer in zip(one.places, found, strict=True):
                answers[place] = answer
        done = [answer for answer in answers if answer is not None]
        await self._announce(batch, done, queues)
        return done

    async def _announce(
        self, batch: Sequence[Commit], answers: Sequence[CommitAnswer], queues: set[str]
    ) -> None:
        """Wake whom the batch concerns, here and, soon, elsewhere."""
        advanced: dict[str, int] = {}
        for commit, answer in zip(batch, answers, strict=True):
            if answer.outcome is Outcome.OK:
                if commit.index is not None:
                    self._remember(commit.run_id, commit.index.workflow)
                if commit.events or commit.hold is not None:
                    advanced[commit.run_id] = answer.seq
        unknown = [run_id for run_id in advanced if run_id not in self._workflows]
        if unknown:
            try:
                for run_id, workflow in (await reads.workflows_of(self._pool, unknown)).items():
                    self._remember(run_id, workflow)
            except StoreUnavailable:
                pass  # the commit is done; who would have been woken finds it by polling
        wakes: list[Wake] = [QueueWake(queues=sorted(queues))] if queues else []
        wakes += [
            RunAdvanced(run_id=run_id, workflow=self._workflows[run_id], seq=seq)
            for run_id, seq in advanced.items()
            if run_id in self._workflows
        ]
        self._tell(wakes)

    def _remember(self, run_id: str, workflow: str) -> None:
        if len(self._workflows) >= WORKFLOWS_CACHED_MAX:
            for known in list(self._workflows)[: WORKFLOWS_CACHED_MAX // 10]:
                del self._workflows[known]
        self._workflows[run_id] = workflow

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        """The latest snapshot and the events after it, or the events after `after`."""
        return await reads.load(self._open_pool(), run_id, after)

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        """A blob of the run."""
        return await reads.load_blob(self._open_pool(), run_id, blob_id)

    async def rewrite(
        self, run_id: str, *, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None = None
    ) -> bool:
        """Put other bytes in the place of events; the old ones leave the server's files with its next vacuum."""
        return await keeping.rewrite(self._open_pool(), run_id, expected, after, events, rest)

    # --- cached outputs -----------------------------------------------------------------------------------------------

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        """What was put under the key, unless its time is over."""
        return await keeping.get_cached(self._open_pool(), namespace, key, self._given())

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        """Keep the value under the key for a time."""
        check_cached(key, ttl_us)
        await keeping.put_cached(self._open_pool(), namespace, key, value, ttl_us, self._given())

    async def expire_cached(self, *, limit: int) -> int:
        """Remove up to `limit` entries whose time is over."""
        return await keeping.expire_cached(self._open_pool(), check_limit(limit), self._given())

    # --- the queue ----------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        """Lease up to `limit` due rows."""
        return await queue.claim(self._open_pool(), worker, queues, check_limit(limit), self._given())

    async def release(
        self, worker: str, leases: Sequence[Granted], *, delay_us: int = 0, note: str = ""
    ) -> None:
        """Give leases back."""
        pool = self._open_pool()
        if leases:
            self._tell_queues(await queue.release(pool, worker, leases, delay_us, note, self._given()))

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        """Take what each of the limits asks for, or give the task back to wait."""
        check_limits(limits)
        answer, woken = await queue.acquire(self._open_pool(), worker, lease, limits, self._given())
        self._tell_queues(woken)
        return answer

    async def heartbeat(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """Register the worker, or extend its registration."""
        pool = self._open_pool()
        self._workers.add(worker)
        values = queue.heartbeat_values(worker, lease_us, info, self._given())
        return queue.heartbeat_answer(await pool.fetch(queue.HEARTBEAT, values))

    def heartbeat_blocking(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """As `heartbeat`, on the heartbeat's own thread and connection. Uses no event loop."""
        self._open_pool()
        self._workers.add(worker)
        values = queue.heartbeat_values(worker, lease_us, info, self._given())
        with self._beating:
            try:
                if self._beat is None or self._beat.closed:
                    self._beat = queue.heartbeat_connection(self._address.conninfo)
                with self._beat.cursor(binary=True) as cursor:
                    cursor.execute(queue.HEARTBEAT, values)
                    return queue.heartbeat_answer(cursor.fetchall())
            except (psycopg.Error, OSError) as error:
                if self._beat is not None:
                    self._beat.close()
                self._beat = None
                raise translate(error, self._address.place) from error

    async def forget_worker(self, worker: str, *, lost: bool = False) -> None:
        """End a registration and free its leases."""
        self._tell_queues(await queue.forget(self._open_pool(), worker, lost, self._given()))
        self._workers.discard(worker)

    async def expire_workers(self) -> list[str]:
        """Forget, as lost, every worker whose registration has ended."""
        names, woken = await queue.expire(self._open_pool(), self._given())
        self._tell_queues(woken)
        return names

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Of these runs, those with another seq than the caller knows."""
        return await reads.changed(self._open_pool(), versions)

    # --- observing ----------------------------------------------------------------------------------------------------

    async def queue_rows(self, run_id: str) -> list[QueueRow]:
        """All queue rows of the run, by path."""
        return await reads.queue_rows(self._open_pool(), run_id)

    async def queue_depth(self) -> dict[str, int]:
        """Free due rows by queue; rows of held runs don't count."""
        return await reads.queue_depth(self._open_pool(), self._given())

    async def accounts(self) -> list[AccountRow]:
        """All accounts in use, by name."""
        return await reads.accounts(self._open_pool())

    async def workers(self) -> list[WorkerRow]:
        """All registered workers, by name."""
        return await reads.workers(self._open_pool())

    async def get_run(self, run_id: str) -> RunRow | None:
        """The run's line."""
        return await reads.get_run(self._open_pool(), run_id)

    async def list_runs(self, where: RunFilter, *, limit: int, cursor: str | None = None) -> Page[RunRow]:
        """Newest first."""
        return await reads.list_runs(self._open_pool(), where, check_limit(limit), cursor)

    async def read_journal(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[bytes]:
        """Committed events with seq > after, in order."""
        return await reads.read_journal(self._open_pool(), run_id, after, check_limit(limit))

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
        limit = check_limit(limit)
        return await feeds.read_feed(self._open_pool(), cursor, limit, run_id, workflow, namespace)

    # --- workflows ----------------------------------------------------------------------------------------------------

    async def save_version(
        self, name: str, *, meaning: str, text: bytes, record: bytes, namespace: str = NAMESPACE
    ) -> tuple[WorkflowVersion, bool]:
        """Save a version, or find the one with the same meaning and take over the text."""
        pool = self._open_pool()
        return await workflows.save_version(pool, name, meaning, text, record, namespace, self._given())

    async def get_version(
        self, name: str, version: int | None = None, *, namespace: str = NAMESPACE, deleted: bool = False
    ) -> WorkflowVersion | None:
        """A version, by default the current one."""
        pool = self._open_pool()
        return await self._versions.ask(
            (name, version, namespace, deleted),
            lambda: workflows.get_version(pool, name, version, namespace, deleted=deleted),
        )

    async def list_versions(self, name: str, *, namespace: str = NAMESPACE) -> list[WorkflowVersion]:
        """All versions of a workflow that isn't deleted, newest first."""
        return await workflows.list_versions(self._open_pool(), name, namespace)

    async def list_workflows(
        self, *, namespace: str = NAMESPACE, text: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[WorkflowRow]:
        """Saved and not deleted workflows by name."""
        pool = self._open_pool()
        return await workflows.list_workflows(pool, namespace, text, check_limit(limit), cursor)

    async def delete_workflow(self, name: str, *, namespace: str = NAMESPACE) -> bool:
        """Hide the workflow; False if there is none."""
        return await workflows.delete_workflow(self._open_pool(), name, namespace)

    # --- wake-ups -----------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        """Call back on the event loop for every wake-up, of this process and of others; the result ends it."""
        self._last_callback += 1
        number = self._last_callback
        self._callbacks[number] = callback

        def end() -> None:
            self._callbacks.pop(number, None)

        return end

    def notify(self, notice: Notice) -> None:
        """Tell everybody, as well as can be. May be called on any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, [notice])

    def _tell_queues(self, queues: set[str]) -> None:
        if queues:
            self._tell([QueueWake(queues=sorted(queues))])

    def _tell(self, wakes: Sequence[Wake]) -> None:
        if self._wakes is not None and wakes:
            self._wakes.tell(wakes)
            self._call_back(wakes)

    def _call_back(self, wakes: Sequence[Wake]) -> None:
        for callback in list(self._callbacks.values()):
            for wake in wakes:
                callback(wake)
