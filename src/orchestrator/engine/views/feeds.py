"""Live feeds: what happened, in order, without gap or repeat; and what is happening, as well as can be told.

The journal is the truth: a feed reads it behind the position that its client has seen. Wake-ups of the store only say
when to look; a slow poll looks anyway. Live notices (a start, progress, a log line) travel beside it without position,
through bounded buffers: a slow client loses the oldest of them and never an event.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from orchestrator.engine.views.payloads import event_view
from orchestrator.engine.views.runs import View, running_paths
from orchestrator.errors import NotFound, UsageError
from orchestrator.kernel.values import rfc3339
from orchestrator.model.grafts import node_of
from orchestrator.stores.contract import Notice, QueueRow, RunAdvanced, RunRow, Store, Wake

NOTICES_WAITING_MAX = 1_000
EVENTS_AT_ONCE = 500
RUNS_REMEMBERED_MAX = 2_000
ENDED_REMEMBERED_MAX = 10_000
LOGGED_RUNS_MAX = 500
LOG_LINES_PER_RUN_MAX = 1_000
MANY_RUNS_PAUSE_SECONDS = 0.05
"""Between two reads of the feed over many runs: a busy store makes fewer, larger reads."""

log: Any = structlog.get_logger("orchestrator.feeds")


class FeedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a feed. `id` is the position behind it; None for what has no position."""

    event: str
    data: Any
    id: str | None = None


class Listener:
    """One follower's ear: something may be new (`wake`), and notices in a bounded buffer."""

    __slots__ = ("notices", "seq", "wake")

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.notices: deque[View] = deque(maxlen=NOTICES_WAITING_MAX)
        self.seq: int | None = None

    async def wait(self, seconds: float) -> None:
        """Until something may be new, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            pass
        self.wake.clear()

    def take(self) -> list[View]:
        """The notices so far."""
        taken = list(self.notices)
        self.notices.clear()
        return taken


class Hub:
    """The one subscription to the store's wake-ups, given on to whoever listens; keeps the last log lines of tasks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of_run: dict[str, set[Listener]] = {}
        self._of_all: set[Listener] = set()
        self._logs: OrderedDict[str, deque[View]] = OrderedDict()
        self._unsubscribe: Callable[[], None] | None = None

    def open(self) -> None:
        """Begin to listen. Again: nothing."""
        if self._unsubscribe is None:
            self._unsubscribe = self._store.subscribe(self._woken)

    def close(self) -> None:
        """Listen no more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    @contextmanager
    def listening(self, run_id: str | None) -> Generator[Listener]:
        """An ear for one run, or for all, as long as the block lasts."""
        self.open()
        listener = Listener()
        ears = self._of_all if run_id is None else self._of_run.setdefault(run_id, set())
        ears.add(listener)
        try:
            yield listener
        finally:
            ears.discard(listener)
            if run_id is not None and not ears:
                self._of_run.pop(run_id, None)

    def logs(self, run_id: str, path: str) -> list[View]:
        """The last log lines of a task that this process heard of."""
        lines = self._logs.get(run_id, ())
        return [
            {"at": line.get("at"), "level": line.get("level") or "info", "message": line.get("message") or ""}
            for line in lines
            if line.get("path") == path
        ]

    def _woken(self, wake: Wake) -> None:
        match wake:
            case RunAdvanced():
                for listener in self._ears(wake.run_id):
                    listener.wake.set()
            case Notice():
                self._noticed(wake)
            case _:
                pass

    def _ears(self, run_id: str) -> list[Listener]:
        return [*self._of_run.get(run_id, ()), *self._of_all]

    def _noticed(self, notice: Notice) -> None:
        try:
            data = msgspec.json.decode(notice.data, type=dict[str, Any])
        except msgspec.DecodeError as error:
            log.debug("a notice was dropped", run=notice.run_id, error=str(error))
            return
        if data.get("kind") == "task_log":
            lines = self._logs.setdefault(notice.run_id, deque(maxlen=LOG_LINES_PER_RUN_MAX))
            lines.append(data)
            self._logs.move_to_end(notice.run_id)
            if len(self._logs) > LOGGED_RUNS_MAX:
                self._logs.popitem(last=False)
        told = {"run": notice.run_id, "workflow": notice.workflow, **data}
        for listener in self._ears(notice.run_id):
            listener.notices.append(told)
            listener.wake.set()


class _Ended:
    """Attempts whose end was shown, so that a notice that comes late isn't shown after it."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, float] = OrderedDict()

    def saw(self, event: Mapping[str, Any]) -> None:
        """An event was shown."""
        match event.get("kind"):
            case "task_completed" | "task_failed":
                self._set(event["path"], event["attempt"])
            case "task_skipped" | "task_cancelled":
                self._set(event["path"], float("inf"))
            case "run_retried":
                for path in event.get("reopened", ()):
                    self._attempts.pop(path, None)
            case _:
                pass

    def _set(self, path: str, attempt: float) -> None:
        self._attempts[path] = attempt
        if len(self._attempts) > ENDED_REMEMBERED_MAX:
            self._attempts.popitem(last=False)

    def hides(self, notice: Mapping[str, Any]) -> bool:
        """Whether the notice is of an attempt that is over."""
        ended = self._attempts.get(notice.get("path", ""))
        return (
            ended is not None and notice.get("kind") != "task_log" and (notice.get("attempt") or 0) <= ended
        )


_TERMINAL = ("run_succeeded", "run_failed", "run_cancelled")


class Feeds:
    """Feeds of one namespace. `summarise` makes the view of a run's line."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        *,
        namespace: str,
        slow_poll_seconds: float,
        summarise: Callable[[RunRow], Awaitable[View]],
    ) -> None:
        self._store = store
        self._hub = hub
        self._namespace = namespace
        self._poll_seconds = slow_poll_seconds
        self._summarise = summarise
        self._namespaces: OrderedDict[str, str] = OrderedDict()

    # --- one run ------------------------------------------------------------------------------------------------------

    async def of_run(self, run_id: str, *, after: int) -> AsyncGenerator[FeedItem]:
        """The journal behind `after` as it grows, live notices beside it, and `end` once the run is over.

        Raises:
            NotFound: there is no such run (any more).
        """
        seq, ended, first = after, _Ended(), True
        with self._hub.listening(run_id) as ear:
            while True:
                for notice in ear.take():
                    if not ended.hides(notice):
                        yield _live(notice, with_run=False)
                look = first
                while lines := await self._store.read_journal(run_id, after=seq, limit=EVENTS_AT_ONCE):
                    for line in lines:
                        view = event_view(line)
                        seq = view["seq"]
                        ended.saw(view)
                        look = first or view["kind"] in _TERMINAL
                        yield FeedItem(event="journal", data=view, id=str(seq))
                if look:
                    row = await self._row(run_id)
                    if not row.index.live and row.seq <= seq:
                        yield FeedItem(event="end", data={"status": row.index.status})
                        return
                if first:
                    for item in self._running_now(await self._store.queue_rows(run_id)):
                        yield item
                first = False
                await ear.wait(self._poll_seconds)

    async def _row(self, run_id: str) -> RunRow:
        row = await self._store.get_run(run_id)
        if row is None or row.namespace != self._namespace:
            raise NotFound("run", run_id)
        return row

    def _running_now(self, rows: Iterable[QueueRow]) -> list[FeedItem]:
        """What began before anybody listened, from the leases."""
        return [
            FeedItem(
                event="live",
                data={
                    "kind": "task_started",
                    "path": path,
                    "node": node_of(path),
                    "at": rfc3339(row.leased_us or row.queued_us),
                    "attempt": None,
                    "worker": row.worker,
                },
            )
            for path, row in running_paths(rows).items()
        ]

    # --- many runs ----------------------------------------------------------------------------------------------------

    async def of_many(
        self, *, run_id: str | None, workflow: str | None, cursor: str | None
    ) -> AsyncGenerator[FeedItem]:
        """Events of many runs from now on, or from behind `cursor`; a run's line whenever it has changed.

        The first item is `ready`, which only carries the position to resume from; or `reset`, if the cursor isn't one
        of this store: the client must read its lists again.
        """
        position, begun = await self._begin(run_id, workflow, cursor)
        yield begun
        sent: OrderedDict[str, bytes] = OrderedDict()
        with self._hub.listening(run_id) as ear:
            while True:
                touched: dict[str, None] = {}
                for notice in ear.take():
                    if await self._concerns(notice, workflow):
                        if notice.get("kind") in ("task_started", "task_ended"):
                            touched[notice["run"]] = None
                        yield _live(notice, with_run=True)
                items, position = await self._store.read_feed(
                    cursor=position,
                    limit=EVENTS_AT_ONCE,
                    run_id=run_id,
                    workflow=workflow,
                    namespace=self._namespace,
                )
                for item in items:
                    touched[item.run_id] = None
                    data = {"run": item.run_id, "workflow": item.workflow, **event_view(item.event)}
                    yield FeedItem(event="journal", data=data, id=item.cursor)
                for touched_run in touched:
                    line = await self._changed_line(touched_run, sent)
                    if line is not None:
                        yield line
                if len(items) < EVENTS_AT_ONCE:
                    await ear.wait(self._poll_seconds)
                    await asyncio.sleep(MANY_RUNS_PAUSE_SECONDS)

    async def _begin(
        self, run_id: str | None, workflow: str | None, cursor: str | None
    ) -> tuple[str, FeedItem]:
        where: dict[str, Any] = {"run_id": run_id, "workflow": workflow, "namespace": self._namespace}
        if cursor is not None:
            try:
                await self._store.read_feed(cursor=cursor, limit=1, **where)
            except UsageError as error:
                _, now = await self._store.read_feed(cursor=None, limit=1, **where)
                return now, FeedItem(event="reset", data={"reason": str(error)}, id=now)
            return cursor, FeedItem(event="ready", data={}, id=cursor)
        _, now = await self._store.read_feed(cursor=None, limit=1, **where)
        return now, FeedItem(event="ready", data={}, id=now)

    async def _concerns(self, notice: View, workflow: str | None) -> bool:
        if workflow is not None and notice.get("workflow") != workflow:
            return False
        run_id = notice["run"]
        namespace = self._namespaces.get(run_id)
        if namespace is None:
            row = await self._store.get_run(run_id)
            if row is None:
                return False
            namespace = self._namespaces[run_id] = row.namespace
            if len(self._namespaces) > RUNS_REMEMBERED_MAX:
                self._namespaces.popitem(last=False)
        return namespace == self._namespace

    async def _changed_line(self, run_id: str, sent: OrderedDict[str, bytes]) -> FeedItem | None:
        row = await self._store.get_run(run_id)
        if row is None or row.namespace != self._namespace:
            return None
        view = await self._summarise(row)
        # Not the sentence: it counts seconds.
        mark = msgspec.json.encode([view["status"], view["seq"], view["tasks"]])
        if sent.get(run_id) == mark:
            return None
        sent[run_id] = mark
        sent.move_to_end(run_id)
        if len(sent) > RUNS_REMEMBERED_MAX:
            sent.popitem(last=False)
        return FeedItem(event="run", data={"run": run_id, **view})


def _live(notice: View, *, with_run: bool) -> FeedItem:
    data = notice if with_run else {k: v for k, v in notice.items() if k not in ("run", "workflow")}
    return FeedItem(event="live", data=data)
