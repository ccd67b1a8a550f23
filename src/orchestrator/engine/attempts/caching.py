"""Outputs that are kept for tasks to come: found before the node's code runs, kept after its task completed.

A key is the hash of what an output depends on: class, class version, and the params as the expressions gave them, or
the value of the node's own `key`. An entry holds the output and its decision, and the task that it comes from. It is
written once that task's completion is durable, so nothing is kept that wasn't recorded; a crash in between loses the
entry and nothing else. A store that fails here delays nobody: the node's code runs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from orchestrator.engine.attempts.payloads import decoded, to_json
from orchestrator.engine.runs.actor import Accepted
from orchestrator.errors import OrchestratorError, StoreError
from orchestrator.kernel.commands import CompleteTask, RouteChoice
from orchestrator.kernel.events import Event, TaskCompleted
from orchestrator.kernel.values import CachedFrom
from orchestrator.model.definition import NodeDefinition
from orchestrator.stores.contract import Blob

if TYPE_CHECKING:
    from orchestrator.engine.attempts.attempt import Attempt
    from orchestrator.engine.attempts.context import TaskContext
    from orchestrator.engine.engine import Engine

_RUN_VALUES = ("input", "previous", "arrivals", "variables")
"""What a node's code may read of its run beside its params, as the context names it."""

log: Any = structlog.get_logger("orchestrator.cache")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept: the output as JSON, how the node decided, and where both come from."""

    run: str
    path: str
    at: str
    output: msgspec.Raw
    route: RouteChoice | None = None


_entries = msgspec.json.Decoder(Entry)


def key_of(node: NodeDefinition, params: Mapping[str, Any], own: Any) -> str:
    """The key of a task's output. `own` is the value of the node's own key, if it has one."""
    rule = node.cache
    depends = ["params", dict(params)] if rule is None or rule.key is None else ["key", own]
    whole = [node.declaration.name, node.declaration.class_version, *depends]
    plain = json.loads(to_json(whole))
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


async def forget_outputs(engine: "Engine", run_id: str, events: Sequence[Event]) -> None:
    """Take out of the cache what these events of a run put there, unless another run's output has its place by now."""
    for event in events:
        if isinstance(event, TaskCompleted) and event.cache_key:
            namespace = engine.config.namespace
            data = await engine.store.get_cached(event.cache_key, namespace=namespace)
            if data is not None and _entries.decode(data).run == run_id:
                await engine.store.put_cached(event.cache_key, b"", ttl_us=0, namespace=namespace)


class Cache:
    """The cached output of one attempt: looked for once, kept if it can be."""

    __slots__ = ("_attempt", "_hit", "_key", "_rule")

    def __init__(self, attempt: "Attempt", params: Mapping[str, Any]) -> None:
        node = attempt.node
        assert node.cache is not None, "only a node with `cache` gets here"
        self._attempt = attempt
        self._rule = node.cache
        own = None
        if node.cache.key is not None:
            own = node.cache.key.evaluate(attempt.values.scope(node.cache.key.references, {}))
        self._key = key_of(node, params, own)
        self._hit = False

    async def look(self) -> CompleteTask | None:
        """The completion of the task, if its output is kept; None: its code has to run."""
        attempt, engine = self._attempt, self._attempt.worker.engine
        try:
            data = await engine.store.get_cached(self._key, namespace=engine.config.namespace)
            entry = _entries.decode(data) if data is not None else None
        except (StoreError, msgspec.DecodeError) as error:
            log.warning("a cached output can't be read; the task runs", task=attempt.path, error=str(error))
            return None
        if entry is None:
            return None
        self._hit = True
        payload, blobs = engine.codec.encode_json(bytes(entry.output), run_id=attempt.run_id)
        attempt.blobs_to_commit.extend(blobs)
        return CompleteTask(
            path=attempt.path,
            output=payload,
            route=entry.route,
            enough=attempt.enough(payload, blobs),
            timing=attempt.timing(),
            cached=CachedFrom(run=entry.run, path=entry.path, at=entry.at),
        )

    def keeps(self, command: CompleteTask, ctx: "TaskContext") -> CompleteTask:
        """The completion of a task whose code ran, with the key under which its output is kept, if it is."""
        if command.stop is not None or command.handover is not None or command.plan is not None:
            return command
        why = ""
        if command.variables:
            why = "its code sets variables"
        elif self._rule.key is None and (read := [name for name in _RUN_VALUES if name in ctx.seen]):
            why = f"its code reads `ctx.{read[0]}`, which its params don't tell of; give `cache` a `key`"
        if why:
            self._attempt.log(f"the output isn't cached: {why}", "warning")
            return command
        return msgspec.structs.replace(command, cache_key=self._key)

    def keep(self, command: CompleteTask, accepted: Accepted, blobs: Sequence[Blob]) -> None:
        """The completion is durable: keep its output."""
        path = self._attempt.path
        for event in accepted.events:
            if isinstance(event, TaskCompleted) and event.path == path and event.cache_key:
                output = command.output
                if output.blob is None:
                    data = bytes(output.value)
                else:
                    data = next(decoded(blob) for blob in blobs if blob.blob_id == output.blob)
                entry = Entry(
                    run=self._attempt.run_id,
                    path=path,
                    at=event.at,
                    output=msgspec.Raw(data),
                    route=command.route,
                )
                engine = self._attempt.worker.engine
                engine.spawn(self._put(msgspec.json.encode(entry)), name=f"cache {path}")

    async def _put(self, data: bytes) -> None:
        engine = self._attempt.worker.engine
        try:
            await engine.store.put_cached(
                self._key, data, ttl_us=self._rule.ttl_us, namespace=engine.config.namespace
            )
        except OrchestratorError as error:
            log.warning("an output could not be cached", task=self._attempt.path, error=str(error))
