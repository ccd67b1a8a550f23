"""What a fork would do, said before it is started: what is reused, what runs again, what would repeat, the cost.

Nothing here guesses where the kernel can say: the fork is begun on a copy of the state, and thrown away. What that copy
has open runs for certain. Behind it stands what the run itself did from there, as far as the graph still leads to it;
and last what the graph leads to, although the run didn't come there.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.engine.travel.past import EFFECTS_ON_THE_WORLD, Cost, Past, PastStep, PastTask
from orchestrator.engine.views import words
from orchestrator.kernel.state import RunState
from orchestrator.model.definition import Definition
from orchestrator.model.grafts import block_of, grafted

View = dict[str, Any]

LISTED_MAX = 200
"""Tasks in each of a plan's lists; the totals count all of them."""

EFFECTS = ("pure", "read", "write", "irreversible")


class ChildPast(NamedTuple):
    """A child run that would be started again: what it did, with the children of its own."""

    run: str
    workflow: str
    path: str
    tasks: int
    repeats: Mapping[str, int]
    cost: Cost


class Forked(NamedTuple):
    """The fork as it would begin: its state right after its first group, its version, what is patched."""

    state: RunState
    definition: Definition
    version: int
    replaced: tuple[str, ...]
    completed: tuple[str, ...]


def again_of(past: Past, forked: Forked) -> list[PastTask]:
    """Of the tasks of the past those that would run again: open in the fork, or behind the cut and still led to."""
    led_to = _led_to(forked)
    again: dict[str, PastTask] = {}
    for task in past.tasks.values():
        comes = task.node in led_to or _is_laid_again(block_of(task.node), again, forked)
        if task.path in forked.state.tasks or (task.at_cut is None and comes):
            again[task.path] = task
    return list(again.values())


def _is_laid_again(path: str, again: Container[str], forked: Forked) -> bool:
    """Whether the task at `path` runs again and will, as far as anybody knows, lay its plan once more."""
    return path in again and path not in forked.state.plans


def plan_view(
    run_id: str, past: Past, forked: Forked, *, cut: int, asked: int | None, children: Iterable[ChildPast]
) -> View:
    """The plan as the API shows it."""
    again = again_of(past, forked)
    known = {task.path for task in again}
    state = forked.state
    definition = grafted(forked.definition, {**past.plans, **state.plans})
    starts = [_task(definition, state.tasks[path].node, path, past.tasks.get(path)) for path in state.tasks]
    later = [_task(definition, t.node, t.path, t) for t in again if t.path not in state.tasks]
    reused = [task for task in past.tasks.values() if _is_reused(task, forked)]
    met = {task.node for task in again} | {task.node for task in state.tasks.values()}
    new = [node for node in definition.nodes if node in _led_to(forked) and node not in met]
    repeats = [repeat for task in again if task.has_run and (repeat := _repeat(definition, task)) is not None]
    below = list(children)
    cost = Cost()
    for task in again:
        cost.plus(task.cost)
    for child in below:
        cost.plus(child.cost)
    counts = {
        effect: sum(one["effect"] == effect for one in repeats) + sum(c.repeats.get(effect, 0) for c in below)
        for effect in EFFECTS_ON_THE_WORLD
    }
    tasks_again = len(known | state.tasks.keys()) + sum(child.tasks for child in below)
    view: View = {
        "run": run_id,
        "seq": cut,
        "moved": asked is not None and asked != cut,
        "version": forked.version,
        "replaced": list(forked.replaced),
        "completed": list(forked.completed),
        "reused": _listed([_task(definition, task.node, task.path, task) for task in reused]),
        "starts": _listed(starts),
        "later": _listed(later),
        "new": _listed([{"node": node, "effect": _effect(definition, node)} for node in new]),
        "repeats": _listed(repeats),
        "repeated_effects": counts,
        "children": _listed([_child_view(child) for child in below]),
        "estimate": {
            "tasks": tasks_again,
            "cost_usd": round(cost.usd, 9) if cost.usd else 0.0,
            "usage": cost.usage,
            "basis": "what the same tasks recorded in this run; nodes that it didn't come to aren't in it",
        },
    }
    return {**view, "sentence": _sentence(view, ends=not state.status.live)}


def repeats_of(past: Past, definition: Definition) -> dict[str, int]:
    """How many tasks of a whole run had an effect on the world, by effect: what starting it again would repeat."""
    counts: dict[str, int] = dict.fromkeys(EFFECTS_ON_THE_WORLD, 0)
    definition = grafted(definition, past.plans)
    for task in past.tasks.values():
        repeat = _repeat(definition, task) if task.has_run else None
        if repeat is not None:
            counts[repeat["effect"]] += 1
    return counts


def _led_to(forked: Forked) -> set[str]:
    """The nodes that the fork can come to from where it begins."""
    successors = grafted(forked.definition, forked.state.plans).graph.successors
    todo = [task.node for task in forked.state.tasks.values()] + list(forked.state.arrivals)
    begun = set(forked.state.arrivals)
    seen: set[str] = set()
    while todo:
        for target in successors.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen | begun


def _is_reused(task: PastTask, forked: Forked) -> bool:
    if task.at_cut is None or task.path in forked.state.tasks:
        return False
    return task.path not in forked.completed


def _task(definition: Definition, node: str, path: str, task: PastTask | None) -> View:
    kept = [] if task is None else [s.name for s in task.steps.values() if s.answered and not s.behind]
    return {
        "path": path,
        "node": node,
        "effect": _effect(definition, node),
        "was": task.status if task is not None else None,
        "steps_kept": kept if task is None or task.at_cut == "open" else [],
    }


def _repeat(definition: Definition, task: PastTask) -> View | None:
    """What the task's code would do to the world once more: by itself, or in steps that it would take again."""
    steps = [step for step in task.steps.values() if _steps_on(step)]
    effect = _effect(definition, task.node)
    strongest = max([effect, *(step.effect for step in steps)], key=EFFECTS.index)
    if strongest not in EFFECTS_ON_THE_WORLD:
        return None
    return {
        "path": task.path,
        "node": task.node,
        "effect": strongest,
        "steps": [{"name": step.name, "effect": step.effect} for step in steps],
    }


def _steps_on(step: PastStep) -> bool:
    return (step.behind or not step.answered) and step.effect in EFFECTS_ON_THE_WORLD


def _effect(definition: Definition, node: str) -> str:
    """As the version is pinned to it; of a node that only the run knows what is assumed of any node."""
    known = definition.nodes.get(node)
    return known.effect.value if known is not None else "write"


def _child_view(child: ChildPast) -> View:
    return {
        "run": child.run,
        "workflow": child.workflow,
        "path": child.path,
        "tasks": child.tasks,
        "repeated_effects": dict(child.repeats),
        "cost_usd": child.cost.usd,
    }


def _listed(items: list[View]) -> View:
    return {"total": len(items), "items": items[:LISTED_MAX]}


def _sentence(view: View, *, ends: bool) -> str:
    reused = view["reused"]["total"]
    said = [f"{reused} {'task is' if reused == 1 else 'tasks are'} reused"]
    changed = [*view["replaced"], *view["completed"]]
    if changed:
        said.append(f"{words.names(changed)} {'has' if len(changed) == 1 else 'have'} what you give")
    starts = [one["path"] for one in view["starts"]["items"]]
    total = view["starts"]["total"]
    if starts:
        verb = "starts" if total == 1 else "start"
        said.append(f"{words.names(starts, total=total)} {verb} at once, and what follows")
    else:
        said.append("it ends at once" if ends else "only its output is left to do")
    counts = view["repeated_effects"]
    effects = [f"{n} {effect}" for effect, n in counts.items() if n]
    if effects:
        said.append(
            f"{' and '.join(effects)} {'effect' if sum(counts.values()) == 1 else 'effects'} would repeat"
        )
    else:
        said.append("no effect that this run had would repeat")
    if view["estimate"]["cost_usd"]:
        said.append(f"about ${view['estimate']['cost_usd']:.4f} as it was then")
    return "; ".join(said) + "."
