"""Cached outputs, and events that are written anew: what a run's life does not touch every day."""

from collections.abc import Sequence

from orchestrator.stores.codec import pack_events, unpack_events
from orchestrator.stores.contract import Leftover
from orchestrator.stores.rules import check_rewrite
from orchestrator.stores.sqlite.commits import update_index, write_summary
from orchestrator.stores.sqlite.database import Connection, bytes_of, int_of, rows
from orchestrator.stores.sqlite.transaction import RunRef, Transaction

_GET = "SELECT value FROM cached WHERE namespace = ? AND key = ? AND until_us > ?"
_PUT = """
INSERT INTO cached (namespace, key, until_us, value) VALUES (?, ?, ?, ?)
ON CONFLICT (namespace, key) DO UPDATE SET until_us = excluded.until_us, value = excluded.value
"""
_DROP = "DELETE FROM cached WHERE namespace = ? AND key = ?"
_EXPIRE = """
DELETE FROM cached WHERE id IN (
    SELECT id FROM cached INDEXED BY cached_by_time WHERE until_us <= ? ORDER BY until_us LIMIT ?
)
"""
_SEQ = "SELECT last_seq FROM journal WHERE run = ? ORDER BY last_seq DESC LIMIT 1"
_COVERING = """
SELECT id, last_seq, count, framed, events FROM journal INDEXED BY journal_by_run
WHERE run = ?1 AND last_seq > ?2 AND last_seq - count < ?3 AND count > 0 ORDER BY last_seq, id
"""
_REWRITE = "UPDATE journal SET framed = ?, events = ? WHERE id = ?"
_DROP_SNAPSHOT = "DELETE FROM snapshots WHERE run = ?"
_SNAPSHOT = "INSERT OR REPLACE INTO snapshots (run, seq, data) VALUES (?, ?, ?)"
_DROP_BLOBS = "DELETE FROM blobs WHERE run = ?"
_OVERWRITE = "PRAGMA secure_delete = 1"
_JUST_FREE = "PRAGMA secure_delete = 0"
CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
"""Brings the log into the file and cuts it off: what was overwritten is in neither any more."""


def get_cached(connection: Connection, namespace: str, key: str, now_us: int) -> bytes | None:
    """What is under the key and not over yet."""
    row = connection.execute(_GET, (namespace, key, now_us)).fetchone()
    return None if row is None else bytes_of(row[0])


def put_cached(tx: Transaction, namespace: str, key: str, value: bytes, ttl_us: int) -> None:
    """Write an entry, or take it away."""
    if ttl_us:
        tx.run(_PUT, (namespace, key, tx.now_us + ttl_us, value))
    else:
        tx.run(_DROP, (namespace, key))


def expire_cached(tx: Transaction, limit: int) -> int:
    """Remove entries whose time is over, the oldest first."""
    return tx.run(_EXPIRE, (tx.now_us, limit))


def rewrite(
    tx: Transaction, run_id: str, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None
) -> bool:
    """Put other bytes in the place of events; what was there is overwritten with zeros."""
    run = tx.find_run(run_id)
    seq = tx.one(_SEQ, (run.key,)) if run is not None else None
    if run is None or seq is None or int_of(seq[0]) != expected:
        return False
    check_rewrite(after, len(events), expected)
    tx.connection.execute(_OVERWRITE).fetchall()
    try:
        _write_events(tx, run, after, events)
        if rest is not None:
            _write_rest(tx, run, expected, rest)
    finally:
        tx.connection.execute(_JUST_FREE).fetchall()
    return True


def _write_events(tx: Transaction, run: RunRef, after: int, events: Sequence[bytes]) -> None:
    """The rows of the journal that hold these seqs, each with its part of them replaced."""
    for row, last_seq, count, framed, data in rows(
        tx.connection, _COVERING, (run.key, after, after + len(events))
    ):
        kept = unpack_events(bytes_of(data), int_of(count), int_of(framed))
        before = int_of(last_seq) - len(kept)
        for place in range(max(0, after - before), min(len(kept), after + len(events) - before)):
            kept[place] = events[before + place - after]
        packed, is_framed = pack_events(kept)
        tx.run(_REWRITE, (is_framed, packed, row))


def _write_rest(tx: Transaction, run: RunRef, seq: int, rest: Leftover) -> None:
    tx.run(_DROP_BLOBS, (run.key,))
    if rest.snapshot is None:
        tx.run(_DROP_SNAPSHOT, (run.key,))
    else:
        tx.run(_SNAPSHOT, (run.key, seq, rest.snapshot))
    update_index(tx, run, rest.index)
    write_summary(tx, run, rest.summary)
