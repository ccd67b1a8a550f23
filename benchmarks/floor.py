"""The floor: what the disk and the driver take for one row per task, with no engine around it.

One INSERT of (run, seq, 300 bytes of JSON) per task, one writer thread, waiters woken on the event loop, at most 1,000
rows a transaction, SQLite in WAL with `synchronous=FULL`. It doesn't change with the engine: it is the yardstick.

    python benchmarks/floor.py --tasks 20000 --at-once 100
"""

import argparse
import asyncio
import json
import tempfile
import threading
from pathlib import Path

import apsw
import uvloop
from measure import Sample, Stopwatch

ROWS_MAX = 1_000
ROW_BYTES = 300

_Row = tuple[str, int, bytes, "asyncio.Future[None]"]


class Writer:
    """The thread that writes: everything that waits goes into one transaction."""

    def __init__(self, file: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = apsw.Connection(str(file))
        self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
        self._connection.execute("PRAGMA synchronous = FULL").fetchall()
        self._connection.execute(
            "CREATE TABLE journal (run TEXT, seq INTEGER, data BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID"
        )
        self._loop = loop
        self._waiting: list[_Row] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

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
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO journal VALUES (?, ?, ?)", [row[:3] for row in batch])
            self._connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_wake, batch)


def _wake(batch: list[_Row]) -> None:
    for row in batch:
        row[3].set_result(None)


async def measure(folder: Path, *, tasks: int, at_once: int) -> Sample:
    """`at_once` chains side by side, together `tasks` rows; each waits for one row before it sends the next."""
    loop = asyncio.get_running_loop()
    writer = Writer(folder / "floor.db", loop)
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
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        print(uvloop.run(measure(Path(folder), tasks=args.tasks, at_once=args.at_once)).to_json())


if __name__ == "__main__":
    main()
