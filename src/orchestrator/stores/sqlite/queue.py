"""Claims, leases and the registrations of workers, inside a write transaction.

A claim takes the free rows of one queue and priority at a time, because the index is ordered by (queue, priority, due):
a million rows that fall due next month cost nothing. Rows and leases cross from the database as one JSON value, so
that a claim of a hundred rows takes three calls into SQLite, and not two hundred; each of them lets another thread in.
"""

from collections.abc import Iterable, Sequence

import msgspec

from orchestrator.stores.contract import Claim, ClaimAnswer, Granted, HeartbeatAnswer, TaskKind
from orchestrator.stores.sqlite.database import int_array, int_of, rows, text_of
from orchestrator.stores.sqlite.transaction import Transaction

_NEXT_PRIORITY = """
SELECT max(priority) FROM queue INDEXED BY queue_free
WHERE queue = ? AND priority < ? AND worker IS NULL AND held = 0
"""
_NEXT_DUE = """
SELECT min(due_us) FROM queue INDEXED BY queue_free
WHERE queue = ? AND priority = ? AND due_us > ? AND worker IS NULL AND held = 0
"""
_DUE = """
SELECT json_group_array(
    json_array(due_us, id, namespace, run_id, path, kind, queue, priority, queued_us, lost, payload)
) FROM (
    SELECT q.due_us, q.id, r.namespace, r.run_id, q.path, q.kind, q.queue, q.priority, q.queued_us, q.lost,
           hex(q.payload) AS payload
    FROM (
        SELECT * FROM queue INDEXED BY queue_free
        WHERE queue = ?1 AND priority = ?2 AND due_us <= ?3 AND worker IS NULL AND held = 0
        ORDER BY due_us, id LIMIT ?4
    ) q JOIN runs r ON r.key = q.run
    ORDER BY q.due_us, q.id
)
"""
_LEASE = """
UPDATE queue SET worker = ?2, epoch = ?3, leased_us = ?4, note = '' WHERE id IN (SELECT value FROM carray(?1))
"""
_RELEASE = """
UPDATE queue SET worker = NULL, leased_us = NULL, due_us = ?5, note = ?6
WHERE run = ?1 AND path = ?2 AND epoch = ?3 AND worker = ?4
RETURNING queue, held
"""
_REGISTER = """
INSERT INTO workers (worker, process, seen_us, expires_us, info) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (worker) DO UPDATE SET process = ?2, seen_us = ?3, expires_us = ?4, info = ?5
"""
_OWNED = """
SELECT json_group_array(json_array(r.run_id, q.path, q.epoch))
FROM queue q INDEXED BY queue_leased JOIN runs r ON r.key = q.run WHERE q.worker = ?
"""
_UNREGISTER = "DELETE FROM workers WHERE worker = ?"
_FREE = "UPDATE queue SET worker = NULL, leased_us = NULL, lost = lost + ?2 WHERE worker = ?1"
_LEASED_QUEUES = "SELECT DISTINCT queue FROM queue INDEXED BY queue_leased WHERE worker = ? AND held = 0"
_WORKERS = "SELECT worker, process, expires_us FROM workers ORDER BY worker"

_PRIORITY_ABOVE_ALL = 1 << 62
_Due = tuple[int, int, str, str, str, TaskKind, str, int, int, int, str]
_decode_due = msgspec.json.Decoder(list[_Due]).decode
_decode_owned = msgspec.json.Decoder(list[tuple[str, str, int]]).decode


def claim(tx: Transaction, worker: str, queues: Sequence[str], limit: int) -> ClaimAnswer:
    """Lease up to `limit` due rows to the worker."""
    if not tx.registered(worker):
        return ClaimAnswer(claims=[], now_us=tx.now_us)
    found: list[_Due] = []
    next_due: int | None = None
    ahead = {
        queue: priority
        for queue in queues
        if (priority := _priority(tx, queue, _PRIORITY_ABOVE_ALL)) is not None
    }
    while ahead:
        level = max(ahead.values())
        due: list[_Due] = []
        for queue in [queue for queue, priority in ahead.items() if priority == level]:
            if len(found) < limit:
                due += _due_rows(tx, queue, level, limit - len(found))
            later = tx.one(_NEXT_DUE, (queue, level, tx.now_us))
            if later is not None and later[0] is not None:
                next_due = int_of(later[0]) if next_due is None else min(next_due, int_of(later[0]))
            below = _priority(tx, queue, level)
            if below is None:
                del ahead[queue]
            else:
                ahead[queue] = below
        due.sort()
        found += due[: limit - len(found)]
    return ClaimAnswer(claims=_lease(tx, worker, found), now_us=tx.now_us, next_due_us=next_due)


def _priority(tx: Transaction, queue: str, below: int) -> int | None:
    """The highest priority of the queue's free rows that is lower than `below`."""
    row = tx.one(_NEXT_PRIORITY, (queue, below))
    return None if row is None or row[0] is None else int_of(row[0])


def _due_rows(tx: Transaction, queue: str, priority: int, limit: int) -> list[_Due]:
    row = tx.one(_DUE, (queue, priority, tx.now_us, limit))
    return _decode_due(text_of(row[0])) if row is not None else []


def _lease(tx: Transaction, worker: str, found: Sequence[_Due]) -> list[Claim]:
    """Give these rows to the worker. They may share an epoch, since their paths differ."""
    if not found:
        return []
    tx.epoch += 1
    ids = int_array([row[1] for row in found])
    tx.connection.execute(_LEASE, (ids, worker, tx.epoch, tx.now_us))
    return [
        Claim(
            namespace=namespace,
            run_id=run_id,
            path=path,
            kind=kind,
            queue=queue,
            priority=priority,
            epoch=tx.epoch,
            queued_us=queued_us,
            due_us=due_us,
            lost=lost,
            payload=bytes.fromhex(payload),
        )
        for due_us, _, namespace, run_id, path, kind, queue, priority, queued_us, lost, payload in found
    ]


def release(tx: Transaction, worker: str, leases: Sequence[Granted], delay_us: int, note: str) -> None:
    """Give leases back; those that the worker no longer owns are passed over."""
    for lease in leases:
        run = tx.find_run(lease.run_id)
        if run is None:
            continue
        key = (run.key, lease.path, lease.epoch, worker, tx.now_us + delay_us, note)
        for queue, held in rows(tx.connection, _RELEASE, key):
            if not held:
                tx.wake_queues.add(text_of(queue))


def heartbeat(tx: Transaction, worker: str, lease_us: int, info: bytes) -> HeartbeatAnswer:
    """Register the worker, or extend its registration; what it owns."""
    tx.run(_REGISTER, (worker, tx.process, tx.now_us, tx.now_us + lease_us, info))
    tx.forget_registered()
    row = tx.one(_OWNED, (worker,))
    owned = _decode_owned(text_of(row[0])) if row is not None else []
    return HeartbeatAnswer(
        now_us=tx.now_us,
        owned=[Granted(run_id=run_id, path=path, epoch=epoch) for run_id, path, epoch in owned],
    )


def forget(tx: Transaction, worker: str, lost: bool) -> None:
    """End a registration, and free what it held."""
    if not tx.run(_UNREGISTER, (worker,)):
        return
    tx.forget_registered()
    tx.wake_queues.update(text_of(row[0]) for row in rows(tx.connection, _LEASED_QUEUES, (worker,)))
    tx.run(_FREE, (worker, int(lost)))


def registrations(tx: Transaction) -> list[tuple[str, str, int]]:
    """All workers by name, with their process and the end of their registration."""
    return [
        (text_of(name), text_of(process), int_of(ends))
        for name, process, ends in rows(tx.connection, _WORKERS)
    ]


def forget_process(tx: Transaction, processes: Iterable[str], *, lost: bool) -> list[str]:
    """End the registrations of all workers of these processes; their names."""
    gone = set(processes)
    names = [worker for worker, process, _ in registrations(tx) if process in gone]
    for name in names:
        forget(tx, name, lost)
    return names
