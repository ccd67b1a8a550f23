"""What the calls of a node's code use: said by the code within a step, and counted in the run's budget."""

from contextvars import ContextVar

from orchestrator.errors import UsageError
from orchestrator.kernel.values import Usage as Spend
from orchestrator.kernel.values import nano_usd
from orchestrator.model.limits import BUDGET_COST_USD_MAX, BUDGET_TOKENS_MAX
from orchestrator.sdk.context import Usage

NOTHING_USED = Usage()


class Meter:
    """What one call has used so far; nothing said: None."""

    __slots__ = ("usage",)

    def __init__(self) -> None:
        self.usage: Spend | None = None

    def add(self, more: Usage) -> None:
        """More of it."""
        known = self.usage or Spend()
        self.usage = Spend(tokens=known.tokens + more.tokens, cost_usd=known.cost_usd + more.cost_usd)


METER: ContextVar[Meter | None] = ContextVar("orchestrator_meter", default=None)
"""Of the step whose function runs here; threads and tasks that it starts inherit it."""


def check_usage(usage: Usage, *, least: int) -> None:
    """See whether it can be meant; with `least` it sets something aside.

    Raises:
        UsageError: it can't.
    """
    tokens, cost = usage.tokens, usage.cost_usd
    if type(tokens) is not int or not 0 <= tokens <= BUDGET_TOKENS_MAX:
        raise UsageError(f"tokens are a whole number from 0 to {BUDGET_TOKENS_MAX:,}, not {tokens!r:.40}")
    if not 0 <= cost <= BUDGET_COST_USD_MAX:
        raise UsageError(f"cost_usd is a number from 0 to {BUDGET_COST_USD_MAX:,}, not {cost!r:.40}")
    if least and not (tokens or nano_usd(cost)):
        raise UsageError("`reserve` sets nothing aside; name the most that the call may use")
