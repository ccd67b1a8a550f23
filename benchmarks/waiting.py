"""What runs hold in memory while they wait for a signal: no task, thread or timer, and of most of them no state.

The engine keeps the actors of the runs it touched last; older ones are read from the store again when they are needed.

    python benchmarks/waiting.py --runs 10000
"""

import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path

import harness

from orchestrator.engine.engine import Engine
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus

AT_ONCE = 50
WARM_RUNS = 500


def resident_bytes() -> int:
    """What this process has in memory (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status doesn't say VmRSS; memory can be measured on Linux only")


class Waits:
    """Lets the next run start when one waits."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(AT_ONCE)

    def __call__(self, state: RunState, events: Sequence[Event]) -> None:
        if state.status is RunStatus.WAITING:
            self.slots.release()

    async def start(self, engine: Engine, first: int, count: int) -> None:
        """Start so many runs, and come back when all of them wait."""
        for number in range(first, first + count):
            await self.slots.acquire()
            await harness.start(engine, f"run_{number}", "waiting")
        for _ in range(AT_ONCE):
            await self.slots.acquire()
        for _ in range(AT_ONCE):
            self.slots.release()


async def measure(url: str, *, runs: int) -> dict[str, float]:
    """Start `runs` runs, wait until all of them wait, and compare what is resident."""
    async with harness.engine_with_worker(url, {"waiting": {"wait": {"class": "Signal"}}}) as engine:
        waits = Waits()
        engine.observers.append(waits)
        # What everything needs once (caches of the store too) is in memory before the comparison begins.
        await waits.start(engine, 0, WARM_RUNS)
        gc.collect()
        before = resident_bytes()
        await waits.start(engine, WARM_RUNS, runs)
        gc.collect()
        grown = resident_bytes() - before
    return {"runs": runs, "bytes_per_run": grown / runs, "mib": grown / 2**20, "idle_mib": before / 2**20}


if __name__ == "__main__":
    harness.main(measure, about=__doc__, runs=10_000)
