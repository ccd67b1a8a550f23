"""The reading threads: each has its own connection, so that a long list waits for no sync, and no sync for it."""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import InternalError, StoreUnavailable
from orchestrator.stores.sqlite.database import Connection, connect, translate


@dataclass(slots=True, eq=False)
class Reading:
    """A question, and where its answer goes."""

    ask: Callable[[Connection], object]
    future: "asyncio.Future[Any]"


class Readers:
    """A few threads that answer questions. Each question sees one state of the whole file."""

    def __init__(self, path: Path, answer: Callable[[Reading, object, Exception | None], None]) -> None:
        self._path = path
        self._answer = answer
        self._queue: queue.SimpleQueue[Reading | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._connections: list[Connection] = []

    def start(self, threads: int) -> None:
        """Open the connections and begin."""
        for number in range(threads):
            connection = connect(self._path, write=False)
            self._connections.append(connection)
            thread = threading.Thread(
                target=self._work, args=(connection,), name=f"sqlite-reader-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def submit(self, reading: Reading) -> None:
        """Hand a question over."""
        self._queue.put(reading)

    def stop(self) -> None:
        """Answer what is waiting, end the threads, close the connections. Blocks until then."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        while True:
            try:
                reading = self._queue.get_nowait()
            except queue.Empty:
                return
            if reading is not None:
                self._answer(reading, None, StoreUnavailable(f"the store {self._path} is closed"))

    def _work(self, connection: Connection) -> None:
        while (reading := self._queue.get()) is not None:
            try:
                result = self._read(connection, reading)
            except Exception as error:  # noqa: BLE001 - whatever a question raises is its answer
                ours = translate(error, self._path)
                if isinstance(ours, AssertionError | LookupError | TypeError | ValueError):
                    ours = InternalError(f"while reading {self._path}: {type(error).__name__}: {error}")
                self._answer(reading, None, ours)
            else:
                self._answer(reading, result, None)

    def _read(self, connection: Connection, reading: Reading) -> object:
        connection.execute("BEGIN")
        try:
            return reading.ask(connection)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
