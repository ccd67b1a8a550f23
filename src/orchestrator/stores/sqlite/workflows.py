"""Saved workflows and their versions."""

from orchestrator.errors import Conflict
from orchestrator.stores.contract import Page, WorkflowRow, WorkflowVersion
from orchestrator.stores.rules import pack_cursor, unpack_cursor
from orchestrator.stores.sqlite.database import Connection, Row, bytes_of, int_of, text_of
from orchestrator.stores.sqlite.transaction import Transaction

_FIND = "SELECT id FROM workflows WHERE namespace = ? AND name = ?"
_ADD = "INSERT INTO workflows (namespace, name, folded, current, deleted) VALUES (?, ?, ?, 0, 0)"
_SAME = "UPDATE versions SET text = ?, saved_us = ? WHERE workflow = ? AND meaning = ? RETURNING version"
_NEXT = "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE workflow = ?"
_ADD_VERSION = """
INSERT INTO versions (workflow, version, meaning, created_us, saved_us, text, record) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_MAKE_CURRENT = "UPDATE workflows SET current = ?, deleted = 0 WHERE id = ?"
_HIDE = "UPDATE workflows SET deleted = 1 WHERE namespace = ? AND name = ? AND deleted = 0"
_LIVE = """
SELECT count(*) FROM runs INDEXED BY runs_live WHERE namespace = ? AND live = 1 AND workflow = ?
"""
_VERSION = """
SELECT w.namespace, w.name, v.version, v.meaning, v.created_us, v.saved_us, v.text, v.record
FROM workflows w JOIN versions v ON v.workflow = w.id
WHERE w.namespace = ?1 AND w.name = ?2 AND v.version = coalesce(?3, w.current) AND (w.deleted = 0 OR ?4)
"""
_VERSIONS = """
SELECT w.namespace, w.name, v.version, v.meaning, v.created_us, v.saved_us, v.text, v.record
FROM workflows w JOIN versions v ON v.workflow = w.id
WHERE w.namespace = ? AND w.name = ? AND w.deleted = 0 ORDER BY v.version DESC
"""
_LIST = """
SELECT w.namespace, w.name, w.current, (SELECT count(*) FROM versions WHERE workflow = w.id),
       (SELECT created_us FROM versions WHERE workflow = w.id AND version = 1), v.saved_us, v.record
FROM workflows w JOIN versions v ON v.workflow = w.id AND v.version = w.current
WHERE w.namespace = ?1 AND w.deleted = 0 AND w.name > ?2 AND (?3 = '' OR instr(w.folded, ?3) > 0)
ORDER BY w.name LIMIT ?4
"""


def save_version(
    tx: Transaction, name: str, meaning: str, text: bytes, record: bytes, namespace: str
) -> tuple[WorkflowVersion, bool]:
    """Save a version, or find the one with the same meaning and take over the text."""
    row = tx.one(_FIND, (namespace, name))
    if row is None:
        tx.run(_ADD, (namespace, name, name.casefold()))
        workflow = tx.connection.last_insert_rowid()
    else:
        workflow = int_of(row[0])
    same = tx.connection.execute(_SAME, (text, tx.now_us, workflow, meaning)).fetchall()
    if same:
        version = int_of(same[0][0])
    else:
        version = int_of(tx.connection.execute(_NEXT, (workflow,)).get)
        tx.run(_ADD_VERSION, (workflow, version, meaning, tx.now_us, tx.now_us, text, record))
    tx.run(_MAKE_CURRENT, (version, workflow))
    saved = get_version(tx.connection, name, version, namespace, deleted=False)
    assert saved is not None, "it was written in this transaction"
    return saved, not same


def delete_workflow(tx: Transaction, name: str, namespace: str) -> bool:
    """Hide the workflow, unless it has live runs."""
    if get_version(tx.connection, name, None, namespace, deleted=False) is None:
        return False
    live = int_of(tx.connection.execute(_LIVE, (namespace, name)).get)
    if live:
        raise Conflict(
            f"workflow {name!r} has {live} live {'run' if live == 1 else 'runs'}; cancel them or let them end first",
            reason="workflow_has_live_runs",
        )
    return tx.run(_HIDE, (namespace, name)) > 0


def get_version(
    connection: Connection, name: str, version: int | None, namespace: str, *, deleted: bool
) -> WorkflowVersion | None:
    """A version, by default the current one."""
    row = connection.execute(_VERSION, (namespace, name, version, int(deleted))).fetchone()
    return None if row is None else _version(row)


def list_versions(connection: Connection, name: str, namespace: str) -> list[WorkflowVersion]:
    """All versions of a workflow that isn't deleted, newest first."""
    return [_version(row) for row in connection.execute(_VERSIONS, (namespace, name)).fetchall()]


def list_workflows(
    connection: Connection, namespace: str, text: str, limit: int, cursor: str | None
) -> Page[WorkflowRow]:
    """Saved and not deleted workflows by name."""
    after = "" if cursor is None else str(unpack_cursor("workflows", cursor, str)[0])
    found = connection.execute(_LIST, (namespace, after, text.casefold(), limit + 1)).fetchall()
    items = [
        WorkflowRow(
            namespace=text_of(owner),
            name=text_of(name),
            current=int_of(current),
            versions=int_of(versions),
            created_us=int_of(created_us),
            saved_us=int_of(saved_us),
            record=bytes_of(record),
        )
        for owner, name, current, versions, created_us, saved_us, record in found[:limit]
    ]
    return Page(items=items, cursor=pack_cursor("workflows", items[-1].name) if len(found) > limit else None)


def _version(row: Row) -> WorkflowVersion:
    return WorkflowVersion(
        namespace=text_of(row[0]),
        name=text_of(row[1]),
        version=int_of(row[2]),
        meaning=text_of(row[3]),
        created_us=int_of(row[4]),
        saved_us=int_of(row[5]),
        text=bytes_of(row[6]),
        record=bytes_of(row[7]),
    )
