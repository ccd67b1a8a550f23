"""One run with many tasks side by side, which a join brings together; every task has effect `write`.

python benchmarks/wide.py --tasks 1000
"""

import argparse
from pathlib import Path

import harness
from measure import Sample, Stopwatch

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


async def measure(url: str, *, tasks: int) -> Sample:
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
    return sample


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "memory"], default="sqlite")
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    async def work(url: str) -> Sample:
        return await measure(url, tasks=args.tasks)

    print(harness.run(work, kind=args.store, folder=args.folder).to_json())


if __name__ == "__main__":
    main()
