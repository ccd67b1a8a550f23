"""Accounts inside a write transaction: slots, lines of those who wait for one, and rates.

A slot counts as long as the lease that it was taken with: it is a row beside the lease, by run, path and epoch, and is
swept out in the transaction that ended the lease, whatever did so. Where nobody has a slot that costs nothing.
"""

from collections.abc import Sequence

from orchestrator.stores.contract import SLOT_CALL_US, SLOT_WAIT_US, Acquired, Granted, Limit
from orchestrator.stores.rules import Bucket, rate_note, slot_note
from orchestrator.stores.sqlite.database import int_of, rows, text_of
from orchestrator.stores.sqlite.transaction import RunRef, Transaction

_LEASED = "SELECT held FROM queue WHERE run = ? AND path = ? AND epoch = ? AND worker = ?"
_SWEEP = """
DELETE FROM slots WHERE NOT EXISTS (
    SELECT 1 FROM queue q
    WHERE q.run = slots.run AND q.path = slots.path AND q.epoch = slots.epoch AND q.worker IS NOT NULL
) RETURNING account
"""
_FORGET_GONE = """
DELETE FROM lines WHERE account = ? AND NOT EXISTS (
    SELECT 1 FROM queue q WHERE q.run = lines.run AND q.path = lines.path
)
"""
_TAKEN = """
SELECT (SELECT count(*) FROM slots WHERE account = ?1)
     + (SELECT count(*) FROM lines WHERE account = ?1 AND called_us > ?2)
"""
_IN_LINE = """
SELECT l.run, l.path, l.most, q.queue FROM lines l JOIN queue q ON q.run = l.run AND q.path = l.path
WHERE l.account = ? AND l.called_us <= ? AND q.worker IS NULL AND q.held = 0
ORDER BY l.turn LIMIT ?
"""
_CALL = "UPDATE lines SET called_us = ? WHERE account = ? AND run = ? AND path = ?"
_DUE = "UPDATE queue SET due_us = min(due_us, ?) WHERE run = ? AND path = ?"
_HAS = "SELECT 1 FROM slots WHERE account = ? AND run = ? AND path = ? AND epoch = ?"
_OTHERS = """
SELECT r.run_id FROM slots s JOIN runs r ON r.key = s.run
WHERE s.account = ?1 AND NOT (s.run = ?2 AND s.path = ?3) ORDER BY r.run_id
"""
_CALLED = """
SELECT count(*) FROM lines l WHERE l.account = ?1 AND l.called_us > ?2 AND NOT (l.run = ?3 AND l.path = ?4)
    AND EXISTS (SELECT 1 FROM queue q WHERE q.run = l.run AND q.path = l.path)
"""
_STAND_IN_LINE = """
INSERT INTO lines (account, run, path, turn, most, called_us) VALUES
    (?1, ?2, ?3, (SELECT coalesce(max(turn), 0) + 1 FROM lines WHERE account = ?1), ?4, ?5)
ON CONFLICT (account, run, path) DO UPDATE SET most = excluded.most, called_us = excluded.called_us
"""
_TURN = "SELECT turn FROM lines WHERE account = ? AND run = ? AND path = ?"
_ANYBODY = """
SELECT 1 FROM lines l JOIN queue q ON q.run = l.run AND q.path = l.path WHERE l.account = ? LIMIT 1
"""
_TAKE_TURN = "INSERT INTO lines (account, run, path, turn, most, called_us) VALUES (?, ?, ?, ?, 0, ?)"
_TAKE_SLOT = "INSERT OR REPLACE INTO slots (account, run, path, epoch) VALUES (?, ?, ?, ?)"
_LEAVE_LINE = "DELETE FROM lines WHERE account = ? AND run = ? AND path = ?"
_BUCKET = "SELECT full_us, line_us FROM rates WHERE account = ?"
_SAVE_BUCKET = "INSERT OR REPLACE INTO rates (account, full_us, line_us) VALUES (?, ?, ?)"
_FULL_AGAIN = "DELETE FROM rates WHERE full_us <= ?1 AND line_us <= ?1"
_GIVE_BACK = """
UPDATE queue SET worker = NULL, leased_us = NULL, due_us = ?, note = ? WHERE run = ? AND path = ? RETURNING queue, held
"""


def acquire(tx: Transaction, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
    """A slot of each, or the row back in the queue."""
    run = tx.find_run(lease.run_id)
    if run is None or tx.one(_LEASED, (run.key, lease.path, lease.epoch, worker)) is None:
        return Acquired.FENCED
    tx.slots = True
    missing = [
        limit for limit in limits if tx.one(_HAS, (limit.account, run.key, lease.path, lease.epoch)) is None
    ]
    for limit in missing:
        refused = (
            _no_slot(tx, run, lease.path, limit)
            if limit.concurrency is not None
            else _no_turn(tx, run, lease.path, limit)
        )
        if refused is not None:
            delay_us, note = refused
            key = (tx.now_us + delay_us, note, run.key, lease.path)
            for queue, held in rows(tx.connection, _GIVE_BACK, key):
                if not held:
                    tx.wake_queues.add(text_of(queue))
            return Acquired.WAITS
    for limit in limits:
        if limit in missing:
            if limit.concurrency is None:
                bucket = _bucket(tx, limit)
                bucket.take(tx.now_us)
                _save(tx, limit, bucket)
            tx.run(_TAKE_SLOT, (limit.account, run.key, lease.path, lease.epoch))
        tx.run(_LEAVE_LINE, (limit.account, run.key, lease.path))
    return Acquired.GRANTED


def sweep(tx: Transaction) -> None:
    """End the slots whose lease has ended in this transaction, and call those who are next."""
    if not tx.slots:
        return
    for account in sorted({text_of(row[0]) for row in rows(tx.connection, _SWEEP)}):
        _call(tx, account)


def _call(tx: Transaction, account: str) -> None:
    tx.run(_FORGET_GONE, (account,))
    since = tx.now_us - SLOT_CALL_US
    row = tx.one(_TAKEN, (account, since))
    taken = int_of(row[0]) if row is not None else 0
    while True:
        following = tx.one(_IN_LINE, (account, since, 1))
        if following is None or taken >= int_of(following[2]):
            return
        run, path = int_of(following[0]), text_of(following[1])
        tx.run(_CALL, (tx.now_us, account, run, path))
        tx.run(_DUE, (tx.now_us, run, path))
        tx.wake_queues.add(text_of(following[3]))
        taken += 1


def _no_slot(tx: Transaction, run: RunRef, path: str, limit: Limit) -> tuple[int, str] | None:
    others = [text_of(row[0]) for row in rows(tx.connection, _OTHERS, (limit.account, run.key, path))]
    called = tx.one(_CALLED, (limit.account, tx.now_us - SLOT_CALL_US, run.key, path))
    assert called is not None, "an aggregate has a row"
    assert limit.concurrency is not None
    if len(others) + int_of(called[0]) < limit.concurrency:
        return None
    tx.run(_STAND_IN_LINE, (limit.account, run.key, path, limit.concurrency, -SLOT_CALL_US))
    return SLOT_WAIT_US, slot_note(limit, others)


def _no_turn(tx: Transaction, run: RunRef, path: str, limit: Limit) -> tuple[int, str] | None:
    bucket = _bucket(tx, limit)
    known = tx.one(_TURN, (limit.account, run.key, path))
    if known is None:
        others = tx.one(_ANYBODY, (limit.account,)) is not None
        if not others:
            tx.run(_FORGET_GONE, (limit.account,))
        turn = bucket.turn(tx.now_us, others=others)
        if turn <= tx.now_us:
            return None
        _save(tx, limit, bucket)
        tx.run(_TAKE_TURN, (limit.account, run.key, path, turn, -SLOT_CALL_US))
    else:
        turn = max(int_of(known[0]), bucket.earliest())
        if turn <= tx.now_us:
            return None
    return turn - tx.now_us, rate_note(limit)


def _bucket(tx: Transaction, limit: Limit) -> Bucket:
    assert limit.rate is not None
    row = tx.one(_BUCKET, (limit.account,))
    full_us, line_us = (int_of(row[0]), int_of(row[1])) if row is not None else (0, 0)
    return Bucket(full_us=full_us, line_us=line_us, rate=limit.rate, per_us=limit.per_us)


def _save(tx: Transaction, limit: Limit, bucket: Bucket) -> None:
    tx.run(_FULL_AGAIN, (tx.now_us,))
    tx.run(_SAVE_BUCKET, (limit.account, bucket.full_us, bucket.line_us))
