"""The worker: claims due tasks, runs their nodes, and keeps its leases honest.

It reacts to wake-ups and to the next due time that a claim reported; a slow poll is only the net below. What it holds
is in `_attempts`, by run and path; the heartbeat's answer is compared with it, both ways.
"""

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import Coroutine, Sequence
from os import getpid
from typing import Any

import msgspec
import structlog

from orchestrator.engine.attempts.announcer import Announcer
from orchestrator.engine.attempts.attempt import ENDING, LEASE_LOST, TIMEOUT, Attempt
from orchestrator.engine.attempts.branches import enter_root
from orchestrator.engine.attempts.containment import Containment, enter_node
from orchestrator.engine.attempts.cpu import CpuProcesses
from orchestrator.engine.attempts.failures import error_info
from orchestrator.engine.attempts.heartbeat import Heartbeat
from orchestrator.engine.attempts.limits import limits_of
from orchestrator.engine.attempts.putoff import PutOff
from orchestrator.engine.attempts.threads import DaemonThreads
from orchestrator.engine.attempts.watchdog import Watchdog
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.actor import Accepted, Item, RunActor
from orchestrator.engine.runs.delivery import deliver
from orchestrator.engine.runs.reconciler import Reconciler
from orchestrator.engine.runs.rows import enqueue_of
from orchestrator.engine.views.crew import unable_note
from orchestrator.errors import (
    Conflict,
    ExpressionFailed,
    Fenced,
    InternalError,
    LimitExceeded,
    NotFound,
    OrchestratorError,
    StoreError,
    UsageError,
)
from orchestrator.kernel.commands import (
    AbandonTask,
    Command,
    CompleteTask,
    Deadline,
    DoubtTask,
    FailTask,
    FireTimer,
)
from orchestrator.kernel.compensation import is_stopped
from orchestrator.kernel.outlook import BUDGET, GRACE, expected_rows, next_budget_row
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.values import ErrorInfo, rfc3339
from orchestrator.model.declarations import Effect
from orchestrator.model.definition import Definition, NodeDefinition
from orchestrator.stores.contract import (
    Acquired,
    Blob,
    Claim,
    Commit,
    Enqueue,
    Granted,
    HeartbeatAnswer,
    Lease,
    QueueWake,
    TaskKind,
    Wake,
)

LOST_WORKERS_ALONE = 2
"""A task that lost this many workers in a row, with nothing recorded, next runs alone in its process."""
ALONE_WITHIN_SECONDS = 60.0
LOST_WORKERS_MAX = 3
"""A task that lost this many workers in a row, with nothing recorded, fails."""
GIVE_BACK_DELAY_US = 2_000_000
"""When a task that this worker can't run is offered again."""
LOOK_AGAIN_US = 50_000
CLAIM_MAX = 100

log: Any = structlog.get_logger("orchestrator.worker")


class Worker:
    """One worker of an engine. `start`, then `stop`; `stop(at_once=True)` after it ends without waiting."""

    def __init__(self, engine: Engine, *, name: str | None = None, heartbeat_thread: bool = True) -> None:
        self.engine = engine
        self.now_us = engine.now_us
        self.name = name or f"{socket.gethostname()[:40]}-{getpid()}-{engine.random.getrandbits(32):08x}"
        self.threads = DaemonThreads("node")
        self.cpu = CpuProcesses(limit=engine.config.cpu_processes)
        self._containment = Containment()
        self.context = contextvars.Context()
        """What tasks begin with: nothing of the code that happened to make them possible."""
        self.announcer = Announcer(engine, self.name)
        config = engine.config
        self._lease_us = round(config.lease_seconds * 1_000_000)
        self._attempts: dict[tuple[str, str], Attempt] = {}
        self._controls: dict[tuple[str, str], Granted] = {}
        self._reserved = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._quiet: asyncio.Event | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._unknown: set[tuple[str, str, int]] = set()
        self._next_due_us: int | None = None
        self._suspended = False
        self._backlog = False
        self._alone: Granted | None = None
        self._unable = PutOff()
        self._room: asyncio.Event | None = None
        self._uses_thread = heartbeat_thread
        self._started_us = 0
        self._registered_us = 0
        self._judges_from_us = 0
        self._silence_us = round(config.heartbeat_seconds * 2_000_000)
        self.reconciler = Reconciler(engine)
        self.last_claim_us = 0
        self.claims = 0
        self.watchdog = Watchdog(
            blocked_after_seconds=config.blocked_after_seconds, is_node_task=lambda name: "/" in name
        )
        self.heartbeat = Heartbeat(
            engine.store,
            self.name,
            lease_us=self._lease_us,
            interval_seconds=config.heartbeat_seconds,
            info=self._info,
            loop_answers=self.watchdog.answers,
            monotonic_us=engine.clock.monotonic_us,
            heard=self._heard_on_thread,
        )

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register, and begin to claim.

        Raises:
            StoreUnavailable: the store doesn't answer.
        """
        engine = self.engine
        self._started_us = engine.now_us()
        answer = await engine.store.heartbeat(self.name, lease_us=self._lease_us, info=self._info())
        engine.clock.heard(answer.now_us)
        self._registered_us = engine.clock.monotonic_us()
        engine.worker = self
        self._containment.install()
        self.context = contextvars.copy_context()
        self.context.run(enter_node)
        self.context.run(enter_root)
        if self._uses_thread:
            self.watchdog.start()
            self.heartbeat.start()
        else:
            self._run(self._beat_on_loop(), "heartbeat")
        self._run(self._claim_on(), "claim")
        self._run(self._look_around(), "look around")
        self._run(self._keep_time(), "keep time")
        self._run(self._reconcile(), "reconcile")

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(self.engine.loop.create_task(work, name=f"worker {name}"))

    async def stop(self, *, at_once: bool = False) -> None:
        """End: claim nothing more, let what runs finish (`drain_seconds`), give back the rest.

        No worker counts as lost. Called again with `at_once` while a first call drains, it ends without waiting.
        """
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if not at_once:
            await self._drain()
        for attempt in list(self._attempts.values()):
            attempt.tell(LEASE_LOST)
        await asyncio.sleep(0)
        if self._uses_thread:
            self.heartbeat.stop()
            self.watchdog.stop()
        try:
            await self.engine.store.forget_worker(self.name)
        except StoreError as error:
            log.warning("the worker could not say goodbye; its leases end by themselves", error=str(error))
        self.engine.worker = None
        self._containment.remove()
        self.threads.close()
        self.cpu.close()

    async def _drain(self) -> None:
        if not self._attempts:
            return
        self._quiet = asyncio.Event()
        try:
            async with asyncio.timeout(self.engine.config.drain_seconds):
                await self._quiet.wait()
        except TimeoutError:
            log.warning("tasks still run and are given back", count=len(self._attempts))

    # --- slots ------------------------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """How many more tasks may run now."""
        return max(0, self.engine.config.concurrency - len(self._attempts) - self._reserved)

    def reserve(self, wanted: int, *, freed: int) -> tuple[int, int]:
        """Slots for tasks that a commit will lease to this worker; `freed` leases end with the same commit.

        Gives how many it may lease, and how many slots were set aside for that beside the freed ones: give these back
        with `unreserve` once the commit is answered.
        """
        if self._stopping or self._suspended or self._alone is not None:
            return 0, 0
        free = self.engine.config.concurrency - len(self._attempts) - self._reserved
        leasable = max(0, min(wanted, free + freed))
        beside = max(0, leasable - freed)
        self._reserved += beside
        return leasable, beside

    def unreserve(self, count: int) -> None:
        """The commit is answered."""
        self._reserved -= count

    def takes(self, node: NodeDefinition) -> bool:
        """Whether a task of this node may stay here, with no trip through the queue: the queue is served, the class is
        known, and there are no limits, whose slots only a claimed task asks for."""
        return not node.limits and node.queue in self.engine.config.queues and self.knows(node)

    def knows(self, node: NodeDefinition) -> bool:
        """Whether this worker can run the node: it has the class, in the version that the run is pinned to."""
        declaration = node.declaration
        found = self.engine.registry.find(declaration.name)
        return found is not None and found.class_version == declaration.class_version

    def may_run_ahead(self, nodes: Sequence[NodeDefinition], *, freed: int) -> bool:
        """Whether tasks of these nodes may begin before what they build on is durable; `freed` slots are theirs."""
        free = self.engine.config.concurrency - len(self._attempts) - self._reserved + freed
        if self._stopping or self._suspended or self._alone is not None or len(nodes) > free:
            return False
        return all(self._is_pure(node) and self.takes(node) for node in nodes)

    def _is_pure(self, node: NodeDefinition) -> bool:
        name = node.declaration.name
        if node.effect is not Effect.PURE or name not in self.engine.registry:
            return False
        return self.engine.registry.get(name).effect is Effect.PURE

    def run_ahead(self, actor: RunActor, state: RunState, task: TaskState, definition: Definition) -> Attempt:
        """Run a pure task that has no lease yet."""
        now_us = self.now_us()
        attempt = Attempt(self, actor, state, task, definition, epoch=0, queued_us=now_us, now_us=now_us)
        self._start(actor, state, attempt)
        return attempt

    # --- claiming ---------------------------------------------------------------------------------------------------

    def woken(self, wake: Wake) -> None:
        """A wake-up of the store."""
        if isinstance(wake, QueueWake):
            self._wake.set()

    async def _claim_on(self) -> None:
        engine, config = self.engine, self.engine.config
        while True:
            self._wake.clear()
            limit = min(self.free, CLAIM_MAX) if self._alone is None else 0
            self._backlog = limit == 0
            if limit and not self._suspended:
                try:
                    answer = await engine.store.claim(self.name, queues=config.queues, limit=limit)
                except StoreError as error:
                    log.warning("nothing could be claimed; trying again", error=str(error))
                    await asyncio.sleep(config.slow_poll_seconds)
                    continue
                engine.clock.heard(answer.now_us)
                self.last_claim_us = engine.now_us()
                self._next_due_us = answer.next_due_us
                self._backlog = len(answer.claims) == limit
                for claim in answer.claims:
                    self.claims += 1
                    engine.spawn(self._take(claim), name=f"take {claim.run_id}")
                if self._backlog:
                    await asyncio.sleep(0)
                    continue
            await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        pause = self.engine.config.slow_poll_seconds
        if self._next_due_us is not None:
            pause = min(pause, max(0.001, (self._next_due_us - self.now_us()) / 1_000_000))
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            pass  # the slow poll, or the next due time

    async def _take(self, claim: Claim) -> None:
        """Do what a claimed row asks for. Whatever goes wrong concerns this row alone."""
        granted = Granted(run_id=claim.run_id, path=claim.path, epoch=claim.epoch)
        key = (claim.run_id, claim.path)
        self._controls[key] = granted
        try:
            if claim.kind is TaskKind.MESSAGE:
                await deliver(self.engine, claim)
            elif claim.kind is TaskKind.TIMER:
                await self._fire(claim)
            else:
                await self._begin(claim)
        except NotFound as gone:
            await self._drop(claim, str(gone))
        except Conflict as refusal:
            await self._drop(claim, str(refusal))
        except Fenced as lost:
            log.info("a lease was lost", run=claim.run_id, task=claim.path, why=str(lost))
        except OrchestratorError as error:
            log.warning("a task is given back", run=claim.run_id, task=claim.path, why=str(error))
            await self._give_back(granted, note=str(error)[:500])
        finally:
            self._controls.pop(key, None)

    async def _fire(self, claim: Claim) -> None:
        of_the_run = claim.path in (GRACE, BUDGET)
        command = Deadline(timer=claim.path[1:]) if of_the_run else FireTimer(path=claim.path)
        accepted = await self._post(claim, command)
        if not accepted.events:
            await self._set_timer_again(claim)

    async def _set_timer_again(self, claim: Claim) -> None:
        """The timer came, and nothing was due yet (a budget with time left, a clock that is a little ahead)."""
        actor = self.engine.actor(claim.run_id)
        state, definition = await actor.loaded()
        if claim.path == BUDGET:
            row = next_budget_row(state, definition, self.now_us())
        else:
            row = next(
                (r for r in expected_rows(state, definition) if r.path == claim.path and r.timer), None
            )
        if row is None:
            return
        delay = max(1_000, row.due_us - self.now_us())
        task = state.tasks.get(row.path)
        rows = [enqueue_of(row, task, definition, delay_us=delay, priority=state.priority)]
        await self.engine.committer.commit(self._bare_commit(claim.run_id, claim.namespace, rows=rows))

    def _bare_commit(
        self, run_id: str, namespace: str, *, leases: Sequence[Lease] = (), rows: Sequence[Enqueue] = ()
    ) -> Commit:
        return Commit(
            commit_id=self.engine.new_commit_id(),
            run_id=run_id,
            namespace=namespace,
            expected=None,
            worker=self.name,
            stands_on=leases,
            enqueue=rows,
        )

    async def _post(self, claim: Claim, command: Command) -> Accepted:
        """Carry out a command that stands on a claimed row and ends it."""
        return await self.engine.actor(claim.run_id).ask(command, path=claim.path, epoch=claim.epoch)

    async def _begin(self, claim: Claim) -> None:
        actor = self.engine.actor(claim.run_id)
        state, definition = await actor.loaded()
        task = state.tasks.get(claim.path)
        if task is None or task.status is not TaskStatus.READY:
            if actor.committing:  # its state runs ahead of the store just now; look again in a moment
                await self._give_back(self._controls[(claim.run_id, claim.path)], delay_us=LOOK_AGAIN_US)
                return
            actor.stale = True
            state, definition = await actor.loaded()
            task = state.tasks.get(claim.path)
        if task is None or task.status is not TaskStatus.READY:
            raise Conflict(f"task `{claim.path}` has nothing to run", reason="task_not_open")
        if state.held:
            await self._give_back(self._controls[(claim.run_id, claim.path)])
            return
        if is_stopped(state, task):
            await self._post(claim, AbandonTask(path=claim.path, began=False))
            return
        node = definition.nodes[task.node]
        if not self.knows(node):
            await self._give_back_unknown(claim, node)
            return
        self._unable.forget((claim.run_id, claim.path))
        if claim.lost >= LOST_WORKERS_MAX:
            await self._post(claim, self._lost_too_often(claim, started=task.started, attempt=task.attempt))
            return
        works = node.for_each is None or task.item is not None  # what only gives out items counts for nothing
        if node.limits and works and not await self._has_slots(claim, state, task, node):
            return
        if claim.lost >= LOST_WORKERS_ALONE:
            if not await self._be_alone(claim):
                return
        elif self._alone is not None:  # another task must be alone here, and this one was claimed before that
            await self._give_back(self._controls[(claim.run_id, claim.path)], delay_us=LOOK_AGAIN_US)
            return
        task = state.tasks.get(claim.path) if actor.state is state and not state.held else None
        if task is None:  # the run moved on while this worker made room
            self._alone = None
            await self._give_back(self._controls[(claim.run_id, claim.path)], delay_us=LOOK_AGAIN_US)
            return
        attempt = Attempt(
            self,
            actor,
            state,
            task,
            definition,
            epoch=claim.epoch,
            queued_us=claim.queued_us,
            now_us=self.now_us(),
        )
        # What follows from it shall be to blame itself, if it takes the process down.
        attempt.careful = claim.lost > 0
        attempt.rolled_back = claim.rolled_back
        self._start(actor, state, attempt)

    async def _has_slots(self, claim: Claim, state: RunState, task: TaskState, node: NodeDefinition) -> bool:
        """Ask for what the node's limits count. False: the task went back to wait for it, or has failed."""
        granted = self._controls[(claim.run_id, claim.path)]
        try:
            limits = await limits_of(self.engine, state, task, node)
        except ExpressionFailed as wrong:
            error = error_info(wrong, task, self.engine.redactor)
            await self._post(claim, FailTask(path=claim.path, error=error))
            return False
        acquired = await self.engine.store.acquire(self.name, granted, limits)
        if acquired is Acquired.FENCED:
            raise Fenced(f"the lease on `{claim.path}` of run {claim.run_id} is gone")
        return acquired is Acquired.GRANTED

    async def _give_back_unknown(self, claim: Claim, node: NodeDefinition) -> None:
        """A task whose class isn't here is no attempt, and no death. Each time it comes again it is put off for longer,
        so that a worker that has the class comes to it, and those that don't have it don't do nothing else."""
        name, version = node.declaration.name, node.declaration.class_version
        here = self.engine.registry.get(name).class_version if name in self.engine.registry else None
        log.info("a task is given back: its class is not here", run=claim.run_id, task=claim.path, cls=name)
        key = (claim.run_id, claim.path)
        note = unable_note(name, version, worker=self.name, here=here)
        await self._give_back(self._controls[key], delay_us=self._unable.put_off(key), note=note)

    async def _be_alone(self, claim: Claim) -> bool:
        """Make room for a task that took workers down with it: claim nothing, wait until nothing else runs here.

        False: that took too long (or another such task came first), and it was given back.
        """
        granted = self._controls[(claim.run_id, claim.path)]
        if self._alone is None:
            self._alone = granted
            log.warning(
                "a task lost its workers; it runs alone now",
                run=claim.run_id,
                task=claim.path,
                lost=claim.lost,
            )
            until = self.engine.loop.time() + ALONE_WITHIN_SECONDS
            while self._attempts and self.engine.loop.time() < until:
                self._room = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._room.wait()
            if not self._attempts and not self._stopping:
                return True
            self._alone = None
            self._wake.set()
        await self._give_back(
            granted, delay_us=GIVE_BACK_DELAY_US, note="waits to run alone: it lost its workers"
        )
        return False

    def _lost_too_often(self, claim: Claim, *, started: bool, attempt: int) -> Command:
        why = f"{claim.lost} workers in a row died while they ran it, with nothing new recorded"
        if started:
            return DoubtTask(path=claim.path, reason=why)
        error = ErrorInfo(type="worker_lost", message=why, retryable=False, path=claim.path, attempt=attempt)
        return FailTask(path=claim.path, error=error)

    async def _drop(self, claim: Claim, why: str) -> None:
        """End a row that has nothing to do any more."""
        log.debug("a row is dropped", run=claim.run_id, task=claim.path, why=why)
        lease = Lease(path=claim.path, epoch=claim.epoch)
        try:
            await self.engine.committer.commit(
                self._bare_commit(claim.run_id, claim.namespace, leases=[lease])
            )
        except StoreError as error:
            log.warning("a row could not be dropped", run=claim.run_id, task=claim.path, error=str(error))

    async def _give_back(self, granted: Granted, *, delay_us: int = 0, note: str = "") -> None:
        try:
            await self.engine.store.release(self.name, [granted], delay_us=delay_us, note=note)
        except StoreError as error:
            log.warning(
                "a task could not be given back", run=granted.run_id, task=granted.path, error=str(error)
            )

    # --- attempts ---------------------------------------------------------------------------------------------------

    def granted(self, actor: RunActor, state: RunState, leases: Sequence[Granted]) -> None:
        """A commit of this process is durable, and gave us these leases."""
        definition = actor.definition
        assert definition is not None
        for lease in leases:
            task = state.tasks.get(lease.path)
            if self._stopping or task is None:
                self.engine.spawn(self._give_back(lease), name=f"give back {lease.path}")
                continue
            now_us = self.now_us()
            attempt = Attempt(
                self, actor, state, task, definition, epoch=lease.epoch, queued_us=now_us, now_us=now_us
            )
            self._start(actor, state, attempt)
        if actor.running:
            self.look_at(actor, state)

    def look_at(self, actor: RunActor, state: RunState) -> None:
        """Compare what runs here with what the run says: tell tasks to end that should, or that are no longer there."""
        if state.ending is None and actor.running.keys() <= state.tasks.keys():
            return
        for path, attempt in list(actor.running.items()):
            if path not in state.tasks:
                self._lost(attempt)
            elif is_stopped(state, state.tasks[path]):
                attempt.tell(ENDING)

    def _start(self, actor: RunActor, state: RunState, attempt: Attempt) -> None:
        self._attempts[(attempt.run_id, attempt.path)] = attempt
        actor.running[attempt.path] = attempt
        attempt.start(state)

    def ended(self, attempt: Attempt, command: Command | None) -> None:
        """The attempt is over; `command` says how, None that there is nothing to say."""
        if command is None:
            if attempt.give_back_note is not None:
                self.engine.spawn(self._hand_back(attempt), name=f"give back {attempt.path}")
            else:
                self._forget(attempt)
            return
        if not attempt.epoch and self._attempts.get((attempt.run_id, attempt.path)) is attempt:
            del self._attempts[(attempt.run_id, attempt.path)]  # it holds no slot until its result is written
        attempt.actor.running.pop(attempt.path, None)
        self._report(attempt, command, attempt.blobs_to_commit)

    def adopted(self, attempt: Attempt) -> None:
        """An attempt that ran ahead has its lease now; it may have ended already."""
        self._attempts[(attempt.run_id, attempt.path)] = attempt

    async def _hand_back(self, attempt: Attempt) -> None:
        """The attempt can't go on yet, and is none: its task goes back to the queue."""
        granted = Granted(run_id=attempt.run_id, path=attempt.path, epoch=attempt.epoch)
        await self._give_back(granted, note=attempt.give_back_note or "")
        self._forget(attempt)

    def _report(self, attempt: Attempt, command: Command, blobs: Sequence[Blob] = ()) -> None:
        def done(result: Accepted | BaseException) -> None:
            if isinstance(result, UsageError | LimitExceeded | InternalError):
                failure = attempt.unrecordable(result)
                if failure is not None:
                    log.error(
                        "a result could not be written down, and the task fails",
                        run=attempt.run_id,
                        task=attempt.path,
                        error=str(result),
                    )
                    self._report(attempt, failure)
                    return
            if isinstance(result, BaseException):
                self._refused(attempt, result)
                if isinstance(result, Fenced | Conflict):
                    attempt.reason = attempt.reason or LEASE_LOST
                    attempt.came_late(command)
            elif attempt.cache is not None and isinstance(command, CompleteTask):
                attempt.cache.keep(command, result, blobs)
            self._forget(attempt)

        item = Item(
            command,
            done,
            path=attempt.path,
            epoch=attempt.epoch,
            blobs=blobs,
            attempt=attempt,
            # A blob can be read only once it is in the store.
            pure=attempt.pure and not blobs and isinstance(command, CompleteTask),
        )
        attempt.actor.post(item)

    def _refused(self, attempt: Attempt, error: BaseException) -> None:
        """The kernel or the store didn't take a result: the task is no longer ours, or the run can't be read."""
        granted = Granted(run_id=attempt.run_id, path=attempt.path, epoch=attempt.epoch)
        if isinstance(error, Fenced | Conflict):
            log.info("a result came too late", run=attempt.run_id, task=attempt.path, why=str(error))
            if isinstance(error, Conflict):
                # The row may be that of another attempt, which this worker didn't know of when it claimed it: whoever
                # claims it next sees whether there is anything to run.
                giving = self._give_back(granted, delay_us=LOOK_AGAIN_US)
                self.engine.spawn(giving, name=f"give back {attempt.path}")
            return
        log.error("a result could not be recorded", run=attempt.run_id, task=attempt.path, error=str(error))
        self.engine.spawn(
            self._give_back(granted, delay_us=GIVE_BACK_DELAY_US), name=f"give back {attempt.path}"
        )

    def _forget(self, attempt: Attempt) -> None:
        key = (attempt.run_id, attempt.path)
        if self._attempts.get(key) is attempt:
            del self._attempts[key]
        if attempt.actor.running.get(attempt.path) is attempt:
            del attempt.actor.running[attempt.path]
        if not self._attempts:
            for waiting in (self._quiet, self._room):
                if waiting is not None:
                    waiting.set()
        alone = self._alone
        if alone is not None and (alone.run_id, alone.path, alone.epoch) == (*key, attempt.epoch):
            self._alone = None
            self._wake.set()
        if self._backlog and not self._stopping:
            self._wake.set()
        self.engine.rests(attempt.actor)

    # --- leases -----------------------------------------------------------------------------------------------------

    def _info(self) -> bytes:
        return msgspec.json.encode(
            {
                "host": socket.gethostname(),
                "pid": getpid(),
                "started_at": rfc3339(self._started_us),
                "queues": list(self.engine.config.queues),
                "classes": self._classes(),
                "running": len(self._attempts),
                "concurrency": self.engine.config.concurrency,
            }
        )

    def _classes(self) -> dict[str, int]:
        """The version of every class that is here: `explain` compares it with what tasks ask for."""
        known = self.engine.registry.declarations()
        return {name: declaration.class_version for name, declaration in known.items()}

    async def _beat_on_loop(self) -> None:
        """The heartbeat without a thread, for a simulation: what blocks the loop also stops it."""
        config, clock = self.engine.config, self.engine.clock
        while True:
            await asyncio.sleep(config.heartbeat_seconds)
            sent = clock.monotonic_us()
            try:
                answer = await self.engine.store.heartbeat(
                    self.name, lease_us=self._lease_us, info=self._info()
                )
            except StoreError as error:
                log.debug("the heartbeat doesn't reach the store", error=str(error))
            else:
                self.heard(answer, sent)

    def _heard_on_thread(self, answer: HeartbeatAnswer, sent: int) -> None:
        try:
            self.engine.loop.call_soon_threadsafe(self.heard, answer, sent)
        except RuntimeError:
            log.debug("the loop is closed; a heartbeat's answer is of no use any more")

    def heard(self, answer: HeartbeatAnswer, sent_us: int) -> None:
        """Compare the leases that the store says are ours with those we know, both ways.

        `sent_us` is when the beat was sent (monotonic): younger leases of ours can't be in the answer. What the
        store has and we don't may be a lease whose news is on its way: it is given back only if we still don't know it
        at the next beat.
        """
        self.engine.clock.heard(answer.now_us)
        if sent_us - self._registered_us > self._silence_us:
            # The store was out of reach, maybe for all: the others get their time to say that they live.
            self._judges_from_us = sent_us + self._lease_us
        self._registered_us = sent_us
        if self._suspended:
            self._suspended = False
            self._wake.set()
            log.info("the worker has its registration again and goes on", worker=self.name)
        owned = {(one.run_id, one.path, one.epoch): one for one in answer.owned}
        known = {(a.run_id, a.path, a.epoch) for a in self._attempts.values() if a.epoch}
        known |= {(g.run_id, g.path, g.epoch) for g in self._controls.values()}
        unknown = set(owned) - known
        for key in sorted(unknown & self._unknown):
            self.engine.spawn(self._give_back(owned[key]), name=f"give back {key[1]}")
        self._unknown = unknown - self._unknown
        age_us = self.engine.clock.monotonic_us() - sent_us
        for attempt in [a for a in self._attempts.values() if a.epoch]:
            held = (attempt.run_id, attempt.path, attempt.epoch) in owned
            if not held and attempt.granted_us < self.now_us() - age_us - 1_000_000:
                self._lost(attempt)

    def _lost(self, attempt: Attempt) -> None:
        if attempt.reason is None:
            log.info("a lease was lost: somebody else has the task", run=attempt.run_id, task=attempt.path)
        attempt.tell(LEASE_LOST)

    async def _look_around(self) -> None:
        """The slow poll: leases of dead workers, runs that others advanced, our own registration."""
        engine, config = self.engine, self.engine.config
        while True:
            try:
                gone = await engine.store.expire_workers() if self._may_judge() else []
                for name in gone:
                    log.warning("a worker is gone; its tasks are offered again", worker=name)
                await self._look_for_changes()
            except StoreError as error:
                log.debug("the store could not be looked at", error=str(error))
            await asyncio.sleep(config.slow_poll_seconds)

    async def _keep_time(self) -> None:
        """What is due by the clock alone: it must not wait for a store that doesn't answer."""
        while True:
            await asyncio.sleep(self.engine.config.slow_poll_seconds)
            self._look_for_timeouts()
            self._check_registration()

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(self.engine.config.reconcile_seconds)
            try:
                await self.reconciler.look()
            except StoreError as error:
                log.debug("the reconciler was stopped by the store", error=str(error))

    def _look_for_timeouts(self) -> None:
        now_us = self.now_us()
        for attempt in list(self._attempts.values()):
            if attempt.overdue(now_us):
                attempt.tell(TIMEOUT)

    async def _look_for_changes(self) -> None:
        actors = {a.run_id: a.actor for a in self._attempts.values() if not a.actor.committing}
        known = {run_id: actor.known_seq for run_id, actor in actors.items()}
        if not known:
            return
        for run_id in await self.engine.store.changed(known):
            actor = actors[run_id]
            if not actor.committing and actor.known_seq == known[run_id]:
                actor.refresh()

    def _may_judge(self) -> bool:
        """Whether a silent worker may be called lost by this one: not while (or just after) we couldn't reach the store
        ourselves. An outage is no death."""
        now_us = self.engine.clock.monotonic_us()
        return now_us >= self._judges_from_us and now_us - self._registered_us <= self._silence_us

    def _check_registration(self) -> None:
        """Two thirds of the lease without a heartbeat: others may soon own our tasks. Stop before that."""
        silent_us = self.engine.clock.monotonic_us() - self._registered_us
        if silent_us > self._lease_us * 2 // 3 and not self._suspended:
            self._suspended = True
            log.error(
                "no heartbeat for too long; the worker lets go of its tasks",
                worker=self.name,
                seconds=round(silent_us / 1_000_000, 1),
            )
            for attempt in list(self._attempts.values()):
                attempt.tell(LEASE_LOST)
