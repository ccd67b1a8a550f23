"""One commit, statement by statement: everything is checked first and written after, so a refusal leaves nothing.

This is the complete path. The common shapes of commits take the short one in `fast`, which must come to the same
answers; whatever isn't plain sailing there is done again here.
"""

from orchestrator.stores.codec import (
    decode_index,
    encode_index,
    pack_events,
    pack_leases,
    unpack_leases,
)
from orchestrator.stores.contract import (
    COMMITS_REMEMBERED,
    Commit,
    CommitAnswer,
    Enqueue,
    Granted,
    Outcome,
    RunAdvanced,
    RunIndex,
)
from orchestrator.stores.rules import search_text
from orchestrator.stores.sqlite import turns
from orchestrator.stores.sqlite.database import bytes_of, int_of, rows, text_of
from orchestrator.stores.sqlite.transaction import RunRef, Transaction

_HEAD = """
SELECT (SELECT last_seq FROM journal WHERE run = ?1 ORDER BY last_seq DESC LIMIT 1),
       EXISTS (SELECT 1 FROM holds WHERE run = ?1)
"""
_RECENT = """
SELECT commit_id, last_seq, leases FROM journal WHERE run = ? ORDER BY last_seq DESC, id DESC LIMIT ?
"""
_FIND_LEASE = "SELECT id FROM queue WHERE run = ? AND path = ? AND epoch = ? AND worker IS NOT NULL"
_FINISH = "DELETE FROM queue WHERE id = ?"
_KEEP = "UPDATE queue SET lost = 0 WHERE id = ? AND lost <> 0"
_WITHDRAW = "DELETE FROM queue WHERE run = ? AND path = ?"
_HOLD = "INSERT OR IGNORE INTO holds (run) VALUES (?)"
_LIFT = "DELETE FROM holds WHERE run = ?"
_HOLD_ROWS = "UPDATE queue SET held = ?2 WHERE run = ?1 AND held <> ?2"
_FREE_QUEUES = "SELECT DISTINCT queue FROM queue WHERE run = ? AND worker IS NULL"
_ENQUEUE = """
INSERT INTO queue (run, path, kind, queue, priority, queued_us, due_us, held, worker, epoch, leased_us, lost, note,
                   payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', ?)
ON CONFLICT (run, path) DO UPDATE SET
    kind = excluded.kind, queue = excluded.queue, priority = excluded.priority, queued_us = excluded.queued_us,
    due_us = excluded.due_us, held = excluded.held, worker = excluded.worker, epoch = excluded.epoch,
    leased_us = excluded.leased_us, lost = 0, note = '', payload = excluded.payload
WHERE worker IS NULL
"""
_JOURNAL = """
INSERT INTO journal (id, run, last_seq, count, commit_id, framed, leases, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_BLOB = "INSERT OR IGNORE INTO blobs (run, blob_id, codec, data) VALUES (?, ?, ?, ?)"
_SNAPSHOT = "INSERT OR REPLACE INTO snapshots (run, seq, data) VALUES (?, ?, ?)"
_CREATE = """
INSERT INTO runs (key, run_id, namespace, workflow, status, live, created_us, parent_run, search, record, summary)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_RECORD = "SELECT record FROM runs WHERE key = ?"
_INDEX_STATUS = "UPDATE runs SET status = ?, live = ?, record = ? WHERE key = ?"
_INDEX_SEARCH = "UPDATE runs SET search = ? WHERE key = ?"
_INDEX_WHOLE = """
UPDATE runs SET status = ?, live = ?, record = ?, workflow = ?, created_us = ?, parent_run = ? WHERE key = ?
"""
_SUMMARY = "UPDATE runs SET summary = ? WHERE key = ?"
_DROP_LABELS = "DELETE FROM labels WHERE run = ?"
_ADD_LABEL = "INSERT INTO labels (namespace, label, value, created_us, run) VALUES (?, ?, ?, ?, ?)"


def apply_commit(tx: Transaction, commit: Commit) -> CommitAnswer:
    """Check one commit, and write it unless it is refused."""
    known = tx.find_run(commit.run_id)
    run = known if known is not None and known.namespace == commit.namespace else None
    if run is None:
        if commit.stands_on:
            lost = [lease.path for lease in commit.stands_on]
            return CommitAnswer(outcome=Outcome.FENCED, seq=0, lost=lost, now_us=tx.now_us)
        if known is not None or commit.expected != 0 or commit.index is None:
            return CommitAnswer(outcome=Outcome.CONFLICT, seq=0, now_us=tx.now_us)
        return _write(tx, commit, create_run(tx, commit, commit.index), 0, False, [])

    head = tx.one(_HEAD, (run.key,))
    assert head is not None, "a query without FROM has a row"
    seq, held = int_of(head[0]), bool(head[1])
    if (not commit.events or commit.expected != seq) and (first := _first_answer(tx, commit, run)):
        return first
    lost, owned = _check_leases(tx, commit, run)
    if lost:
        return CommitAnswer(outcome=Outcome.FENCED, seq=seq, lost=lost, now_us=tx.now_us)
    if commit.expected is not None and commit.expected != seq:
        if commit.turn:
            turns.take(tx, run, commit.turn)
        return CommitAnswer(outcome=Outcome.CONFLICT, seq=seq, now_us=tx.now_us)
    if tx.turns and commit.expected is not None and turns.is_others(tx, run, commit.turn):
        return CommitAnswer(outcome=Outcome.CONFLICT, seq=seq, now_us=tx.now_us)
    if commit.turn:
        turns.end(tx, run, commit.turn)
    return _write(tx, commit, run, seq, held, owned)


def _first_answer(tx: Transaction, commit: Commit, run: RunRef) -> CommitAnswer | None:
    """The answer that this commit was given already, if it is a repeat."""
    for commit_id, last_seq, leases in rows(tx.connection, _RECENT, (run.key, COMMITS_REMEMBERED)):
        if commit_id == commit.commit_id:
            granted = unpack_leases(None if leases is None else bytes_of(leases), run.run_id)
            return CommitAnswer(outcome=Outcome.OK, seq=int_of(last_seq), leases=granted, now_us=tx.now_us)
    return None


def _check_leases(tx: Transaction, commit: Commit, run: RunRef) -> tuple[list[str], list[int]]:
    """The paths whose leases are gone, and the ids of the others' queue rows."""
    lost: list[str] = []
    owned: list[int] = []
    for lease in commit.stands_on:
        row = tx.one(_FIND_LEASE, (run.key, lease.path, lease.epoch))
        if row is None:
            lost.append(lease.path)
        else:
            owned.append(int_of(row[0]))
    return lost, owned


def create_run(tx: Transaction, commit: Commit, index: RunIndex) -> RunRef:
    """The rows that a new run begins with."""
    tx.run_key += 1
    run = RunRef(tx.run_key, commit.run_id, commit.namespace, index.workflow)
    record = encode_index(index)
    tx.run(
        _CREATE,
        (
            run.key,
            run.run_id,
            run.namespace,
            index.workflow,
            index.status,
            int(index.live),
            index.created_us,
            index.parent_run,
            search_text(run.run_id, decode_index(record)),
            record,
            commit.summary or b"",
        ),
    )
    _add_labels(tx, run, index)
    tx.remember(run)
    return run


def _write(
    tx: Transaction, commit: Commit, run: RunRef, seq: int, held: bool, owned: list[int]
) -> CommitAnswer:
    """Write an accepted commit, in the order that the contract gives."""
    for lease, row in zip(commit.stands_on, owned, strict=True):
        tx.run(_FINISH if lease.finish else _KEEP, (row,))
    for path in commit.withdraw:
        tx.run(_WITHDRAW, (run.key, path))
    if commit.hold is not None and commit.hold != held:
        held = commit.hold
        tx.run(_HOLD if held else _LIFT, (run.key,))
        tx.run(_HOLD_ROWS, (run.key, int(held)))
    if commit.hold is False:
        tx.wake_queues.update(text_of(row[0]) for row in rows(tx.connection, _FREE_QUEUES, (run.key,)))
    granted: list[Granted] = []
    for wanted in commit.enqueue:
        lease = _enqueue(tx, commit, run, wanted, held)
        if lease is not None:
            granted.append(lease)
    last_seq = seq + len(commit.events)
    tx.journal_id += 1
    data, framed = pack_events(commit.events)
    leases = pack_leases(granted)
    tx.run(
        _JOURNAL,
        (tx.journal_id, run.key, last_seq, len(commit.events), commit.commit_id, framed, leases, data),
    )
    for blob in commit.blobs:
        tx.run(_BLOB, (run.key, blob.blob_id, blob.codec, blob.data))
    if commit.snapshot is not None:
        tx.run(_SNAPSHOT, (run.key, last_seq, commit.snapshot))
    if seq:  # a run that has just been created has both already
        if commit.index is not None:
            update_index(tx, run, commit.index)
        if commit.summary is not None:
            write_summary(tx, run, commit.summary)
    if commit.events or commit.hold is not None:
        tx.advanced[run.run_id] = RunAdvanced(run_id=run.run_id, workflow=run.workflow, seq=last_seq)
    return CommitAnswer(outcome=Outcome.OK, seq=last_seq, leases=granted, now_us=tx.now_us)


def _enqueue(tx: Transaction, commit: Commit, run: RunRef, wanted: Enqueue, held: bool) -> Granted | None:
    """Write one queue row, unless somebody holds it; the lease, if it was given at once."""
    leased = wanted.leased and not held and tx.registered(commit.worker)
    tx.epoch += leased
    written = tx.run(
        _ENQUEUE,
        (
            run.key,
            wanted.path,
            wanted.kind.value,
            wanted.queue,
            wanted.priority,
            tx.now_us,
            tx.now_us + wanted.delay_us,
            int(held),
            commit.worker if leased else None,
            tx.epoch if leased else 0,
            tx.now_us if leased else None,
            wanted.payload,
        ),
    )
    if not written:
        return None
    if leased:
        return Granted(run_id=run.run_id, path=wanted.path, epoch=tx.epoch)
    if not held:
        tx.wake_queues.add(wanted.queue)
    return None


def update_index(tx: Transaction, run: RunRef, index: RunIndex) -> None:
    """Write the index row of a run that exists, touching as few of the table's indexes as possible."""
    row = tx.one(_RECORD, (run.key,))
    assert row is not None, "runs are never deleted"
    before = decode_index(bytes_of(row[0]))
    record = encode_index(index)
    status = (index.status, int(index.live), record)
    moved = (before.workflow, before.created_us, before.parent_run) != (
        index.workflow,
        index.created_us,
        index.parent_run,
    )
    if moved:
        tx.run(_INDEX_WHOLE, (*status, index.workflow, index.created_us, index.parent_run, run.key))
        run.workflow = index.workflow
    else:
        tx.run(_INDEX_STATUS, (*status, run.key))
    search = search_text(run.run_id, decode_index(record))
    if search != search_text(run.run_id, before):
        tx.run(_INDEX_SEARCH, (search, run.key))
    if before.labels != index.labels or (moved and index.labels):
        tx.run(_DROP_LABELS, (run.key,))
        _add_labels(tx, run, index)


def write_summary(tx: Transaction, run: RunRef, summary: bytes) -> None:
    """Write the opaque line that lists show."""
    tx.run(_SUMMARY, (summary, run.key))


def _add_labels(tx: Transaction, run: RunRef, index: RunIndex) -> None:
    for label, value in index.labels.items():
        tx.run(_ADD_LABEL, (run.namespace, label, value, index.created_us, run.key))
