"""The facade that API, command line and embedders drive: everything that a person may ask of the engine.

Views are plain JSON data (see `views`); errors are those of `errors.py`. What a call answered with success is durable.
The service does no work of its own: without a `Worker` on the same store, runs are started and wait.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from orchestrator.engine.attempts.failures import clean
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.ids import new_run_id
from orchestrator.engine.service import health, inputs
from orchestrator.engine.service.catalog import Catalog
from orchestrator.engine.service.erasing import erase
from orchestrator.engine.service.starting import Asked, start
from orchestrator.engine.travel.exporting import export_run
from orchestrator.engine.travel.forks import Forks, changes_of
from orchestrator.engine.travel.importing import import_run
from orchestrator.engine.travel.runfile import Limits
from orchestrator.engine.views import runs as views
from orchestrator.engine.views import tasks as task_views
from orchestrator.engine.views import workflows as workflow_views
from orchestrator.engine.views.crew import crew_of
from orchestrator.engine.views.explain import WAKERS_SHOWN_MAX, Hold, explain_end, join_view, pending_of
from orchestrator.engine.views.feeds import FeedItem, Feeds, Hub
from orchestrator.engine.views.payloads import event_view
from orchestrator.engine.views.plans import plan_views
from orchestrator.engine.views.reader import RunReader
from orchestrator.engine.views.runs import View
from orchestrator.engine.views.tasklog import TaskLog
from orchestrator.engine.views.tasktable import EVERY_TASK, TaskFilter
from orchestrator.errors import Conflict, NotFound, UsageError
from orchestrator.kernel import commands as c
from orchestrator.kernel.joins import waiting_joins
from orchestrator.kernel.runs import active_us
from orchestrator.kernel.status import RunStatus
from orchestrator.model.definition import Definition
from orchestrator.model.durations import to_microseconds
from orchestrator.model.grafts import grafted
from orchestrator.model.limits import (
    BUDGET_COST_USD_MAX,
    BUDGET_TASKS,
    BUDGET_TOKENS_MAX,
    DURATION_SECONDS_MAX,
)
from orchestrator.model.nearest import Nearest
from orchestrator.model.reading import Syntax
from orchestrator.model.schema import workflow_schema
from orchestrator.sdk.outbox import Outbox
from orchestrator.stores.contract import QueueRow, RunFilter, RunRow, TaskKind

JOURNAL_PAGE = 1_000
NEAREST_AMONG = 1_000
JOURNAL_SCANNED_MAX = 20_000
"""Events that one filtered read of a journal looks at; what lies behind comes with the next page."""


class Service:
    """One namespace of one engine. `start` after the engine is open, `close` before it is closed."""

    def __init__(self, engine: Engine, *, outbox: Outbox | None = None, dev: bool = False) -> None:
        self.engine = engine
        self._store = engine.store
        self._namespace = engine.config.namespace
        self._outbox = outbox or Outbox.from_environment()
        self._dev = dev
        self._hub = Hub(engine.store)
        self._reader = RunReader(engine)
        self._feeds = Feeds(
            engine.store,
            self._hub,
            namespace=self._namespace,
            slow_poll_seconds=engine.config.slow_poll_seconds,
            summarise=self._summarise,
        )
        self._forks = Forks(engine, namespace=self._namespace)
        self._catalog = Catalog(engine, namespace=self._namespace, summarise=self._summarise)
        self._started_us = 0

    def start(self) -> None:
        """Listen to the store's wake-ups. Once the engine is open; again: nothing."""
        self._hub.open()
        self._started_us = self._started_us or self.engine.now_us()

    def close(self) -> None:
        """Listen no more. Feeds that are open go on by their slow poll until they are closed."""
        self._hub.close()

    # --- workflows ------------------------------------------------------------------------------------------------

    async def save_workflow(
        self, text: str | bytes, *, namespace: str | None = None, syntax: Syntax = "json"
    ) -> View:
        """Save a document as it stands, JSON or YAML; the same meaning again gives the version that has it.

        Raises:
            DefinitionError: it has faults; every one of them is listed.
        """
        return await self._catalog.save(_raw(text), namespace=namespace or self._namespace, syntax=syntax)

    async def validate_workflow(self, text: str | bytes, *, syntax: Syntax = "json") -> View:
        """What a document would be, were it saved: its faults and hints, and its graph as far as it can be drawn."""
        return await self._catalog.validate(_raw(text), syntax=syntax)

    async def list_workflows(self, *, text: str = "", limit: int = 100, cursor: str | None = None) -> View:
        """Workflows by name, each with its current version and its last run."""
        return await self._catalog.list(text=text, limit=limit, cursor=cursor)

    async def get_workflow(self, name: str, *, version: int | None = None) -> View:
        """A version, by default the current one, with its text as it was saved.

        Raises:
            NotFound: there is no such workflow or version.
        """
        return await self._catalog.get(name, version)

    async def list_versions(self, name: str) -> list[View]:
        """All versions, newest first.

        Raises:
            NotFound: there is no such workflow.
        """
        return await self._catalog.versions(name)

    async def delete_workflow(self, name: str) -> None:
        """Hide a workflow; its runs stay readable.

        Raises:
            NotFound: there is no such workflow. Conflict: it has live runs (`workflow_has_live_runs`).
        """
        await self._catalog.delete(name)

    # --- starting runs --------------------------------------------------------------------------------------------

    async def start_run(
        self,
        workflow: str,
        *,
        input: Any = None,
        labels: Mapping[str, str] | None = None,
        version: int | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
    ) -> tuple[View, bool]:
        """Start a run of a version, by default the current one. False: the key had started it before.

        `priority` is added to its nodes', and to those of the runs that it starts.

        Raises:
            NotFound: there is no such workflow or version.
            InvalidInput: the input doesn't satisfy the workflow's `input_schema`, or can't be kept.
            LimitExceeded: too many labels, or too large an input.
            ExpressionFailed: one of the workflow's `vars` can't be evaluated.
            Conflict: the key belongs to another request (`idempotency_key_reused`).
        """
        row = await self._catalog.version(workflow, version)
        definition = await self.engine.definitions.get(workflow, row.version, namespace=self._namespace)
        asked = Asked(workflow, version, input, dict(labels or {}), priority)
        run_id, created = await start(self.engine, definition, row.version, asked, key=idempotency_key)
        return await self.get_run(run_id), created

    # --- reading runs ---------------------------------------------------------------------------------------------

    async def list_runs(self, where: RunFilter, *, cursor: str | None = None, limit: int = 100) -> View:
        """Runs, newest first."""
        filtered = msgspec.structs.replace(where, namespace=self._namespace)
        page = await self._store.list_runs(filtered, limit=limit, cursor=cursor)
        return {"items": [await self._summarise(row) for row in page.items], "next": page.cursor}

    async def get_run(self, run_id: str) -> View:
        """The run as it stands now, with its input and output.

        Raises:
            NotFound: there is no such run.
        """
        row = await self._row(run_id)
        hold = await self._hold(row)
        summary = await self._summarise(row, hold=hold)
        state = await self.engine.read_state(run_id)
        definition = await self._definition(row)
        active = active_us(state, self.engine.now_us())
        return views.run_view(
            summary,
            budget=views.budget_view(state, definition, active_us=active),
            input=await self.engine.decode(state.input, run_id=run_id),
            output=await self.engine.decode(state.output, run_id=run_id) if not row.index.live else None,
        )

    async def list_tasks(self, run_id: str) -> list[View]:
        """The tasks of a run in the order of their scheduling, without their values.

        Raises:
            NotFound: there is no such run.
        """
        row = await self._row(run_id)
        log = await self._reader.task_log(run_id)
        definition = await self._definition(row)
        return task_views.task_views(log, definition, await self._present(row))

    async def task_page(
        self, run_id: str, *, where: TaskFilter = EVERY_TASK, start: int = 0, limit: int = 1000
    ) -> View:
        """Some of the tasks of a run: from a position of their list on, at most `limit` of those that are wanted.

        `next` is the position at which the next page begins, None at the end.

        Raises:
            NotFound: there is no such run, or no task `where.of`.
        """
        row = await self._row(run_id)
        log = await self._reader.task_log(run_id)
        if where.of is not None and where.of not in log.tasks:
            raise NotFound("task", where.of, suggestion=_nearest(where.of, log))
        definition = await self._definition(row)
        present = await self._present(row)
        items, following = task_views.task_page(
            log, definition, present, where=where, start=start, limit=limit
        )
        return {"items": items, "next": following}

    async def list_plans(self, run_id: str, *, start: int = 0, limit: int = 100) -> View:
        """The plans that tasks of the run laid, in that order, each with the graph that it grafted to the run.

        Raises:
            NotFound: there is no such run.
        """
        await self._row(run_id)
        log = await self._reader.task_log(run_id)
        items = plan_views(log, start=start, limit=limit)
        end = start + len(items)
        return {"items": items, "next": str(end) if end < len(log.laid) else None}

    async def get_task(self, run_id: str, path: str) -> View:
        """A task with what it was given, what it gave, its steps and its log.

        Raises:
            NotFound: there is no such run or task.
        """
        row = await self._row(run_id)
        log = await self._reader.task_log(run_id)
        record = log.tasks.get(path)
        if record is None:
            raise NotFound("task", path, suggestion=_nearest(path, log))
        definition = await self._definition(row)
        seen = grafted(definition, log.plans)
        view = task_views.task_view(record, seen, await self._present(row), table=log.tasks)
        values = await self._reader.step_values(record)
        steps = [{**step, "value": value} for step, value in zip(view["steps"], values, strict=True)]
        return task_views.task_detail(
            view,
            params=await self._reader.params(log, record, definition),
            input=await self._reader.previous(log, record.previous),
            output=await self._reader.value(record.output) if record.output_bytes is not None else None,
            late=await self._reader.value(record.late),
            steps=steps,
            logs=self._logs(run_id, path),
        )

    async def read_journal(
        self,
        run_id: str,
        *,
        after: int = 0,
        limit: int = 200,
        kind: str | None = None,
        node: str | None = None,
    ) -> View:
        """Events behind `after`, in order. `next` is the `after` of the next page, None at the end of what there is.

        Raises:
            NotFound: there is no such run.
        """
        row = await self._row(run_id)
        items: list[View] = []
        seq, scanned = after, 0
        while len(items) < limit and scanned < JOURNAL_SCANNED_MAX and seq < row.seq:
            wanted = limit - len(items) if kind is None and node is None else JOURNAL_PAGE
            lines = await self._store.read_journal(run_id, after=seq, limit=min(wanted, JOURNAL_PAGE))
            if not lines:
                break
            for line in lines:
                view = event_view(line)
                seq, scanned = view["seq"], scanned + 1
                if (kind is None or view["kind"] == kind) and (node is None or view.get("node") == node):
                    items.append(view)
                    if len(items) == limit:
                        break
        return {"items": items, "next": str(seq) if seq < row.seq else None}

    async def state_at(self, run_id: str, seq: int | None = None) -> View:
        """What the run knew at the end of the last group within its first `seq` events (None: all of them).

        Raises:
            NotFound: there is no such run. UsageError: `seq` isn't positive.
        """
        row = await self._row(run_id)
        if seq is not None and seq < 1:
            raise UsageError(f"seq {seq}: events are numbered from 1")
        if seq is None or seq >= row.seq:
            state, now_us = await self.engine.read_state(run_id), self.engine.now_us()
        else:
            state = await self.engine.state_at(run_id, seq)
            now_us = state.active_since_us or 0
        definition = await self.engine.definitions.get(
            state.workflow, state.version, namespace=state.namespace
        )
        return views.state_view(state, definition, active_us=active_us(state, now_us))

    async def explain(self, run_id: str) -> View:
        """What will move the run on: a sentence, every waker (at most 100), and the facts behind them.

        Raises:
            NotFound: there is no such run.
        """
        row = await self._row(run_id)
        state = await self.engine.read_state(run_id)
        rows = await self._store.queue_rows(run_id)
        now_us, hold = self.engine.now_us(), await self._hold(row)
        workers = await self._store.workers()
        status = _shown_status(state.status, rows)
        definition = await self.engine.definitions.get(
            state.workflow, state.version, namespace=state.namespace
        )
        joins = [join_view(join) for join in waiting_joins(state, definition, limit=WAKERS_SHOWN_MAX)]
        if state.status.live:
            pending = pending_of(state)
            said = views.explain_pending(
                pending,
                status=status,
                rows=rows,
                now_us=now_us,
                total=len(pending),
                hold=hold,
                crew=crew_of(workers, grafted(definition, state.plans)),
            )
            sentence, wakers = said.sentence, said.wakers
            if joins:
                sentence = f"{sentence}. {joins[0]['sentence']}"
        else:
            took_us = views.span_us(state.started_at or state.created_at, state.finished_at)
            sentence = explain_end(state.status, error=state.error, took_us=took_us, reason=hold.reason)
            wakers = list[View]()
        data: View = {
            "seq": state.seq,
            "open": len(state.tasks),
            "wakers": len(pending_of(state)) if state.status.live else 0,
            "wakers_shown_max": WAKERS_SHOWN_MAX,
            "arrivals": {node: len(came) for node, came in state.arrivals.items()},
            "joins": joins,
            "signals_unread": [signal.name for signal in state.signals[:WAKERS_SHOWN_MAX]],
            "queue": [views.queue_row_view(one, now_us=now_us) for one in rows[:WAKERS_SHOWN_MAX]],
            "workers": len(workers),
            "error": views.error_view(state.error),
        }
        return {"sentence": sentence, "status": status.value, "wakers": wakers, "data": data}

    def follow_run(self, run_id: str, *, after: int = 0) -> AsyncGenerator[FeedItem]:
        """The run's journal behind `after` as it grows, with live notices; ends once the run is over."""
        return self._feeds.of_run(run_id, after=after)

    def follow(
        self, *, run: str | None = None, workflow: str | None = None, cursor: str | None = None
    ) -> AsyncGenerator[FeedItem]:
        """Events of many runs from now on, or from behind `cursor`; never ends by itself."""
        return self._feeds.of_many(run_id=run, workflow=workflow, cursor=cursor)

    # --- changing runs --------------------------------------------------------------------------------------------

    async def pause(self, run_id: str, *, reason: str | None = None) -> View:
        """Start nothing new; a paused run stays paused. Raises NotFound, Conflict (over, stopping)."""
        return await self._change(run_id, c.PauseRun(reason=self._said(reason)))

    async def resume(self, run_id: str, *, reason: str | None = None) -> View:
        """Take a pause back. Raises NotFound, Conflict (over)."""
        return await self._change(run_id, c.ResumeRun(reason=self._said(reason)))

    async def raise_budget(
        self,
        run_id: str,
        *,
        tasks: int | None = None,
        duration_seconds: float | None = None,
        tokens: int | None = None,
        cost_usd: float | None = None,
        reason: str | None = None,
    ) -> View:
        """Give a run new limits; one that a spent budget paused goes on. The limits that it has change nothing.

        Raises:
            NotFound: there is no such run. UsageError: no limit is named, or one is out of bounds.
            Conflict: the run is over, has no such limit, or may use more already.
        """
        limits: dict[str, int | float] = {}
        for name, given, most in (
            ("tasks", tasks, BUDGET_TASKS),
            ("duration", duration_seconds, DURATION_SECONDS_MAX),
            ("tokens", tokens, BUDGET_TOKENS_MAX),
            ("cost_usd", cost_usd, BUDGET_COST_USD_MAX),
        ):
            if given is None:
                continue
            if not 0 < given <= most:
                raise UsageError(f"a budget of {name} is more than 0 and at most {most:,}, not {given:,}")
            limits[name] = to_microseconds(given) if name == "duration" else given
        if not limits:
            raise UsageError("name the budget to raise: tasks, duration, tokens or cost_usd")
        return await self._change(run_id, c.RaiseBudget(limits=limits, reason=self._said(reason)))

    async def cancel(self, run_id: str, *, reason: str | None = None) -> View:
        """End the run; what runs is told. Raises NotFound, Conflict (over otherwise)."""
        return await self._change(run_id, c.CancelRun(reason=self._said(reason)))

    async def retry(self, run_id: str, *, reason: str | None = None) -> View:
        """Take up a failed run where it failed. Raises NotFound, Conflict (`run_not_failed`)."""
        return await self._change(run_id, c.RetryRun(reason=self._said(reason)))

    async def erase(self, run_id: str, *, reason: str | None = None) -> View:
        """Erase what people gave and got in a run that is over; what happened stays. May be repeated.

        Raises:
            NotFound: there is no such run. Conflict: it isn't over (`run_not_over`), forks read its past
                (`run_has_forks`), or messages of it aren't delivered yet (`run_has_messages`).
        """
        await erase(self.engine, await self._row(run_id), reason=self._said(reason))
        self._reader.forget(run_id)
        return await self.get_run(run_id)

    async def _change(self, run_id: str, command: c.Command) -> View:
        await self._row(run_id)
        await self.engine.command(run_id, command)
        return await self.get_run(run_id)

    async def signal(
        self, run_id: str, name: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> View:
        """Keep a signal for whoever in the run waits, or will wait, for it. A known key changes nothing.

        Raises:
            NotFound: there is no such run. Conflict: it is over. LimitExceeded: too many unread, or too large.
            InvalidInput: the payload can't be kept.
        """
        await self._row(run_id)
        inputs.check_input(payload, None)
        key = idempotency_key or new_run_id(self.engine.now_us())
        value, blobs = inputs.encode(self.engine, payload, run_id=run_id, what="payload of a signal")
        command = c.DeliverSignal(name=name, payload=value, key=key)
        state = await self.engine.command(run_id, command, blobs=blobs)
        return {"run": run_id, "name": name, "seq": state.signal_keys.get(key, state.seq)}

    async def resolve(
        self, run_id: str, path: str, action: str, *, output: Any = None, message: str | None = None
    ) -> View:
        """Say what became of a task in doubt: `done` (with an output), `retry`, `skip` or `fail`.

        Raises:
            NotFound: there is no such run or task. Conflict: it isn't in doubt. UsageError: another action.
        """
        await self._row(run_id)
        if action not in ("done", "retry", "skip", "fail"):
            raise UsageError(
                f"a task in doubt is resolved by done, retry, skip or fail, not by {action[:40]!r}"
            )
        inputs.check_input(output, None)
        value, blobs = inputs.encode(self.engine, output, run_id=run_id, what="output")
        command = c.ResolveTask(path=path, action=action, output=value, message=self._said(message))
        try:
            await self.engine.command(run_id, command, blobs=blobs if action == "done" else ())
        except Conflict as refusal:
            if refusal.reason == "task_not_open":
                log = await self._reader.task_log(run_id)
                if path not in log.tasks:
                    raise NotFound("task", path, suggestion=_nearest(path, log)) from None
                record = log.tasks[path]
                raise Conflict(
                    f"task `{path}` is {record.status.value}, not in doubt", reason="task_not_in_doubt"
                ) from None
            raise
        return await self.get_run(run_id)

    async def fork(
        self, run_id: str, *, seq: int | None = None, patch: Mapping[str, Any] | None = None
    ) -> View:
        """A new run that shares this one's history up to `seq`, the end of a group, and goes on differently.

        `patch` may hold `input`, `vars`, `version`, and of the past `outputs` (values by task path) and `decisions`
        (routes by task path), with a `reason`. With one of the latter `seq` may be left out: then the cut is the last
        one that allows them. A decision is changed by cutting before it was made.

        Raises:
            NotFound: there is no such run, task or version. UsageError: no such seq, or an unknown part of the patch.
            Conflict: `seq` isn't the end of a group, or the patch can't be made there (`fork_patch`,
                `route_not_allowed`, `fork_version`). InvalidInput: the input doesn't fit.
        """
        row = await self._row(run_id)
        return await self.get_run(await self._forks.start(row, seq=seq, changes=changes_of(patch or {})))

    async def plan_fork(
        self, run_id: str, *, seq: int | None = None, patch: Mapping[str, Any] | None = None
    ) -> View:
        """What such a fork would reuse, run again, repeat and cost. Nothing is started, nothing kept.

        Raises:
            As `fork`, in the same words.
        """
        row = await self._row(run_id)
        return await self._forks.plan(row, seq=seq, changes=changes_of(patch or {}))

    # --- runs as files --------------------------------------------------------------------------------------------

    async def export_run(self, run_id: str) -> AsyncGenerator[bytes]:
        """The run as one file, as it stands now, in pieces: its version, journal and blobs, no secret in it.

        Raises:
            NotFound: there is no such run.
        """
        row = await self._row(run_id)
        async for piece in export_run(self.engine, row):
            if piece:
                yield piece

    async def import_run(self, file: BinaryIO, *, limits: Limits | None = None) -> View:
        """A run from such a file (seekable): to be read and forked, never to go on by itself. Again: the same run.

        Raises:
            InvalidRunFile: what is wrong with it; nothing was kept.
        """
        made = await import_run(self.engine, file, namespace=self._namespace, limits=limits or Limits())
        run = await self.get_run(made.runs[-1].run_id)
        runs = [{"id": one.run_id, "was": one.was} for one in made.runs]
        return {"run": run, "created": made.created, "runs": runs}

    # --- the rest -------------------------------------------------------------------------------------------------

    async def node_classes(self) -> list[View]:
        """Every node class that this process knows."""
        declarations = self.engine.registry.declarations()
        return [workflow_views.class_view(declaration) for declaration in declarations.values()]

    async def workflow_schema(self) -> View:
        """The JSON Schema of a document with the classes that this process knows."""
        return workflow_schema(self.engine.registry.declarations())

    async def outbox(self, *, run: str | None = None, limit: int = 100, cursor: str | None = None) -> View:
        """Messages that nodes sent, newest first. Raises UsageError for a cursor that isn't one."""
        page = await asyncio.to_thread(self._outbox.list, run=run, limit=limit, cursor=cursor)
        return {"items": [msgspec.to_builtins(message) for message in page.items], "next": page.next}

    async def system(self) -> View:
        """The server itself: version, store, workers."""
        return await health.system(
            self.engine, dev=self._dev, started_us=self._started_us or self.engine.now_us()
        )

    async def ready(self) -> View:
        """Whether work gets on: the store answers, and a worker has asked it for work not long ago."""
        return await health.ready(self.engine)

    # --- common ---------------------------------------------------------------------------------------------------

    def _said(self, text: str | None) -> str | None:
        """What a person wrote, as the journal may keep it."""
        return None if text is None else clean(self.engine.redactor.redact(text))

    async def _row(self, run_id: str) -> RunRow:
        row = await self._store.get_run(run_id)
        if row is None or row.namespace != self._namespace:
            raise NotFound("run", run_id)
        return row

    async def _summarise(self, row: RunRow, *, hold: Hold | None = None) -> View:
        rows: Sequence[QueueRow] = ()
        if row.index.live:
            rows = await self._store.queue_rows(row.run_id)
        return views.run_summary(row, rows=rows, now_us=self.engine.now_us(), hold=hold or Hold())

    async def _hold(self, row: RunRow) -> Hold:
        """Who paused or cancelled the run, and why; the journal is read only where that is asked for."""
        if row.index.status in (RunStatus.PAUSED, RunStatus.CANCELLING, RunStatus.CANCELLED):
            return (await self._reader.task_log(row.run_id)).hold
        return Hold()

    async def _definition(self, row: RunRow) -> Definition:
        return await self._definition_named(row.index.workflow, row.index.version)

    async def _definition_named(self, workflow: str, version: int) -> Definition:
        return await self.engine.definitions.get(workflow, version, namespace=self._namespace)

    async def _present(self, row: RunRow) -> task_views.Present:
        rows: Sequence[QueueRow] = await self._store.queue_rows(row.run_id) if row.index.live else ()
        status = _shown_status(RunStatus(row.index.status), rows)
        return task_views.present_of(rows, status=status, now_us=self.engine.now_us())

    def _logs(self, run_id: str, path: str) -> list[View]:
        heard = self._hub.logs(run_id, path)
        lines = self.engine.logs.lines(run_id, path)
        own = [{"at": line.at, "level": line.level, "message": line.message} for line in lines]
        return own if len(own) > len(heard) else heard


def _shown_status(status: RunStatus, rows: Sequence[QueueRow]) -> RunStatus:
    """A queued run whose first task a worker holds runs, although its journal says nothing of that yet."""
    held = any(row.worker is not None and row.kind is TaskKind.EXECUTE for row in rows)
    return RunStatus.RUNNING if status is RunStatus.QUEUED and held else status


def _nearest(path: str, log: TaskLog) -> str | None:
    """A task whose path is nearly this one; looked for among the first thousand."""
    return Nearest().find(path, tuple(islice(log.tasks, NEAREST_AMONG)))


def _raw(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
