"""Everything that looks and doesn't touch. Runs on the readers' connections, beside the writer's transactions."""

from collections.abc import Mapping

import msgspec

from orchestrator.stores.codec import decode_index, unpack_events
from orchestrator.stores.contract import (
    AccountRow,
    Blob,
    FeedItem,
    LoadedRun,
    Page,
    QueueRow,
    RunFilter,
    RunRow,
    SlotHolder,
    TaskKind,
    WorkerRow,
)
from orchestrator.stores.rules import cursor_int, pack_cursor, unpack_cursor
from orchestrator.stores.sqlite.database import (
    Connection,
    Row,
    Value,
    bytes_of,
    int_of,
    rows,
    text_array,
    text_of,
)

FEED_ROWS_MAX = 5_000
"""A feed looks at no more commits in one call; the cursor tells where to go on."""

_RUN = """
SELECT r.key, r.namespace, r.record, r.summary,
       (SELECT last_seq FROM journal WHERE run = r.key ORDER BY last_seq DESC LIMIT 1) AS seq,
       EXISTS (SELECT 1 FROM holds WHERE run = r.key), r.run_id
FROM runs r WHERE r.run_id = ?
"""
_SNAPSHOT = "SELECT seq, data FROM snapshots WHERE run = ?"
_EVENTS = """
SELECT last_seq, count, framed, events FROM journal INDEXED BY journal_by_run
WHERE run = ? AND last_seq > ? AND count > 0 ORDER BY last_seq, id LIMIT ?
"""
_BLOB = """
SELECT b.codec, b.data FROM blobs b JOIN runs r ON r.key = b.run WHERE r.run_id = ? AND b.blob_id = ?
"""
_QUEUE_ROWS = """
SELECT q.path, q.kind, q.queue, q.priority, q.queued_us, q.due_us, q.worker, q.epoch, q.leased_us, q.lost, q.held,
       q.note
FROM queue q JOIN runs r ON r.key = q.run WHERE r.run_id = ? ORDER BY q.path
"""
_DEPTH = """
SELECT queue, count(*) FROM queue INDEXED BY queue_free
WHERE worker IS NULL AND held = 0 AND due_us <= ? GROUP BY queue
"""
_WORKERS = """
SELECT w.worker, w.seen_us, w.expires_us,
       (SELECT count(*) FROM queue q INDEXED BY queue_leased WHERE q.worker = w.worker), w.info
FROM workers w ORDER BY w.worker
"""
_SLOTS = """
SELECT s.account, r.run_id, s.path FROM slots s JOIN runs r ON r.key = s.run ORDER BY s.account, r.run_id, s.path
"""
_WAITING = """
SELECT l.account, count(*) FROM lines l JOIN queue q ON q.run = l.run AND q.path = l.path GROUP BY l.account
"""
_SEQS = """
SELECT r.run_id, (SELECT last_seq FROM journal WHERE run = r.key ORDER BY last_seq DESC LIMIT 1)
FROM carray(?) wanted CROSS JOIN runs r ON r.run_id = CAST(wanted.value AS TEXT)
"""

_LINE = """
SELECT runs.key, runs.namespace, runs.record, runs.summary,
       (SELECT last_seq FROM journal WHERE run = runs.key ORDER BY last_seq DESC LIMIT 1), runs.created_us, runs.run_id
"""
_REST = """
  AND (:statuses IS NULL OR runs.status IN (SELECT value FROM json_each(:statuses)))
  AND (:workflow IS NULL OR runs.workflow = :workflow)
  AND (:live IS NULL OR runs.live = :live)
  AND (:parent IS NULL OR runs.parent_run = :parent)
  AND (:text IS NULL OR instr(runs.search, :text) > 0)
  AND (:labels IS NULL OR NOT EXISTS (
        SELECT 1 FROM json_each(:labels) wanted WHERE NOT EXISTS (
            SELECT 1 FROM labels l INDEXED BY labels_by_run
            WHERE l.run = runs.key AND l.label = wanted.key AND l.value = wanted.value)))
"""
_PAGE = """
  AND runs.created_us > :after AND runs.created_us <= :at AND (runs.created_us < :at OR runs.run_id < :id)
ORDER BY runs.created_us DESC, runs.run_id DESC LIMIT :limit
"""
_LISTS = {
    "time": _LINE + "FROM runs INDEXED BY runs_by_time WHERE runs.namespace = :namespace" + _REST + _PAGE,
    "workflow": _LINE
    + "FROM runs INDEXED BY runs_by_workflow WHERE runs.namespace = :namespace AND runs.workflow = :workflow"
    + _REST
    + _PAGE,
    "both": _LINE + "FROM runs INDEXED BY runs_by_workflow_status "
    "WHERE runs.namespace = :namespace AND runs.workflow = :workflow AND runs.status = :status"
    + _REST
    + _PAGE,
    "live": _LINE
    + "FROM runs INDEXED BY runs_live WHERE runs.namespace = :namespace AND runs.live = 1"
    + _REST
    + _PAGE,
    "status": _LINE
    + "FROM runs INDEXED BY runs_by_status WHERE runs.namespace = :namespace AND runs.status = :status"
    + _REST
    + _PAGE,
    "parent": _LINE
    + "FROM runs INDEXED BY runs_by_parent WHERE runs.namespace = :namespace AND runs.parent_run = :parent"
    + _REST
    + _PAGE,
    "labels": _LINE + "FROM labels CROSS JOIN labels second CROSS JOIN runs "
    "WHERE labels.namespace = :namespace AND labels.label = :label AND labels.value = :value "
    "AND second.namespace = :namespace AND second.label = :label_2 AND second.value = :value_2 "
    "AND second.created_us = labels.created_us AND second.run = labels.run AND runs.key = labels.run"
    + _REST
    + _PAGE.replace("runs.created_us", "labels.created_us"),
    "label": _LINE + "FROM labels JOIN runs ON runs.key = labels.run "
    "WHERE labels.namespace = :namespace AND labels.label = :label AND labels.value = :value"
    + _REST
    + _PAGE.replace("runs.created_us", "labels.created_us"),
}
"""One statement for each index that a list may walk. It walks newest first, and stops when the page is full."""

WALKED_MAX = 4_000
"""For a text, an index with more rows of what else is wanted is left for the one that holds the texts themselves."""

_UP_TO = "SELECT count(*) FROM (SELECT 1 FROM "
_COUNTS = {
    "workflow": _UP_TO + "runs INDEXED BY runs_by_workflow "
    "WHERE namespace = :namespace AND workflow = :workflow LIMIT :most)",
    "both": _UP_TO + "json_each(:statuses) wanted CROSS JOIN runs INDEXED BY runs_by_workflow_status "
    "WHERE namespace = :namespace AND workflow = :workflow AND status = wanted.value LIMIT :most)",
    "status": _UP_TO + "json_each(:statuses) wanted CROSS JOIN runs INDEXED BY runs_by_status "
    "WHERE namespace = :namespace AND status = wanted.value LIMIT :most)",
    "live": _UP_TO + "runs INDEXED BY runs_live WHERE namespace = :namespace AND live = 1 LIMIT :most)",
    "label": _UP_TO
    + "labels WHERE namespace = :namespace AND label = :label AND value = :value LIMIT :most)",
    "parent": _UP_TO + "runs INDEXED BY runs_by_parent "
    "WHERE namespace = :namespace AND parent_run = :parent LIMIT :most)",
}
"""How much an index would give, counted no further than it matters."""

_END_OF_FEED = "SELECT journal_id FROM counters WHERE id = 1"
_FEED = """
SELECT j.id, j.last_seq, j.count, j.framed, j.events, r.run_id, r.workflow, r.namespace
FROM journal j JOIN runs r ON r.key = j.run WHERE j.id >= ? ORDER BY j.id LIMIT ?
"""
_FEED_OF_RUN = """
SELECT j.id, j.last_seq, j.count, j.framed, j.events, r.run_id, r.workflow, r.namespace
FROM runs r CROSS JOIN journal j INDEXED BY journal_by_run ON j.run = r.key
WHERE r.run_id = ? AND j.last_seq >= ? AND j.id >= ? ORDER BY j.last_seq, j.id LIMIT ?
"""
_SEQ_OF_RUN = """
SELECT (SELECT last_seq FROM journal WHERE run = r.key ORDER BY last_seq DESC LIMIT 1) FROM runs r WHERE r.run_id = ?
"""
_FAR = 1 << 62
_encode = msgspec.json.encode


def _events(connection: Connection, run: int, after: int, limit: int) -> list[bytes]:
    """Events with seq > after."""
    found: list[bytes] = []
    for last_seq, count, framed, data in connection.execute(_EVENTS, (run, after, limit)):
        events = unpack_events(bytes_of(data), int_of(count), int_of(framed))
        first = int_of(last_seq) - len(events) + 1
        found.extend(events[max(0, after + 1 - first) :])
        if len(found) >= limit:
            break
    return found[:limit]


def load(connection: Connection, run_id: str, after: int | None) -> LoadedRun | None:
    """What is needed to continue the run."""
    row = connection.execute(_RUN, (run_id,)).fetchone()
    if row is None:
        return None
    key = int_of(row[0])
    snapshot_seq, snapshot = 0, None
    if after is None:
        kept = connection.execute(_SNAPSHOT, (key,)).fetchone()
        if kept is not None:
            snapshot_seq, snapshot = int_of(kept[0]), bytes_of(kept[1])
    start = snapshot_seq if after is None else max(after, 0)
    return LoadedRun(
        run_id=run_id,
        namespace=text_of(row[1]),
        seq=int_of(row[4]),
        held=bool(row[5]),
        index=decode_index(bytes_of(row[2])),
        summary=bytes_of(row[3]),
        snapshot_seq=snapshot_seq,
        snapshot=snapshot,
        events=_events(connection, key, start, _FAR),
    )


def load_blob(connection: Connection, run_id: str, blob_id: str) -> Blob | None:
    """A blob of the run."""
    row = connection.execute(_BLOB, (run_id, blob_id)).fetchone()
    return None if row is None else Blob(blob_id=blob_id, codec=text_of(row[0]), data=bytes_of(row[1]))


def read_journal(connection: Connection, run_id: str, after: int, limit: int) -> list[bytes]:
    """Committed events with seq > after, in order."""
    row = connection.execute(_RUN, (run_id,)).fetchone()
    return [] if row is None else _events(connection, int_of(row[0]), max(after, 0), limit)


def changed(connection: Connection, versions: Mapping[str, int]) -> dict[str, int]:
    """Of these runs, those with another seq than the caller knows."""
    if not versions:
        return {}
    wanted = text_array(list(versions))
    found = {text_of(run_id): int_of(seq) for run_id, seq in connection.execute(_SEQS, (wanted,))}
    return {run_id: found.get(run_id, 0) for run_id, seq in versions.items() if found.get(run_id, 0) != seq}


def queue_rows(connection: Connection, run_id: str) -> list[QueueRow]:
    """All queue rows of the run, by path."""
    return [
        QueueRow(
            run_id=run_id,
            path=text_of(path),
            kind=TaskKind(text_of(kind)),
            queue=text_of(queue),
            priority=int_of(priority),
            queued_us=int_of(queued_us),
            due_us=int_of(due_us),
            worker=None if worker is None else text_of(worker),
            epoch=int_of(epoch),
            leased_us=None if leased_us is None else int_of(leased_us),
            lost=int_of(lost),
            held=bool(held),
            note=text_of(note),
        )
        for path, kind, queue, priority, queued_us, due_us, worker, epoch, leased_us, lost, held, note in rows(
            connection, _QUEUE_ROWS, (run_id,)
        )
    ]


def queue_depth(connection: Connection, now_us: int) -> dict[str, int]:
    """Free due rows by queue."""
    return {text_of(queue): int_of(count) for queue, count in rows(connection, _DEPTH, (now_us,))}


def accounts(connection: Connection) -> list[AccountRow]:
    """All accounts in use, by name."""
    holders: dict[str, list[SlotHolder]] = {}
    waiting: dict[str, int] = {}
    for account, run, path in rows(connection, _SLOTS):
        holder = SlotHolder(run_id=text_of(run), path=text_of(path))
        holders.setdefault(text_of(account), []).append(holder)
    for account, count in rows(connection, _WAITING):
        waiting[text_of(account)] = int_of(count)
    return [
        AccountRow(account=account, holders=tuple(holders.get(account, ())), waiting=waiting.get(account, 0))
        for account in sorted({*holders, *waiting})
    ]


def workers(connection: Connection) -> list[WorkerRow]:
    """All registered workers, by name."""
    return [
        WorkerRow(
            worker=text_of(worker),
            seen_us=int_of(seen_us),
            expires_us=int_of(expires_us),
            leases=int_of(leases),
            info=bytes_of(info),
        )
        for worker, seen_us, expires_us, leases, info in rows(connection, _WORKERS)
    ]


def _line(row: Row) -> RunRow:
    return RunRow(
        run_id=text_of(row[6]),
        namespace=text_of(row[1]),
        seq=int_of(row[4]),
        index=decode_index(bytes_of(row[2])),
        summary=bytes_of(row[3]),
    )


def get_run(connection: Connection, run_id: str) -> RunRow | None:
    """The run's line."""
    row = connection.execute(_RUN, (run_id,)).fetchone()
    return None if row is None else _line(row)


def list_runs(connection: Connection, where: RunFilter, limit: int, cursor: str | None) -> Page[RunRow]:
    """Runs that fulfil the filter, newest first."""
    at, before = _FAR, ""
    if cursor is not None:
        first, second = unpack_cursor("runs", cursor, int, str)
        at, before = cursor_int(first), str(second)
    if where.created_before_us is not None and where.created_before_us <= at:
        at, before = where.created_before_us, ""
    bindings: dict[str, Value] = {
        "namespace": where.namespace,
        "statuses": _encode(list(where.statuses)).decode() if where.statuses else None,
        "status": None,
        "workflow": where.workflow,
        "live": None if where.live is None else int(where.live),
        "parent": where.parent_run,
        "after": -_FAR if where.created_after_us is None else where.created_after_us,
        "text": where.text.casefold() or None,
        "labels": _encode(dict(where.labels)).decode() if where.labels else None,
        "label": None,
        "value": None,
        "at": at,
        "id": before,
        "limit": limit + 1,
    }
    index = _choose_index(connection, where, bindings)
    by_status = index in ("status", "both")
    found: list[Row] = []
    for status in where.statuses if by_status else [None]:
        bindings["status"] = status
        found += connection.execute(_LISTS[index], bindings).fetchall()
    if by_status and len(where.statuses) > 1:  # each status gave its newest, in order
        found = sorted(dict.fromkeys(found), key=_age, reverse=True)
    items = [_line(row) for row in found[:limit]]
    more = None
    if len(found) > limit:
        more = pack_cursor("runs", int_of(found[limit - 1][5]), text_of(found[limit - 1][6]))
    return Page(items=items, cursor=more)


def _age(row: Row) -> tuple[int, str]:
    return int_of(row[5]), text_of(row[6])


def _choose_index(connection: Connection, where: RunFilter, bindings: dict[str, Value]) -> str:
    """The index that leaves the least to look at; of several labels the two rarest are put into the bindings."""
    index = _index_for(where)
    if index == "label":
        counted: list[tuple[int, str, str]] = []
        for label, value in where.labels.items():
            bindings["label"], bindings["value"] = label, value
            counted.append((_count(connection, index, bindings), label, value))
        counted.sort()
        _, bindings["label"], bindings["value"] = counted[0]
        if len(counted) > 1:
            _, bindings["label_2"], bindings["value_2"] = counted[1]
    if where.text and index in _COUNTS and _count(connection, index, bindings) >= WALKED_MAX:
        return "time"
    return "labels" if len(where.labels) > 1 and index == "label" else index


def _count(connection: Connection, index: str, bindings: Mapping[str, Value]) -> int:
    return int_of(connection.execute(_COUNTS[index], {**bindings, "most": WALKED_MAX}).get)


def _index_for(where: RunFilter) -> str:
    """The index for what is asked, a text aside."""
    if where.parent_run is not None:
        return "parent"
    if where.labels:
        return "label"
    if where.statuses:
        return "status" if where.workflow is None else "both"
    if where.live:
        return "live"
    return "time" if where.workflow is None else "workflow"


def read_feed(
    connection: Connection,
    cursor: str | None,
    limit: int,
    run_id: str | None,
    workflow: str | None,
    namespace: str,
) -> tuple[list[FeedItem], str]:
    """Committed events after the cursor, and the cursor to go on with.

    A cursor is (journal id, events of that commit that were given, and of a feed of one run its seq and id).
    """
    if cursor is None:
        end = connection.execute(_END_OF_FEED).get
        seq = connection.execute(_SEQ_OF_RUN, (run_id,)).get if run_id is not None else 0
        return [], pack_cursor("feed", int_of(end), _FAR, seq or 0, run_id or "")
    *numbers, owner = unpack_cursor("feed", cursor, int, int, int, str)
    at, given, seq = map(cursor_int, numbers)
    if run_id is not None:
        seq = seq if owner == run_id else 0
        return _feed_of_run(connection, at, given, seq, limit, run_id, workflow, namespace)
    items: list[FeedItem] = []
    for row in connection.execute(_FEED, (at, FEED_ROWS_MAX)):
        journal_id = int_of(row[0])
        start = given if journal_id == at else 0
        at, given = journal_id, _FAR
        if row[7] == namespace and workflow in (None, row[6]):
            given = _take(items, row, start, limit)
            if len(items) >= limit:
                break
    return items, pack_cursor("feed", at, given, 0, "")


def _feed_of_run(
    connection: Connection,
    at: int,
    given: int,
    seq: int,
    limit: int,
    run_id: str,
    workflow: str | None,
    namespace: str,
) -> tuple[list[FeedItem], str]:
    items: list[FeedItem] = []
    for row in connection.execute(_FEED_OF_RUN, (run_id, seq, at, FEED_ROWS_MAX)):
        journal_id = int_of(row[0])
        start = given if journal_id == at else 0
        at, given, seq = journal_id, _FAR, int_of(row[1])
        if row[7] == namespace and workflow in (None, row[6]):
            given = _take(items, row, start, limit, (seq, run_id))
            if len(items) >= limit:
                break
    return items, pack_cursor("feed", at, given, seq, run_id)


def _take(items: list[FeedItem], row: Row, start: int, limit: int, of: tuple[int, str] = (0, "")) -> int:
    """Add the events of one commit from `start` on, as far as there is room; how many of it have been given now."""
    count = int_of(row[2])
    if start >= count:
        return _FAR
    events = unpack_events(bytes_of(row[4]), count, int_of(row[3]))
    end = min(count, start + limit - len(items))
    for place in range(start, end):
        at = pack_cursor("feed", int_of(row[0]), place + 1, *of)
        items.append(
            FeedItem(run_id=text_of(row[5]), workflow=text_of(row[6]), cursor=at, event=events[place])
        )
    return end
