"""The engine of one process: its run actors, its committer, its clock. API, command line and worker share it.

It never does anything by itself: a `Worker` claims tasks and runs them, a `Service` brings in what people ask for.
"""

import asyncio
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.engine.attempts.blobs import BlobReader, read_payload
from orchestrator.engine.attempts.items import ItemValues
from orchestrator.engine.attempts.live import TaskLogs
from orchestrator.engine.attempts.payloads import Codec
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.redaction import Redactor
from orchestrator.engine.runs.actor import Accepted, Item, RunActor, restore
from orchestrator.engine.runs.committer import Committer
from orchestrator.engine.runs.definitions import Definitions
from orchestrator.errors import Conflict, NotFound, StoreUnavailable
from orchestrator.kernel.apply import fold
from orchestrator.kernel.commands import Command, ForkRun, StartRun
from orchestrator.kernel.events import Event, RunStarted, decode
from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import Payload
from orchestrator.sdk.registry import Registry
from orchestrator.stores.contract import Blob, Granted, RunAdvanced, Store, Wake

if TYPE_CHECKING:
    from orchestrator.engine.attempts.worker import Worker

ACTORS_IDLE_MAX = 256
EVENTS_AT_ONCE = 1_000
_CREATE_TRIES = 100

Observer = Callable[[RunState, Sequence[Event]], None]


class Engine:
    """See the module. `open` before use, `close` after; all within one event loop.

    `observers` are called on the loop with every group that this process made durable, and the state after it.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        config: EngineConfig | None = None,
        clock: StoreClock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.config = config or EngineConfig()
        self.clock = clock or StoreClock()
        self.now_us = self.clock.now_us
        """The store's time, in microseconds since the epoch."""
        self.random = rng or random.Random(secrets.randbits(64))
        self.redactor = Redactor(self.config.secrets)
        self.codec = Codec(
            inline_bytes_max=self.config.inline_payload_bytes_max,
            payload_bytes_max=self.config.payload_bytes_max,
            redactor=self.redactor,
        )
        self.blobs = BlobReader(store)
        self.items = ItemValues()
        self.definitions = Definitions(store)
        self.committer = Committer(store, heard=self.clock.heard)
        self.logs = TaskLogs()
        self.worker: Worker | None = None
        self.observers: list[Observer] = []
        self.cancel_grace_us = round(self.config.cancel_grace_seconds * 1_000_000)
        self.closing = False
        self._actors: dict[str, RunActor] = {}
        self._resting: OrderedDict[str, None] = OrderedDict()
        self._background: set[asyncio.Task[None]] = set()
        self._stashed: dict[str, list[Blob]] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._commit_prefix = f"{self.random.getrandbits(64):016x}"
        self._commits = 0
        self.loop: asyncio.AbstractEventLoop

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Hear the store's time and its wake-ups. The store is open already.

        Raises:
            StoreUnavailable: it doesn't answer.
        """
        self.loop = asyncio.get_running_loop()
        self.clock.heard(await self.store.now_us())
        self._unsubscribe = self.store.subscribe(self._woken)

    async def close(self) -> None:
        """Write what waits, then let go. The store stays open."""
        self.closing = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        await self.committer.close(within_seconds=self.config.drain_seconds)
        for task in list(self._background):
            task.cancel()
        if self._background:
            await asyncio.wait(self._background, timeout=1.0)

    @property
    def worker_name(self) -> str:
        """The name that leases are given to; empty where no worker runs."""
        return self.worker.name if self.worker is not None else ""

    @property
    def writer(self) -> str:
        """What the store may call this engine, among all that write to it."""
        return self._commit_prefix

    def new_commit_id(self) -> str:
        """A fresh commit id."""
        self._commits += 1
        return f"{self._commit_prefix}{self._commits:x}"

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run something beside, and keep it alive until it ends."""
        task = self.loop.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- commands ---------------------------------------------------------------------------------------------------

    async def command(self, run_id: str, command: Command, *, blobs: Sequence[Blob] = ()) -> RunState:
        """Carry out a command, durably. The state that comes back must not be changed, nor kept over an await.

        Raises:
            NotFound: there is no such run.
            Conflict, LimitExceeded: the run's state doesn't allow it.
            StoreUnavailable: nothing happened. CommitUnknown: it may have happened; commands can be repeated.
        """
        return (await self.carry_out(run_id, command, blobs=blobs)).state

    async def carry_out(self, run_id: str, command: Command, *, blobs: Sequence[Blob] = ()) -> Accepted:
        """`command` that also gives the events."""
        return await self.actor(run_id).ask(command, blobs=blobs, impatient=True)

    async def create(self, command: StartRun, *, blobs: Sequence[Blob] = ()) -> tuple[RunState, bool]:
        """Start a run; False if a run with this id exists already, whose state comes back as it is.

        Raises:
            NotFound: no such version. StoreUnavailable: nothing happened.
        """
        definition = await self.definitions.get(
            command.workflow, command.version, namespace=command.namespace
        )
        stashed = self._stashed.pop(command.run_id, [])
        for _ in range(_CREATE_TRIES):
            actor = self.actor(command.run_id)
            if actor.state is None and actor.idle:
                actor.adopt(RunState(), definition)
            try:
                accepted = await actor.ask(command, blobs=[*blobs, *stashed], impatient=True)
            except NotFound:
                continue  # somebody asked for this id while it had no run yet, and the actor looked for one
            except Conflict as refusal:
                if refusal.reason != "run_exists":
                    raise
                return await self.read_state(command.run_id), False
            return accepted.state, True
        raise StoreUnavailable(f"run {command.run_id} could not be started: it is asked for without end")

    async def fork(self, command: ForkRun, *, blobs: Sequence[Blob] = ()) -> RunState:
        """A new run that continues the parent's state at `command.seq`, the end of one of its groups.

        Raises:
            NotFound: no such run, or version. Conflict: `seq` isn't the end of a group, or the kernel's refusal.
        """
        state = await self.state_at_end_of(command.parent_run, command.seq)
        definition = await self.definitions.get(
            state.workflow, command.version or state.version, namespace=state.namespace
        )
        state.seq = 0
        actor = self.actor(command.run_id)
        actor.adopt(state, definition)
        try:
            return (await actor.ask(command, blobs=blobs, impatient=True)).state
        except Conflict:
            self._actors.pop(command.run_id, None)  # there is no such run
            self._resting.pop(command.run_id, None)
            raise

    def stash_blobs(self, run_id: str, blobs: Sequence[Blob]) -> None:
        """Blobs that the run's first commit takes along."""
        if blobs:
            self._stashed.setdefault(run_id, []).extend(blobs)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def read_state(self, run_id: str) -> RunState:
        """The state as committed, a copy of the caller's own.

        Raises:
            NotFound: there is no such run.
        """
        loaded = await self.store.load(run_id)
        if loaded is None:
            raise NotFound("run", run_id)
        return restore(loaded)

    async def state_at(self, run_id: str, seq: int) -> RunState:
        """The state at the end of the last group that lies within the first `seq` events, a copy.

        Raises:
            NotFound: there is no such run.
        """
        state, held = RunState(), list[Event]()
        after = 0
        while True:
            lines = await self.store.read_journal(run_id, after=after, limit=EVENTS_AT_ONCE)
            if after == 0:
                state = await self._first_state(run_id, lines)
            for line in lines:
                event = decode(line)
                if held and held[0].group != event.group:
                    fold(state, held)
                    held = []
                if event.seq > seq:
                    return state
                held.append(event)
            after += len(lines)
            if len(lines) < EVENTS_AT_ONCE:
                return fold(state, held)

    async def state_at_end_of(self, run_id: str, seq: int) -> RunState:
        """The state at `seq`, a copy.

        Raises:
            NotFound: there is no such run. Conflict: `seq` isn't the end of a group (`not_a_group_boundary`).
        """
        state = await self.state_at(run_id, seq)
        if state.seq != seq:
            raise Conflict(
                f"event {seq} of run {run_id} is not the end of a group; the one before ends at {state.seq}",
                reason="not_a_group_boundary",
            )
        return state

    async def _first_state(self, run_id: str, lines: Sequence[bytes]) -> RunState:
        """What the run's first event is applied to: nothing, or, of a fork, its parent's state at the cut."""
        if not lines:
            raise NotFound("run", run_id)
        first = decode(lines[0])
        if not isinstance(first, RunStarted) or first.forked_from is None:
            return RunState()
        state = await self.state_at(first.forked_from.run, first.forked_from.seq)
        state.seq = 0
        return state

    def encode(self, value: Any, *, run_id: str) -> tuple[Payload, list[Blob]]:
        """A value as a payload of the run, and the blob to commit with it. Raises OutputNotStorable."""
        return self.codec.encode(value, run_id=run_id)

    async def decode(self, payload: Payload | None, *, run_id: str) -> Any:
        """The value of a payload, its blob fetched if need be; None for no payload."""
        blobs = await self.blobs.fetch([payload], run_id=run_id)
        return read_payload(payload, blobs, run_id=run_id)

    # --- actors -----------------------------------------------------------------------------------------------------

    def actor(self, run_id: str) -> RunActor:
        """The run's actor in this process."""
        actor = self._actors.get(run_id)
        if actor is None:
            actor = self._actors[run_id] = RunActor(self, run_id)
        self._resting.pop(run_id, None)
        return actor

    def forget(self, run_id: str) -> None:
        """The run's journal was written anew: what is kept of it here goes."""
        self.blobs.forget(run_id)
        actor = self._actors.get(run_id)
        if actor is not None:
            actor.refresh()

    def rests(self, actor: RunActor) -> None:
        """Called by an actor that has nothing to do: keep it for a while, forget those that rest the longest."""
        if not actor.idle:
            return
        if actor.state is None or not actor.state.status.live:
            self._actors.pop(actor.run_id, None)
            return
        self._resting[actor.run_id] = None
        self._resting.move_to_end(actor.run_id)
        while len(self._resting) > ACTORS_IDLE_MAX:
            oldest, _ = self._resting.popitem(last=False)
            self._actors.pop(oldest, None)

    def committed(
        self, actor: RunActor, state: RunState, items: Sequence[Item], leases: Sequence[Granted]
    ) -> None:
        """Called by an actor whose commit is durable."""
        if self.worker is not None:
            self.worker.granted(actor, state, leases)
        if self.observers:
            events = [event for item in items for event in item.events]
            for observer in self.observers:
                observer(state, events)

    def refreshed(self, actor: RunActor, state: RunState) -> None:
        """Called by an actor that has loaded what others recorded."""
        if self.worker is not None:
            self.worker.look_at(actor, state)

    def _woken(self, wake: Wake) -> None:
        if isinstance(wake, RunAdvanced):
            actor = self._actors.get(wake.run_id)
            if actor is not None and wake.seq != actor.known_seq and not actor.committing:
                actor.refresh()
        elif self.worker is not None:
            self.worker.woken(wake)
