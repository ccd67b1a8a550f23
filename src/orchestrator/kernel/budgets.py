"""What a run may use: tasks, active time, tokens, money. Reserved before a call, settled after it, in the journal.

A call that costs asks first (`reserve`, an upper bound) and says afterwards what it used (`settle`). What is spent plus
what is reserved never passes the limit by a call that asked; a call that turns out dearer than its bound is counted
all the same, and the run pauses behind it. A reservation that its attempt leaves open (its worker died, or it gave up)
is settled in full: nobody can say what it used.

At the cap a run fails or pauses, as its budget says. A pause is lifted by raising that budget.
"""

from collections.abc import Mapping

from orchestrator.errors import Conflict
from orchestrator.kernel.commands import RaiseBudget, ReserveBudget, RouteChoice, SettleBudget
from orchestrator.kernel.ending import begin_stopping
from orchestrator.kernel.events import BudgetExceeded, BudgetRaised, BudgetReserved, BudgetSettled
from orchestrator.kernel.state import RunState, Spent, TaskState
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import ErrorInfo, Timing, Usage, nano_usd
from orchestrator.model.definition import Definition
from orchestrator.model.limits import BUDGET_DURATION_SECONDS

BUDGETS = ("tasks", "duration", "tokens", "cost_usd")
"""What a run has budgets of. Limits are tasks, microseconds, tokens and US dollars."""

_UNITS = {"tasks": "tasks", "duration": "microseconds", "tokens": "tokens", "cost_usd": "US dollars"}


# --- limits -------------------------------------------------------------------------------------------------------


def limit_of(state: RunState, definition: Definition, budget: str) -> int | float | None:
    """The limit of a budget as it stands, raised or not; None: there is none."""
    return state.limits.get(budget, definition.budget[budget])


def limits_duration(state: RunState, definition: Definition) -> bool:
    """Whether the run's duration is limited; the default of a year needs no timer, only a look at times."""
    return duration_limit_us(state, definition) < BUDGET_DURATION_SECONDS * 1_000_000


def duration_limit_us(state: RunState, definition: Definition) -> int:
    """How long the run may be active."""
    limit = limit_of(state, definition, "duration")
    assert limit is not None
    return int(limit)


def exceed(turn: Turn, budget: str, *, limit: int | float, value: int | float) -> None:
    """A budget is spent: say so, once, and pause the run or stop it as failed."""
    state = turn.state
    if budget in state.spent_out or state.ending is not None:
        return
    pauses = budget in turn.definition.budget_pauses
    turn.emit(BudgetExceeded(budget=budget, limit=limit, value=value, action="pause" if pauses else "fail"))
    if pauses:
        return
    cure = "look for a loop without exit" if budget in ("tasks", "duration") else "see what it was spent on"
    message = f"the budget of {limit:,} {_UNITS[budget]} is spent; raise `budget.{budget}` or {cure}"
    begin_stopping(turn, "failure", error=ErrorInfo(type="budget_exceeded", message=message, retryable=False))


def raise_budget(turn: Turn, command: RaiseBudget) -> None:
    """Give a live run more. What it has already stays as it is; less than that is refused."""
    state = turn.state
    if not state.status.live or state.ending is not None:
        how = state.status.value if not state.status.live else "stopping"
        raise Conflict(f"run {state.run_id} is {how}; its budget can't be raised any more", reason="run_over")
    raised: dict[str, int | float] = {}
    for budget, limit in command.limits.items():
        now = limit_of(state, turn.definition, budget)
        if now is None:
            raise Conflict(f"run {state.run_id} has no limit on {budget} to raise", reason="no_budget")
        if limit < now:
            raise Conflict(
                f"run {state.run_id} may use {now:,} {_UNITS[budget]}; {limit:,} would be less",
                reason="budget_not_raised",
            )
        if limit > now:
            raised[budget] = limit
    for budget, limit in raised.items():
        turn.emit(BudgetRaised(budget=budget, limit=limit, by=command.by, reason=command.reason))


# --- what calls cost ----------------------------------------------------------------------------------------------


def reserve(turn: Turn, command: ReserveBudget) -> None:
    """Set an upper bound aside for a step, or find that there isn't enough: then nothing is reserved."""
    state = turn.state
    task = turn.open_task(command.path)
    if task.status is not TaskStatus.READY:
        raise Conflict(f"task `{task.path}` is {task.status.value}", reason="task_not_ready")
    if state.ending is not None and state.compensation is None:
        raise Conflict(f"run {state.run_id} is stopping", reason="stopping")
    if command.step in task.steps:
        raise Conflict(f"step `{command.step}` of `{task.path}` has its answer", reason="step_recorded")
    if command.step in task.reserved:  # an attempt before this one left it open
        _settle(turn, task, command.step, task.reserved[command.step], lost=True)
    spent, reserved = state.spent, state.reserved
    for budget, wanted, used in (
        ("tokens", command.usage.tokens, spent.tokens + reserved.tokens),
        ("cost_usd", command.usage.nano_usd, spent.nano_usd + reserved.nano_usd),
    ):
        limit = limit_of(state, turn.definition, budget)
        if limit is None or not wanted or state.compensation is not None:  # that is outside the budget
            continue
        scale = 1 if budget == "tokens" else 1_000_000_000
        if used + wanted > round(limit * scale):
            value = used + wanted
            exceed(turn, budget, limit=limit, value=value if scale == 1 else value / scale)
            return
    turn.emit(
        BudgetReserved(
            path=task.path,
            node=task.node,
            step=command.step,
            attempt=task.attempt,
            tokens=command.usage.tokens,
            cost_usd=command.usage.cost_usd,
        )
    )


def settle_step(turn: Turn, command: SettleBudget) -> None:
    """What a call used, whose step has no answer to record (it failed, and may be tried again)."""
    task = turn.open_task(command.path)
    if command.step not in task.reserved:
        return
    settle(turn, task, command.step, command.usage)


def settle(turn: Turn, task: TaskState, step: str, usage: Usage | None) -> None:
    """Put what a step used in the place of what was reserved for it; None: all of it, if there was anything."""
    used = task.reserved.get(step) if usage is None else usage
    if used is not None:
        _settle(turn, task, step, used)


def _settle(turn: Turn, task: TaskState, step: str, usage: Usage, *, lost: bool = False) -> None:
    turn.emit(
        BudgetSettled(
            path=task.path,
            node=task.node,
            step=step,
            tokens=usage.tokens,
            cost_usd=usage.cost_usd,
            lost=lost,
        )
    )
    if not lost:
        look_at_spending(turn)


def look_at_spending(turn: Turn) -> None:
    """After something was counted that nobody had reserved: is a budget overdrawn?"""
    state, definition = turn.state, turn.definition
    if definition.budget["tokens"] is None and definition.budget["cost_usd"] is None:
        return
    tokens, cost = limit_of(state, definition, "tokens"), limit_of(state, definition, "cost_usd")
    if tokens is not None and state.spent.tokens > tokens:
        exceed(turn, "tokens", limit=tokens, value=state.spent.tokens)
    if cost is not None and state.spent.nano_usd > nano_usd(cost):
        exceed(turn, "cost_usd", limit=cost, value=state.spent.nano_usd / 1_000_000_000)


def count(turn: Turn, task: TaskState, timing: Timing, route: RouteChoice | None = None) -> None:
    """Count what an attempt used beside its steps: its own, and what its decision cost.

    A decision names the cost of what led to it; what steps of the task have settled of that isn't counted twice.
    """
    if timing.usage is None and route is None:
        return
    usage = Spent()
    if timing.usage is not None:
        usage.add(reported(timing.usage))
    if route is not None and (route.usage is not None or route.cost_usd is not None):
        named = reported(route.usage or {}, route.cost_usd)
        usage.tokens += max(0, named.tokens - task.used.tokens)
        usage.nano_usd += max(0, named.nano_usd - task.used.nano_usd)
    if usage.tokens or usage.nano_usd:
        used = Usage(tokens=usage.tokens, cost_usd=usage.nano_usd / 1_000_000_000)
        _settle(turn, task, "", used)


def reported(usage: Mapping[str, float], cost_usd: float | None = None) -> Usage:
    """The tokens and the money in what a model reports.

    Tokens are `tokens` or `total_tokens`, else the sum of `input_tokens` and `output_tokens`.
    """
    tokens = usage.get("tokens", usage.get("total_tokens"))
    if tokens is None:
        tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    cost = cost_usd if cost_usd is not None else usage.get("cost_usd", 0.0)
    return Usage(tokens=max(0, round(tokens)), cost_usd=max(0.0, cost))
