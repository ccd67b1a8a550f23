"""Forks as people ask for them: planned or started, from the same words. Part of the `Service`."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.engine.attempts.failures import clean
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.ids import new_run_id
from orchestrator.engine.service import inputs
from orchestrator.engine.service.erasing import refuse_fork_of_erased
from orchestrator.engine.travel.cutting import Asked, RunPast, find_cut, patches_at
from orchestrator.engine.travel.past import Cost, Past, PastTask
from orchestrator.engine.travel.planning import ChildPast, Forked, again_of, plan_view, repeats_of
from orchestrator.engine.views.runs import View
from orchestrator.errors import UsageError
from orchestrator.kernel.commands import ForkRun, TaskPatch
from orchestrator.kernel.events import RunStarted, decode
from orchestrator.kernel.handle import handle
from orchestrator.kernel.values import ForkOrigin, Payload
from orchestrator.model.definition import Definition
from orchestrator.model.plain import is_array, is_dict
from orchestrator.stores.contract import Blob, RunRow

EVENTS_AT_ONCE = 1_000
CHILDREN_READ_MAX = 100
"""Child runs that a plan looks into; of more it says how many it left out."""

CHANGES = ("input", "vars", "outputs", "decisions", "version", "reason")


class Prepared(NamedTuple):
    """A fork that could be started: the kernel's command, the blobs of its values, the version that it goes on with."""

    command: ForkRun
    blobs: list[Blob]
    definition: Definition


class Forks:
    """Forks of one namespace's runs."""

    def __init__(self, engine: Engine, *, namespace: str) -> None:
        self._engine = engine
        self._namespace = namespace

    async def start(self, row: RunRow, *, seq: int | None, changes: Mapping[str, Any]) -> str:
        """Start the fork; gives its id. Raises as `Service.fork`."""
        prepared = await self._prepare(row, seq, changes)
        await self._engine.fork(prepared.command, blobs=prepared.blobs)
        return prepared.command.run_id

    async def plan(self, row: RunRow, *, seq: int | None, changes: Mapping[str, Any]) -> View:
        """What the fork would do; nothing is kept of it. Raises as `Service.fork`."""
        prepared = await self._prepare(row, seq, changes)
        command, definition = prepared.command, prepared.definition
        past = await self._past(row.run_id, row.seq, cut=command.seq)
        state = await self._engine.state_at_end_of(command.parent_run, command.seq)
        there = frozenset((*state.tasks, *state.set_aside))
        state.seq = 0
        handle(state, command, now_us=self._engine.now_us(), definition=definition)
        forked = Forked(
            state=state,
            definition=definition,
            version=state.version,
            replaced=tuple(path for path in command.patches if path not in there),
            completed=tuple(path for path in command.patches if path in there),
        )
        below = _Children(self)
        children = await below.of(again_of(past, forked))
        view = plan_view(row.run_id, past, forked, cut=command.seq, asked=seq, children=children)
        return {**view, "children_unread": below.unread}

    # --- from words to the command --------------------------------------------------------------------------------

    async def _prepare(self, row: RunRow, seq: int | None, changes: Mapping[str, Any]) -> Prepared:
        refuse_fork_of_erased(row)
        unknown = changes.keys() - set(CHANGES)
        if unknown:
            raise UsageError(f"a fork can change {', '.join(CHANGES[:-1])}, not {', '.join(sorted(unknown))}")
        engine = self._engine
        version: int | None = changes.get("version")
        definition = await engine.definitions.get(
            row.index.workflow, version or row.index.version, namespace=self._namespace
        )
        new_id = new_run_id(engine.now_us())
        blobs: list[Blob] = []

        def kept(value: Any, what: str) -> Payload:
            inputs.check_input(value, None)
            payload, more = inputs.encode(engine, value, run_id=new_id, what=what)
            blobs.extend(more)
            return payload

        given: Payload | None = None
        if "input" in changes:
            await asyncio.to_thread(inputs.check_input, changes["input"], definition.input_schema)
            given = kept(changes["input"], "input")
        variables = {name: kept(v, f"variable {name}") for name, v in _map(changes, "vars").items()}
        outputs = {path: kept(v, f"output of {path}") for path, v in _map(changes, "outputs").items()}
        reason: str | None = changes.get("reason")
        asked = Asked(
            outputs=outputs,
            decisions={path: _targets(path, v) for path, v in _map(changes, "decisions").items()},
            reason=clean(engine.redactor.redact(reason)) if reason else None,
        )
        cut, patches = await self._cut(row, asked, seq)
        command = ForkRun(
            run_id=new_id,
            parent_run=row.run_id,
            seq=cut,
            version=version,
            input=given,
            variables=variables,
            patches=patches,
        )
        return Prepared(command, blobs, definition)

    async def _cut(self, row: RunRow, asked: Asked, seq: int | None) -> tuple[int, dict[str, TaskPatch]]:
        if not asked.paths:
            return find_cut(RunPast(row.run_id, row.seq, 0, {}), asked, seq), {}
        whole = await self._past(row.run_id, row.seq)
        run = RunPast(row.run_id, row.seq, whole.first_end, whole.tasks)
        cut = find_cut(run, asked, seq)
        at_cut = await self._past(row.run_id, row.seq, cut=cut)
        return cut, patches_at(run, at_cut.tasks, cut, asked)

    # --- reading what was -----------------------------------------------------------------------------------------

    async def _past(self, run_id: str, until: int, *, cut: int | None = None) -> Past:
        """The run's past up to `until`, its line of parents first."""
        line: list[ForkOrigin] = []
        origin: ForkOrigin | None = await self._origin(run_id)
        while origin is not None:
            line.append(origin)
            origin = await self._origin(origin.run)
        past = Past(cut=cut)
        for parent in reversed(line):
            past.begin_own()
            async for lines in self._pages(parent.run, parent.seq):
                past.of_parent(lines)
        past.begin_own()
        async for lines in self._pages(run_id, until):
            past.extend(lines)
        past.done()
        return past

    async def _origin(self, run_id: str) -> ForkOrigin | None:
        lines = await self._engine.store.read_journal(run_id, limit=1)
        first = decode(lines[0]) if lines else None
        return first.forked_from if isinstance(first, RunStarted) else None

    async def _pages(self, run_id: str, until: int) -> AsyncIterator[list[bytes]]:
        after = 0
        while after < until:
            limit = min(EVENTS_AT_ONCE, until - after)
            lines = await self._engine.store.read_journal(run_id, after=after, limit=limit)
            if not lines:
                return
            after += len(lines)
            yield lines
            await asyncio.sleep(0)

    async def child(self, run_id: str) -> tuple[Past, Definition] | None:
        """A child run's whole past, all of which would be done again; None if it never began here."""
        row = await self._engine.store.get_run(run_id)
        if row is None or row.namespace != self._namespace:
            return None
        definition = await self._engine.definitions.get(
            row.index.workflow, row.index.version, namespace=self._namespace
        )
        return await self._past(run_id, row.seq, cut=0), definition


class _Children:
    """The child runs below some tasks, theirs included, as far as `CHILDREN_READ_MAX` lets one look."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks
        self._read = 0
        self.unread = 0

    async def of(self, tasks: Iterable[PastTask]) -> list[ChildPast]:
        """One line for each child that these tasks would start again."""
        found: list[ChildPast] = []
        for task in tasks:
            for run, workflow in task.children.values():
                if self._read >= CHILDREN_READ_MAX:
                    self.unread += 1
                    continue
                self._read += 1
                found.append(await self._child(run, workflow, task.path))
        return found

    async def _child(self, run: str, workflow: str, path: str) -> ChildPast:
        known = await self._forks.child(run)
        if known is None:
            return ChildPast(run, workflow, path, 0, {}, Cost())
        past, definition = known
        repeats, cost, tasks = repeats_of(past, definition), Cost(), len(past.tasks)
        cost.plus(past.cost)
        for below in await self.of(past.tasks.values()):
            tasks += below.tasks
            cost.plus(below.cost)
            for effect, count in below.repeats.items():
                repeats[effect] = repeats.get(effect, 0) + count
        return ChildPast(run, workflow, path, tasks, repeats, cost)


def _map(changes: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of the patch that is a map; none is an empty one."""
    value = changes.get(name)
    if value is None:
        return {}
    if not is_dict(value):
        raise UsageError(f"`{name}` of a fork is an object by name, not {str(value)[:40]!r}")
    return value


def _targets(path: str, value: Any) -> Sequence[str]:
    """The targets of a route as people write it: one, several, or none (the path ends there)."""
    if isinstance(value, str):
        return [value]
    if is_array(value) and all(isinstance(one, str) for one in value):
        return [str(one) for one in value]
    kind = "an object" if is_dict(value) else repr(value)[:40]
    raise UsageError(
        f"the decision of `{path}` is a node id or label, or a list of them ([] ends its path), not {kind}"
    )


def changes_of(patch: Mapping[str, Any]) -> dict[str, Any]:
    """A patch in its words of today: `variables` means `vars`.

    Raises:
        UsageError: both are given.
    """
    changes = dict(patch)
    if "variables" in changes:
        if "vars" in changes:
            raise UsageError("`variables` is another word for `vars`; give one of them")
        changes["vars"] = changes.pop("variables")
    return changes
