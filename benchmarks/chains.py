"""Chains of 10 tasks through the whole engine: kernel, actor, committer, leases, store.

Every task is an async node class with a small output. With effect `write` each of them is durable before the next
begins; `pure` ones may run ahead of the disk; with `steps` each run is one task of 10 steps. What is measured is what
`orchestrator worker` runs, without its log; starting the runs is part of it.

    python benchmarks/chains.py --runs 1000 --at-once 100
"""

import argparse
import asyncio
from pathlib import Path

import harness
from measure import Sample, Stopwatch
from servers import REDIS_KINDS

TASKS = 10
WORKFLOWS = {
    "write": harness.chain("Link", TASKS),
    "pure": harness.chain("Pure", TASKS),
    "steps": {"steps": {"class": "Steps"}},
}


async def measure(url: str, *, runs: int, at_once: int, of: str = "write") -> Sample:
    """Run `runs` chains, `at_once` of them at a time, until each has ended."""
    workflows = {of: WORKFLOWS[of]}
    async with harness.engine_with_worker(url, workflows, concurrency=max(100, at_once)) as engine:
        ends = harness.Ends(at_once)
        engine.observers.append(ends)
        creating: set[asyncio.Task[None]] = set()
        watch = Stopwatch()
        for number in range(runs):
            await ends.slots.acquire()
            task = asyncio.ensure_future(harness.start(engine, f"run_{number}", of))
            creating.add(task)
            task.add_done_callback(creating.discard)
        await ends.all()
        sample = watch.sample(runs * TASKS)
    ends.check(runs=runs, tasks=runs * len(WORKFLOWS[of]))
    return sample


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--store",
        default="sqlite",
        help=f"sqlite, memory, {', '.join(REDIS_KINDS)}, postgres, or an empty store's URL",
    )
    parser.add_argument("--of", choices=list(WORKFLOWS), default="write")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, help="where the file is made (default: the system's temporary one)"
    )
    args = parser.parse_args()

    async def work(url: str) -> Sample:
        return await measure(url, runs=args.runs, at_once=args.at_once, of=args.of)

    print(harness.run(work, kind=args.store, folder=args.folder).to_json())


if __name__ == "__main__":
    main()
