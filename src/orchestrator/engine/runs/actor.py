"""The actor of one run: the only place in a process where that run's state is advanced.

Commands gather in its inbox; a turn feeds all of them through the kernel and writes their events as one commit. Only
when the store has said OK do they count: callers hear of it, new tasks begin. If somebody else advanced the run first,
the state is thrown away, loaded again, and the same commands are decided again.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from orchestrator.engine.attempts.blobs import Unwritten
from orchestrator.engine.attempts.payloads import decoded
from orchestrator.engine.runs.ahead import SECONDS_MAX, Ahead, Runner, following
from orchestrator.engine.runs.finishing import finish_run
from orchestrator.engine.runs.index import index_of
from orchestrator.engine.runs.rows import enqueue_of
from orchestrator.engine.runs.summary import summarize
from orchestrator.engine.sealing import refuse_sealed
from orchestrator.errors import (
    CommitUnknown,
    Conflict,
    Fenced,
    InternalError,
    LimitExceeded,
    NotFound,
    OrchestratorError,
    StoreError,
    StoreIncompatible,
    StoreUnavailable,
)
from orchestrator.kernel.apply import fold
from orchestrator.kernel.commands import Command, ForkRun, StartRun
from orchestrator.kernel.events import JOURNAL_FORMAT, RULES_VERSION, Event, decode_all, encode
from orchestrator.kernel.handle import handle, needs_output
from orchestrator.kernel.messages import encode_message
from orchestrator.kernel.outlook import Work, message_path, work_of
from orchestrator.kernel.state import RunState, decode_state, encode_state
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import rfc3339
from orchestrator.model.definition import Definition
from orchestrator.model.grafts import grafted
from orchestrator.stores.contract import (
    Blob,
    Commit,
    CommitAnswer,
    Enqueue,
    Lease,
    LoadedRun,
    Outcome,
    TaskKind,
)

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine

CONFLICTS_BEFORE_TURN = 3
"""A writer that was refused so often has the run to itself for one turn (`Commit.turn`)."""
_CONFLICT_PAUSE_SECONDS = 0.02
OUTAGE_SECONDS = 3.0
"""How long a command waits behind what the store doesn't take, before it is told so."""

Done = Callable[["Accepted | BaseException"], None]

log: Any = structlog.get_logger("orchestrator.run")


class Accepted:
    """A command was carried out and is durable: its events (none for a repeat), and the run's state right after.

    The state belongs to the actor: read it at once, don't keep or change it.
    """

    __slots__ = ("events", "state")

    def __init__(self, events: Sequence[Event], state: RunState) -> None:
        self.events = events
        self.state = state


class Item:
    """One command on its way, with the lease that it stands on.

    `attempt` is who says it, if an attempt does: with epoch 0 it runs ahead of the disk. `pure`: it is the result of a
    pure task, and may wait for the results of others.
    """

    __slots__ = (
        "attempt",
        "blobs",
        "command",
        "done",
        "epoch",
        "events",
        "finish",
        "impatient",
        "lines",
        "path",
        "pure",
        "rechecked",
        "refusal",
    )

    def __init__(
        self,
        command: Command,
        done: Done,
        *,
        path: str | None = None,
        epoch: int = 0,
        finish: bool = True,
        blobs: Sequence[Blob] = (),
        impatient: bool = False,
        attempt: Runner | None = None,
        pure: bool = False,
    ) -> None:
        self.command = command
        self.done = done
        self.path = path
        self.epoch = epoch
        self.finish = finish
        self.attempt = attempt
        self.pure = pure
        self.rechecked = False
        self.blobs = blobs
        self.impatient = impatient
        self.events: Sequence[Event] = ()
        self.lines: Sequence[bytes] = ()
        self.refusal: OrchestratorError | None = None


class RunActor:
    """See the module. Everything here happens on the engine's event loop."""

    __slots__ = (
        "_ahead",
        "_busy",
        "_conflicts",
        "_definition",
        "_engine",
        "_fresh",
        "_in_flight",
        "_inbox",
        "_indexed",
        "_loading",
        "_rechecks",
        "_reserved",
        "_snapshot_at",
        "_snapshot_seq",
        "known_seq",
        "run_id",
        "running",
        "stale",
        "state",
    )

    def __init__(self, engine: "Engine", run_id: str) -> None:
        self._engine = engine
        self.run_id = run_id
        self.state: RunState | None = None
        self._definition: Definition | None = None
        self.known_seq = 0
        self.stale = False
        self.running: dict[str, Any] = {}
        self._inbox: list[Item] = []
        self._in_flight: list[Item] = []
        self._ahead = Ahead()
        self._busy = False
        self._conflicts = 0
        self._loading: asyncio.Task[None] | None = None
        self._fresh = False
        self._rechecks: list[Item] = []
        self._indexed: RunStatus | None = None
        self._snapshot_at = self._snapshot_seq = 0
        self._reserved = 0

    @property
    def definition(self) -> Definition | None:
        """The run's version, and the plans that were grafted to the run."""
        definition, state = self._definition, self.state
        if definition is not None and state is not None and (state.plans or definition.base is not None):
            definition = self._definition = grafted(definition, state.plans)
        return definition

    @property
    def idle(self) -> bool:
        """Nothing on its way, nothing running."""
        return not (self._busy or self._inbox or self.running or self._ahead.held)

    @property
    def committing(self) -> bool:
        """Our state runs ahead of the store's: what the store tells of the run may be our own doing."""
        return bool(self._in_flight or self._ahead.held)

    def post(self, item: Item) -> None:
        """Put a command into the inbox; `item.done` is called once, when it is durable or refused."""
        self._inbox.append(item)
        if self._busy:
            return
        self._busy = True
        if self.running:  # others may end in this moment too: one commit for all of them
            self._engine.loop.call_soon(self._turn)
        else:
            self._turn()

    async def ask(
        self,
        command: Command,
        *,
        path: str | None = None,
        epoch: int = 0,
        finish: bool = True,
        blobs: Sequence[Blob] = (),
        impatient: bool = False,
    ) -> Accepted:
        """Post a command and wait until it is durable. With `path` it stands on that lease, and ends it by `finish`.

        Raises:
            Conflict, LimitExceeded: the kernel refused it.
            Fenced: the lease is gone.
            NotFound: there is no such run.
            StoreError: the store failed; StoreUnavailable means that nothing happened. A patient command waits
                for the store instead.
        """
        future: asyncio.Future[Accepted] = self._engine.loop.create_future()

        def done(result: Accepted | BaseException) -> None:
            if future.done():
                return
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

        item = Item(command, done, path=path, epoch=epoch, finish=finish, blobs=blobs, impatient=impatient)
        self.post(item)
        if not impatient:
            return await future
        looking = self._engine.loop.call_later(OUTAGE_SECONDS, self._give_up_if_stuck, item, future)
        try:
            return await future
        finally:
            looking.cancel()

    def _give_up_if_stuck(self, item: Item, future: "asyncio.Future[Accepted]") -> None:
        """In an outage a result of a task may be waiting for the store; who asked after it must not wait as long."""
        trouble = self._engine.committer.trouble
        if trouble is not None and item in self._inbox:
            self._inbox.remove(item)
            item.done(StoreUnavailable(trouble))
        elif trouble is not None and item in self._in_flight:
            item.done(CommitUnknown(trouble))
        if not future.done():
            self._engine.loop.call_later(OUTAGE_SECONDS, self._give_up_if_stuck, item, future)

    def refresh(self) -> None:
        """The store may know more than we do: load before the next turn, and look at once if tasks run here."""
        self.stale = True
        if self.running and not self._busy:
            self._busy = True
            self._engine.loop.call_soon(self._turn)

    def adopt(self, state: RunState, definition: Definition) -> None:
        """Begin with a state that has no journal yet: a new run, or a fork of another."""
        self.state, self._definition = state, definition

    async def loaded(self) -> tuple[RunState, Definition]:
        """The state, loaded if need be. Only for one who reads it before the next await.

        Raises:
            NotFound, StoreError: it can't be loaded.
        """
        if (
            self.state is None
            or self.definition is None
            or self._loading
            or (self.stale and not self.committing)
        ):
            await self._load()
        assert self.state is not None
        assert self.definition is not None
        return self.state, self.definition

    # --- one turn -------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self.stale:
            self._throw_away()
        definition = self.definition
        if self.state is None or definition is None or self.stale or self._loading is not None:
            self._engine.spawn(self._load_then_turn(), name=f"load {self.run_id}")
            return
        items, self._inbox = self._inbox, []
        state, ahead = self.state, self._ahead
        if ahead.used:
            items = [item for item in items if ahead.counts(item) or self._too_late(item)]
        events, accepted = self._decide(items, state, definition)
        self._fresh = False
        if self.stale:  # a rule was broken: what was decided is thrown away, the good commands come again
            self._inbox[:0] = accepted
            self._next()
            return
        definition = self.definition or definition  # a plan may have been laid
        if ahead.runners:
            for item in accepted:
                ahead.said(item)
        if accepted and accepted[-1].pure and self._hold(events, accepted, state, definition):
            self._next()
            return
        if ahead.held:
            held, held_events = ahead.take()
            events, accepted = [*held_events, *events], [*held, *accepted]
        if events and not state.tasks and needs_output(state, definition):
            self._engine.spawn(self._finish_then_write(events, accepted), name=f"finish {self.run_id}")
            return
        self._write(events, accepted, ())

    def _too_late(self, item: Item) -> bool:
        item.done(Fenced(f"`{item.path}` of run {self.run_id} was computed ahead, and that counts no more"))
        return False

    def _hold(
        self, events: Sequence[Event], accepted: Sequence[Item], state: RunState, definition: Definition
    ) -> bool:
        """Hold back the results of pure tasks, and run what follows from them, if only pure tasks do."""
        worker, ahead = self._engine.worker, self._ahead
        if worker is None or self._rechecks or ahead.spent:
            return False
        if state.paused or state.ending is not None:
            return False
        if not all(item.pure and item.refusal is None for item in accepted):
            return False
        paths = following(events)
        if paths is None or not (paths or ahead.runners):
            return False
        freed = ahead.slots + sum(1 for item in accepted if item.epoch)
        if not worker.may_run_ahead(
            [definition.nodes[state.tasks[path].node] for path in paths], freed=freed
        ):
            return False
        timer = None
        if not ahead.held:
            timer = self._engine.loop.call_later(SECONDS_MAX, self.write_ahead)
        ahead.hold(accepted, events, timer)
        for path in paths:
            ahead.started(path, worker.run_ahead(self, state, state.tasks[path], definition))
        return True

    def write_ahead(self) -> None:
        """Write what was computed ahead, because the time is up or somebody waits for it. A turn that is about to
        come does it itself."""
        if not self._busy and self._ahead.held:
            self._busy = True
            if self.stale:
                self._turn()
            else:
                accepted, events = self._ahead.take()
                self._write(events, accepted, ())

    def _decide(
        self, items: list[Item], state: RunState, definition: Definition
    ) -> tuple[list[Event], list[Item]]:
        events: list[Event] = []
        accepted: list[Item] = []
        now_us = self._engine.now_us()
        for item in items:
            item.refusal = None
            try:
                item.events = handle(
                    state,
                    item.command,
                    now_us=now_us,
                    definition=definition,
                    cancel_grace_us=self._engine.cancel_grace_us,
                )
                # Here and not later: what can't be written down is the fault of this command alone.
                item.lines = [encode(event) for event in item.events]
            except (Conflict, LimitExceeded) as refusal:
                # A fork is decided on a state of its own, which nobody else can have moved on.
                if not (self._fresh or item.rechecked or isinstance(item.command, ForkRun)):
                    item.rechecked = True
                    self._rechecks.append(item)
                    continue
                if not events and not self._ahead.held:
                    item.done(refusal)
                    continue
                # It rests on events that aren't durable yet: it counts once they are, else it is decided again.
                item.events, item.lines, item.refusal = (), (), refusal
                accepted.append(item)
                continue
            except Exception as bug:  # one run's broken rule must not end the worker
                log.exception("a rule was broken", run=self.run_id, command=type(item.command).__name__)
                self._forget_state()
                accepted.extend(items[items.index(item) + 1 :])
                item.done(bug if isinstance(bug, OrchestratorError) else InternalError(repr(bug)))
                return [], accepted
            if not item.events and not (self._fresh or item.rechecked):
                # Nothing to do may also come from a state that others have moved on, as a refusal may.
                item.rechecked = True
                self._rechecks.append(item)
                continue
            events.extend(item.events)
            accepted.append(item)
        return events, accepted

    async def _finish_then_write(self, events: list[Event], accepted: list[Item]) -> None:
        state, definition = self.state, self.definition
        assert state is not None
        assert definition is not None
        engine = self._engine
        try:
            command, blobs = await finish_run(
                state,
                definition,
                reader=engine.blobs,
                unwritten=_unwritten(events, accepted, self.run_id),
                codec=engine.codec,
                redactor=engine.redactor,
                now=rfc3339(engine.now_us()),
            )
            events.extend(handle(state, command, now_us=engine.now_us(), definition=definition))
        except (
            Exception
        ) as error:  # one run's broken rule must not end the worker, nor leave the run without a turn
            if not isinstance(error, OrchestratorError):
                log.exception("a run's output could not be made", run=self.run_id)
            self._forget_state()
            self._retry_or_fail(accepted, error)
            return
        self._write(events, accepted, blobs)

    def _write(self, events: list[Event], accepted: list[Item], blobs: Sequence[Blob]) -> None:
        leases: dict[str, Lease] = {}
        all_blobs = list(blobs)
        lines: list[bytes] = []
        impatient = bool(accepted)
        for item in accepted:
            if item.path is not None and item.epoch and item.refusal is None:
                known = leases.get(item.path)
                finish = item.finish or (known is not None and known.finish)
                leases[item.path] = Lease(path=item.path, epoch=item.epoch, finish=finish)
            if item.blobs:
                all_blobs.extend(item.blobs)
            lines.extend(item.lines)
            impatient = impatient and item.impatient
        if not events and not leases:
            self._answer(accepted)
            self._next()
            return
        assert self.state is not None
        assert self.definition is not None
        try:
            if len(lines) < len(events):
                lines.extend([encode(event) for event in events[len(lines) :]])
            commit = self._build(events, lines, list(leases.values()), all_blobs, self.state, self.definition)
        except Exception as bug:  # whatever it is, the run must get its next turn
            log.exception("a commit could not be built", run=self.run_id)
            self._unreserve()
            self._forget_state()
            self._retry_or_fail(accepted, InternalError(repr(bug)))
            return
        self._in_flight = accepted
        self._engine.committer.submit(commit, self._answered, impatient=impatient)

    def _build(
        self,
        events: list[Event],
        lines: list[bytes],
        leases: list[Lease],
        blobs: list[Blob],
        state: RunState,
        definition: Definition,
    ) -> Commit:
        engine = self._engine
        work = work_of(events, state, definition) if events else Work()
        index = None
        if events and state.status is not self._indexed:
            index = index_of(state)
        snapshot = None
        due = self._snapshot_is_due(state)
        if due or (self.known_seq == 0 and state.forked_from is not None):
            snapshot = encode_state(state)
        self._snapshot_at = state.seq if due else 0
        return Commit(
            commit_id=engine.new_commit_id(),
            run_id=self.run_id,
            namespace=state.namespace,
            expected=self.known_seq if events else None,
            worker=engine.worker_name,
            events=lines,
            stands_on=leases,
            withdraw=work.withdraw,
            hold=work.hold,
            enqueue=self._enqueue(work, leases, definition, state),
            blobs=blobs,
            snapshot=snapshot,
            summary=summarize(state, events[-1]) if events else None,
            index=index,
            turn=engine.writer if self._conflicts >= CONFLICTS_BEFORE_TURN - 1 else "",
        )

    def _snapshot_is_due(self, state: RunState) -> bool:
        since = state.seq - self._snapshot_seq
        if since < self._engine.config.snapshot_every:
            return False
        return since >= 2 * (len(state.values) + len(state.tasks) + len(state.visits))

    def _enqueue(
        self, work: Work, leases: list[Lease], definition: Definition, state: RunState
    ) -> list[Enqueue]:
        rows: list[Enqueue] = []
        if work.rows:
            leasable = 0
            worker = self._engine.worker
            if worker is not None and not state.held:
                freed = 0
                for lease in leases:
                    freed += lease.finish
                if self._ahead.runners:
                    freed += sum([self._ahead.is_running(row.path) for row in work.rows])
                leasable, self._reserved = worker.reserve(len(work.rows), freed=freed)
            for row in work.rows:
                due = max(0, row.due_us - self._engine.now_us()) if row.due_us else 0
                task = None if row.timer else state.tasks.get(row.path)
                leased = False
                if leasable > 0 and due == 0 and task is not None and worker is not None:
                    leased = worker.takes(definition.nodes[task.node])
                    leasable -= leased
                rows.append(
                    enqueue_of(row, task, definition, delay_us=due, leased=leased, priority=state.priority)
                )
        for message in work.messages:
            payload = encode_message(message)
            rows.append(Enqueue(path=message_path(message), kind=TaskKind.MESSAGE, payload=payload))
        return rows

    # --- the answer -----------------------------------------------------------------------------------------------

    def _answered(self, answer: CommitAnswer | BaseException) -> None:
        items, self._in_flight = self._in_flight, []
        self._unreserve()
        if isinstance(answer, BaseException):
            self._forget_state()
            self._retry_or_fail(items, answer)
        elif answer.outcome is Outcome.OK:
            self._committed(items, answer)
        elif answer.outcome is Outcome.FENCED:
            self._forget_state()
            lost = set(answer.lost)
            kept = [item for item in items if item.path not in lost]
            for item in items:
                if item.path in lost:
                    item.done(Fenced(f"the lease on `{item.path}` of run {self.run_id} is gone"))
            self._inbox[:0] = kept
            self._next()
        else:
            self._conflicted(items, ours=answer.seq != self.known_seq)

    def _unreserve(self) -> None:
        worker = self._engine.worker
        if worker is not None and self._reserved:
            worker.unreserve(self._reserved)
        self._reserved = 0

    def _committed(self, items: list[Item], answer: CommitAnswer) -> None:
        self._conflicts = 0
        state = self.state
        assert state is not None
        for item in items:
            if item.events:
                self.known_seq = state.seq
                self._indexed = state.status
                self._snapshot_seq = self._snapshot_at or self._snapshot_seq
                break
        self._answer(items)
        leases = answer.leases
        if self._ahead.runners:
            leases = self._ahead.adopt(leases, self._inbox)
        self._engine.committed(self, state, items, leases)
        self._next()

    def _conflicted(self, items: list[Item], *, ours: bool) -> None:
        """Decide again. Not `ours`: the run is where we expect it, and somebody else has it for a moment: wait."""
        self._forget_state()
        again: list[Item] = []
        for item in items:
            if isinstance(item.command, StartRun | ForkRun):
                item.done(Conflict(f"run {self.run_id} exists", reason="run_exists"))
            else:
                again.append(item)
        self._inbox[:0] = again
        if ours:
            self._conflicts += 1
            self._next()
            return
        pause = self._engine.random.uniform(0, _CONFLICT_PAUSE_SECONDS)
        self._engine.loop.call_later(pause, self._next)

    def _retry_or_fail(self, items: list[Item], error: BaseException) -> None:
        """After an outage: patient commands come again, the others hear of it. Any other error is theirs."""
        passing = isinstance(error, StoreUnavailable | CommitUnknown) and not self._engine.closing
        again = [item for item in items if passing and not item.impatient]
        for item in items:
            if item not in again:
                item.done(error)
        self._inbox[:0] = again
        self._engine.loop.call_later(_CONFLICT_PAUSE_SECONDS if again else 0, self._next)

    def _answer(self, items: list[Item]) -> None:
        state = self.state
        assert state is not None
        for item in items:
            item.done(item.refusal or Accepted(item.events, state))

    def _next(self) -> None:
        if self._rechecks:
            # A refusal must not come from a state that others have moved on: load, and ask the kernel again.
            self._inbox[:0] = self._rechecks
            self._rechecks = []
            self.stale = True
        if self._inbox or (self.stale and self.running):
            self._engine.loop.call_soon(self._turn)
        else:
            self._busy = False
            self._engine.rests(self)

    # --- loading --------------------------------------------------------------------------------------------------

    def _forget_state(self) -> None:
        self.state = None
        self.stale = True
        self._throw_away()

    def _throw_away(self) -> None:
        """What was computed ahead counts no more; the commands that stand on leases are decided again."""
        held, _ = self._ahead.take()
        self._inbox[:0] = held
        self._ahead.lose()

    async def _load_then_turn(self) -> None:
        try:
            await self._load()
        except (StoreUnavailable, CommitUnknown) as error:
            items, self._inbox = self._inbox, []
            self._retry_or_fail(items, error)
        except (OrchestratorError, msgspec.ValidationError) as error:
            items, self._inbox = self._inbox, []
            for item in items:
                item.done(error if isinstance(error, OrchestratorError) else _unreadable(self.run_id, error))
            self._busy = False
            self._engine.rests(self)
        else:
            if self.state is not None:
                self._engine.refreshed(self, self.state)
            if self._inbox:
                self._fresh = True
                self._turn()
            else:
                self._next()

    async def _load(self) -> None:
        """Load the run. One load at a time: a second one would end later with what may be older."""
        if self._loading is None:
            self._loading = self._engine.loop.create_task(self._load_alone(), name=f"load {self.run_id}")
        loading = self._loading
        await asyncio.wait((loading,))
        loading.result()

    async def _load_alone(self) -> None:
        self.stale = False
        try:
            loaded = await self._engine.store.load(self.run_id)
            if loaded is None:
                raise NotFound("run", self.run_id)
            state = restore(loaded)
            definition = await self._engine.definitions.get(
                state.workflow, state.version, namespace=state.namespace
            )
        except BaseException:
            self.stale = True
            raise
        finally:
            self._loading = None
        self.state, self._definition = state, definition
        self.known_seq, self._snapshot_seq = loaded.seq, loaded.snapshot_seq
        self._indexed = RunStatus(loaded.index.status)


def _unwritten(events: Sequence[Event], items: Sequence[Item], run_id: str) -> Unwritten:
    """What these commands decided, for a reader that comes before the store has it."""
    blobs = {(run_id, blob.blob_id): decoded(blob) for item in items for blob in item.blobs}
    return Unwritten(events, blobs)


def restore(loaded: LoadedRun) -> RunState:
    """The state of a loaded run.

    Raises:
        StoreIncompatible: a newer release wrote it.
        StoreError: it can't be read.
    """
    try:
        state = decode_state(loaded.snapshot) if loaded.snapshot is not None else RunState()
        fold(state, list(decode_all(loaded.events)))
    except msgspec.DecodeError as error:
        for data in (loaded.snapshot or b"", *loaded.events):
            refuse_sealed(data)
        raise _unreadable(loaded.run_id, error) from None
    if state.format > JOURNAL_FORMAT or state.rules > RULES_VERSION:
        raise StoreIncompatible(
            f"run {loaded.run_id} has journal format {state.format} and rules {state.rules}; this release knows "
            f"{JOURNAL_FORMAT} and {RULES_VERSION}"
        )
    return state


def _unreadable(run_id: str, error: Exception) -> StoreError:
    return StoreIncompatible(f"the journal of run {run_id} can't be read by this release: {error}")
