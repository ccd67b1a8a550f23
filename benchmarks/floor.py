"""The floor: what the disk and the driver take for one row per task, with no engine around it.

One INSERT of (run, seq, 300 bytes of JSON) per task, one writer thread, waiters woken on the event loop, at most 1,000
rows a transaction, SQLite in WAL with `synchronous=FULL`. It doesn't change with the engine: it is the yardstick.

    python benchmarks/floor.py --tasks 20000 --at-once 100

With `--store postgres` (or the URL of a schema to be made) the same rows go to a PostgreSQL server: one thread, one
connection, one statement and one transaction for all rows that wait.
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
import threading
from pathlib import Path
from typing import Any

import apsw
import uvloop
from measure import Sample, Stopwatch
from servers import postgres_url

ROWS_MAX = 1_000
ROW_BYTES = 300

_Row = tuple[str, int, bytes, "asyncio.Future[None]"]


class Writer:
    """The thread that writes: everything that waits goes into one transaction."""

    def __init__(self, file: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._file = file
        self._connection = self._connect()
        self._loop = loop
        self._waiting: list[_Row] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _connect(self) -> Any:
        connection = apsw.Connection(str(self._file))
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL").fetchall()
        connection.execute(
            "CREATE TABLE journal (run TEXT, seq INTEGER, data BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID"
        )
        return connection

    def _insert(self, rows: list[tuple[str, int, bytes]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO journal VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def submit(self, row: _Row) -> None:
        """Write the row, then resolve its future."""
        with self._changed:
            self._waiting.append(row)
            self._changed.notify()

    def stop(self) -> int:
        """End the thread; how many rows there are."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()
        (count,) = self._connection.execute("SELECT count(*) FROM journal").fetchone()
        self._connection.close()
        return count

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._waiting[:ROWS_MAX]
                del self._waiting[:ROWS_MAX]
            self._insert([row[:3] for row in batch])
            self._loop.call_soon_threadsafe(_wake, batch)


class PostgresWriter(Writer):
    """The same to a table of a PostgreSQL server."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        super().__init__(Path(), loop)

    def _connect(self) -> Any:
        import psycopg

        from orchestrator.stores.postgres.connections import address_of
        from orchestrator.stores.postgres.packing import register

        address = address_of(self._url)
        connection = psycopg.connect(address.conninfo, autocommit=True)
        connection.execute(f"CREATE SCHEMA {address.schema}".encode())  # checked: letters, digits and _
        connection.execute("CREATE TABLE journal (run text, seq bigint, data bytea, PRIMARY KEY (run, seq))")
        connection.prepare_threshold = 0
        register(connection)
        return connection

    def _insert(self, rows: list[tuple[str, int, bytes]]) -> None:
        from orchestrator.stores.postgres.packing import blobs, longs, texts

        runs, seqs, data = zip(*rows, strict=True)
        self._connection.execute(
            "INSERT INTO journal SELECT * FROM unnest(%s, %s, %s)", (texts(runs), longs(seqs), blobs(data))
        )


def _wake(batch: list[_Row]) -> None:
    for row in batch:
        row[3].set_result(None)


async def measure(folder: Path, *, tasks: int, at_once: int, store: str = "sqlite") -> Sample:
    """`at_once` chains side by side, together `tasks` rows; each waits for one row before it sends the next."""
    loop = asyncio.get_running_loop()
    writer = PostgresWriter(store, loop) if "://" in store else Writer(folder / "floor.db", loop)
    data = json.dumps({"x": "y" * (ROW_BYTES - len('{"x": ""}'))}).encode()

    async def chain(run: str) -> None:
        for seq in range(tasks // at_once):
            future: asyncio.Future[None] = loop.create_future()
            writer.submit((run, seq, data, future))
            await future

    watch = Stopwatch()
    await asyncio.gather(*[chain(f"run_{number}") for number in range(at_once)])
    sample = watch.sample(tasks // at_once * at_once)
    written = writer.stop()
    if written != sample.tasks:
        raise SystemExit(f"the floor wrote {written} rows, not {sample.tasks}")
    return sample


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, help="where the file is made (default: the system's temporary one)"
    )
    parser.add_argument(
        "--store", default="sqlite", help="sqlite, postgres, or the URL of a schema to be made"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, contextlib.ExitStack() as stack:
        store = args.store
        if store == "postgres":
            store = stack.enter_context(postgres_url(Path(folder)))
        sample = uvloop.run(measure(Path(folder), tasks=args.tasks, at_once=args.at_once, store=store))
    print(sample.to_json())


if __name__ == "__main__":
    main()
