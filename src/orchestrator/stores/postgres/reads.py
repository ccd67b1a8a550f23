"""Everything that looks and doesn't touch."""

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.stores.codec import decode_index, unpack_events
from orchestrator.stores.contract import (
    AccountRow,
    Blob,
    LoadedRun,
    Page,
    QueueRow,
    RunFilter,
    RunRow,
    SlotHolder,
    TaskKind,
    WorkerRow,
)
from orchestrator.stores.postgres.connections import Pool, Row
from orchestrator.stores.postgres.packing import texts
from orchestrator.stores.rules import cursor_int, pack_cursor, unpack_cursor

_NOW = b"SELECT clock_1(%s)"
# One statement, so that head, snapshot and events are of one moment.
_LOAD = b"""
SELECT h.namespace, h.seq, h.held, r.record, h.summary, s.seq, s.data, e.last_seqs, e.counts, e.framed, e.events
FROM heads h JOIN runs r ON r.key = h.key
    LEFT JOIN snapshots s ON s.run = h.key AND %(after)s::bigint IS NULL
    CROSS JOIN LATERAL (
        SELECT array_agg(j.last_seq) AS last_seqs, array_agg(j.count) AS counts, array_agg(j.framed) AS framed,
               array_agg(j.events) AS events
        FROM (
            SELECT o.last_seq, o.count, o.framed, o.events FROM journal o
            WHERE o.run = h.key AND o.last_seq > coalesce(%(after)s::bigint, s.seq, 0) AND o.count > 0
            ORDER BY o.last_seq, o.id
        ) j
    ) e
WHERE h.run_id = %(run_id)s
"""
_EVENTS = b"""
SELECT j.last_seq, j.count, j.framed, j.events FROM heads h JOIN journal j ON j.run = h.key
WHERE h.run_id = %s AND j.last_seq > %s AND j.count > 0 ORDER BY j.last_seq, j.id LIMIT %s
"""
_BLOB = b"SELECT b.codec, b.data FROM heads h JOIN blobs b ON b.run = h.key WHERE h.run_id = %s AND b.blob_id = %s"
_CHANGED = b"SELECT run_id, seq FROM heads WHERE run_id = ANY (%s)"
_QUEUE_ROWS = b"""
SELECT q.path, q.kind, q.queue, q.priority, q.queued_us, q.due_us, q.worker, q.epoch, q.leased_us, q.lost, q.held,
       q.note
FROM heads h JOIN queue q ON q.run = h.key WHERE h.run_id = %s ORDER BY q.path
"""
_DEPTH = b"""
SELECT queue, count(*) FROM queue WHERE worker IS NULL AND NOT held AND due_us <= clock_1(%s) GROUP BY queue
"""
_WORKERS = b"""
SELECT w.worker, w.seen_us, w.expires_us, (SELECT count(*) FROM queue q WHERE q.worker = w.worker), w.info
FROM workers w ORDER BY w.worker
"""
_SLOTS = b"""
SELECT s.account, h.run_id, s.path FROM slots s JOIN heads h ON h.key = s.run
    JOIN queue q ON q.run = s.run AND q.path = s.path AND q.epoch = s.epoch
WHERE q.worker IS NOT NULL ORDER BY s.account, h.run_id, s.path
"""
_WAITING = b"""
SELECT l.account, count(*) FROM lines l JOIN queue q ON q.run = l.run AND q.path = l.path GROUP BY l.account
"""
_WORKFLOWS = b"SELECT run_id, workflow FROM runs WHERE key IN (SELECT key FROM heads WHERE run_id = ANY (%s))"

_LINE = b"""
SELECT h.run_id, h.namespace, h.seq, r.record, h.summary, r.created_us FROM heads h JOIN runs r ON r.key = h.key
"""
_GET = _LINE + b"WHERE h.run_id = %s"
_WHERE: dict[str, bytes] = {
    "namespace": b"r.namespace = %(namespace)s",
    "status": b"r.status = %(status)s",
    "statuses": b"r.status = ANY (%(statuses)s)",
    "workflow": b"r.workflow = %(workflow)s",
    "live": b"r.live",
    "over": b"NOT r.live",
    "parent": b"r.parent_run = %(parent)s",
    "labels": b"r.labels @> %(labels)s::jsonb AND r.labels <> '{}'",
    "after": b"r.created_us > %(after)s",
    "before": b"r.created_us < %(before)s",
    "text": b"strpos(r.search, %(text)s) > 0",
    "page": b"(r.created_us, r.run_id) < (%(at)s, %(id)s)",
}
"""What a list may ask for. Each list is made of these, so that the server sees what it asks and chooses an index."""
_PAGE = b" ORDER BY r.created_us DESC, r.run_id DESC LIMIT %(limit)s"
_encode = msgspec.json.encode


async def now_us(pool: Pool, given: int | None) -> int:
    """The store's clock."""
    return (await pool.fetch(_NOW, (given,)))[0][0]


async def load(pool: Pool, run_id: str, after: int | None) -> LoadedRun | None:
    """What is needed to continue the run."""
    since = None if after is None else max(after, 0)
    rows = await pool.fetch(_LOAD, {"run_id": run_id, "after": since})
    if not rows:
        return None
    namespace, seq, held, record, summary, snapshot_seq, snapshot, *journal = rows[0]
    parts = zip(*[part or () for part in journal], strict=True)
    return LoadedRun(
        run_id=run_id,
        namespace=namespace,
        seq=seq,
        held=held,
        index=decode_index(record),
        summary=summary,
        snapshot_seq=snapshot_seq or 0,
        snapshot=snapshot,
        events=events_after(parts, (snapshot_seq or 0) if since is None else since),
    )


def events_after(rows: Any, after: int) -> list[bytes]:
    """Events with seq > after, of rows of the journal (last seq, count, framed, events)."""
    found: list[bytes] = []
    for last_seq, count, framed, data in rows:
        events = unpack_events(data, count, framed)
        found.extend(events[max(0, after - (last_seq - count)) :])
    return found


async def load_blob(pool: Pool, run_id: str, blob_id: str) -> Blob | None:
    """A blob of the run."""
    rows = await pool.fetch(_BLOB, (run_id, blob_id))
    return Blob(blob_id=blob_id, codec=rows[0][0], data=rows[0][1]) if rows else None


async def read_journal(pool: Pool, run_id: str, after: int, limit: int) -> list[bytes]:
    """Committed events with seq > after, in order."""
    after = max(after, 0)
    return events_after(await pool.fetch(_EVENTS, (run_id, after, limit)), after)[:limit]


async def changed(pool: Pool, versions: Mapping[str, int]) -> dict[str, int]:
    """Of these runs, those with another seq than the caller knows."""
    if not versions:
        return {}
    found: dict[str, int] = dict(await pool.fetch(_CHANGED, (texts(list(versions)),)))
    return {run_id: found.get(run_id, 0) for run_id, seq in versions.items() if found.get(run_id, 0) != seq}


async def workflows_of(pool: Pool, run_ids: list[str]) -> dict[str, str]:
    """The workflows of runs."""
    return dict(await pool.fetch(_WORKFLOWS, (texts(run_ids),)))


async def queue_rows(pool: Pool, run_id: str) -> list[QueueRow]:
    """All queue rows of the run, by path."""
    return [
        QueueRow(
            run_id=run_id,
            path=path,
            kind=TaskKind(kind),
            queue=queue,
            priority=priority,
            queued_us=queued_us,
            due_us=due_us,
            worker=worker,
            epoch=epoch,
            leased_us=leased_us,
            lost=lost,
            held=held,
            note=note,
        )
        for path, kind, queue, priority, queued_us, due_us, worker, epoch, leased_us, lost, held, note in (
            await pool.fetch(_QUEUE_ROWS, (run_id,))
        )
    ]


async def queue_depth(pool: Pool, given: int | None) -> dict[str, int]:
    """Free due rows by queue."""
    return dict(await pool.fetch(_DEPTH, (given,)))


async def accounts(pool: Pool) -> list[AccountRow]:
    """All accounts in use, by name."""
    holders: dict[str, list[SlotHolder]] = {}
    for account, run_id, path in await pool.fetch(_SLOTS):
        holders.setdefault(account, []).append(SlotHolder(run_id=run_id, path=path))
    waiting: dict[str, int] = dict(await pool.fetch(_WAITING))
    return [
        AccountRow(account=account, holders=tuple(holders.get(account, ())), waiting=waiting.get(account, 0))
        for account in sorted({*holders, *waiting})
    ]


async def workers(pool: Pool) -> list[WorkerRow]:
    """All registered workers, by name."""
    return [
        WorkerRow(worker=worker, seen_us=seen_us, expires_us=expires_us, leases=leases, info=info)
        for worker, seen_us, expires_us, leases, info in await pool.fetch(_WORKERS)
    ]


def _line(row: Row) -> RunRow:
    return RunRow(run_id=row[0], namespace=row[1], seq=row[2], index=decode_index(row[3]), summary=row[4])


async def get_run(pool: Pool, run_id: str) -> RunRow | None:
    """The run's line."""
    rows = await pool.fetch(_GET, (run_id,))
    return _line(rows[0]) if rows else None


async def list_runs(pool: Pool, where: RunFilter, limit: int, cursor: str | None) -> Page[RunRow]:
    """Runs that fulfil the filter, newest first."""
    values: dict[str, Any] = {"namespace": where.namespace, "limit": limit + 1}
    asked = ["namespace"]

    def ask(what: str, **more: Any) -> None:
        asked.append(what)
        values.update(more)

    if len(where.statuses) == 1:
        ask("status", status=where.statuses[0])
    elif where.statuses:
        ask("statuses", statuses=list(where.statuses))
    if where.workflow is not None:
        ask("workflow", workflow=where.workflow)
    if where.live is not None:
        ask("live" if where.live else "over")
    if where.parent_run is not None:
        ask("parent", parent=where.parent_run)
    if where.labels:
        ask("labels", labels=_encode(dict(where.labels)).decode())
    if where.created_after_us is not None:
        ask("after", after=where.created_after_us)
    if where.created_before_us is not None:
        ask("before", before=where.created_before_us)
    if where.text:
        ask("text", text=where.text.casefold())
    if cursor is not None:
        at, before = unpack_cursor("runs", cursor, int, str)
        ask("page", at=cursor_int(at), id=before)
    statement = _LINE + b"WHERE " + b" AND ".join(_WHERE[what] for what in asked) + _PAGE
    found = await pool.fetch(statement, values)
    more = pack_cursor("runs", found[limit - 1][5], found[limit - 1][0]) if len(found) > limit else None
    return Page(items=[_line(row) for row in found[:limit]], cursor=more)
