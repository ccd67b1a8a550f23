"""A run into a file (`runfile`): its line of parents, its versions, journals and blobs, with no secret in it."""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from orchestrator import __version__
from orchestrator.engine.attempts.payloads import to_json
from orchestrator.engine.engine import Engine
from orchestrator.engine.travel.rewriting import rewritten
from orchestrator.engine.travel.runfile import (
    BlobLine,
    DefinitionLine,
    Head,
    Line,
    RunLine,
    Writer,
    payloads_in,
)
from orchestrator.errors import InternalError, NotFound
from orchestrator.kernel.events import AnyEvent, RunStarted, decode, encode
from orchestrator.kernel.values import Payload, rfc3339
from orchestrator.stores.contract import RunRow

EVENTS_AT_ONCE = 200


async def export_run(engine: Engine, row: RunRow) -> AsyncGenerator[bytes]:
    """The file in pieces, as the run stands now; memory is bounded by some events and one blob.

    A secret that this process knows is hidden by its name, also where it had been recorded before it was one.

    Raises:
        NotFound: a version isn't there. InternalError: a blob isn't.
    """
    writer = Writer()
    yield writer.write(
        Line(
            orchestrator_run=Head(
                format=1, run=row.run_id, release=__version__, exported_at=rfc3339(engine.now_us())
            )
        )
    )
    known: set[tuple[str, int]] = set()
    async for run_id, until, first in _line_of(engine, row):
        version = (first.workflow, first.version)
        if version not in known:
            known.add(version)
            yield writer.write(Line(definition=await _definition(engine, *version, row.namespace)))
        yield writer.write(
            Line(run=RunLine(id=run_id, workflow=first.workflow, version=first.version, events=until))
        )
        async for line in _Journal(engine, run_id, until).lines():
            yield writer.write(line)
    yield writer.close()


async def _line_of(engine: Engine, row: RunRow) -> AsyncIterator[tuple[str, int, RunStarted]]:
    """The run and its parents, oldest first: each with the number of events that count, and its first event."""
    line: list[tuple[str, int, RunStarted]] = []
    run_id, until = row.run_id, row.seq
    while True:
        lines = await engine.store.read_journal(run_id, limit=1)
        first = decode(lines[0]) if lines else None
        if not isinstance(first, RunStarted):
            raise NotFound("run", run_id)
        line.append((run_id, until, first))
        if first.forked_from is None:
            break
        run_id, until = first.forked_from.run, first.forked_from.seq
    for one in reversed(line):
        yield one


async def _definition(engine: Engine, name: str, version: int, namespace: str) -> DefinitionLine:
    row = await engine.store.get_version(name, version, namespace=namespace, deleted=True)
    if row is None:
        raise NotFound("workflow version", f"{name} {version}")
    redact = engine.redactor.redact
    record = row.record
    if engine.redactor.touches(record):
        record = to_json(engine.redactor.redact_value(json.loads(record)))
    return DefinitionLine(
        name=row.name,
        version=row.version,
        meaning=row.meaning,
        text=redact(row.text.decode("utf-8", "replace")),
        record=msgspec.Raw(record),
    )


class _Journal:
    """One journal on its way out: each blob before the first event that names it."""

    def __init__(self, engine: Engine, run_id: str, until: int) -> None:
        self._engine = engine
        self._run_id = run_id
        self._until = until
        self._written: dict[tuple[str, str], Payload] = {}

    async def lines(self) -> AsyncIterator[Line]:
        """Its lines."""
        after = 0
        while after < self._until:
            limit = min(EVENTS_AT_ONCE, self._until - after)
            raws = await self._engine.store.read_journal(self._run_id, after=after, limit=limit)
            if not raws:
                raise InternalError(f"event {after + 1} of run {self._run_id} is missing")
            after += len(raws)
            for raw in raws:
                async for line in self._of_event(raw):
                    yield line

    async def _of_event(self, raw: bytes) -> AsyncIterator[Line]:
        touched = self._engine.redactor.touches(raw)
        if not touched and b'"blob"' not in raw:
            yield Line(event=msgspec.Raw(raw))
            return
        event = decode(raw)
        changed = False
        for payload in payloads_in(event):
            if payload.blob is None:
                continue
            key = (payload.run or self._run_id, payload.blob)
            if key not in self._written:
                data = self._clean((await self._engine.blobs.fetch([payload], run_id=self._run_id))[key])
                digest = hashlib.sha256(data).hexdigest()
                self._written[key] = Payload(blob=digest, bytes=len(data), sha256=digest)
                yield Line(blob=BlobLine(id=digest, text=data.decode()))
            changed = changed or self._written[key].blob != payload.blob
        if changed:
            event = rewritten(event, payload=self._as_written)
        if touched:
            event = self._without_secrets(event)
        yield Line(event=msgspec.Raw(encode(event) if changed or touched else raw))

    def _as_written(self, payload: Payload) -> Payload:
        if payload.blob is None:
            return payload
        return self._written[(payload.run or self._run_id, payload.blob)]

    def _clean(self, data: bytes) -> bytes:
        redactor = self._engine.redactor
        return to_json(redactor.redact_value(json.loads(data))) if redactor.touches(data) else data

    def _without_secrets(self, event: AnyEvent) -> AnyEvent:
        view: Any = json.loads(encode(event))
        return decode(to_json(self._engine.redactor.redact_value(view)))
