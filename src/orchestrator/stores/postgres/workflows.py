"""Saved workflows and their versions."""

from orchestrator.errors import Conflict
from orchestrator.stores.contract import Page, WorkflowRow, WorkflowVersion
from orchestrator.stores.postgres.connections import Pool, Row
from orchestrator.stores.rules import pack_cursor, unpack_cursor

_LOCK = b"""
INSERT INTO workflows AS w (namespace, name, folded, current, deleted) VALUES (%s, %s, %s, 0, false)
ON CONFLICT (namespace, name) DO UPDATE SET deleted = w.deleted RETURNING w.id
"""
_SAME = b"""
UPDATE versions SET text = %s, saved_us = clock_1(%s) WHERE workflow = %s AND meaning = %s RETURNING version
"""
_ADD = b"""
INSERT INTO versions (workflow, version, meaning, created_us, saved_us, text, record)
SELECT %(workflow)s, coalesce((SELECT max(version) FROM versions WHERE workflow = %(workflow)s), 0) + 1, %(meaning)s,
       t.now_us, t.now_us, %(text)s, %(record)s FROM (SELECT clock_1(%(now_us)s) AS now_us) t
RETURNING version
"""
_CURRENT = b"UPDATE workflows SET current = %s, deleted = false WHERE id = %s"
_FIND = b"SELECT id FROM workflows WHERE namespace = %s AND name = %s AND NOT deleted FOR UPDATE"
_LIVE = b"SELECT count(*) FROM runs WHERE namespace = %s AND workflow = %s AND live"
_HIDE = b"UPDATE workflows SET deleted = true WHERE id = %s"
_VERSION = b"""
SELECT w.namespace, w.name, v.version, v.meaning, v.created_us, v.saved_us, v.text, v.record
FROM workflows w JOIN versions v ON v.workflow = w.id
WHERE w.namespace = %s AND w.name = %s AND v.version = coalesce(%s::integer, w.current) AND (NOT w.deleted OR %s)
"""
_VERSIONS = b"""
SELECT w.namespace, w.name, v.version, v.meaning, v.created_us, v.saved_us, v.text, v.record
FROM workflows w JOIN versions v ON v.workflow = w.id
WHERE w.namespace = %s AND w.name = %s AND NOT w.deleted ORDER BY v.version DESC
"""
_LIST = b"""
SELECT w.namespace, w.name, w.current, (SELECT count(*) FROM versions c WHERE c.workflow = w.id),
       (SELECT f.created_us FROM versions f WHERE f.workflow = w.id AND f.version = 1), v.saved_us, v.record
FROM workflows w JOIN versions v ON v.workflow = w.id AND v.version = w.current
WHERE w.namespace = %s AND NOT w.deleted AND w.name > %s AND strpos(w.folded, %s) > 0
ORDER BY w.name LIMIT %s
"""


async def save_version(
    pool: Pool, name: str, meaning: str, text: bytes, record: bytes, namespace: str, now_us: int | None
) -> tuple[WorkflowVersion, bool]:
    """Save a version, or find the one with the same meaning and take over the text."""
    async with pool.lend() as connection, connection.transaction():
        cursor = connection.cursor(binary=True)
        await cursor.execute(_LOCK, (namespace, name, name.casefold()))
        row = await cursor.fetchone()
        assert row is not None, "it was written or found"
        workflow = row[0]
        await cursor.execute(_SAME, (text, now_us, workflow, meaning))
        same = await cursor.fetchone()
        if same is None:
            values = {
                "workflow": workflow,
                "meaning": meaning,
                "text": text,
                "record": record,
                "now_us": now_us,
            }
            await cursor.execute(_ADD, values)
        found = same or await cursor.fetchone()
        assert found is not None, "it was written in this transaction"
        await cursor.execute(_CURRENT, (found[0], workflow))
        await cursor.execute(_VERSION, (namespace, name, found[0], False))
        saved = await cursor.fetchone()
        assert saved is not None, "it was written in this transaction"
        return _version(saved), same is None


async def delete_workflow(pool: Pool, name: str, namespace: str) -> bool:
    """Hide the workflow, unless it has live runs."""
    async with pool.lend() as connection, connection.transaction():
        cursor = connection.cursor(binary=True)
        await cursor.execute(_FIND, (namespace, name))
        row = await cursor.fetchone()
        if row is None:
            return False
        await cursor.execute(_LIVE, (namespace, name))
        (live,) = await cursor.fetchone() or (0,)
        if live:
            raise Conflict(
                f"workflow {name!r} has {live} live {'run' if live == 1 else 'runs'}; "
                "cancel them or let them end first",
                reason="workflow_has_live_runs",
            )
        await cursor.execute(_HIDE, row)
        return True


async def get_version(
    pool: Pool, name: str, version: int | None, namespace: str, *, deleted: bool
) -> WorkflowVersion | None:
    """A version, by default the current one."""
    rows = await pool.fetch(_VERSION, (namespace, name, version, deleted))
    return _version(rows[0]) if rows else None


async def list_versions(pool: Pool, name: str, namespace: str) -> list[WorkflowVersion]:
    """All versions of a workflow that isn't deleted, newest first."""
    return [_version(row) for row in await pool.fetch(_VERSIONS, (namespace, name))]


async def list_workflows(
    pool: Pool, namespace: str, text: str, limit: int, cursor: str | None
) -> Page[WorkflowRow]:
    """Saved and not deleted workflows by name."""
    after = "" if cursor is None else str(unpack_cursor("workflows", cursor, str)[0])
    found = await pool.fetch(_LIST, (namespace, after, text.casefold(), limit + 1))
    items = [
        WorkflowRow(
            namespace=row[0],
            name=row[1],
            current=row[2],
            versions=row[3],
            created_us=row[4],
            saved_us=row[5],
            record=row[6],
        )
        for row in found[:limit]
    ]
    return Page(items=items, cursor=pack_cursor("workflows", items[-1].name) if len(found) > limit else None)


def _version(row: Row) -> WorkflowVersion:
    return WorkflowVersion(
        namespace=row[0],
        name=row[1],
        version=row[2],
        meaning=row[3],
        created_us=row[4],
        saved_us=row[5],
        text=row[6],
        record=row[7],
    )
