"""Cached outputs, and events that are written anew."""

from collections.abc import Sequence

from orchestrator.stores.codec import pack_events, unpack_events
from orchestrator.stores.contract import Leftover
from orchestrator.stores.postgres.commits import index_fields
from orchestrator.stores.postgres.connections import Pool
from orchestrator.stores.rules import check_rewrite

_GET = b"SELECT value FROM cached WHERE namespace = %s AND key = %s AND until_us > clock_1(%s)"
_PUT = b"""
INSERT INTO cached (namespace, key, until_us, value) VALUES (%s, %s, clock_1(%s) + %s, %s)
ON CONFLICT (namespace, key) DO UPDATE SET until_us = excluded.until_us, value = excluded.value RETURNING 1
"""
_DROP = b"DELETE FROM cached WHERE namespace = %s AND key = %s RETURNING 1"
_EXPIRE = b"""
DELETE FROM cached WHERE (namespace, key) IN (
    SELECT c.namespace, c.key FROM cached c WHERE c.until_us <= clock_1(%s)
    ORDER BY c.until_us LIMIT %s FOR UPDATE SKIP LOCKED
) RETURNING 1
"""
_HEAD = b"SELECT key, seq FROM heads WHERE run_id = %s FOR NO KEY UPDATE"
_COVERING = b"""
SELECT id, last_seq, count, framed, events FROM journal
WHERE run = %s AND last_seq > %s AND last_seq - count < %s AND count > 0 ORDER BY last_seq, id
"""
_REWRITE = b"UPDATE journal SET framed = %s, events = %s WHERE run = %s AND last_seq = %s AND id = %s"
_DROP_BLOBS = b"DELETE FROM blobs WHERE run = %s"
_DROP_SNAPSHOT = b"DELETE FROM snapshots WHERE run = %s"
_SNAPSHOT = b"INSERT INTO snapshots (run, seq, data) VALUES (%s, %s, %s)"
_SUMMARY = b"UPDATE heads SET summary = %s WHERE key = %s"
_INDEX = b"""
UPDATE runs SET workflow = %s, status = %s, live = %s, created_us = %s, parent_run = %s, labels = %s::jsonb,
    search = %s, record = %s
WHERE key = %s
"""


async def get_cached(pool: Pool, namespace: str, key: str, now_us: int | None) -> bytes | None:
    """What is under the key and not over yet."""
    rows = await pool.fetch(_GET, (namespace, key, now_us))
    return rows[0][0] if rows else None


async def put_cached(
    pool: Pool, namespace: str, key: str, value: bytes, ttl_us: int, now_us: int | None
) -> None:
    """Write an entry, or take it away."""
    if ttl_us:
        await pool.fetch(_PUT, (namespace, key, now_us, ttl_us, value))
    else:
        await pool.fetch(_DROP, (namespace, key))


async def expire_cached(pool: Pool, limit: int, now_us: int | None) -> int:
    """Remove entries whose time is over, the oldest first."""
    return len(await pool.fetch(_EXPIRE, (now_us, limit)))


async def rewrite(
    pool: Pool, run_id: str, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None
) -> bool:
    """Put other bytes in the place of events. What was there is dead rows until the server's next vacuum."""
    async with pool.lend() as connection, connection.transaction():
        cursor = connection.cursor(binary=True)
        await cursor.execute(_HEAD, (run_id,))
        head = await cursor.fetchone()
        if head is None or head[1] != expected:
            return False
        key = head[0]
        check_rewrite(after, len(events), expected)
        await cursor.execute(_COVERING, (key, after, after + len(events)))
        for row, last_seq, count, framed, data in await cursor.fetchall():
            kept = unpack_events(data, count, framed)
            before = last_seq - count
            for place in range(max(0, after - before), min(count, after + len(events) - before)):
                kept[place] = events[before + place - after]
            packed, is_framed = pack_events(kept)
            await cursor.execute(_REWRITE, (bool(is_framed), packed, key, last_seq, row))
        if rest is not None:
            await cursor.execute(_DROP_BLOBS, (key,))
            await cursor.execute(_DROP_SNAPSHOT, (key,))
            if rest.snapshot is not None:
                await cursor.execute(_SNAPSHOT, (key, expected, rest.snapshot))
            await cursor.execute(_SUMMARY, (rest.summary, key))
            index, labels, search, record = index_fields(run_id, rest.index)
            row = (
                index.workflow,
                index.status,
                index.live,
                index.created_us,
                index.parent_run,
                labels,
                search,
            )
            await cursor.execute(_INDEX, (*row, record, key))
        return True
