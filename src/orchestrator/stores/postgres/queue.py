"""Claims, leases, registrations and accounts: the calls of `migrations/0002_accounts.sql` and `0003_queue.sql`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from orchestrator.errors import StoreUnavailable
from orchestrator.stores.contract import (
    SLOT_CALL_US,
    SLOT_WAIT_US,
    Acquired,
    Claim,
    ClaimAnswer,
    Granted,
    HeartbeatAnswer,
    Limit,
    TaskKind,
)
from orchestrator.stores.postgres.connections import Pool, Row
from orchestrator.stores.postgres.packing import ints, longs, texts
from orchestrator.stores.rules import NOTE_RUNS_SHOWN, rate_note

PROMOTED_MAX = 1_000
"""How many rows that fell due a claim puts among the ready ones: a transaction takes milliseconds."""
BUSY_PAUSES_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""How long to wait for rows that a commit has in hand at this moment; then the call is given up."""

_CLAIM = b"SELECT * FROM claim_1(%s, %s, %s, %s, %s)"
_RELEASE = b"SELECT * FROM release_1(%s, %s, %s, %s, %s, %s, %s, %s)"
_FORGET = b"SELECT * FROM forget_1(%s, %s, %s, %s, %s)"
_EXPIRED = b"SELECT worker FROM workers WHERE expires_us <= clock_1(%s) ORDER BY worker"
_IDLE_ACCOUNTS = b"""
DELETE FROM accounts WHERE account IN (
    SELECT a.account FROM accounts a
    WHERE a.full_us <= clock_1(%s) AND a.line_us <= clock_1(%s)
        AND NOT EXISTS (SELECT FROM slots s WHERE s.account = a.account)
        AND NOT EXISTS (SELECT FROM lines l WHERE l.account = a.account)
    LIMIT 1000 FOR UPDATE SKIP LOCKED
)
"""
_ACQUIRED = (Acquired.GRANTED, Acquired.WAITS, Acquired.FENCED)
_ACQUIRE = b"SELECT * FROM acquire_1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
HEARTBEAT = b"""
WITH registered AS (
    INSERT INTO workers AS w (worker, seen_us, expires_us, info)
    SELECT %s, t.now_us, t.now_us + %s, %s FROM (SELECT clock_1(%s) AS now_us) t
    ON CONFLICT (worker) DO UPDATE SET
        seen_us = excluded.seen_us, expires_us = excluded.expires_us, info = excluded.info
    RETURNING w.seen_us
)
SELECT r.seen_us, o.runs, o.paths, o.epochs FROM registered r, (
    SELECT array_agg(h.run_id) AS runs, array_agg(q.path) AS paths, array_agg(q.epoch) AS epochs
    FROM queue q JOIN heads h ON h.key = q.run WHERE q.worker = %s
) o
"""


async def claim(
    pool: Pool, worker: str, queues: Sequence[str], limit: int, now_us: int | None
) -> ClaimAnswer:
    """Lease up to `limit` due rows to the worker."""
    wanted = texts(list(dict.fromkeys(queues)))
    rows = await pool.fetch(_CLAIM, (now_us, worker, wanted, limit, PROMOTED_MAX))
    *claimed, last = rows
    return ClaimAnswer(claims=[_claim(row) for row in claimed], now_us=last[11], next_due_us=last[12])


def _claim(row: Row) -> Claim:
    return Claim(
        namespace=row[0],
        run_id=row[1],
        path=row[2],
        kind=TaskKind(row[3]),
        queue=row[4],
        priority=row[5],
        epoch=row[6],
        queued_us=row[7],
        due_us=row[8],
        lost=row[9],
        payload=row[10],
    )


async def release(
    pool: Pool, worker: str, leases: Sequence[Granted], delay_us: int, note: str, now_us: int | None
) -> set[str]:
    """Give leases back; the queues to wake. Rows that a commit has in hand are asked for again."""
    left = list(leases)
    woken: set[str] = set()
    for pause in BUSY_PAUSES_SECONDS:
        arrays = (
            texts([lease.run_id for lease in left]),
            texts([lease.path for lease in left]),
            longs([lease.epoch for lease in left]),
        )
        busy: list[int]
        ((busy, queues),) = await pool.fetch(
            _RELEASE, (now_us, worker, *arrays, delay_us, note, SLOT_CALL_US)
        )
        woken.update(queues)
        left = [left[place - 1] for place in busy]
        if not left:
            return woken
        await asyncio.sleep(pause)
    raise StoreUnavailable(
        f"{len(left)} queue rows in {pool.address.place} stay locked; give them back again"
    )


async def forget(pool: Pool, worker: str, lost: bool, now_us: int | None) -> set[str]:
    """End a registration; the queues to wake. A worker whose rows are in use is waited for."""
    for pause in BUSY_PAUSES_SECONDS:
        ((done, _, queues),) = await pool.fetch(_FORGET, (now_us, worker, lost, False, SLOT_CALL_US))
        if done:
            return set(queues)
        await asyncio.sleep(pause)
    raise StoreUnavailable(f"queue rows of worker {worker} in {pool.address.place} stay locked; try again")


async def expire(pool: Pool, now_us: int | None) -> tuple[list[str], set[str]]:
    """Forget workers whose time is over: their names, and the queues to wake. Those in use are left for later."""
    names: list[str] = []
    woken: set[str] = set()
    for (worker,) in await pool.fetch(_EXPIRED, (now_us,)):
        ((_, known, queues),) = await pool.fetch(_FORGET, (now_us, worker, True, True, SLOT_CALL_US))
        if known:
            names.append(worker)
            woken.update(queues)
    await pool.fetch(_IDLE_ACCOUNTS + b" RETURNING account", (now_us, now_us))
    return names, woken


async def acquire(
    pool: Pool, worker: str, lease: Granted, limits: Sequence[Limit], now_us: int | None
) -> tuple[Acquired, set[str]]:
    """Slots for a lease, or the row back in the queue; and the queues to wake."""
    values = (
        now_us,
        worker,
        lease.run_id,
        lease.path,
        lease.epoch,
        texts([limit.account for limit in limits]),
        texts([limit.name for limit in limits]),
        ints([limit.concurrency or 0 for limit in limits]),
        longs([limit.rate or 0 for limit in limits]),
        longs([limit.per_us for limit in limits]),
        texts(["" if limit.rate is None else rate_note(limit) for limit in limits]),
        SLOT_WAIT_US,
        SLOT_CALL_US,
        NOTE_RUNS_SHOWN,
    )
    outcome: int
    ((outcome, woken),) = await pool.fetch(_ACQUIRE, values)
    return _ACQUIRED[outcome], set(woken)


def heartbeat_values(worker: str, lease_us: int, info: bytes, now_us: int | None) -> tuple[Any, ...]:
    """The values of `HEARTBEAT`."""
    return worker, lease_us, info, now_us, worker


def heartbeat_answer(rows: Sequence[Row]) -> HeartbeatAnswer:
    """Everything that the worker owns."""
    ((now_us, runs, paths, epochs),) = rows
    owned = zip(runs or (), paths or (), epochs or (), strict=True)
    return HeartbeatAnswer(
        now_us=now_us,
        owned=[Granted(run_id=run_id, path=path, epoch=epoch) for run_id, path, epoch in owned],
    )


def heartbeat_connection(conninfo: str) -> psycopg.Connection[Row]:
    """The connection of the heartbeat's own thread."""
    return psycopg.connect(conninfo, autocommit=True)
