"""A lab: a whole engine for tests, in memory, on a virtual clock.

It is the engine that runs in production, with its one worker, and the memory store under it. Time passes only as far as
a test lets it: by itself while a node's code runs, else by `advance`, `finish` and `run`. Nothing is random that isn't
drawn from the lab's seed, but the ids of runs.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orchestrator.engine.attempts.threads import DaemonThreads
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.service.facade import Service
from orchestrator.errors import UsageError
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.model.durations import parse_duration
from orchestrator.model.reading import Syntax
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.outbox import Outbox
from orchestrator.stores.memory import MemoryStore
from orchestrator.testing.clock import EPOCH_US, VirtualLoop, run_virtual
from orchestrator.testing.run import LabRun
from orchestrator.testing.stand_ins import StandIn, StandInRegistry, answers_of

T = TypeVar("T")

Document = Mapping[str, Any] | str | bytes | Path
"""A workflow: data, a text of JSON, the path of a file, or the name of one that was saved before."""

_NOTHING = object()
_LEASE_SECONDS = 1e9
_IDLE_JUMPS_MAX = 10_000
"""So many due times in a row at which nothing is recorded mean that nothing ever will be."""


class Lab:
    """See the module. `async with Lab(loop)`, on that loop; the fixture `workflow_lab` and `in_lab` do it for you.

    The node classes of installed packages are there, the built-in ones among them. `settings` are those of the engine
    (`EngineConfig`), such as `secrets={"TOKEN": "x"}`.
    """

    def __init__(self, loop: VirtualLoop, *, seed: int = 0, **settings: Any) -> None:
        self.loop = loop
        self.registry = StandInRegistry()
        given: dict[str, Any] = {
            "lease_seconds": _LEASE_SECONDS,
            "heartbeat_seconds": 3600.0,
            "inline_payload_bytes_max": EngineConfig().payload_bytes_max,
            **settings,
        }
        self._store = MemoryStore(now_us=loop.now_us)
        clock = StoreClock(monotonic_us=loop.now_us)
        engine = Engine(
            self._store, self.registry, config=EngineConfig(**given), clock=clock, rng=random.Random(seed)
        )
        engine.observers.append(self._observe)
        self.service = Service(engine, outbox=Outbox.from_environment())
        self._worker = Worker(engine, name="lab", heartbeat_thread=False)
        self._worker.threads = _HeldThreads(loop)
        self._events: dict[str, list[Event]] = {}
        self._live: set[str] = set()
        self._changed: set[str] = set()
        self._runs: dict[str, LabRun] = {}
        self._nodes: dict[str, Mapping[str, Any]] = {}
        self._open = False

    async def __aenter__(self) -> "Lab":
        """Begin to work."""
        if len(self.registry) == 0:
            self.registry.load_entry_points()
            if "StartNode" not in self.registry:
                self.registry.load_module("orchestrator.nodes")  # a source tree that isn't installed
        await self._store.open()
        await self.service.engine.open()
        await self._worker.start()
        self.service.start()
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """End: what still runs is dropped."""
        self._open = False
        self.service.close()
        await self._worker.stop(at_once=True)
        await self.service.engine.close()
        await self._store.close()

    # --- what there is ----------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The virtual time, in UTC."""
        return datetime.fromtimestamp(self.loop.now_us() / 1_000_000, UTC)

    @property
    def runs(self) -> list[LabRun]:
        """Every run that the test started, in order."""
        return list(self._runs.values())

    def register(self, node: type[BaseNode] | Callable[..., Any], /) -> type[BaseNode]:
        """Enter a node class, or a function, that no package and no module offers. Works as a decorator."""
        return self.registry.register(node)

    def load(self, source: str | Path, /) -> tuple[str, ...]:
        """Enter the node classes of a module (`company.nodes`) or a `.py` file; gives their names."""
        return self.registry.load_module(source)

    def stand_in(
        self,
        class_name: str | None = None,
        /,
        *,
        node: str | None = None,
        workflow: str | None = None,
        returns: Any = _NOTHING,
        raises: BaseException | type[BaseException] | None = None,
        does: Callable[[Any, Any], Any] | None = None,
        answers: Sequence[Any] | None = None,
    ) -> StandIn:
        """Let a stand-in answer for a class, or for one `node` (of one `workflow`, or of any).

        `returns` is its output at every call (a `Route` or `Stop` too), `raises` its error; `does` is a function of
        (params, ctx), `async` or plain; `answers` are outputs, errors and functions for one call each, in turn.
        A stand-in for a node comes before one for its class, and a later one before an earlier.

        Raises:
            NotFound: there is no such class. UsageError: not exactly one target, or not exactly one way to answer.
        """
        given, repeat = answers_of(
            returns=returns, raises=raises, does=does, answers=answers, nothing=_NOTHING
        )
        if (class_name is None) == (node is None):
            raise UsageError(
                "a stand-in is for a class, `stand_in('ChargeNode', ...)`, or for a node, "
                "`stand_in(node='charge', ...)`"
            )
        if class_name is not None:
            stand_in = StandIn(class_name, given, repeat=repeat)
            self.registry.stand_in(stand_in, class_name=class_name)
            return stand_in
        assert node is not None
        stand_in = StandIn(f"node `{node}`", given, repeat=repeat)
        self.registry.stand_in_for_node(stand_in, node=node, workflow=workflow)
        return stand_in

    # --- running ----------------------------------------------------------------------------------------------------

    async def save(self, document: Document) -> str:
        """Save a workflow; gives its name.

        Raises:
            DefinitionError: it has faults; every one of them is listed.
        """
        suffix = document.suffix.lower() if isinstance(document, Path) else ""
        syntax: Syntax = "yaml" if suffix in (".yaml", ".yml") else "json"
        saved = await self.service.save_workflow(_text(document), syntax=syntax)
        name: str = saved["name"]
        view = await self.service.get_workflow(name)
        self._nodes[name] = view["document"]["nodes"]
        self.registry.check_nodes(name, self._nodes[name])
        return name

    async def start(
        self,
        document: Document,
        *,
        input: Any = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> LabRun:
        """Start a run, and let it do what it can without waiting.

        `document` is saved first, unless it is the name of a workflow that was saved before.

        Raises:
            DefinitionError: the document has faults. InvalidInput: the input doesn't fit. NotFound: no such workflow.
        """
        name = document if isinstance(document, str) and _is_name(document) else await self.save(document)
        assert isinstance(name, str)
        self.registry.check_nodes(name, self._nodes.get(name, {}))
        view, _ = await self.service.start_run(name, input=input, labels=labels, idempotency_key=key)
        run = self._runs.setdefault(view["id"], LabRun(self, view["id"]))
        await self.idle()
        return run

    async def run(
        self,
        document: Document,
        *,
        input: Any = None,
        labels: Mapping[str, str] | None = None,
        within: float | str | timedelta = "366d",
    ) -> LabRun:
        """Start a run and let time pass until it is over; see `start` and `LabRun.finish`."""
        run = await self.start(document, input=input, labels=labels)
        return await run.finish(within=within)

    async def idle(self) -> None:
        """Let every run do what it can now: nothing runs any more, and nothing is due.

        What a node's own code takes (`asyncio.sleep` in it) passes; what a run waits for does not.
        """
        while True:
            pause = await self.loop.quiet()
            busy, _ = await self._look()
            if not busy:
                break
            await asyncio.sleep(pause or 0.001)
        await self._refresh()

    async def advance(self, duration: float | str | timedelta) -> None:
        """Let so much time pass (`"2h"`, seconds, a timedelta), and everything happen that falls due in it."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else parse_duration(duration)
        await self._pass(self.loop.now_us() + round(seconds * 1_000_000), until=lambda: False)

    async def advance_to(self, moment: datetime) -> None:
        """Let time pass until `moment`, which has a time zone.

        Raises:
            UsageError: it has no time zone, or has passed.
        """
        if moment.tzinfo is None:
            raise UsageError(f"advance_to({moment!r}): the moment has no time zone")
        if moment < self.now:
            raise UsageError(f"advance_to({moment.isoformat()}): it is {self.now.isoformat()} already")
        await self._pass(round(moment.timestamp() * 1_000_000), until=lambda: False)

    async def finish(self, run: LabRun, *, within: float | str | timedelta = "366d") -> None:
        """`LabRun.finish`."""
        seconds = within.total_seconds() if isinstance(within, timedelta) else parse_duration(within)
        end_us = self.loop.now_us() + round(seconds * 1_000_000)
        ended = await self._pass(end_us, until=lambda: run.id not in self._live, settle=False)
        if not ended:
            run.fail(f"it doesn't end: {run.explanation}")

    async def child_runs(self, run: LabRun) -> list[LabRun]:
        """The runs that this one started, in order."""
        found: list[LabRun] = []
        for run_id, events in self._events.items():
            parent = getattr(events[0], "parent", None)
            if parent is not None and parent.run == run.id:
                child = LabRun(self, run_id)
                await child.refresh()
                found.append(child)
        return found

    def events_of(self, run_id: str) -> list[Event]:
        """The journal of any run, as far as it is durable."""
        return self._events.get(run_id, [])

    # --- inside -----------------------------------------------------------------------------------------------------

    def _observe(self, state: RunState, events: Sequence[Event]) -> None:
        self._events.setdefault(state.run_id, []).extend(events)
        self._changed.add(state.run_id)
        (self._live.add if state.status.live else self._live.discard)(state.run_id)

    async def _look(self) -> tuple[bool, int | None]:
        """Whether anything runs or is due, and else when the next thing is."""
        now_us, next_us = self.loop.now_us(), None
        for run_id in list(self._live):
            for row in await self._store.queue_rows(run_id):
                if row.worker is not None or (not row.held and row.due_us <= now_us):
                    return True, None
                if not row.held and (next_us is None or row.due_us < next_us):
                    next_us = row.due_us
        return False, next_us

    async def _pass(self, end_us: int, *, until: Callable[[], bool], settle: bool = True) -> bool:
        """Let time pass until `end_us`, or until something holds; tells whether it does.

        `settle`: at the end what runs is waited for; without, it is over where nothing more falls due.
        """
        jumps = 0
        while True:
            pause = await self.loop.quiet()
            if self._changed:
                jumps = 0
            await self._refresh()
            if until():
                return True
            left_us = end_us - self.loop.now_us()
            busy, next_us = await self._look()
            if left_us <= 0 and not (busy and settle):
                return False
            if busy:
                seconds = pause or 0.001
                await asyncio.sleep(min(seconds, left_us / 1_000_000) if left_us > 0 else seconds)
                continue
            if next_us is None and not settle:
                return False
            jumps += 1
            if jumps > _IDLE_JUMPS_MAX:
                return False
            self.loop.jump(min(end_us, next_us) if next_us is not None else end_us)

    async def _refresh(self) -> None:
        changed, self._changed = self._changed, set()
        for run_id in changed & self._runs.keys():
            await self._runs[run_id].refresh()


class _HeldThreads(DaemonThreads):
    """Threads for plain code of nodes, while which virtual time stands still."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__("lab")
        self._loop = loop

    def run(self, fn: Callable[[], Any]) -> "asyncio.Future[Any]":
        future = super().run(fn)
        self._loop.hold(future)
        return future


def _is_name(text: str) -> bool:
    """Whether it is a workflow's name and no document."""
    return "\n" not in text and not text.lstrip().startswith(("{", "["))


def _text(document: Document) -> bytes:
    if isinstance(document, Path):
        return document.read_bytes()
    if isinstance(document, Mapping):
        return msgspec.json.encode(document)
    return document.encode() if isinstance(document, str) else document


def in_lab(
    test: Callable[[Lab], Awaitable[T]], *, seed: int = 0, start: datetime | None = None, **settings: Any
) -> T:
    """Run `test(lab)` in a lab of its own to its end, without pytest. `start` is when its time begins.

    Raises:
        Stalled: the test awaits what will never happen.
    """

    async def main(loop: VirtualLoop) -> T:
        async with Lab(loop, seed=seed, **settings) as lab:
            return await test(lab)

    epoch_us = EPOCH_US if start is None else round(start.timestamp() * 1_000_000)
    return run_virtual(main, epoch_us=epoch_us)


__all__ = ["Document", "Lab", "in_lab"]
