"""The floor on Redis: what the server and its driver take for one row per task, with no engine around it.

One RPUSH of 300 bytes of JSON to the list of its run per task; whatever waits goes in one pipeline, at most 1,000 rows,
and one is on its way at a time; waiters are woken on the event loop. It doesn't change with the engine: it is the
yardstick.

    python benchmarks/floor_redis.py --store redis-always --tasks 20000 --at-once 100
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import uvloop
from measure import Sample, Stopwatch
from redis.asyncio import Redis
from servers import REDIS_KINDS, redis_url

ROWS_MAX = 1_000
ROW_BYTES = 300


class Writer:
    """Everything that waits goes into one pipeline."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def submit(self, run: str, data: bytes, future: "asyncio.Future[None]") -> None:
        """Write the row, then resolve its future."""
        self._waiting.append((run, data, future))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:ROWS_MAX], self._waiting[ROWS_MAX:]
            pipeline = self._client.pipeline(transaction=False)
            for run, data, _ in batch:
                pipeline.execute_command("RPUSH", run, data)
            await pipeline.execute()
            for _, _, future in batch:
                future.set_result(None)
        self._writing = None


async def measure(url: str, *, tasks: int, at_once: int) -> Sample:
    """`at_once` chains side by side, together `tasks` rows; each waits for one row before it sends the next."""
    loop = asyncio.get_running_loop()
    client: Any = Redis.from_url(url, protocol=2)
    writer = Writer(client)
    data = json.dumps({"x": "y" * (ROW_BYTES - len('{"x": ""}'))}).encode()

    async def chain(run: str) -> None:
        for _ in range(tasks // at_once):
            future: asyncio.Future[None] = loop.create_future()
            writer.submit(run, data, future)
            await future

    watch = Stopwatch()
    await asyncio.gather(*[chain(f"run_{number}") for number in range(at_once)])
    sample = watch.sample(tasks // at_once * at_once)
    written = sum([await client.llen(f"run_{number}") for number in range(at_once)])
    await client.aclose()
    if written != sample.tasks:
        raise SystemExit(f"the floor wrote {written} rows, not {sample.tasks}")
    return sample


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=list(REDIS_KINDS), default="redis-always")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, help="where the server keeps its file (default: a temporary one)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, redis_url(args.store, Path(folder)) as url:
        print(uvloop.run(measure(url, tasks=args.tasks, at_once=args.at_once)).to_json())


if __name__ == "__main__":
    main()
