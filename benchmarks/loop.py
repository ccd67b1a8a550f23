"""A loop of many tasks in one run: what the first hundred take, and what the last hundred take.

CPU time is compared: a neighbour on the machine slows what it meets, and a loop is seconds long.

    python benchmarks/loop.py --tasks 10000
"""

import time
from collections.abc import Sequence

import harness

from orchestrator.kernel.events import Event, TaskCompleted
from orchestrator.kernel.state import RunState


class Marks:
    """Notes the process's CPU time at every hundredth task."""

    def __init__(self) -> None:
        self.done = 0
        self.cpu: list[float] = []

    def __call__(self, state: RunState, events: Sequence[Event]) -> None:
        self.done += sum(isinstance(event, TaskCompleted) for event in events)
        if self.done >= 100 * len(self.cpu):
            self.cpu.append(time.process_time())


def loop(rounds: int) -> harness.Nodes:
    """Two tasks a round."""
    again = {"class": "Again", "params": {"rounds": rounds}, "next_node": {"again": "work", "out": "end"}}
    return {"work": {"class": "Link", "next_node": "again"}, "again": again, "end": {"class": "Link"}}


async def measure(url: str, *, tasks: int) -> dict[str, float]:
    """CPU microseconds of a task among the first hundred and among the last."""
    workflows = {"warm": loop(200), "loop": loop(tasks // 2)}
    async with harness.engine_with_worker(url, workflows) as engine:
        ends, marks = harness.Ends(1), Marks()
        await harness.warm_then(engine, ends, warm="warm", measured="loop", seen=marks)
    ends.check(runs=2, tasks=2 * (tasks // 2) + 402)
    spent = [after - before for before, after in zip(marks.cpu, marks.cpu[1:], strict=False)]
    return {"tasks": tasks, "first_us": spent[0] * 1e4, "last_us": spent[-1] * 1e4}


if __name__ == "__main__":
    harness.main(measure, about=__doc__, tasks=10_000)
