"""A small engine on virtual time, open to the inside: classes and unchecked documents in, states and journals out.

What a user's test needs stands in `orchestrator.testing`; this one is for tests of the engine's own parts.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import VersionRecord, encode_record, pinned
from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.kernel.events import Event, decode
from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import Payload
from orchestrator.model.document import WorkflowDocument
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.registry import Registry
from orchestrator.stores.memory import MemoryStore
from orchestrator.testing.clock import VirtualLoop, run_virtual

T = TypeVar("T")


class Lab:
    """An engine with one worker, `registry` for its classes."""

    def __init__(self, loop: VirtualLoop, **config: Any) -> None:
        self.loop = loop
        self.store = MemoryStore(now_us=loop.now_us)
        self.registry = Registry()
        clock = StoreClock(monotonic_us=loop.now_us)
        self.engine = Engine(self.store, self.registry, config=EngineConfig(**config), clock=clock)
        self.worker = Worker(self.engine, name="w1", heartbeat_thread=False)
        self.runs = 0

    async def open(self) -> None:
        """Begin, without the worker."""
        await self.store.open()
        await self.engine.open()

    def node(self, name: str, execute: Callable[[Any, Any], Awaitable[Any]], **attributes: Any) -> None:
        """Register a class with this `execute(self, ctx)`-like function of (params, ctx)."""

        async def run(self: BaseNode, params: Any, ctx: Any) -> Any:
            return await execute(params, ctx)

        self.registry.register(type(name, (BaseNode,), {"execute": run, "__doc__": name, **attributes}))

    async def save(self, name: str, nodes: dict[str, Any], **fields: Any) -> None:
        """Save a workflow whose first node is its start."""
        document = {"name": name, "start_at": next(iter(nodes)), "nodes": nodes, **fields}
        used = pinned(WorkflowDocument.model_validate(document), self.registry.declarations())
        record = encode_record(VersionRecord(document=document, declarations=used))
        meaning = json.dumps(document)
        await self.store.save_version(name, meaning=meaning, text=meaning.encode(), record=record)

    async def start(self, workflow: str, input: Any = None) -> str:
        """Start a run; gives its id."""
        self.runs += 1
        run_id = f"run-{self.runs}"
        payload, blobs = self.engine.encode(input, run_id=run_id)
        inline = Payload(value=msgspec.Raw(msgspec.json.encode(input)))
        command = await prepare_start(
            self.engine, run_id=run_id, workflow=workflow, version=None, namespace="default", payload=inline
        )
        await self.engine.create(msgspec.structs.replace(command, input=payload), blobs=blobs)
        return run_id

    async def end(self, run_id: str, *, within: float = 500.0) -> RunState:
        """The state of the run once it is over."""
        until = self.loop.time() + within
        while True:
            state = await self.engine.read_state(run_id)
            if not state.status.live:
                return state
            assert self.loop.time() < until, f"{run_id} is still {state.status}"
            await asyncio.sleep(0.1)

    async def run(self, nodes: dict[str, Any], input: Any = None, **fields: Any) -> RunState:
        """Save, start, wait for the end."""
        name = f"w{self.runs}"
        await self.save(name, nodes, **fields)
        return await self.end(await self.start(name, input))

    async def journal(self, run_id: str) -> list[Event]:
        """All events of the run."""
        return [decode(line) for line in await self.store.read_journal(run_id, limit=100_000)]

    async def output(self, state: RunState) -> Any:
        """The run's output as data."""
        return await self.engine.decode(state.output, run_id=state.run_id)


def in_lab(test: Callable[[Lab], Awaitable[T]], *, work: bool = True, **config: Any) -> T:
    """Run a test in a lab of its own, on virtual time."""

    async def main(loop: VirtualLoop) -> T:
        lab = Lab(loop, **config)
        await lab.open()
        if work:
            await lab.worker.start()
        result = await test(lab)
        if lab.engine.worker is not None:
            await lab.worker.stop()
        await lab.engine.close()
        return result

    return run_virtual(main)
