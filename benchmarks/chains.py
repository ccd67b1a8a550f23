"""Chains of 10 `write` tasks through the whole engine: kernel, actor, committer, leases, store.

Every task is an async node class with effect `write` and a small output, so each of them is durable before the next
begins. What is measured is what `orchestrator worker` runs, without its log; starting the runs is part of it.

    python benchmarks/chains.py --runs 1000 --at-once 100
"""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog
from measure import Sample, Stopwatch

from orchestrator.bootstrap import open_store
from orchestrator.cli.processes import run_loop
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import VersionRecord, encode_record
from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.context import Context
from orchestrator.sdk.node import BaseNode, NoParams
from orchestrator.sdk.registry import Registry
from orchestrator.stores.contract import Store

TASKS = 10
WORKFLOW = "chain"


class LinkNode(BaseNode):
    """A link of the chain; `write` is the default effect."""

    async def execute(self, params: NoParams, ctx: Context) -> dict[str, int]:
        """Something small to keep."""
        return {"n": 1}


async def save_chain(store: Store, registry: Registry) -> None:
    """The workflow: ten links, one after another."""
    nodes = {f"link_{n}": {"class": "Link", "next_node": f"link_{n + 1}"} for n in range(1, TASKS)}
    nodes[f"link_{TASKS}"] = {"class": "Link"}
    record = VersionRecord(
        document={"name": WORKFLOW, "start_at": "link_1", "nodes": nodes},
        declarations=registry.declarations(),
    )
    await store.save_version(WORKFLOW, meaning="chain", text=b"{}", record=encode_record(record))


class Ends:
    """Counts the runs that are over, and lets the next one start."""

    def __init__(self, at_once: int) -> None:
        self.slots = asyncio.Semaphore(at_once)
        self.succeeded = 0
        self.tasks = 0

    def __call__(self, state: RunState, events: Sequence[Event]) -> None:
        if state.status.live:
            return
        self.slots.release()
        self.succeeded += state.status is RunStatus.SUCCEEDED
        self.tasks += state.counts.completed


async def measure(url: str, *, runs: int, at_once: int) -> Sample:
    """Run `runs` chains, `at_once` of them at a time, until each has ended."""
    registry = Registry()
    registry.register(LinkNode)
    store = open_store(url)
    await store.open()
    await save_chain(store, registry)
    engine = Engine(store, registry, config=EngineConfig(concurrency=max(100, at_once)))
    await engine.open()
    worker = Worker(engine)
    await worker.start()
    ends = Ends(at_once)
    engine.observers.append(ends)
    creating: set[asyncio.Task[object]] = set()

    watch = Stopwatch()
    for number in range(runs):
        await ends.slots.acquire()
        start = await prepare_start(
            engine, run_id=f"run_{number}", workflow=WORKFLOW, version=None, namespace="default", payload=None
        )
        task: asyncio.Task[object] = asyncio.ensure_future(engine.create(start))
        creating.add(task)
        task.add_done_callback(creating.discard)
    for _ in range(at_once):
        await ends.slots.acquire()
    sample = watch.sample(runs * TASKS)

    await worker.stop()
    await engine.close()
    await store.close()
    if ends.succeeded != runs or ends.tasks != sample.tasks:
        raise SystemExit(f"{ends.succeeded} of {runs} runs succeeded with {ends.tasks} tasks")
    return sample


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "memory"], default="sqlite")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument(
        "--folder", type=Path, help="where the file is made (default: the system's temporary one)"
    )
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        url = "memory://" if args.store == "memory" else f"sqlite:///{Path(folder) / 'store.db'}"
        print(run_loop(measure(url, runs=args.runs, at_once=args.at_once)).to_json())


if __name__ == "__main__":
    main()
