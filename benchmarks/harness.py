"""An engine with a worker on a store of its own, as `orchestrator worker` runs it; and what counts its ended runs."""

import argparse
import asyncio
import contextlib
import json
import logging
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog
from servers import REDIS_KINDS, postgres_url, redis_url

from orchestrator.bootstrap import open_store
from orchestrator.cli.processes import run_loop
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine, Observer
from orchestrator.engine.runs.definitions import VersionRecord, encode_record
from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.sdk.context import Context
from orchestrator.sdk.effect import Effect
from orchestrator.sdk.node import BaseNode, NoParams
from orchestrator.sdk.registry import Registry
from orchestrator.sdk.results import Route

T = TypeVar("T")
Nodes = Mapping[str, Mapping[str, Any]]


class LinkNode(BaseNode):
    """A link of a chain; `write` is the default effect."""

    async def execute(self, params: NoParams, ctx: Context) -> dict[str, int]:
        """Something small to keep."""
        return {"n": 1}


class PureNode(BaseNode):
    """A link that touches nothing, so that a chain of them may run ahead of the disk."""

    effect = Effect.PURE

    async def execute(self, params: NoParams, ctx: Context) -> dict[str, int]:
        """Something small to keep."""
        return {"n": 1}


class StepsNode(BaseNode):
    """A task of ten steps."""

    async def execute(self, params: NoParams, ctx: Context) -> dict[str, int]:
        """Each step is recorded before the next begins."""

        async def act() -> dict[str, int]:
            return {"n": 1}

        for number in range(10):
            await ctx.step(f"step_{number}", act)
        return {"n": 10}


class AgainNode(BaseNode):
    """Goes round until it has been here `rounds` times."""

    routes = ("again", "out")

    class Params(NoParams):
        """How often."""

        rounds: int

    async def execute(self, params: Params, ctx: Context) -> Route:
        """The visit's number is in its path."""
        visit = int(ctx.path.partition("@")[2] or 1)
        return Route("again" if visit < params.rounds else "out")


class NumbersNode(BaseNode):
    """Gives a list to run once for each of."""

    class Params(NoParams):
        """How many."""

        count: int

    async def execute(self, params: Params, ctx: Context) -> list[int]:
        """Zero, one, two ..."""
        return list(range(params.count))


class SignalNode(BaseNode):
    """Waits for a signal that doesn't come."""

    async def execute(self, params: NoParams, ctx: Context) -> None:
        """Suspend."""
        await ctx.wait_for_signal("go")


class Ends:
    """Counts the runs that are over, and lets the next one start."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.slots = asyncio.Semaphore(at_once)
        self.succeeded = 0
        self.tasks = 0

    def __call__(self, state: RunState, events: Sequence[Event]) -> None:
        if state.status.live:
            return
        self.slots.release()
        self.succeeded += state.status is RunStatus.SUCCEEDED
        self.tasks += state.counts.completed

    async def all(self) -> None:
        """Until nothing runs any more."""
        for _ in range(self.at_once):
            await self.slots.acquire()
        for _ in range(self.at_once):
            self.slots.release()

    def check(self, *, runs: int, tasks: int) -> None:
        """A benchmark that didn't do its work has no figure."""
        if (self.succeeded, self.tasks) != (runs, tasks):
            raise SystemExit(f"{self.succeeded} of {runs} runs succeeded, with {self.tasks} of {tasks} tasks")


@contextlib.asynccontextmanager
async def engine_with_worker(
    url: str, workflows: Mapping[str, Nodes], *, concurrency: int = 100
) -> AsyncGenerator[Engine]:
    """The engine, its worker started; each workflow begins at the first of its nodes."""
    registry = Registry()
    for node_class in (LinkNode, PureNode, StepsNode, AgainNode, NumbersNode, SignalNode):
        registry.register(node_class)
    store = open_store(url)
    await store.open()
    for name, nodes in workflows.items():
        record = VersionRecord(
            document={"name": name, "start_at": next(iter(nodes)), "nodes": nodes},
            declarations=registry.declarations(),
        )
        await store.save_version(name, meaning=name, text=b"{}", record=encode_record(record))
    engine = Engine(store, registry, config=EngineConfig(concurrency=concurrency))
    await engine.open()
    for name in workflows:
        await engine.definitions.get(name, 1)
    worker = Worker(engine)
    await worker.start()
    try:
        yield engine
    finally:
        await worker.stop()
        await engine.close()
        await store.close()


async def start(engine: Engine, run_id: str, workflow: str) -> None:
    """Start a run, durably."""
    command = await prepare_start(
        engine, run_id=run_id, workflow=workflow, version=None, namespace="default", payload=None
    )
    await engine.create(command)


def chain(node_class: str, length: int) -> Nodes:
    """So many nodes, one after another."""
    nodes: dict[str, dict[str, Any]] = {
        f"link_{n}": {"class": node_class, "next_node": f"link_{n + 1}"} for n in range(1, length)
    }
    nodes[f"link_{length}"] = {"class": node_class}
    return nodes


@contextlib.contextmanager
def store_url(kind: str, folder: Path | None) -> Generator[str]:
    """A new store's URL: `memory`, or something below `folder` (default: the system's temporary one): a file for
    `sqlite`, a server of our own for the others. A URL is taken as it is."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        if "://" in kind:
            yield kind
        elif kind == "postgres":
            with postgres_url(Path(inside)) as url:
                yield url
        elif kind in REDIS_KINDS:
            with redis_url(kind, Path(inside)) as url:
                yield url
        else:
            yield "memory://" if kind == "memory" else f"sqlite:///{Path(inside) / 'store.db'}"


def run(measure: Callable[[str], Awaitable[T]], *, kind: str, folder: Path | None) -> T:
    """Measure on a new store, on the loop that our processes use, without their log."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    async def work(url: str) -> T:
        return await measure(url)

    with store_url(kind, folder) as url:
        return run_loop(work(url))


async def warm_then(engine: Engine, ends: Ends, *, warm: str, measured: str, seen: Observer) -> None:
    """A run of the small workflow, then one of the large, whose commits `seen` hears of."""
    engine.observers.append(ends)
    await ends.slots.acquire()
    await start(engine, f"run_{warm}", warm)
    await ends.slots.acquire()
    engine.observers.append(seen)
    await start(engine, f"run_{measured}", measured)
    await ends.slots.acquire()


def main(measure: Callable[..., Awaitable[Mapping[str, Any]]], *, about: str | None, **sizes: int) -> None:
    """One measurement from the command line, as a line of JSON. `sizes` are options, and arguments of `measure`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["sqlite", "memory"], default="sqlite")
    parser.add_argument(
        "--folder", type=Path, help="where the file is made (default: the system's temporary one)"
    )
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    args = parser.parse_args()

    async def work(url: str) -> Mapping[str, Any]:
        return await measure(url, **{name: getattr(args, name) for name in sizes})

    print(json.dumps(run(work, kind=args.store, folder=args.folder)))
