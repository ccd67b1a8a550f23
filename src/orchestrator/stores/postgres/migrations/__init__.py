"""The numbered migrations of the schema. Several processes may open the store at once: one goes first, others wait.

A step only adds: the release before this one works on with the new shape, so that processes can be replaced one by one.
"""

from typing import Any

import psycopg
from psycopg import sql

from orchestrator.errors import StoreIncompatible
from orchestrator.stores import numbered
from orchestrator.stores.postgres.connections import Address
from orchestrator.stores.postgres.failures import translate

_LOCK = b"SELECT pg_advisory_xact_lock(hashtextextended(%s, 7201))"
_PATIENCE = b"SET LOCAL lock_timeout = '60s'"
_SCHEMA = b"SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)"
_MARK = b"""
SELECT to_regclass('migrations') IS NOT NULL, EXISTS (SELECT FROM pg_class WHERE relnamespace = %s::regnamespace)
"""
_TABLE = b"""
CREATE TABLE migrations (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
                         applied_at timestamptz NOT NULL DEFAULT now())
"""
_APPLIED = b"SELECT number, name, checksum FROM migrations ORDER BY number"
_NOTE = b"INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)"
# Transaction numbers start again on another server; feeds must not.
_OFFSET = b"""
UPDATE store SET tx_offset = m.last + 1 FROM (SELECT coalesce(max(tx), 0) AS last FROM journal) m
WHERE m.last > pg_current_xact_id()::text::bigint + tx_offset
"""


def bundled() -> list[numbered.Migration]:
    """The migrations of this release, in order."""
    return numbered.bundled(__name__)


async def migrate(
    connection: psycopg.AsyncConnection[Any], address: Address, known: list[numbered.Migration] | None = None
) -> list[int]:
    """Bring the schema to the newest shape, in one transaction; the numbers that were applied.

    Raises:
        StoreIncompatible: it belongs to a newer release or to somebody else, or a migration was changed. It was not
            touched.
        StoreUnavailable: the server can't be reached.
    """
    known = bundled() if known is None else known
    try:
        async with connection.transaction():
            await connection.execute(_PATIENCE)
            await connection.execute(_LOCK, (address.schema,))
            return await _migrate(connection, address, known)
    except psycopg.Error as error:
        raise translate(error, address.place) from error


async def _migrate(
    connection: psycopg.AsyncConnection[Any], address: Address, known: list[numbered.Migration]
) -> list[int]:
    applied: list[tuple[int, str, str]] = []
    if await _one(connection, _SCHEMA, address.schema):
        cursor = await connection.execute(_MARK, (address.schema,))
        ours, used = await cursor.fetchone() or (False, False)
        if used and not ours:
            raise StoreIncompatible(
                f"the schema {address.schema!r} of {address.place} holds something else; "
                "name another one (?schema=name; this one was not touched)"
            )
        if ours:
            applied = await (await connection.execute(_APPLIED)).fetchall()
            numbered.check_applied(
                applied, known, place=address.place, elsewhere="another schema (?schema=name)"
            )
    else:
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(address.schema)))
    if not applied:
        await connection.execute(_TABLE)
    done = {number for number, _, _ in applied}
    todo = [step for step in known if step.number not in done]
    for step in todo:
        await connection.execute(step.statements.encode())
        await connection.execute(_NOTE, (step.number, step.name, step.checksum))
    await connection.execute(_OFFSET)
    return [step.number for step in todo]


async def _one(connection: psycopg.AsyncConnection[Any], statement: bytes, *values: object) -> Any:
    row = await (await connection.execute(statement, values)).fetchone()
    return None if row is None else row[0]
