"""What a node may return in place of a plain output.

`Route` chooses where the run goes, `Stop` ends it, `Continue` ends it and starts its successor. They are checked when
they are made, so that a mistake shows at the line that made it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from orchestrator.errors import UsageError

DecidedBy = Literal["rule", "function", "model", "person"]
"""Who made a decision, as the journal keeps it."""

REASON_CHARACTERS_MAX = 10_000


@dataclass(frozen=True, slots=True, init=False)
class Route:
    """The node's choice of where the run goes next; journalled as a decision, with its reason.

    A target is a label where the node's `next_node` is a map, else a node id; several targets go on in parallel. Only
    what the node may choose from (`ctx.allowed_routes`) is accepted, of a map with `"*"` any label: anything else fails
    the task with the list of what was allowed.

        return Route("step_escalate", reason='user.type is "premium"', output=user)

    Attributes:
        targets: labels or node ids, in the order given; () ends the path (see `end`).
        output: the task's output, what `previous` of the next node is. Not given: null.
        reason: a person's words for why; at most 10,000 characters.
        confidence: how sure, 0 to 1; None where that makes no sense.
        by: who decided.
        model, prompt_sha256, usage, cost_usd: where a model decided, which, on what, and what that took.
    """

    targets: tuple[str, ...]
    output: Any
    reason: str | None
    confidence: float | None
    by: DecidedBy
    model: str | None
    prompt_sha256: str | None
    usage: Mapping[str, float] | None
    cost_usd: float | None

    def __init__(
        self,
        *targets: str,
        output: Any = None,
        reason: str | None = None,
        confidence: float | None = None,
        by: DecidedBy = "function",
        model: str | None = None,
        prompt_sha256: str | None = None,
        usage: Mapping[str, float] | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """See the class.

        Raises:
            UsageError: no target, an empty one, one named twice, a confidence outside 0 to 1, or an unknown `by`.
        """
        if not targets:
            raise UsageError(
                "Route() names no target; name at least one, or return Route.end() to end this path"
            )
        if by not in get_args(DecidedBy):
            raise UsageError(f"Route(by={by!r}): use one of {', '.join(map(repr, get_args(DecidedBy)))}")
        values = {
            "targets": _checked_targets(targets),
            "output": output,
            "reason": _checked_reason(reason),
            "confidence": _checked_confidence(confidence),
            "by": by,
            "model": model,
            "prompt_sha256": prompt_sha256,
            "usage": usage,
            "cost_usd": cost_usd,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    @classmethod
    def end(
        cls,
        *,
        output: Any = None,
        reason: str | None = None,
        confidence: float | None = None,
        by: DecidedBy = "function",
    ) -> Self:
        """The decision to end this path here. Other paths of the run go on.

        Raises:
            UsageError: a confidence outside 0 to 1, or an unknown `by`.
        """
        route = cls("end", output=output, reason=reason, confidence=confidence, by=by)
        object.__setattr__(route, "targets", ())
        return route

    @property
    def ends(self) -> bool:
        """Whether this decision ends the path."""
        return not self.targets


@dataclass(frozen=True, slots=True)
class Stop:
    """Ends the whole run, not only this path: nothing new starts, what runs is asked to end.

    With `succeed` the run's output is `output`; without, the run fails with `message` as its error. Either way
    `output` is also the output of the task.
    """

    succeed: bool = True
    message: str | None = None
    output: Any = None

    def __post_init__(self) -> None:
        """Check the types.

        Raises:
            UsageError: `succeed` is no bool, or `message` no text.
        """
        _check_stop(self.succeed, self.message)


@dataclass(frozen=True, slots=True)
class Continue:
    """Ends the whole run as `Stop` does, and starts its successor: a run of the same workflow with this input.

    So a very long life is a chain of runs, each with a journal of bounded length. The successor takes over the
    signals that nobody took, the labels, and what is left of the budget; variables begin anew. Whoever waits for the
    first run gets the output of the last. With `latest` it runs under the workflow's current version, else under this
    run's. The task's own output is null, and so is the run's.

        return Continue({"page": params.page + 1})
    """

    input: Any = None
    latest: bool = False

    def __post_init__(self) -> None:
        """Check the types.

        Raises:
            UsageError: `latest` is no bool.
        """
        _check_latest(self.latest)


def _check_latest(latest: object) -> None:
    if not isinstance(latest, bool):
        raise UsageError(f"Continue(latest={latest!r}): use True or False")


def _check_stop(succeed: object, message: object) -> None:
    if not isinstance(succeed, bool):
        raise UsageError(f"Stop(succeed={succeed!r}): use True or False")
    if message is not None and not isinstance(message, str):
        raise UsageError(f"Stop(message={message!r}): use a text, or leave it out")


def _checked_targets(targets: tuple[object, ...]) -> tuple[str, ...]:
    checked: dict[str, None] = {}
    for target in targets:
        if isinstance(target, list | tuple | set):
            raise UsageError(f"Route({target!r}): name several targets one by one, as in Route('a', 'b')")
        if not isinstance(target, str) or not target:
            raise UsageError(f"Route({target!r}): a target is a label or node id, a text that is not empty")
        if target in checked:
            raise UsageError(f"Route(...) names {target!r} twice; name each target once")
        checked[target] = None
    return tuple(checked)


def _checked_reason(reason: object) -> str | None:
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise UsageError(f"Route(reason={reason!r}): a reason is a text")
    if len(reason) > REASON_CHARACTERS_MAX:
        raise UsageError(
            f"Route(reason=...): {len(reason):,} characters are more than {REASON_CHARACTERS_MAX:,}"
        )
    return reason


def _checked_confidence(confidence: object) -> float | None:
    if confidence is None:
        return None
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise UsageError(f"Route(confidence={confidence!r}): confidence is a number from 0 to 1")
    return float(confidence)
