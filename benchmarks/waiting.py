"""What a run holds in memory while it waits for a signal: an actor and a state, and no task, thread or timer.

The engine keeps the actors of the runs it touched last; older ones are read from the store again when they are needed.

    python benchmarks/waiting.py --runs 2000
"""

import argparse
import asyncio
import gc
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from orchestrator.bootstrap import open_store
from orchestrator.cli.processes import run_loop
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import VersionRecord, encode_record
from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.context import Context
from orchestrator.sdk.node import BaseNode, NoParams
from orchestrator.sdk.registry import Registry

WORKFLOW = "waiting"
AT_ONCE = 50


class SignalNode(BaseNode):
    """Waits for a signal that doesn't come."""

    async def execute(self, params: NoParams, ctx: Context) -> None:
        """Suspend."""
        await ctx.wait_for_signal("go")


def resident_bytes() -> int:
    """What this process has in memory (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status doesn't say VmRSS; memory can be measured on Linux only")


async def measure(url: str, *, runs: int) -> dict[str, float]:
    """Start `runs` runs, wait until all of them wait, and compare what is resident."""
    registry = Registry()
    registry.register(SignalNode)
    store = open_store(url)
    await store.open()
    record = VersionRecord(
        document={"name": WORKFLOW, "start_at": "wait", "nodes": {"wait": {"class": "Signal"}}},
        declarations=registry.declarations(),
    )
    await store.save_version(WORKFLOW, meaning="waiting", text=b"{}", record=encode_record(record))
    engine = Engine(store, registry)
    await engine.open()
    worker = Worker(engine)
    await worker.start()
    slots = asyncio.Semaphore(AT_ONCE)

    def watch(state: RunState, events: Sequence[Event]) -> None:
        if state.status is RunStatus.WAITING:
            slots.release()

    engine.observers.append(watch)

    async def start(first: int, count: int) -> None:
        for number in range(first, first + count):
            await slots.acquire()
            command = await prepare_start(
                engine,
                run_id=f"run_{number}",
                workflow=WORKFLOW,
                version=None,
                namespace="default",
                payload=None,
            )
            await engine.create(command)
        for _ in range(AT_ONCE):
            await slots.acquire()
        for _ in range(AT_ONCE):
            slots.release()

    await start(0, 200)  # what everything needs once is in memory before the comparison begins
    gc.collect()
    before = resident_bytes()
    await start(200, runs)
    gc.collect()
    grown = resident_bytes() - before
    await worker.stop()
    await engine.close()
    await store.close()
    return {"runs": runs, "bytes_per_run": grown / runs, "resident_bytes": resident_bytes()}


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2_000)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run_loop(measure(f"sqlite:///{Path(folder) / 'store.db'}", runs=args.runs))))


if __name__ == "__main__":
    main()
