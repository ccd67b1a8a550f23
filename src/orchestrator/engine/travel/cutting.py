"""Where a fork is cut, and what it changes of the past: what people ask for, made into the kernel's command or refused.

A decision is changed where it was made: the fork is cut before the task's completion, which is then repeated with its
recorded output and another route. An output is replaced where the task has completed and nothing that is over has read
it; a task that is still open (or failed) at the cut completes with the output given. So whatever depends on a changed
result lies behind the cut, and is worked out anew by the same rules as ever.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from orchestrator.engine.travel.past import PastTask
from orchestrator.engine.views import words
from orchestrator.errors import Conflict, NotFound, UsageError
from orchestrator.kernel.commands import RouteChoice, TaskPatch
from orchestrator.kernel.values import Payload
from orchestrator.model.nearest import Nearest


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What of the past is to be different: values for outputs, targets for decisions, by task path."""

    outputs: Mapping[str, Payload] = {}
    decisions: Mapping[str, Sequence[str]] = {}
    reason: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every task that is named, once."""
        return tuple(dict.fromkeys((*self.decisions, *self.outputs)))


class RunPast(NamedTuple):
    """A run to be forked: its last seq, the end of its first group, and its tasks as they are at its end."""

    run_id: str
    seq: int
    first_end: int
    tasks: Mapping[str, PastTask]


def find_cut(run: RunPast, asked: Asked, seq: int | None) -> int:
    """The event at which the fork is cut.

    With `seq` that one, or, where it ends the group of a decision that is to be changed, the event before that group.
    Without, the last one at which everything that is asked for can be changed.

    Raises:
        NotFound: there is no such task. UsageError: no such seq, or none at all. Conflict (`fork_patch`): the changes
            can't be made there.
    """
    for path in asked.paths:
        if path not in run.tasks:
            raise NotFound("task", path, suggestion=Nearest().find(path, tuple(run.tasks)))
    if seq is not None and not 1 <= seq <= run.seq:
        raise UsageError(f"run {run.run_id} has events 1 to {run.seq:,}, and none with seq {seq:,}")
    before = [_before(run, run.tasks[path], asked) for path in asked.decisions]
    before += [
        _before(run, run.tasks[path], asked)
        for path in asked.outputs
        if path not in asked.decisions and _must_be_undone(run.tasks[path])
    ]
    if seq is None:
        if before:
            return min(before)
        ends = [run.tasks[path].ended_last for path in asked.outputs]
        if not ends:
            raise UsageError(
                "say where to cut: give `seq`, the last event that the fork shares with its parent"
            )
        if all(run.tasks[path].status == "completed" for path in asked.outputs):
            return max(*ends, run.first_end)
        return max(ends) or run.seq
    for path in asked.decisions:
        task = run.tasks[path]
        if task.status == "open" or seq < task.ended_group:
            continue
        if seq != task.ended_last:
            raise _refused(
                f"`{path}` went its way at event {task.ended_last} of run {run.run_id}, and what followed builds on "
                f"that; to send it another way give seq {task.ended_last}, or leave seq out"
            )
        seq = task.ended_group - 1
    return seq


def _must_be_undone(task: PastTask) -> bool:
    """It ended without a result: to get one, it must be open again."""
    return task.status in ("skipped", "cancelled") or task.handled


def _before(run: RunPast, task: PastTask, asked: Asked) -> int:
    """The last event before the task ended; the last one of all where it is open."""
    if task.status == "open" or (task.status in ("failed", "cancelled") and not task.handled):
        return run.seq
    if task.ended_group <= 1:
        raise _refused(
            f"`{task.path}` ended before run {run.run_id} began, in the run that it was forked from; fork that one"
        )
    return task.ended_group - 1


def patches_at(run: RunPast, at_cut: Mapping[str, PastTask], cut: int, asked: Asked) -> dict[str, TaskPatch]:
    """What the kernel is to change at the cut. `at_cut`: the same tasks, folded with the cut.

    Raises:
        Conflict (`fork_patch`): a task isn't there yet, has ended without a result, has gone its way, gave no output
            that could be kept, or its output was read by something that is over at the cut.
    """
    patches: dict[str, TaskPatch] = {}
    for path in asked.paths:
        task = at_cut[path]
        if task.at_cut is None:
            raise _refused(
                f"`{path}` wasn't there yet at event {cut} of run {run.run_id}: event {task.scheduled} scheduled it; "
                "cut there or later"
            )
        given, route = asked.outputs.get(path), asked.decisions.get(path)
        if task.at_cut in ("open", "cancelled") or (task.at_cut == "failed" and not task.handled):
            patches[path] = _completion(run, task, given, route, asked.reason)
        elif given is not None and task.at_cut == "completed" and route is None:
            _check_unread(run, at_cut, cut, task)
            patches[path] = TaskPatch(output=given)
        else:
            how = "failed, and another node took over" if task.handled else f"was {task.at_cut}"
            raise _refused(
                f"`{path}` {how} by event {cut} of run {run.run_id}; cut before that, at event "
                f"{task.ended_group - 1} or earlier"
            )
    return patches


def _completion(
    run: RunPast, task: PastTask, given: Payload | None, route: Sequence[str] | None, reason: str | None
) -> TaskPatch:
    """The completion of a task that is open at the cut: as it was recorded later, but for what is changed."""
    output = given if given is not None else task.output
    if output is None:
        raise _refused(
            f"`{task.path}` never gave an output in run {run.run_id}; give one with its decision, in `outputs`"
        )
    choice = None
    if route is not None:
        why = reason or f"chosen by hand in a fork of {run.run_id}"
        choice = RouteChoice(targets=tuple(route), by="person", reason=why)
    return TaskPatch(output=output, route=choice, variables=task.variables)


def _check_unread(run: RunPast, at_cut: Mapping[str, PastTask], cut: int, task: PastTask) -> None:
    """Nothing may build on a result that is replaced: neither what is over, nor the steps of what is open."""
    readers = [
        one
        for one in at_cut.values()
        if task.path in one.reads and one.first_trace and one.first_trace <= cut and one is not task
    ]
    if readers:
        names = words.names([one.path for one in readers])
        latest = min(one.first_trace for one in readers) - 1
        where = f"cut at event {latest} or earlier, or leave seq out" if latest else "fork the run before it"
        raise _refused(
            f"by event {cut} of run {run.run_id} {names} had built on the output of `{task.path}`; to change it {where}"
        )


def _refused(message: str) -> Conflict:
    return Conflict(message, reason="fork_patch")
