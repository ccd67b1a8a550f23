"""The SQLite store: what the contract asks, handed to the writer thread or to the readers."""

import asyncio
import concurrent.futures
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import apsw

from orchestrator.errors import StoreUnavailable
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
    Page,
    QueueRow,
    RunFilter,
    RunRow,
    Wake,
    WorkerRow,
    WorkflowRow,
    WorkflowVersion,
)
from orchestrator.stores.rules import check_batch, check_cached, check_limit, check_limits, machine_clock
from orchestrator.stores.sqlite import accounts, keeping, migrations, queue, reads, workflows
from orchestrator.stores.sqlite.database import (
    Connection,
    connect,
    make_durable,
    path_of,
    prepare_file,
    translate,
)
from orchestrator.stores.sqlite.processes import Processes
from orchestrator.stores.sqlite.readers import Readers, Reading
from orchestrator.stores.sqlite.transaction import StoreClock, Transaction
from orchestrator.stores.sqlite.writer import Answer, Job, Writer

READER_THREADS = 2

T = TypeVar("T")


class SqliteStore:
    """Runs in one file on a local disk, shared by the processes of one machine.

    `now_us` replaces the machine's clock (for tests); the store's time still never runs backwards.
    """

    def __init__(self, url: str, *, now_us: Callable[[], int] | None = None) -> None:
        """Name the file; nothing is touched before `open`.

        Raises:
            UsageError: the URL doesn't name a SQLite file.
        """
        self._url = url
        self._path = path_of(url)
        self._source = now_us
        self._clock = StoreClock(now_us or machine_clock())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._glance: Connection | None = None
        self._processes: Processes | None = None
        self._callbacks: dict[int, Callable[[Wake], None]] = {}
        self._last_callback = 0

    @property
    def url(self) -> str:
        """How the store was named. There are no credentials in it."""
        return self._url

    @property
    def commits_at_once(self) -> int:
        """One after another."""
        return 1

    def durability(self) -> Durability:
        """Every answer comes after the disk's sync."""
        return Durability(keeps=Keeps.EVERYTHING)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file, bring it to the newest shape, and free what killed processes held.

        Raises:
            StoreIncompatible: the file belongs to a newer release, or a migration was changed. It was not touched.
            StoreUnavailable: it can't be opened or written.
        """
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._clock = StoreClock(self._source or machine_clock())
        try:
            await asyncio.to_thread(self._open_file)
            if self._processes is not None and self._processes.inbox is not None:
                self._loop.add_reader(self._processes.inbox.fileno(), self._receive)
            await self.expire_workers()
        except BaseException:
            await self._close_all()
            raise

    def _open_file(self) -> None:
        try:
            prepare_file(self._path)
            known = migrations.bundled()
            self._connection = connect(self._path, write=True)
            migrations.check(self._connection, self._path, known)
            make_durable(self._connection, self._path)
            migrations.migrate(self._connection, self._path, known)
            self._processes = Processes(self._path)
            self._processes.join()
            self._processes.clean()
            self._readers = Readers(self._path, self._read_done)
            self._readers.start(READER_THREADS)
            self._glance = connect(self._path, write=False)
            self._glance.set_busy_timeout(0)
            self._writer = Writer(
                self._connection,
                self._path,
                clock=self._clock,
                process=self._processes.name,
                answer=self._written,
                told=self._processes.send,
                alone=self._processes.alone,
            )
            self._writer.start()
        except apsw.Error as error:
            raise translate(error, self._path) from error

    async def close(self) -> None:
        """Free this process's leases, finish what is waiting, let go of the file."""
        if self._loop is None:
            return
        if self._writer is not None and self._processes is not None:
            name = self._processes.name
            with contextlib.suppress(
                StoreUnavailable
            ):  # the others see by the lock that this process is gone
                await self._write(lambda tx: queue.forget_process(tx, [name], lost=False))
        await self._close_all()

    async def _close_all(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._processes is not None and self._processes.inbox is not None:
            loop.remove_reader(self._processes.inbox.fileno())
        await asyncio.to_thread(self._close_file)

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.stop()
        if self._readers is not None:
            self._readers.stop()
        for connection in (self._glance, self._connection):
            if connection is not None:
                connection.close()
        if self._processes is not None:
            self._processes.leave()
        self._writer = self._readers = self._glance = self._connection = self._processes = None

    # --- handing over -------------------------------------------------------------------------------------------------

    async def _write(self, act: Callable[[Transaction], T]) -> T:
        """Run something in a write transaction, together with everything else that waits."""
        writer, loop = self._writer, self._loop
        if writer is None or loop is None:
            raise self._not_open()
        future: asyncio.Future[Any] = loop.create_future()
        writer.submit(Job(None, act, future))
        return cast(T, await future)

    async def _read(self, ask: Callable[[Connection], T]) -> T:
        """Ask something of the last committed state."""
        readers, loop = self._readers, self._loop
        if readers is None or loop is None:
            raise self._not_open()
        future: asyncio.Future[Any] = loop.create_future()
        readers.submit(Reading(ask, future))
        return cast(T, await future)

    async def _look(self, ask: Callable[[Connection], T]) -> T:
        """Ask for a row that is surely in memory, with one statement: on the loop itself.

        The way to a reader's thread and back takes ten times as long. Whatever is in the way is left to a reader.
        """
        if self._glance is not None:
            with contextlib.suppress(apsw.Error):
                return ask(self._glance)
        return await self._read(ask)

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"the store {self._path} isn't open; call open() first")

    def _written(self, answers: list[Answer], wakes: list[Wake]) -> None:
        """On the writer thread: bring the answers, and what is to be woken, to the loop."""
        for job, result, error in answers:
            if isinstance(job.future, concurrent.futures.Future):
                _resolve(job.future, result, error)
        self._on_loop(self._deliver, answers, wakes)

    def _deliver(self, answers: list[Answer], wakes: list[Wake]) -> None:
        for job, result, error in answers:
            if isinstance(job.future, asyncio.Future):
                _resolve(job.future, result, error)
        self._call_back(wakes)

    def _read_done(self, reading: Reading, result: object, error: Exception | None) -> None:
        self._on_loop(_resolve, reading.future, result, error)

    def _on_loop(self, callback: Callable[..., object], *arguments: object) -> None:
        loop = self._loop or _loop_of(arguments)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
                loop.call_soon_threadsafe(functools.partial(callback, *arguments))

    # --- the heart ----------------------------------------------------------------------------------------------------

    async def now_us(self) -> int:
        """The store's clock, as far as this process has heard."""
        return self._clock.now_us()

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Apply commits in one transaction with one sync, together with those of other callers that wait."""
        check_batch(batch)
        writer, loop = self._writer, self._loop
        if writer is None or loop is None:
            raise self._not_open()
        future: asyncio.Future[list[CommitAnswer]] = loop.create_future()
        writer.submit(Job(batch, None, future))
        return await future

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        """The latest snapshot and the events after it, or the events after `after`."""
        return await self._read(lambda connection: reads.load(connection, run_id, after))

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        """A blob of the run."""
        return await self._read(lambda connection: reads.load_blob(connection, run_id, blob_id))

    async def rewrite(
        self, run_id: str, *, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None = None
    ) -> bool:
        """Put other bytes in the place of events that are there; after `rest` the log is cut off."""
        written = await self._write(lambda tx: keeping.rewrite(tx, run_id, expected, after, events, rest))
        if written and rest is not None:
            await asyncio.to_thread(self._cut_log)
        return written

    def _cut_log(self) -> None:
        """As well as can be: a reader in the middle, or a stream of writers, keeps the log for the next one."""
        with (
            contextlib.suppress(apsw.Error),
            contextlib.closing(connect(self._path, write=True)) as connection,
        ):
            connection.execute(keeping.CHECKPOINT).fetchall()

    # --- cached outputs -----------------------------------------------------------------------------------------------

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        """What was put under the key, unless its time is over."""
        now = self._clock.now_us()
        return await self._read(lambda connection: keeping.get_cached(connection, namespace, key, now))

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        """Keep the value under the key for a time."""
        check_cached(key, ttl_us)
        await self._write(lambda tx: keeping.put_cached(tx, namespace, key, value, ttl_us))

    async def expire_cached(self, *, limit: int) -> int:
        """Remove up to `limit` entries whose time is over."""
        limit = check_limit(limit)
        return await self._write(lambda tx: keeping.expire_cached(tx, limit))

    # --- the queue ----------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        """Lease up to `limit` due rows."""
        limit = check_limit(limit)
        return await self._write(lambda tx: queue.claim(tx, worker, queues, limit))

    async def release(
        self, worker: str, leases: Sequence[Granted], *, delay_us: int = 0, note: str = ""
    ) -> None:
        """Give leases back."""
        await self._write(lambda tx: queue.release(tx, worker, leases, delay_us, note))

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        """Take what each of the limits asks for, or give the task back to wait."""
        check_limits(limits)
        return await self._write(lambda tx: accounts.acquire(tx, worker, lease, limits))

    async def heartbeat(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """Register the worker, or extend its registration."""
        return await self._write(lambda tx: queue.heartbeat(tx, worker, lease_us, info))

    def heartbeat_blocking(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """As `heartbeat`, on the heartbeat's own thread. It goes to the writer thread and needs no event loop."""
        writer = self._writer
        if writer is None:
            raise self._not_open()
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        writer.submit(Job(None, lambda tx: queue.heartbeat(tx, worker, lease_us, info), future))
        return cast(HeartbeatAnswer, future.result())

    async def forget_worker(self, worker: str, *, lost: bool = False) -> None:
        """End a registration and free its leases."""
        await self._write(lambda tx: queue.forget(tx, worker, lost))

    async def expire_workers(self) -> list[str]:
        """Forget, as lost, workers whose registration has ended or whose process is dead."""
        return await self._write(self._expire)

    def _expire(self, tx: Transaction) -> list[str]:
        processes = self._processes
        if processes is None:
            return []
        known = queue.registrations(tx)
        dead = processes.dead({process for _, process, _ in known})
        ended = [worker for worker, process, ends_us in known if process in dead or ends_us <= tx.now_us]
        for worker in ended:
            queue.forget(tx, worker, lost=True)
        return ended

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Of these runs, those with another seq than the caller knows."""
        return await self._read(lambda connection: reads.changed(connection, versions))

    # --- observing ----------------------------------------------------------------------------------------------------

    async def queue_rows(self, run_id: str) -> list[QueueRow]:
        """All queue rows of the run, by path."""
        return await self._read(lambda connection: reads.queue_rows(connection, run_id))

    async def queue_depth(self) -> dict[str, int]:
        """Free due rows by queue; rows of held runs don't count."""
        return await self._read(lambda connection: reads.queue_depth(connection, self._clock.now_us()))

    async def accounts(self) -> list[AccountRow]:
        """All accounts in use, by name."""
        return await self._read(reads.accounts)

    async def workers(self) -> list[WorkerRow]:
        """All registered workers, by name."""
        return await self._read(reads.workers)

    async def get_run(self, run_id: str) -> RunRow | None:
        """The run's line."""
        return await self._read(lambda connection: reads.get_run(connection, run_id))

    async def list_runs(self, where: RunFilter, *, limit: int, cursor: str | None = None) -> Page[RunRow]:
        """Newest first."""
        limit = check_limit(limit)
        return await self._read(lambda connection: reads.list_runs(connection, where, limit, cursor))

    async def read_journal(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[bytes]:
        """Committed events with seq > after, in order."""
        limit = check_limit(limit)
        return await self._read(lambda connection: reads.read_journal(connection, run_id, after, limit))

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
        return await self._read(
            lambda connection: reads.read_feed(connection, cursor, limit, run_id, workflow, namespace)
        )

    # --- workflows ----------------------------------------------------------------------------------------------------

    async def save_version(
        self, name: str, *, meaning: str, text: bytes, record: bytes, namespace: str = NAMESPACE
    ) -> tuple[WorkflowVersion, bool]:
        """Save a version, or find the one with the same meaning and take over the text."""
        return await self._write(
            lambda tx: workflows.save_version(tx, name, meaning, text, record, namespace)
        )

    async def get_version(
        self, name: str, version: int | None = None, *, namespace: str = NAMESPACE, deleted: bool = False
    ) -> WorkflowVersion | None:
        """A version, by default the current one."""
        return await self._look(
            lambda connection: workflows.get_version(connection, name, version, namespace, deleted=deleted)
        )

    async def list_versions(self, name: str, *, namespace: str = NAMESPACE) -> list[WorkflowVersion]:
        """All versions of a workflow that isn't deleted, newest first."""
        return await self._read(lambda connection: workflows.list_versions(connection, name, namespace))

    async def list_workflows(
        self, *, namespace: str = NAMESPACE, text: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[WorkflowRow]:
        """Saved and not deleted workflows by name."""
        limit = check_limit(limit)
        return await self._read(
            lambda connection: workflows.list_workflows(connection, namespace, text, limit, cursor)
        )

    async def delete_workflow(self, name: str, *, namespace: str = NAMESPACE) -> bool:
        """Hide the workflow; False if there is none."""
        return await self._write(lambda tx: workflows.delete_workflow(tx, name, namespace))

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
        processes = self._processes
        if processes is None:
            return
        self._on_loop(self._call_back, [notice])
        with contextlib.suppress(OSError):
            processes.send([notice])

    def _receive(self) -> None:
        if self._processes is not None:
            self._call_back(self._processes.receive())

    def _call_back(self, wakes: Sequence[Wake]) -> None:
        if not wakes:
            return
        for callback in list(self._callbacks.values()):
            for wake in wakes:
                callback(wake)


def _resolve(future: Any, result: object, error: Exception | None) -> None:
    """Give a future its answer, unless nobody waits for it any more."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _loop_of(arguments: Sequence[object]) -> asyncio.AbstractEventLoop | None:
    """The loop that a late answer is waited for on, when the store has been closed in between."""
    for argument in arguments:
        if isinstance(argument, asyncio.Future):
            return argument.get_loop()
    return None
