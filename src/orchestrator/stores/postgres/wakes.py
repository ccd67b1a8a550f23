"""Wake-ups between processes: NOTIFY from a connection of its own, some times a second, and a connection that listens.

Never within a commit: a NOTIFY takes a lock of the whole server until its transaction ends. What is to be told is
gathered, and told at once if nothing was told for `EVERY_SECONDS`, else when that time is over; a run's later advance
takes the place of an earlier one. What doesn't fit is left out: it is a hint, and slow polling is the truth.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence

import msgspec
import psycopg
from psycopg import sql

from orchestrator.errors import StoreError
from orchestrator.stores.contract import Notice, QueueWake, RunAdvanced, Wake
from orchestrator.stores.postgres.connections import Address, Row, connect

EVERY_SECONDS = 0.02
RETRY_SECONDS = 1.0
PAYLOAD_BYTES_MAX = 7_500
"""The server takes 8,000."""

_TELL = b"SELECT pg_notify(%s, %s)"
_QUICK = b"SET synchronous_commit = off"


class _Message(msgspec.Struct, array_like=True):
    sender: str
    queues: list[str] = []
    runs: list[tuple[str, str, int]] = []
    notices: list[tuple[str, str, bytes]] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Message).decode


class Wakes:
    """Tells and hears. Trouble with the server ends neither: both connect again, until `close`."""

    def __init__(self, address: Address, heard: Callable[[Sequence[Wake]], None]) -> None:
        self._address = address
        self._channel = f"{address.schema}_wakes"
        self._heard = heard
        self._sender = secrets.token_hex(6)
        self._queues: set[str] = set()
        self._runs: dict[str, RunAdvanced] = {}
        self._notices: list[Notice] = []
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._told = asyncio.Event()
        self._told.set()
        self.listening = asyncio.Event()
        """What others tell is heard from now on."""

    def start(self) -> None:
        """Begin to tell and to hear."""
        self._tasks = [
            asyncio.create_task(self._again(self._tell), name="postgres: tell"),
            asyncio.create_task(self._again(self._listen), name="postgres: listen"),
        ]

    async def close(self) -> None:
        """Tell what waits if that is quickly done, and end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10 * EVERY_SECONDS):
                await self._told.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, wakes: Sequence[Wake]) -> None:
        """Tell the other processes, soon. On the event loop."""
        for wake in wakes:
            match wake:
                case QueueWake():
                    self._queues.update(wake.queues)
                case RunAdvanced():
                    self._runs[wake.run_id] = wake
                case Notice() if len(self._notices) < 1_000:
                    self._notices.append(wake)
                case _:
                    pass
        self._told.clear()
        self._news.set()

    def _waiting(self) -> bool:
        return bool(self._queues or self._runs or self._notices)

    def _take(self) -> str:
        """What fits into one message; runs that don't fit are left out, notices wait for the next."""
        message = _Message(self._sender, sorted(self._queues))
        size = 100 + sum(len(queue) + 3 for queue in message.queues)
        for run in self._runs.values():
            size += len(run.run_id) + 4 * len(run.workflow) + 30
            if size > PAYLOAD_BYTES_MAX:
                break
            message.runs.append((run.run_id, run.workflow, run.seq))
        while self._notices:
            notice = self._notices[0]
            size += len(notice.run_id) + 4 * len(notice.workflow) + 2 * len(notice.data) + 30
            if size > PAYLOAD_BYTES_MAX and (message.notices or message.runs or message.queues):
                break
            self._notices.pop(0)
            if size <= PAYLOAD_BYTES_MAX:
                message.notices.append((notice.run_id, notice.workflow, notice.data))
        self._queues.clear()
        self._runs.clear()
        return _encode(message).decode()

    async def _again(self, work: Callable[[psycopg.AsyncConnection[Row]], object]) -> None:
        while True:
            with contextlib.suppress(StoreError, psycopg.Error, OSError):
                connection = await connect(self._address)
                try:
                    result = work(connection)
                    if asyncio.iscoroutine(result):
                        await result
                finally:
                    await connection.close()
            await asyncio.sleep(RETRY_SECONDS)

    async def _tell(self, connection: psycopg.AsyncConnection[Row]) -> None:
        await connection.execute(_QUICK)
        while True:
            await self._news.wait()
            while self._waiting():
                payload = self._take()
                if len(payload) < PAYLOAD_BYTES_MAX + 400:
                    await connection.execute(_TELL, (self._channel, payload))
                await asyncio.sleep(EVERY_SECONDS)
            self._news.clear()
            self._told.set()

    async def _listen(self, connection: psycopg.AsyncConnection[Row]) -> None:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        self.listening.set()
        async for notification in connection.notifies():
            self._hear(notification.payload)

    def _hear(self, payload: str) -> None:
        if payload.startswith(f'["{self._sender}"'):
            return
        try:
            message = _decode(payload)
        except msgspec.DecodeError:
            return  # somebody else's, or of another release: a hint that we don't understand
        wakes: list[Wake] = [QueueWake(queues=message.queues)] if message.queues else []
        wakes += [RunAdvanced(run_id=run, workflow=workflow, seq=seq) for run, workflow, seq in message.runs]
        wakes += [Notice(run_id=run, workflow=workflow, data=data) for run, workflow, data in message.notices]
        self._heard(wakes)
