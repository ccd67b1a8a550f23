"""Connections to the server: how they are made, lent and given up.

A connection is lent to one call at a time. One that broke, or whose call was given up in the middle, is thrown away,
and the next call makes a new one; so an outage heals by itself with the first call that gets through. Statements run
outside transactions of the client: what must be atomic is one statement.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import make_conninfo

from orchestrator.errors import OrchestratorError, StoreUnavailable, UsageError
from orchestrator.stores.postgres import packing
from orchestrator.stores.postgres.failures import translate

SCHEMA = "orchestrator"
"""Where our tables are, unless the URL says otherwise (`?schema=name`)."""
CONNECTIONS_MAX = 8
"""The most connections that a store opens for its calls; heartbeat and wake-ups have one each beside them."""
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30.0
"""A call that has no answer by then is given up; the server's own limits end it well before."""

_SETTINGS = {
    "statement_timeout": "20s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
    "timezone": "UTC",
    "client_min_messages": "warning",
    "default_transaction_isolation": "read\\ committed",
}

Row = tuple[Any, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is. `url` is how the store was named, without credentials."""

    url: str
    conninfo: str
    schema: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"PostgreSQL ({self.url})"


def address_of(url: str) -> Address:
    """The server that a URL names: `postgresql://user:password@host:port/database?schema=orchestrator`.

    Everything that libpq reads in such a URL may stand in it (`host=/run/postgresql`, `sslmode`,
    `target_session_attrs`); what isn't there comes from the usual variables (PGHOST, PGUSER, PGPASSFILE ...).

    Raises:
        UsageError: it is no such URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise UsageError(f"{_shown(url)!r} doesn't name a PostgreSQL store; write postgresql://host/database")
    query = parse_qsl(parts.query, keep_blank_values=True)
    schemas = [value for name, value in query if name == "schema"]
    schema = schemas[-1] if schemas else SCHEMA
    if not schema or len(schema) > 48 or not schema.replace("_", "a").isalnum() or not schema.isascii():
        raise UsageError(f"{schema!r} is no name for our schema: up to 48 letters, digits and _")
    rest = urlencode([pair for pair in query if pair[0] != "schema"], quote_via=quote)
    bare = urlunsplit(("postgresql", parts.netloc, parts.path, rest, ""))
    options = [f"-c {name}={value}" for name, value in {**_SETTINGS, "search_path": schema.lower()}.items()]
    try:
        conninfo = make_conninfo(
            bare,
            options=" ".join(options),
            connect_timeout=CONNECT_SECONDS,
            application_name="orchestrator",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=15_000,
            client_encoding="UTF8",
        )
    except psycopg.Error as error:
        said = str(error).strip().replace(parts.password or "\0", "…")
        raise UsageError(f"{_shown(url)!r} doesn't name a PostgreSQL store: {said}") from None
    return Address(url=_shown(url), conninfo=conninfo, schema=schema.lower())


def _shown(url: str) -> str:
    """The URL without user, password and secrets in its query."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    query = [(name, value) for name, value in parse_qsl(parts.query) if "pass" not in name and name != "user"]
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query, quote_via=quote, safe="/"), ""))


async def connect(address: Address) -> psycopg.AsyncConnection[Row]:
    """A new connection.

    Raises:
        StoreUnavailable, StoreIncompatible: the server can't be reached, or doesn't let us in.
    """
    connecting = asyncio.create_task(_connect(address))
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # Given up in the middle, the driver would leave its socket open.
        with contextlib.suppress(psycopg.Error, OSError):
            await (await connecting).close()
        raise
    except (psycopg.Error, OSError) as error:
        raise translate(error, address.place) from error
    connection.prepare_threshold = 2
    packing.register(connection)
    return connection


async def _connect(address: Address) -> psycopg.AsyncConnection[Row]:
    async with asyncio.timeout(CONNECT_SECONDS + 1):
        return await psycopg.AsyncConnection.connect(address.conninfo, autocommit=True)


class Pool:
    """Lends connections, the one used last first."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[psycopg.AsyncConnection[Row]] = []
        self._lent: set[psycopg.AsyncConnection[Row]] = set()
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._closed = False

    @contextlib.asynccontextmanager
    async def lend(self, *, committing: bool = False) -> AsyncGenerator[psycopg.AsyncConnection[Row]]:
        """A connection for one call, whose errors become ours.

        Raises:
            StoreUnavailable: there is no connection, or it broke.
            CommitUnknown: it broke while `committing`.
        """
        async with self._places:
            connection = await self._take()
            self._lent.add(connection)
            fit = False
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    yield connection
                fit = True
            except OrchestratorError:
                fit = True  # refused by us: the transaction, if there was one, is rolled back
                raise
            except (psycopg.Error, OSError, UnicodeEncodeError, OverflowError) as error:
                fit = not connection.closed and not connection.broken and not isinstance(error, OSError)
                raise translate(error, self.address.place, committing=committing) from error
            finally:
                self._lent.discard(connection)
                await self._give_back(connection, fit=fit)

    async def _take(self) -> psycopg.AsyncConnection[Row]:
        while self._idle and not self._closed:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        if self._closed:
            raise StoreUnavailable(f"{self.address.place} isn't open; call open() first")
        return await connect(self.address)

    async def _give_back(self, connection: psycopg.AsyncConnection[Row], *, fit: bool) -> None:
        idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if fit and idle and not self._closed and not connection.closed:
            self._idle.append(connection)
            return
        # Not `close()` alone: a call that was given up may still wait for its answer there.
        await connection.close()

    async def fetch(self, statement: bytes, values: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """All rows of one statement, which is prepared once a connection has seen it twice."""
        async with self.lend() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(statement, values or None)
            return await cursor.fetchall()

    async def close(self) -> None:
        """End all connections, those that are lent too: whoever waits there hears that the store is gone."""
        self._closed = True
        for connection in [*self._idle, *self._lent]:
            await connection.close()
        self._idle.clear()


class Together(Generic[T]):
    """Lets those who ask the same at the same time share one answer, which is never older than their question.

    Who asks while the server is being asked waits for the next time, together with all who come until then. Starting a
    hundred runs of one workflow then asks for its current version a few times.
    """

    def __init__(self) -> None:
        self._next: dict[Hashable, asyncio.Task[T]] = {}
        self._now: dict[Hashable, asyncio.Task[T]] = {}

    async def ask(self, what: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives, called after this call."""
        task = self._next.get(what)
        if task is None:
            task = self._next[what] = asyncio.create_task(self._read(what, read))
            task.add_done_callback(_look_at)
        return await asyncio.shield(task)

    async def _read(self, what: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        before = self._now.get(what)
        if before is not None:
            await asyncio.wait({before})
        mine = self._now[what] = self._next.pop(what)
        try:
            return await read()
        finally:
            if self._now.get(what) is mine:
                del self._now[what]


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error of which everybody was cancelled who waited for it is no surprise."""
    if not task.cancelled():
        task.exception()
