"""One simulated world: some processes on one store, faults, kills, people who send commands; all drawn from a seed."""

import asyncio
import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field, replace

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.clock import StoreClock
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import VersionRecord, encode_record, pinned
from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.errors import Conflict, LimitExceeded, NotFound, StoreError
from orchestrator.kernel.budgets import limit_of
from orchestrator.kernel.commands import (
    CancelRun,
    Command,
    DeliverSignal,
    ForkRun,
    PauseRun,
    RaiseBudget,
    ResolveTask,
    ResumeRun,
    RetryRun,
    RouteChoice,
    TaskPatch,
)
from orchestrator.kernel.events import Event, GraphExtended, TaskCompleted, TaskFailed, TaskScheduled
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.grafts import grafted, record_of
from orchestrator.stores.contract import RunFilter
from orchestrator.stores.memory import MemoryStore
from orchestrator.testing.clock import VirtualLoop, run_virtual
from tests.simulation.faulty import Audit, FaultyStore, as_store
from tests.simulation.invariants import check_run, doubts_retried, signal_keys
from tests.simulation.workflows import ONCE, SLOTS, WORKFLOWS, Ledger, build_registry, documents

PROCESSES = 3
CONFIG = EngineConfig(concurrency=4, drain_seconds=5.0, snapshot_every=10, reconcile_seconds=30.0)
CHAOS_SECONDS = 60
HEAL_SECONDS = 3_000
FROZEN_SECONDS_MAX = 3 * CONFIG.lease_seconds


@dataclass
class Outcome:
    """What a world showed: for coverage over many seeds, and to compare two worlds of one seed."""

    digest: str = ""
    kinds: Counter[str] = field(default_factory=Counter[str])
    ends: Counter[str] = field(default_factory=Counter[str])
    faults: dict[str, int] = field(default_factory=dict[str, int])
    runs: int = 0
    kills: int = 0
    freezes: int = 0


class Process:
    """One engine with a worker, which can be killed."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.store = FaultyStore(world.store, world.rng, rate=world.rate, count=world.outcome.faults)
        self.store.commits_at_once = world.commits_at_once
        self.store.audit = world.audit
        clock = StoreClock(monotonic_us=world.loop.now_us)
        rng = random.Random(world.rng.getrandbits(64))
        self.serves_all = world.started % 3 > 0
        config = replace(CONFIG, queues=("default", "slow")) if self.serves_all else CONFIG
        self.engine = Engine(as_store(self.store), world.registry, config=config, clock=clock, rng=rng)
        self.engine.committer.split_min = 2
        self.worker = Worker(self.engine, name=name, heartbeat_thread=False)

    async def start(self) -> None:
        """Register, as often as the store's faults make it necessary."""
        await self.engine.open()
        while True:
            try:
                await self.worker.start()
            except StoreError:
                await asyncio.sleep(0.5)
            else:
                return

    def kill(self) -> None:
        """kill -9: nothing of it reaches the store any more."""
        self.store.die()

    async def stop(self) -> None:
        """A graceful end."""
        await self.worker.stop()
        await self.engine.close()
        self.store.die()


class World:
    """See the module."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.rng = random.Random(seed)
        self.commits_at_once = 1 + seed % 2
        self.loop = loop
        self.store = MemoryStore(now_us=loop.now_us)
        self.audit = Audit()
        self.ledger = Ledger()
        self.robbed: set[str] = set()
        """Workers whose registration was taken while they worked: until they notice, another may have their tasks."""
        self.ledger.is_alive = lambda name: (
            name not in self.robbed and all(process.name != name for process in self.killed)
        )
        self.registry = build_registry(self.ledger, random.Random(self.rng.getrandbits(64)))
        self.outcome = Outcome()
        self.rate = self.rng.choice([0.0, 0.02, 0.1])
        self.processes: list[Process] = []
        self.killed: list[Process] = []
        self.started = 0
        self.runs: list[str] = []
        self.acknowledged: dict[str, set[str]] = {}
        self.refused: dict[str, set[str]] = {}
        self.checked: dict[str, int] = {}

    async def live(self) -> Outcome:
        """Set up, do harm for a while, heal, and check that everything came out right."""
        await self.store.open()
        for name, document in documents().items():
            declarations = self.registry.declarations()
            used = pinned(WorkflowDocument.model_validate(document), declarations)
            record = encode_record(VersionRecord(document=document, declarations=used))
            await self.store.save_version(name, meaning=name, text=b"{}", record=record)
        for _ in range(PROCESSES):
            await self.add_process()
        until = self.loop.time() + CHAOS_SECONDS
        while self.loop.time() < until:
            await self.act()
            await asyncio.sleep(self.rng.choice([0.01, 0.3, 2.0, 5.0]))
            await self.check()
        await self.heal()
        await self.judge()
        return self.outcome

    async def add_process(self) -> None:
        """One more worker process."""
        self.started += 1
        process = Process(self, f"w{self.started}")
        await process.start()
        self.processes.append(process)

    async def act(self) -> None:
        """One random thing that people or fate do."""
        draw = self.rng.random()
        if draw < 0.3 or not self.runs:
            await self.start_run()
        elif draw < 0.45:
            await self.kill_one()
        elif draw < 0.48:
            self.freeze_one()
        elif draw < 0.5:
            # Leases end while a process works; it goes on, and knows nothing of that.
            name = self.rng.choice(self.processes).name
            self.robbed.add(name)
            await self.store.forget_worker(name, lost=True)
        elif draw < 0.54:
            process = self.processes.pop(self.rng.randrange(len(self.processes)))
            await process.stop()
            await self.add_process()
        elif draw < 0.72:
            await self.signal(self.rng.choice(self.runs))
        elif draw < 0.78:
            await self.say(self.rng.choice(self.runs), PauseRun())
        elif draw < 0.86:
            await self.say(self.rng.choice(self.runs), ResumeRun())
        elif draw < 0.9:
            await self.say(self.rng.choice(self.runs), CancelRun())
        elif draw < 0.95:
            await self.say(self.rng.choice(self.runs), RetryRun())
        else:
            await self.fork(self.rng.choice(self.runs))

    async def kill_one(self) -> None:
        """kill -9 of one process; another takes its place."""
        process = self.processes.pop(self.rng.randrange(len(self.processes)))
        process.kill()
        self.killed.append(process)
        self.outcome.kills += 1
        await self.add_process()

    def freeze_one(self) -> None:
        """SIGSTOP, or a cable pulled: a process is cut off for longer than its leases live, and comes back."""
        process = self.rng.choice(self.processes)
        process.store.freeze(self.loop.time() + self.rng.uniform(1, FROZEN_SECONDS_MAX))
        self.outcome.freezes += 1

    async def start_run(self) -> None:
        """Start a run; the id is known before, so a lost answer is asked for again."""
        run_id = f"run-{len(self.runs)}"
        workflow = self.rng.choice(list(WORKFLOWS))
        engine = self.rng.choice(self.processes).engine
        payload, _ = engine.encode({"deep": self.rng.random() < 0.5}, run_id=run_id)
        while True:
            try:
                start = await prepare_start(
                    engine,
                    run_id=run_id,
                    workflow=workflow,
                    version=None,
                    namespace="default",
                    payload=payload,
                )
                await engine.create(start)
            except StoreError:
                await asyncio.sleep(0.2)
            else:
                self.runs.append(run_id)
                return

    async def say(self, run_id: str, command: Command) -> bool | None:
        """A person's command: True it was acknowledged, False refused, None nobody knows."""
        engine = self.rng.choice(self.processes).engine
        try:
            async with asyncio.timeout(30):
                await engine.command(run_id, command)
        except (Conflict, LimitExceeded, NotFound):
            return False
        except (StoreError, TimeoutError):
            return None
        return True

    async def signal(self, run_id: str) -> None:
        """Send a signal under a new key."""
        key = f"key-{self.rng.getrandbits(32):x}"
        payload, _ = self.processes[0].engine.encode({"key": key}, run_id=run_id)
        said = await self.say(run_id, DeliverSignal(name="answer", payload=payload, key=key))
        if said is not None:
            (self.acknowledged if said else self.refused).setdefault(run_id, set()).add(key)

    async def fork(self, run_id: str) -> None:
        """Fork at a random group."""
        new_id = f"{run_id}-fork-{self.rng.getrandbits(24):x}"
        engine = self.rng.choice(self.processes).engine
        journal = await self.store.read_journal(run_id, limit=100_000)
        try:
            async with asyncio.timeout(30):
                at = await engine.state_at(run_id, self.rng.randint(1, len(journal)))
                if at.seq:
                    patches = await self.patches(engine, at)
                    command = ForkRun(run_id=new_id, parent_run=run_id, seq=at.seq, patches=patches)
                    await engine.fork(command)
        except (StoreError, TimeoutError, Conflict):
            pass  # a fork is only another run: if it isn't there, nothing is missing
        if await self.store.get_run(new_id) is not None:
            self.runs.append(new_id)

    async def patches(self, engine: Engine, at: RunState) -> dict[str, TaskPatch]:
        """Of some forks, another past: a task that is open there completes, a decider goes any way it may."""
        there = [*at.tasks.values(), *at.set_aside.values()]
        if not there or self.rng.random() < 0.5:
            return {}
        task = self.rng.choice(there)
        definition = await engine.definitions.get(at.workflow, at.version)
        node = grafted(definition, at.plans).nodes[task.node]
        route = RouteChoice(targets=(self.rng.choice(node.allowed),), by="person") if node.allowed else None
        output, _ = engine.encode({"given": task.path}, run_id=at.run_id)
        return {task.path: TaskPatch(output=output, route=route if node.decides else None)}

    async def check(self) -> None:
        """The invariants of every run that moved."""
        assert not self.ledger.wrong, self.ledger.wrong
        assert not self.audit.wrong, self.audit.wrong
        engine = self.processes[0].engine
        await self.check_slots()
        for row in (await self.store.list_runs(RunFilter(), limit=10_000)).items:
            if self.checked.get(row.run_id) != row.seq:
                definition = await engine.definitions.get(row.index.workflow, row.index.version)
                await check_run(self.store, row.run_id, definition)
                self.checked[row.run_id] = row.seq

    async def check_slots(self) -> None:
        """Slots in use are live leases, and no more of them than the limit."""
        for account in await self.store.accounts():
            for holder in account.holders:
                rows = {row.path: row for row in await self.store.queue_rows(holder.run_id)}
                assert holder.path in rows, f"{holder} has a slot and no row"
                assert rows[holder.path].worker is not None, f"{holder} has a slot and no lease"
            if "/slots/" in account.account:
                assert len(account.holders) <= SLOTS, f"{account.account}: {account.holders}"

    async def heal(self) -> None:
        """No more faults: every run must come to its end, with the help that only people can give."""
        self.rate = 0.0
        while not any(process.serves_all for process in self.processes):
            await self.add_process()
        for process in self.processes:
            process.store.rate = 0.0
        until = self.loop.time() + HEAL_SECONDS
        while True:
            await asyncio.sleep(5)
            await self.check()
            rows = [r for r in (await self.store.list_runs(RunFilter(), limit=10_000)).items if r.index.live]
            if not rows:
                return
            assert self.loop.time() < until, f"stuck: {[(r.run_id, r.index.status) for r in rows]}"
            for row in rows:
                await self.help(row.run_id)

    async def help(self, run_id: str) -> None:
        """Resume what is paused, resolve what is in doubt."""
        state = await self.processes[0].engine.read_state(run_id)
        if state.paused:
            await self.say(run_id, ResumeRun())
        for budget in state.spent_out:
            definition = await self.processes[0].engine.definitions.get(state.workflow, state.version)
            await self.say(
                run_id, RaiseBudget(limits={budget: (limit_of(state, definition, budget) or 0) + 20})
            )
        for task in list(state.tasks.values()):
            if task.status is TaskStatus.IN_DOUBT:
                action = self.rng.choice(["done", "retry", "skip", "fail"])
                await self.say(run_id, ResolveTask(path=task.path, action=action))

    async def judge(self) -> None:
        """What must be true at the end."""
        digest = hashlib.sha256()
        engine = self.processes[0].engine
        for row in (await self.store.list_runs(RunFilter(), limit=10_000)).items:
            definition = await engine.definitions.get(row.index.workflow, row.index.version)
            state, events = await check_run(self.store, row.run_id, definition)
            self._judge_run(row.run_id, state, events)
            if state.handover is not None and state.status is not RunStatus.FAILED:
                successor = await self.processes[0].engine.read_state(state.handover.run)
                assert successor.continues is not None
                assert successor.continues.run == row.run_id, "a successor of another run"
                assert successor.counts.total + successor.carried_tasks > state.counts.total
            for line in await self.store.read_journal(row.run_id, limit=100_000):
                digest.update(line)
        self.outcome.digest = digest.hexdigest()
        self.outcome.runs = len(self.runs)
        await asyncio.sleep(FROZEN_SECONDS_MAX)  # a process that is still cut off can't say that it stops
        for process in self.processes[1:]:
            await process.stop()
        await asyncio.sleep(CONFIG.lease_seconds + 5)  # the killed ones are noticed by the last that is left
        await self.processes[0].stop()
        assert not await self.store.workers(), "a worker stayed registered"
        assert not await self.store.accounts(), "a slot or a place in line was left behind"

    def _judge_run(self, run_id: str, state: RunState, events: list[Event]) -> None:
        self.outcome.kinds.update(event.kind for event in events)
        self.outcome.ends[state.status.value] += 1
        mismatches = [e for e in events if isinstance(e, TaskFailed) and e.error.type == "step_mismatch"]
        assert not mismatches, f"the code ran otherwise when it ran again: {mismatches[0].error.message}"
        keys = signal_keys(events)
        for key in self.acknowledged.get(run_id, ()):
            assert keys[key] == 1, f"an acknowledged signal is recorded {keys[key]} times"
        for key in self.refused.get(run_id, ()):
            assert keys[key] == 0, "a refused signal is in the journal"
        retried = doubts_retried(events)
        self._judge_keys(run_id)
        for kind, where, key in set(self.ledger.effects):
            run, _, path = where.partition("/")
            if run != run_id:
                continue
            if kind == "pay":
                allowed = 1 + retried[path] + sum(e.kind == "run_retried" for e in events)
                times = self.ledger.count(kind, key)
                assert times <= allowed, f"{key} was paid {times} times, {allowed} are allowed"
        if state.workflow in ONCE:
            again = [e.path for e in events if isinstance(e, TaskScheduled) and e.visit > 1]
            assert not again, f"{again} of a workflow without loops"
        plans = {
            f"{event.path}/{node}": written
            for event in events
            if isinstance(event, GraphExtended)
            for node, written in record_of(event.plan).document["nodes"].items()
        }
        for event in events:
            if isinstance(event, TaskCompleted) and not _resolved(event, events) and event.timing.worker:
                written = plans.get(event.node) or WORKFLOWS[state.workflow].get(event.node)
                if written is None:
                    continue  # of a fork: the plan stands in its parent's journal
                if "for_each" in written and "[" not in event.path:
                    continue  # its items did it
                node = written["class"]
                if node in ("Write", "Pay"):
                    kind = "write" if node == "Write" else "pay"
                    assert self.ledger.count(kind, f"{run_id}/{event.path}") >= 1, (
                        f"{event.path} never happened"
                    )
        assert not state.status.live

    def _judge_keys(self, run_id: str) -> None:
        """Every attempt of a task calls the world under the same key."""
        keys: dict[str, set[str]] = {}
        for kind, where, key in self.ledger.effects:
            if kind in ("write", "pay") and where.partition("/")[0] == run_id and "#" not in key:
                keys.setdefault(where, set()).add(key)
        several = {where: found for where, found in keys.items() if len(found) > 1}
        assert not several, f"more than one idempotency key: {several}"


def _resolved(event: TaskCompleted, events: list[Event]) -> bool:
    return any(e.kind == "task_resolved" and getattr(e, "path", None) == event.path for e in events)


def simulate(seed: int) -> Outcome:
    """Live through one world."""
    return run_virtual(lambda loop: World(seed, loop).live())
