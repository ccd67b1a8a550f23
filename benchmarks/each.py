"""A `for_each` of many items in one run: what the first hundred take, the last hundred, and how the memory grows.

CPU time is compared, as for loops. Both ends are means over a thousand items, so that one pause doesn't decide.

    python benchmarks/each.py --items 100000
"""

import resource
import time
from collections.abc import Sequence

import harness

from orchestrator.kernel.events import Event, TaskCompleted
from orchestrator.kernel.state import RunState, encode_state

WINDOW = 1_000


def resident_mib() -> float:
    """The most that the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Marks:
    """Notes the process's CPU time and its memory at every thousandth item, and the largest snapshot."""

    def __init__(self) -> None:
        self.done = 0
        self.cpu: list[float] = []
        self.mib: list[float] = [resident_mib()]
        self.snapshot_bytes = 0

    def __call__(self, state: RunState, events: Sequence[Event]) -> None:
        self.done += sum(isinstance(event, TaskCompleted) and event.path.endswith("]") for event in events)
        if self.done >= WINDOW * len(self.cpu):
            self.cpu.append(time.process_time())
            self.mib.append(resident_mib())
            self.snapshot_bytes = max(self.snapshot_bytes, len(encode_state(state)))


def each(items: int) -> harness.Nodes:
    """A list that the node before gives, and one task for each of its items."""
    return {
        "begin": {"class": "Numbers", "params": {"count": items}, "next_node": "each"},
        "each": {"class": "Link", "for_each": "{{ previous }}", "max_parallel": 50},
    }


async def measure(url: str, *, items: int) -> dict[str, float]:
    """CPU microseconds of an item among the first hundred and among the last."""
    workflows = {"warm": each(300), "each": each(items)}
    async with harness.engine_with_worker(url, workflows) as engine:
        ends, marks = harness.Ends(1), Marks()
        await harness.warm_then(engine, ends, warm="warm", measured="each", seen=marks)
    ends.check(runs=2, tasks=items + 304)
    spent = [after - before for before, after in zip(marks.cpu, marks.cpu[1:], strict=False)]
    return {
        "items": items,
        "first_us": spent[0] / WINDOW * 1e6,
        "last_us": spent[-1] / WINDOW * 1e6,
        "grown_mib": marks.mib[-1] - marks.mib[1],
        "snapshot_bytes_max": marks.snapshot_bytes,
    }


if __name__ == "__main__":
    harness.main(measure, about=__doc__, items=100_000)
