"""Whether a server can be used, and what of the acknowledged it keeps."""

from typing import Any

import psycopg

from orchestrator.errors import StoreIncompatible, StoreUnavailable
from orchestrator.stores.contract import Durability, Keeps
from orchestrator.stores.postgres.connections import Address
from orchestrator.stores.postgres.failures import translate

VERSION_MIN = 14

_SETTINGS = b"""
SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_encoding'), pg_is_in_recovery(),
       current_setting('default_transaction_read_only'), current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('synchronous_commit')
"""
_RELOAD = "SELECT pg_reload_conf();"


async def look(connection: psycopg.AsyncConnection[Any], address: Address) -> Durability:
    """What the server's settings keep.

    Raises:
        StoreIncompatible: the server is too old, or its database holds texts in another encoding than UTF-8.
        StoreUnavailable: it can only be read.
    """
    try:
        row = await (await connection.execute(_SETTINGS)).fetchone()
    except psycopg.Error as error:
        raise translate(error, address.place) from error
    assert row is not None, "a query without FROM has a row"
    version, encoding, standby, read_only, fsync, full_pages, synchronous = row
    if version < VERSION_MIN:
        raise StoreIncompatible(
            f"{address.place} is PostgreSQL {version}; this store needs {VERSION_MIN} or newer"
        )
    if encoding != "UTF8":
        raise StoreIncompatible(
            f"the database of {address.place} holds texts as {encoding}; make one with ENCODING 'UTF8'"
        )
    if standby or read_only == "on":
        what = "is a standby" if standby else "is set to read only (default_transaction_read_only)"
        raise StoreUnavailable(
            f"{address.place} {what}: it can't be written. Name the primary, or several hosts with "
            "target_session_attrs=read-write"
        )
    return durability_of(fsync=fsync, full_page_writes=full_pages, synchronous_commit=synchronous)


def durability_of(*, fsync: str, full_page_writes: str, synchronous_commit: str) -> Durability:
    """What these settings keep, and what would cure them."""
    if fsync == "off" or full_page_writes == "off":
        name = "fsync" if fsync == "off" else "full_page_writes"
        return Durability(
            keeps=Keeps.NOTHING_SURE,
            words=f"PostgreSQL runs with {name} = off: a power cut or a crash of the machine can damage all data",
            cure=[f"ALTER SYSTEM SET {name} = on;", _RELOAD],
        )
    if synchronous_commit == "off":
        return Durability(
            keeps=Keeps.ALL_BUT_LAST,
            words="PostgreSQL runs with synchronous_commit = off: a crash of the server loses what it acknowledged "
            "within the last moments (three times wal_writer_delay, 0.6 s by default)",
            cure=["ALTER SYSTEM SET synchronous_commit = on;", _RELOAD],
        )
    return Durability(keeps=Keeps.EVERYTHING)
