"""A run file into a store: looked through first, then written under ids of its own, as runs that never go on.

The ids come from the file's hash: the same file again is the same run, also after a crash in the middle, and no file
can name an id of ours. Its version is the one that is here, if it means the same; else it is kept under a name of its
own, so that nothing of ours changes. Nothing is queued, and the kernel refuses every command but a fork.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import msgspec

from orchestrator.engine.attempts.payloads import PLAIN, to_json
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import VersionRecord, decode_record, encode_record
from orchestrator.engine.runs.ids import run_id_of_key
from orchestrator.engine.runs.index import index_of
from orchestrator.engine.runs.summary import summarize
from orchestrator.engine.travel.rewriting import rewritten
from orchestrator.engine.travel.runfile import Limits, read_lines
from orchestrator.engine.travel.verifying import Journal, Verified, Version, verify
from orchestrator.errors import Conflict
from orchestrator.kernel.apply import apply
from orchestrator.kernel.events import RunStarted, decode, encode
from orchestrator.kernel.state import RunState, decode_state, encode_state
from orchestrator.kernel.values import NOTHING, ForkOrigin, Imported, Payload, rfc3339
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.meaning import meaning_hash
from orchestrator.stores.contract import Blob, Commit, Outcome

EVENTS_A_COMMIT = 1_000
BYTES_A_COMMIT = 4 * 1024 * 1024
NAME_CHARACTERS_MAX = 200


class ImportedRun(NamedTuple):
    """A journal of the file, and the run that it is here."""

    was: str
    run_id: str


class Outcomes(NamedTuple):
    """What an import made: the runs by their line, the last one the run itself; False: all was here already."""

    runs: list[ImportedRun]
    created: bool


async def import_run(engine: Engine, file: BinaryIO, *, namespace: str, limits: Limits) -> Outcomes:
    """Import the file, which must be seekable. The same file again changes nothing, or goes on where it was cut off.

    Raises:
        InvalidRunFile: what is wrong with it; nothing was kept. StoreUnavailable: a part may be there, import it again.
    """
    file.seek(0)
    verified = await asyncio.to_thread(verify, file, limits)
    placed: list[_Placed] = []
    for journal in verified.journals:
        name, version = await _place_version(engine, journal.version, namespace)
        was = journal.line.id
        run_id = run_id_of_key(namespace, "", f"{verified.sha256}/{was}", generation=0)
        placed.append(_Placed(journal, run_id, name, version))
    file.seek(0)
    created = await _Writing(engine, verified, placed, namespace).all(file, limits)
    return Outcomes([ImportedRun(one.journal.line.id, one.run_id) for one in placed], created)


class _Placed(NamedTuple):
    journal: Journal
    run_id: str
    workflow: str
    version: int


# --- the version --------------------------------------------------------------------------------------------------


async def _place_version(engine: Engine, version: Version, namespace: str) -> tuple[str, int]:
    """The name and version that the run gets here."""
    meaning = _meaning(version.record)
    for row in await engine.store.list_versions(version.name, namespace=namespace):
        known = decode_record(row.record)
        if known.declarations == version.record.declarations and _meaning(known) == meaning:
            return row.name, row.version
    name = _name_apart(version.name, meaning)
    record = msgspec.structs.replace(version.record, document={**version.record.document, "name": name})
    text = to_json({**_document_of(version), "name": name})
    row, _ = await engine.store.save_version(
        name, meaning=_meaning(record), text=text, record=encode_record(record), namespace=namespace
    )
    return row.name, row.version


def _meaning(record: VersionRecord) -> str:
    return meaning_hash(WorkflowDocument.model_validate(record.document), record.declarations)


def _name_apart(name: str, meaning: str) -> str:
    mark = f" (imported {meaning[:8]})"
    return name[: NAME_CHARACTERS_MAX - len(mark)] + mark


def _document_of(version: Version) -> dict[str, Any]:
    """The document as it was saved, with its positions and notes, if that is what the record means."""
    try:
        written: Any = json.loads(version.text)
        if meaning_hash(WorkflowDocument.model_validate(written), version.record.declarations) == _meaning(
            version.record
        ):
            return written
    except (ValueError, RecursionError):
        pass  # the text was another one (hidden secrets, YAML): the record says what it means
    return dict(version.record.document)


# --- the journals -------------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """What one commit adds to a run; `last` ends its journal."""

    at: int
    before: int
    events: list[bytes]
    blobs: list[Blob]
    state: RunState
    last: bool


class _Writing:
    """The second reading of the file, which is known to be good: piece by piece into the store."""

    def __init__(self, engine: Engine, verified: Verified, placed: list[_Placed], namespace: str) -> None:
        self._engine = engine
        self._verified = verified
        self._placed = placed
        self._namespace = namespace
        self._now = rfc3339(engine.now_us())

    async def all(self, file: BinaryIO, limits: Limits) -> bool:
        """Write what isn't there; whether anything was."""
        created = False
        there = [await self._seq(one.run_id) for one in self._placed]
        pieces = self._pieces(file, limits)
        while True:
            piece = await asyncio.to_thread(next, pieces, None)
            if piece is None:
                return created
            if there[piece.at] >= piece.before + len(piece.events):
                continue
            if there[piece.at] > piece.before:  # another release cut it into other pieces
                rest = piece.events[there[piece.at] - piece.before :]
                piece = piece._replace(before=there[piece.at], events=rest)
            await self._commit(piece)
            created = True

    async def _seq(self, run_id: str) -> int:
        row = await self._engine.store.get_run(run_id)
        return 0 if row is None else row.seq

    async def _commit(self, piece: _Piece) -> None:
        state, placed = piece.state, self._placed[piece.at]
        commit = Commit(
            commit_id=self._engine.new_commit_id(),
            run_id=placed.run_id,
            namespace=self._namespace,
            expected=piece.before,
            events=piece.events,
            blobs=piece.blobs,
            snapshot=encode_state(state) if piece.last else None,
            summary=summarize(state, decode(piece.events[-1])),
            index=index_of(state),
        )
        (answer,) = await self._engine.store.commit([commit])
        if answer.outcome is not Outcome.OK:
            raise Conflict(
                f"run {placed.run_id} is being imported by somebody else at this moment; ask again",
                reason="import_runs",
            )

    def _pieces(self, file: BinaryIO, limits: Limits) -> Iterator[_Piece]:
        at, state, before = -1, RunState(), 0
        events: list[bytes] = []
        blobs: list[Blob] = []
        size = 0
        for line in read_lines(file, limits):
            if line.run is not None:
                at, before = at + 1, 0
                parent = state
                state = RunState()
                if (first := self._placed[at].journal.first) is not None and first.forked_from is not None:
                    state = decode_state(encode_state(parent))
                    state.seq = 0
            elif line.blob is not None:
                data = line.blob.text.encode()
                blobs.append(Blob(blob_id=line.blob.id, codec=PLAIN, data=data))
                size += len(data)
            elif line.event is not NOTHING:
                written = self._rewritten(at, bytes(line.event))
                apply(state, decode(written))
                events.append(written)
                size += len(written)
                last = state.seq == self._placed[at].journal.events
                if last or len(events) >= EVENTS_A_COMMIT or size >= BYTES_A_COMMIT:
                    yield _Piece(at, before, events, blobs, state, last)
                    before, events, blobs, size = state.seq, [], [], 0

    def _rewritten(self, at: int, raw: bytes) -> bytes:
        """The event as it stands here: with our ids, and the blobs of its own run."""
        placed = self._placed[at]
        event = decode(raw)
        if isinstance(event, RunStarted):
            event = self._started(event, at)
        elif b'"blob"' not in raw:
            return raw

        def own(payload: Payload) -> Payload:
            return payload if payload.blob is None else msgspec.structs.replace(payload, run=placed.run_id)

        return encode(rewritten(event, payload=own))

    def _started(self, event: RunStarted, at: int) -> RunStarted:
        placed = self._placed[at]
        origin = event.forked_from
        return msgspec.structs.replace(
            event,
            run_id=placed.run_id,
            workflow=placed.workflow,
            version=placed.version,
            namespace=self._namespace,
            parent=None,
            request="",
            forked_from=None
            if origin is None
            else ForkOrigin(run=self._placed[at - 1].run_id, seq=origin.seq),
            imported=Imported(
                run=event.run_id,
                seq=placed.journal.events,
                sha256=self._verified.sha256,
                at=self._now,
                parent=event.parent,
            ),
        )
