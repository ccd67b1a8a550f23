"""Payloads by reference: blobs of a run, and the lists that its journal holds in pieces.

What was read last is kept, up to a number of bytes, so that many readers of one large value (the items of a
`for_each`, say) cost one look into the store. Both kinds never change once they are written.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from orchestrator.engine.attempts.payloads import decoded, from_json
from orchestrator.errors import InternalError, OutputNotStorable
from orchestrator.kernel import events as e
from orchestrator.kernel.apply import error_payload
from orchestrator.kernel.values import NULL, Listed, Payload
from orchestrator.stores.contract import Store

Blobs = dict[tuple[str, str], bytes]

NO_BLOBS: Blobs = {}

LISTED_BYTES_MAX = 64 * 1024 * 1024
"""The largest list that is put together for a reader."""
CACHE_BYTES_MAX = 2 * LISTED_BYTES_MAX
EVENTS_AT_ONCE = 1_000
_KINDS = (b'"task_completed"', b'"task_skipped"', b'"task_failed"')


def blob_key(payload: Payload, *, run_id: str) -> tuple[str, str] | None:
    """The name of what the payload refers to; None for one that holds its value itself."""
    listed = payload.listed
    if listed is not None:
        return (listed.run, f"{listed.path}@{listed.forks}:{listed.after}:{listed.until}")
    return (payload.run or run_id, payload.blob) if payload.blob is not None else None


def read_payload(payload: Payload | None, blobs: Blobs, *, run_id: str) -> Any:
    """Fresh plain data; None for no payload."""
    if payload is None:
        return None
    key = blob_key(payload, run_id=run_id)
    return from_json(payload.value if key is None else blobs[key])


class Unwritten(NamedTuple):
    """What a turn decided and the store doesn't have yet: the last events of the run, and blobs of their results."""

    events: Sequence[e.Event]
    blobs: Blobs


NOTHING_UNWRITTEN = Unwritten((), NO_BLOBS)


class BlobReader:
    """Reads payloads by reference from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._cached_bytes = 0

    async def fetch(
        self, payloads: Iterable[Payload | None], *, run_id: str, unwritten: Unwritten | None = None
    ) -> Blobs:
        """What these payloads refer to; some of it may be on its way to the store.

        Raises:
            InternalError: the store doesn't have one of them.
            OutputNotStorable: a list is too large to be put together.
        """
        blobs: Blobs = {}
        for payload in payloads:
            key = blob_key(payload, run_id=run_id) if payload is not None else None
            if payload is not None and key is not None and key not in blobs:
                blobs[key] = await self._get(payload, key, unwritten or NOTHING_UNWRITTEN)
        return blobs

    def forget(self, run_id: str) -> None:
        """What is kept of a run goes, lists that are put together from its journal too."""
        for key in [key for key in self._cache if key[0] == run_id]:
            self._cached_bytes -= len(self._cache.pop(key))

    async def _get(self, payload: Payload, key: tuple[str, str], unwritten: Unwritten) -> bytes:
        data = self._cache.get(key)
        if data is not None:
            self._cache.move_to_end(key)
            return data
        if key in unwritten.blobs:  # it may yet be refused, so it isn't kept
            return unwritten.blobs[key]
        if payload.listed is not None:
            data = await self._put_together(payload, payload.listed, unwritten)
            if unwritten.events:
                return data
        else:
            blob = await self._store.load_blob(*key)
            if blob is None:
                raise InternalError(f"blob {key[1]} of run {key[0]} is missing")
            data = decoded(blob)
        self._cache[key] = data
        self._cached_bytes += len(data)
        while self._cached_bytes > CACHE_BYTES_MAX:
            _, forgotten = self._cache.popitem(last=False)
            self._cached_bytes -= len(forgotten)
        return data

    # --- lists ------------------------------------------------------------------------------------------------------

    async def _put_together(self, payload: Payload, listed: Listed, unwritten: Unwritten) -> bytes:
        if payload.size > LISTED_BYTES_MAX:
            raise OutputNotStorable(
                f"the {listed.count:,} outputs of `{listed.path}` are {payload.size:,} bytes of JSON together, and a "
                f"list of more than {LISTED_BYTES_MAX:,} can't be read; let the items store them elsewhere and "
                "return a reference"
            )
        outputs: dict[int, bytes] = {}
        await self._take(unwritten.events, listed.path, listed.run, outputs, unwritten)
        run, until, forks = listed.run, listed.until, listed.forks
        while True:
            after = listed.after if forks == 0 else 0
            if run == listed.run and unwritten.events:
                until = min(until, unwritten.events[0].seq - 1)
            origin = await self._collect(run, listed.path, after=after, until=until, outputs=outputs)
            if forks == 0:
                break
            if origin is None:
                raise InternalError(f"run {run} is no fork, but `{listed.path}` began in another run")
            (run, until), forks = origin, forks - 1
        if len(outputs) != listed.count:
            raise InternalError(
                f"the journal of run {listed.run} has {len(outputs):,} of {listed.count:,} outputs of `{listed.path}`"
            )
        return b"[" + b",".join([outputs[place] for place in sorted(outputs)]) + b"]"

    async def _collect(
        self, run: str, path: str, *, after: int, until: int, outputs: dict[int, bytes]
    ) -> tuple[str, int] | None:
        """Outputs of items from a stretch of a journal; what the caller has is newer. Gives the origin of a fork, if
        the stretch begins with its first event."""
        mark = f'"path":"{path}['.encode()
        origin: tuple[str, int] | None = None
        seq = after
        while seq < until:
            lines = await self._store.read_journal(run, after=seq, limit=min(EVENTS_AT_ONCE, until - seq))
            if not lines:
                raise InternalError(f"the journal of run {run} ends at {seq}, before {until}")
            if seq == 0:
                first = e.decode(lines[0])
                if isinstance(first, e.RunStarted) and first.forked_from is not None:
                    origin = (first.forked_from.run, first.forked_from.seq)
            seq += len(lines)
            events = [e.decode(line) for line in lines if mark in line and any(k in line for k in _KINDS)]
            await self._take(events, path, run, outputs, NOTHING_UNWRITTEN)
        return origin

    async def _take(
        self, events: Iterable[e.Event], path: str, run: str, outputs: dict[int, bytes], unwritten: Unwritten
    ) -> None:
        begin = f"{path}["
        for event in events:
            place, output = _place(event, begin), _output(event)
            if place is not None and output is not None and place not in outputs:
                outputs[place] = await self._json_of(output, run, unwritten)

    async def _json_of(self, output: Payload, run: str, unwritten: Unwritten) -> bytes:
        key = blob_key(output, run_id=run)
        return bytes(output.value) if key is None else await self._get(output, key, unwritten)


def _place(event: e.Event, begin: str) -> int | None:
    if not isinstance(event, e.TaskEvent) or not event.path.startswith(begin):
        return None
    return int(event.path[len(begin) : -1])


def _output(event: e.Event) -> Payload | None:
    """What an item has in the list after this event; None: nothing."""
    match event:
        case e.TaskCompleted():
            return event.output
        case e.TaskSkipped():
            return NULL
        case e.TaskFailed(collected=True):
            return error_payload(event.error)
        case _:
            return None
