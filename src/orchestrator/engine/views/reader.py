"""Reading what runs did: task logs folded from journals (and kept while they are asked for), and the values in them."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from orchestrator.engine.engine import Engine
from orchestrator.engine.views.tasklog import TaskLog, origin_paths
from orchestrator.engine.views.tasktable import Ref, TaskRecord
from orchestrator.errors import ExpressionFailed, InternalError, NotFound
from orchestrator.kernel import events as e
from orchestrator.kernel.apply import error_payload, unknown_payload, withdrawn_payload
from orchestrator.kernel.values import Origin, Payload
from orchestrator.model.definition import Definition, NodeDefinition
from orchestrator.model.grafts import grafted, local_id

LOGS_CACHED_MAX = 64
TASKS_CACHED_MAX = 100_000
"""In all logs that are kept. A finished task takes about 650 bytes; the log asked for last stays, whatever it has."""
EVENTS_AT_ONCE = 1_000
VALUES_READ_MAX = 200
"""Of params whose expressions read more outputs than this the text is shown, not the value."""

SECRET_SHOWN = "•••"


class RunReader:
    """Task logs by run, least recently used out first. Reading again folds only what is new."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._logs: OrderedDict[str, TaskLog] = OrderedDict()
        self._folding: dict[str, asyncio.Lock] = {}

    async def task_log(self, run_id: str) -> TaskLog:
        """The log up to the last committed event. It must not be changed.

        Raises:
            NotFound: there is no such run.
        """
        lock = self._folding.setdefault(run_id, asyncio.Lock())
        try:
            async with lock:
                log = self._logs.get(run_id) or await self._begin(run_id)
                await self._catch_up(log)
        finally:
            if not lock.locked():
                self._folding.pop(run_id, None)
        self._keep(log)
        return log

    def forget(self, run_id: str) -> None:
        """The run's journal was written anew: fold it again when somebody asks."""
        self._logs.pop(run_id, None)

    async def _begin(self, run_id: str) -> TaskLog:
        lines = await self._engine.store.read_journal(run_id, limit=1)
        if not lines:
            raise NotFound("run", run_id)
        first = e.decode(lines[0])
        if isinstance(first, e.RunStarted) and first.forked_from is not None:
            origin = await self._begin(first.forked_from.run)
            await self._catch_up(origin, until=first.forked_from.seq)
            return origin.fork(run_id)
        return TaskLog(run_id=run_id)

    async def _catch_up(self, log: TaskLog, *, until: int | None = None) -> None:
        while until is None or log.seq < until:
            limit = EVENTS_AT_ONCE if until is None else min(EVENTS_AT_ONCE, until - log.seq)
            lines = await self._engine.store.read_journal(log.run_id, after=log.seq, limit=limit)
            log.extend(lines)
            if len(lines) < limit:
                return

    def _keep(self, log: TaskLog) -> None:
        self._logs[log.run_id] = log
        self._logs.move_to_end(log.run_id)
        tasks = sum(len(known.tasks) for known in self._logs.values())
        while len(self._logs) > 1 and (len(self._logs) > LOGS_CACHED_MAX or tasks > TASKS_CACHED_MAX):
            _, forgotten = self._logs.popitem(last=False)
            tasks -= len(forgotten.tasks)

    # --- values -----------------------------------------------------------------------------------------------------

    async def value(self, ref: Ref | None, *, variable: str | None = None) -> Any:
        """The value that an event holds, its blob fetched; None for no event."""
        if ref is None:
            return None
        lines = await self._engine.store.read_journal(ref.run, after=ref.seq - 1, limit=1)
        if not lines:
            raise InternalError(f"event {ref.seq} of run {ref.run} is missing")
        payload = _payload_in(e.decode(lines[0]), ref.key or variable)
        return await self._engine.decode(payload, run_id=ref.run)

    async def output(self, log: TaskLog, path: str) -> Any:
        """The output of a task that has one, else None."""
        record = log.tasks.get(path)
        return await self.value(record.output) if record is not None else None

    async def previous(self, log: TaskLog, origin: Origin) -> Any:
        """What `previous` is to a task with this origin."""
        if origin.sources is not None:
            shown: dict[str, Any] = {}
            for node, several in origin.sources.items():
                values = [await self.previous(log, one) for one in several]
                shown[local_id(node)] = values[0] if len(values) == 1 else values
            return shown
        return None if origin.path is None else await self.output(log, origin.path)

    async def step_values(self, record: TaskRecord) -> list[Any]:
        """The values of a task's steps, in their order."""
        return [await self.value(step.value) for step in record.steps.values()]

    async def params(self, log: TaskLog, record: TaskRecord, definition: Definition) -> Any:
        """A task's params as its expressions came out, secrets hidden; as written where that can't be known."""
        node = grafted(definition, log.plans).nodes.get(record.node)
        if node is None:
            return None
        raw: dict[str, Any] = dict(node.params_written)
        if node.params.constant:
            return raw
        if len(record.reads.nodes) + len(origin_paths(record.previous)) > VALUES_READ_MAX:
            return raw
        try:
            return node.params.evaluate(await self._scope(log, record, node))
        except ExpressionFailed:
            return raw

    async def _scope(self, log: TaskLog, record: TaskRecord, node: NodeDefinition) -> Mapping[str, Any]:
        references = node.references
        nodes = {name: await self.output(log, path) for name, path in record.reads.nodes.items()}
        variables = {
            name: await self.value(log.variables.get(key), variable=name)
            for name, key in record.reads.variables.items()
        }
        return {
            "input": await self.value(log.input) if references.input else None,
            "previous": await self.previous(log, record.previous) if references.previous else None,
            "nodes": nodes,
            "vars": variables,
            "run": {
                "id": log.run_id,
                "workflow": log.workflow,
                "version": log.version,
                "labels": dict(log.labels),
                "created_at": log.created_at,
            },
            "now": record.scheduled_at,
            "secrets": dict.fromkeys(references.secrets, SECRET_SHOWN),
        }


def _payload_in(event: e.AnyEvent, key: str | None) -> Payload | None:
    match event:
        case e.TaskCompleted():
            return event.output
        case e.TaskFailed():
            unknown = event.compensate is not None
            return unknown_payload(event.error) if unknown else error_payload(event.error)
        case e.TaskCancelled():
            return withdrawn_payload(event)
        case e.StepRecorded() | e.TaskResumed() | e.LateResultNoted():
            return event.result
        case e.TaskInDoubt():
            return event.late
        case e.VariablesSet():
            return event.values.get(key or "")
        case e.RunPatched():
            return event.outputs.get(key or "")
        case e.RunStarted():
            return event.input if key is None else event.variables.get(key)
        case _:
            raise InternalError(f"event {event.seq} ({event.kind}) holds no value")
