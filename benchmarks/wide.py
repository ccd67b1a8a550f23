"""One run with many tasks side by side, which a join brings together; every task has effect `write`.

python benchmarks/wide.py --tasks 1000
"""

from dataclasses import asdict

import harness
from measure import Stopwatch

BRANCHES_MAX = 9_997
"""A document has 10,000 nodes at most; the start, the join and the end are nodes too."""


def fan(branches: int) -> harness.Nodes:
    """A start, the branches, and the join that waits for all of them."""
    names = [f"branch_{n}" for n in range(branches)]
    branch = {"class": "Link", "next_node": "join"}
    return {
        "start": {"class": "Link", "next_node": names},
        **dict.fromkeys(names, branch),
        "join": {"class": "Link"},
    }


async def measure(url: str, *, tasks: int) -> dict[str, float]:
    """One run, from its start to its end; the worker has run a small one before."""
    branches = min(tasks, BRANCHES_MAX)
    workflows = {"small": fan(10), "wide": fan(branches)}
    async with harness.engine_with_worker(url, workflows) as engine:
        ends = harness.Ends(1)
        engine.observers.append(ends)
        await ends.slots.acquire()
        await harness.start(engine, "run_small", "small")
        await ends.slots.acquire()
        watch = Stopwatch()
        await harness.start(engine, "run_wide", "wide")
        await ends.slots.acquire()
        sample = watch.sample(branches)
    ends.check(runs=2, tasks=branches + 14)
    return asdict(sample)


if __name__ == "__main__":
    harness.main(measure, about=__doc__, tasks=1_000)
