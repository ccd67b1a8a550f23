"""The Redis store: what the contract asks, handed to the parts that do it."""

import contextlib
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from redis.exceptions import RedisError

from orchestrator.errors import CommitUnknown, StoreError, StoreIncompatible, StoreUnavailable
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
from orchestrator.stores.redis import checks, lists
from orchestrator.stores.redis.accounts import Accounts
from orchestrator.stores.redis.commits import Commits
from orchestrator.stores.redis.faults import translate
from orchestrator.stores.redis.feeds import Feeds
from orchestrator.stores.redis.keys import FORMAT, PARTITIONS, STORE_SLOT, parse_url
from orchestrator.stores.redis.link import Call, Link
from orchestrator.stores.redis.queue import Queue, owned
from orchestrator.stores.redis.reads import Reads
from orchestrator.stores.redis.wakes import Wakes
from orchestrator.stores.redis.workflows import Workflows
from orchestrator.stores.rules import check_batch, check_cached, check_limit, check_limits

T = TypeVar("T")


class RedisStore:
    """Runs on a Redis server or a Redis Cluster, version 7.0 or newer.

    `redis://host:6379/0`, also `rediss://` and `unix://`; a cluster is recognised. `?prefix=` begins all keys (`ao`),
    `?partitions=` counts when the store is created (16). `now_us` replaces the server's clock, for tests.
    """

    def __init__(self, url: str, *, now_us: Callable[[], int] | None = None) -> None:
        """Name the server; nothing is touched before `open`.

        Raises:
            UsageError: the URL can't be meant.
        """
        self._place = parse_url(url)
        self._link = Link(self._place, now_us=now_us)
        self._wakes = Wakes(self._link)
        self._accounts = Accounts(self._link, self._wakes.tell)
        self._commits = Commits(self._link, self._accounts, self._wakes.tell)
        self._queue = Queue(self._link, self._accounts, self._wakes.tell)
        self._reads = Reads(self._link)
        self._feeds = Feeds(self._link)
        self._workflows = Workflows(self._link)
        self._now = now_us
        self._last_us = 0
        self._workers: set[str] = set()
        self._durability = Durability(keeps=Keeps.EVERYTHING)
        self._is_open = False

    @property
    def url(self) -> str:
        """How the store was named, without credentials."""
        return self._place.shown

    @property
    def commits_at_once(self) -> int:
        """While the server carries out one, the other is on its way or read."""
        return 2

    def durability(self) -> Durability:
        """What of the acknowledged could be lost, as the server was set up when the store was opened."""
        return self._durability

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Look at the server, find the store there or create it, and listen for wake-ups.

        Raises:
            StoreIncompatible: the server is too old or may throw data away, or a newer release made the store.
            StoreUnavailable: it can't be reached, or refuses.
        """
        if self._is_open:
            return
        probe = self._link.probe()
        try:
            servers = await self._look(probe)
        except (RedisError, OSError, TimeoutError) as error:
            raise translate(error, self.url) from error
        finally:
            with contextlib.suppress(RedisError, OSError):
                await probe.aclose()
        self._durability = checks.durability(servers)
        self._link.syncs_always = self._durability.keeps is Keeps.EVERYTHING
        self._link.partitions = 0
        self._link.open()
        self._is_open = True
        try:
            await self._asking(self._find_or_create())
            await self._wakes.start()
        except BaseException:
            self._is_open = False
            await self._wakes.stop()
            await self._link.close()
            raise

    async def _look(self, probe: Any) -> list[checks.Server]:
        first = await checks.look(probe, self.url)
        checks.refuse_unfit(first)
        self._link.clustered = first.clustered
        if not first.clustered:
            if first.replica:
                raise StoreUnavailable(f"{self.url} is a replica of another server; name its master")
            return [first]
        servers: list[checks.Server] = []
        self._link.open()
        try:
            for client, address in await self._link.masters():
                server = await checks.look(client, address)
                checks.refuse_unfit(server)
                servers.append(server)
        finally:
            await self._link.close()
        return servers

    async def _find_or_create(self) -> None:
        wanted = self._place.partitions or PARTITIONS
        call = Call("create", STORE_SLOT, [FORMAT, wanted, secrets.token_hex(4)])
        found = await self._link.ask(call)
        made, partitions, store_id = (int(found[0]), int(found[1]), found[2].decode())
        if made > FORMAT:
            raise StoreIncompatible(
                f"{self.url} holds a store of format {made}, made by a newer release; this one knows {FORMAT}"
            )
        if self._place.partitions not in (None, partitions):
            raise StoreIncompatible(
                f"{self.url} was created with {partitions} partitions, which can't change; leave ?partitions= out"
            )
        self._link.partitions, self._link.store_id = partitions, store_id
        await self._link.arrive_again()

    async def close(self) -> None:
        """End the registrations of this object's workers, and let go of the connections."""
        if not self._is_open:
            return
        with contextlib.suppress(StoreError):  # the others see by their clock that they are gone
            for worker in sorted(self._workers):
                await self._queue.forget(worker, lost=False)
        self._workers.clear()
        self._is_open = False
        await self._wakes.stop()
        await self._link.close()

    async def now_us(self) -> int:
        """The server's clock, as long as it doesn't run backwards."""
        if self._now is not None:
            return self._heard(self._now())
        seconds, micros = await self._asking(self._link.command_anywhere("TIME"))
        return self._heard(int(seconds) * 1_000_000 + int(micros))

    def _heard(self, now_us: int) -> int:
        self._last_us = max(self._last_us, now_us)
        return self._last_us

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailable(f"the store {self.url} isn't open; call open() first")

    async def _asking(self, question: Coroutine[Any, Any, T]) -> T:
        """Only a commit's callers know what "it may have happened" means; to the others the store was unavailable."""
        if not self._is_open:
            question.close()
        self._check_open()
        try:
            return await question
        except CommitUnknown as error:
            raise StoreUnavailable(str(error)) from error

    # --- the heart ----------------------------------------------------------------------------------------------------

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Apply commits, many in one call."""
        check_batch(batch)
        self._check_open()
        if not batch:
            return []
        answers = await self._commits.commit(batch)
        self._heard(answers[-1].now_us)
        return answers

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        """The latest snapshot and the events after it, or the events after `after`."""
        generation = self._link.generation
        loaded = await self._asking(self._reads.load(run_id, after))
        self._commits.loaded(run_id, generation)
        return loaded

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        """A blob of the run."""
        return await self._asking(self._reads.load_blob(run_id, blob_id))

    async def rewrite(
        self, run_id: str, *, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None = None
    ) -> bool:
        """Put other bytes in the place of events. The old ones are in the server's log until it is written anew."""
        done = await self._asking(self._reads.rewrite(run_id, expected, after, events, rest))
        if done and rest is not None:
            with contextlib.suppress(StoreError):  # the server does it in its own time
                await self._link.rewrite_logs()
        return done

    # --- cached outputs -----------------------------------------------------------------------------------------------

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        """What was put under the key, unless its time is over."""
        return await self._asking(self._reads.get_cached(key, namespace))

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        """Keep the value under the key for a time."""
        check_cached(key, ttl_us)
        await self._asking(self._reads.put_cached(key, value, ttl_us, namespace))

    async def expire_cached(self, *, limit: int) -> int:
        """The server does so by itself."""
        check_limit(limit)
        self._check_open()
        return 0

    # --- the queue ----------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        """Lease up to `limit` due rows."""
        limit = check_limit(limit)
        answer = await self._asking(self._queue.claim(worker, queues, limit))
        self._heard(answer.now_us)
        return answer

    async def release(
        self, worker: str, leases: Sequence[Granted], *, delay_us: int = 0, note: str = ""
    ) -> None:
        """Give leases back."""
        await self._asking(self._queue.release(worker, leases, delay_us, note))

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        """Take what each of the limits asks for, or give the task back to wait."""
        check_limits(limits)
        return await self._asking(self._accounts.acquire(worker, lease, limits))

    async def heartbeat(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """Register the worker in every partition, or extend its registrations."""
        self._workers.add(worker)
        calls = self._queue.heartbeat_calls(worker, lease_us, info)
        return owned(await self._asking(self._link.ask_all(calls)), self.url)

    def heartbeat_blocking(self, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        """As `heartbeat`, on the heartbeat's own thread and connection."""
        self._check_open()
        self._workers.add(worker)
        calls = self._queue.heartbeat_calls(worker, lease_us, info)
        return owned(self._link.run_blocking(calls), self.url)

    async def forget_worker(self, worker: str, *, lost: bool = False) -> None:
        """End a registration and free its leases."""
        if worker:
            await self._asking(self._queue.forget(worker, lost=lost))

    async def expire_workers(self) -> list[str]:
        """Forget, as lost, workers whose registration has ended."""
        ended = await self._asking(self._queue.forget("", lost=True))
        await self._asking(self._accounts.repair())
        return ended

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Of these runs, those with another seq than the caller knows."""
        return await self._asking(self._queue.changed(versions))

    # --- observing ----------------------------------------------------------------------------------------------------

    async def queue_rows(self, run_id: str) -> list[QueueRow]:
        """All queue rows of the run, by path."""
        return await self._asking(self._queue.rows_of(run_id))

    async def queue_depth(self) -> dict[str, int]:
        """Free due rows by queue; rows of held runs don't count."""
        return await self._asking(self._queue.depth())

    async def accounts(self) -> list[AccountRow]:
        """All accounts in use, by name."""
        return await self._asking(self._accounts.rows())

    async def workers(self) -> list[WorkerRow]:
        """All registered workers, by name."""
        return await self._asking(self._queue.workers())

    async def get_run(self, run_id: str) -> RunRow | None:
        """The run's line."""
        return await self._asking(self._reads.get_run(run_id))

    async def list_runs(self, where: RunFilter, *, limit: int, cursor: str | None = None) -> Page[RunRow]:
        """Newest first; a page may be short."""
        limit = check_limit(limit)
        return await self._asking(lists.list_runs(self._link, self._reads, where, limit, cursor))

    async def read_journal(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[bytes]:
        """Committed events with seq > after, in order."""
        limit = check_limit(limit)
        return await self._asking(self._reads.read_journal(run_id, after, limit))

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
        return await self._asking(self._feeds.read(cursor, limit, run_id, workflow, namespace))

    # --- workflows ----------------------------------------------------------------------------------------------------

    async def save_version(
        self, name: str, *, meaning: str, text: bytes, record: bytes, namespace: str = NAMESPACE
    ) -> tuple[WorkflowVersion, bool]:
        """Save a version, or find the one with the same meaning and take over the text."""
        saving = self._workflows.save(name, meaning=meaning, text=text, record=record, namespace=namespace)
        return await self._asking(saving)

    async def get_version(
        self, name: str, version: int | None = None, *, namespace: str = NAMESPACE, deleted: bool = False
    ) -> WorkflowVersion | None:
        """A version, by default the current one."""
        which = "current" if version is None else str(version)
        found = await self._asking(
            self._workflows.versions(name, which, namespace=namespace, deleted=deleted)
        )
        return found[0] if found else None

    async def list_versions(self, name: str, *, namespace: str = NAMESPACE) -> list[WorkflowVersion]:
        """All versions of a workflow that isn't deleted, newest first."""
        return await self._asking(self._workflows.versions(name, "all", namespace=namespace))

    async def list_workflows(
        self, *, namespace: str = NAMESPACE, text: str = "", limit: int = 100, cursor: str | None = None
    ) -> Page[WorkflowRow]:
        """Saved and not deleted workflows by name."""
        limit = check_limit(limit)
        return await self._asking(self._workflows.rows(namespace, text, limit, cursor))

    async def delete_workflow(self, name: str, *, namespace: str = NAMESPACE) -> bool:
        """Hide the workflow; False if there is none."""
        return await self._asking(self._workflows.delete(name, namespace=namespace))

    # --- wake-ups -----------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        """Call back on the event loop of `open` for every wake-up; the result ends it."""
        return self._wakes.subscribe(callback)

    def notify(self, notice: Notice) -> None:
        """Tell everybody who subscribed, on all machines."""
        self._wakes.notify(notice)
