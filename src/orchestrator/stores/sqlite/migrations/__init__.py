"""The numbered migrations of the file, and the rule by which they are applied.

A file is `NNNN_name.sql`. Once released it is never edited: its checksum is kept in the database, and a file whose
checksum differs is refused. So is a database that knows a migration which this release doesn't.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import StoreIncompatible
from orchestrator.stores import numbered
from orchestrator.stores.numbered import Migration
from orchestrator.stores.sqlite.database import Connection, int_of, text_of

__all__ = ["APPLICATION_ID", "Migration", "bundled", "check", "migrate"]

APPLICATION_ID = 0x41674F72
"""Marks a file as ours (SQLite's `application_id`)."""


def bundled() -> list[Migration]:
    """The migrations of this release, in order."""
    return numbered.bundled(__name__)


def check(connection: Connection, path: Path, known: Sequence[Migration]) -> None:
    """Look whether this release may work on the file. Writes nothing.

    Raises:
        StoreIncompatible: the file is of a newer release, of something else, or a migration was changed.
    """
    mark = connection.execute("PRAGMA application_id").get
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if mark == 0 and tables == 0:
        return
    if mark != APPLICATION_ID:
        raise StoreIncompatible(
            f"{path} is a SQLite database of another program; name another file for the store (it was not touched)"
        )
    applied = connection.execute("SELECT number, name, checksum FROM migrations ORDER BY number").fetchall()
    rows = [(int_of(number), text_of(name), text_of(checksum)) for number, name, checksum in applied]
    numbered.check_applied(rows, known, place=str(path), elsewhere="another file")


def migrate(connection: Connection, path: Path, known: Sequence[Migration]) -> list[int]:
    """Bring the file to the newest shape, each step in one transaction; the numbers that were applied.

    Several processes may do so at once: one goes first, the others find it done.
    """
    applied: list[int] = []
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            check(connection, path, known)
            step = _next_step(connection, known)
            if step is not None:
                _apply(connection, step)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if step is None:
            return applied
        applied.append(step.number)


def _next_step(connection: Connection, known: Sequence[Migration]) -> Migration | None:
    if connection.execute("PRAGMA application_id").get == 0:
        return known[0] if known else None
    done = {row[0] for row in connection.execute("SELECT number FROM migrations")}
    return next((migration for migration in known if migration.number not in done), None)


def _apply(connection: Connection, step: Migration) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_us INTEGER NOT NULL) STRICT"
    )
    connection.execute("PRAGMA application_id = 1097289586")
    for _ in connection.execute(step.statements):
        pass
    connection.execute(
        "INSERT INTO migrations (number, name, checksum, applied_us) VALUES (?, ?, ?, ?)",
        (step.number, step.name, step.checksum, time.time_ns() // 1000),
    )
