"""Feeds over runs: in the order of transactions, and no further than all of them are over.

Rows of the journal become visible in another order than their numbers were drawn, so a feed that went by what it sees
would skip. Here it goes by the number of the transaction, and stops before the oldest that is still under way (the
"xmin" of a snapshot): what lies below is complete for ever. A run's commits have rising numbers, because a commit whose
number is lower than that of the last one is refused as a conflict. The feed of one run needs none of this: its seqs are
complete as soon as they are seen.

A cursor is (tx, journal id, events of that commit that were given, seq and id of the run, snapshot): the snapshot tells
what was already there when the feed began, as long as that isn't behind us.
"""

from orchestrator.stores.codec import unpack_events
from orchestrator.stores.contract import FeedItem
from orchestrator.stores.postgres.connections import Pool, Row
from orchestrator.stores.rules import cursor_int, pack_cursor, unpack_cursor

ROWS_MAX = 2_000
"""A feed looks at no more commits in one call; the cursor tells where to go on."""

_BEGIN = b"""
SELECT pg_snapshot_xmin(n.now)::text::bigint + s.tx_offset,
       CASE WHEN pg_snapshot_xmin(n.now) = pg_snapshot_xmax(n.now) THEN '' ELSE n.now::text END,
       (SELECT h.seq FROM heads h WHERE h.run_id = %s)
FROM store s, (SELECT pg_current_snapshot() AS now) n
"""
_FEED = b"""
SELECT j.tx, j.id, j.count, j.framed, j.events, r.run_id, r.workflow, r.namespace, j.last_seq,
       j.tx - s.tx_offset >= coalesce(pg_snapshot_xmax(nullif(%(snapshot)s, '')::pg_snapshot)::text::bigint, 0)
FROM store s CROSS JOIN LATERAL (
    SELECT o.* FROM journal o
    WHERE (o.tx, o.id) >= (%(tx)s, %(id)s)
        AND o.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + s.tx_offset
        AND NOT coalesce(pg_visible_in_snapshot(
            (o.tx - s.tx_offset)::text::xid8, nullif(%(snapshot)s, '')::pg_snapshot), false)
    ORDER BY o.tx, o.id LIMIT %(rows)s
) j JOIN runs r ON r.key = j.run
ORDER BY j.tx, j.id
"""
_FEED_OF_RUN = b"""
SELECT j.tx, j.id, j.count, j.framed, j.events, h.run_id, r.workflow, h.namespace, j.last_seq, h.seq
FROM heads h JOIN runs r ON r.key = h.key CROSS JOIN store s LEFT JOIN LATERAL (
    SELECT o.* FROM journal o
    WHERE o.run = h.key AND o.last_seq > %(seq)s AND o.count > 0
        AND (%(seq)s > 0 OR (o.tx, o.id) >= (%(tx)s, %(id)s))
        AND NOT coalesce(pg_visible_in_snapshot(
            (o.tx - s.tx_offset)::text::xid8, nullif(%(snapshot)s, '')::pg_snapshot), false)
    ORDER BY o.last_seq, o.id LIMIT %(rows)s
) j ON true
WHERE h.run_id = %(run_id)s
ORDER BY j.last_seq, j.id
"""
_FAR = 1 << 30


async def read_feed(
    pool: Pool, cursor: str | None, limit: int, run_id: str | None, workflow: str | None, namespace: str
) -> tuple[list[FeedItem], str]:
    """Committed events after the cursor, and the cursor to go on with."""
    if cursor is None:
        ((tx, snapshot, seq),) = await pool.fetch(_BEGIN, (run_id,))
        return [], pack_cursor("feed", tx, 0, 0, seq or 0, run_id or "", snapshot)
    *numbers, owner, snapshot = unpack_cursor("feed", cursor, int, int, int, int, str, str)
    tx, at, given, seq = map(cursor_int, numbers)
    where = {"tx": tx, "id": at, "rows": ROWS_MAX, "snapshot": str(snapshot)}
    if run_id is not None:
        mine = owner == run_id
        where |= {"run_id": run_id, "seq": seq if mine else 0}
        if mine:
            where |= {"tx": 0, "id": 0, "snapshot": ""}
        rows = await pool.fetch(_FEED_OF_RUN, where)
        return _of_run(rows, cursor, where, given, limit, workflow, namespace)
    return _of_all(await pool.fetch(_FEED, where), where, given, limit, workflow, namespace)


def _of_all(
    rows: list[Row], where: dict[str, int | str], given: int, limit: int, workflow: str | None, namespace: str
) -> tuple[list[FeedItem], str]:
    items: list[FeedItem] = []
    tx, at, snapshot = where["tx"], where["id"], str(where["snapshot"])
    for row in rows:
        start = given if (row[0], row[1]) == (tx, at) else 0
        tx, at, count = row[0], row[1], row[2]
        if row[9]:
            snapshot = ""
        given = _FAR
        if start < count and row[7] == namespace and workflow in (None, row[6]):
            events = unpack_events(row[4], count, row[3])
            given = min(count, start + limit - len(items))
            for place in range(start, given):
                here = pack_cursor("feed", tx, at, place + 1, 0, "", snapshot)
                items.append(FeedItem(run_id=row[5], workflow=row[6], cursor=here, event=events[place]))
            if len(items) >= limit:
                break
    return items, pack_cursor("feed", tx, at, given, 0, "", snapshot)


def _of_run(
    rows: list[Row],
    cursor: str,
    where: dict[str, int | str],
    given: int,
    limit: int,
    workflow: str | None,
    namespace: str,
) -> tuple[list[FeedItem], str]:
    """Of one run the seq is the cursor; only one that comes from the feed of all runs begins by transaction."""
    if not rows:
        return [], cursor
    run_id, seq = str(where["run_id"]), int(where["seq"])
    items: list[FeedItem] = []
    for tx, at, count, framed, data, _, its_workflow, its_namespace, last_seq, head_seq in rows:
        if last_seq is None:  # nothing new: all that there is is behind us
            return [], pack_cursor("feed", where["tx"], where["id"], given, head_seq, run_id, "")
        if its_namespace != namespace or workflow not in (None, its_workflow):
            return [], cursor
        start = max(0, seq - (last_seq - count))
        if (tx, at) == (where["tx"], where["id"]):
            start = max(start, given)
        for place, event in list(enumerate(unpack_events(data, count, framed)))[start:]:
            seq = last_seq - count + place + 1
            here = pack_cursor("feed", tx, at, place + 1, seq, run_id, "")
            items.append(FeedItem(run_id=run_id, workflow=its_workflow, cursor=here, event=event))
            if len(items) >= limit:
                return items, here
    return items, items[-1].cursor if items else cursor
