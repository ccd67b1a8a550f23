"""What a node may return in place of a plain output.

`Route` chooses where the run goes, `Plan` lays new nodes for this run, `Stop` ends it, `Continue` ends it and starts
its successor. They are checked when they are made, so that a mistake shows at the line that made it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast, get_args

from orchestrator.errors import UsageError

DecidedBy = Literal["rule", "function", "model", "person"]
"""Who made a decision, as the journal keeps it."""

REASON_CHARACTERS_MAX = 10_000

SINKS: Final = object()
"""Of a plan that doesn't say what its output is: that is what its sinks gave."""


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


@dataclass(frozen=True, slots=True, init=False)
class Plan:
    """New nodes for this run only, written as in a document; they run before the run goes on from this node.

    The nodes are a block: they lead only to one another, their tasks have paths under this task's (`plan/fetch`), and
    while anything in it is live this task counts as live. Then it completes, with what the block gives: `output`, if
    the plan says so; else the output of the block's one sink, else a map by sink. A class that lays plans says which
    classes they may use (`may_use`). A plan that has faults fails the task with all of them (`plan_refused`).

        return Plan(
            {"fetch": {"class": "Fetch", "params": {"url": url}, "next_node": "sum_up"}, "sum_up": {"class": "SumUp"}},
            start_at="fetch",
            reason="there is one source",
        )

    Attributes:
        nodes: the nodes by id, as in a document; their expressions read the plan's own nodes by their ids, and those
            around the plan.
        start_at: the node that the block starts with; its `previous` is what led to this task.
        output: what this task's output is; may hold expressions. Left out: see above.
        reason: a person's words for why; at most 10,000 characters.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    start_at: str
    output: Any
    reason: str | None

    def __init__(
        self,
        nodes: Mapping[str, Mapping[str, Any]],
        *,
        start_at: str,
        output: Any = SINKS,
        reason: str | None = None,
    ) -> None:
        """See the class.

        Raises:
            UsageError: no nodes, or a `start_at` that is none of them.
        """
        _check_plan(nodes, start_at)
        values = {
            "nodes": nodes,
            "start_at": start_at,
            "output": output,
            "reason": _checked_reason(reason, "Plan"),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    @property
    def document(self) -> dict[str, Any]:
        """The plan as the part of a document that it is."""
        nodes = {node: dict(written) for node, written in self.nodes.items()}
        document: dict[str, Any] = {"start_at": self.start_at, "nodes": nodes}
        if self.output is not SINKS:
            document["output"] = self.output
        return document


def _check_plan(nodes: object, start_at: object) -> None:
    if not isinstance(nodes, Mapping) or not nodes:
        raise UsageError(f"Plan({nodes!r}): name at least one node, as in {{'fetch': {{'class': 'Fetch'}}}}")
    for node, written in cast("Mapping[object, object]", nodes).items():
        if not isinstance(node, str) or not isinstance(written, Mapping):
            raise UsageError(
                f"Plan(...): node {node!r} is {written!r}; write it as in a document: an object by its id"
            )
    if start_at not in nodes:
        raise UsageError(f"Plan(start_at={start_at!r}): the plan has no such node")


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


def _checked_reason(reason: object, what: str = "Route") -> str | None:
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise UsageError(f"{what}(reason={reason!r}): a reason is a text")
    if len(reason) > REASON_CHARACTERS_MAX:
        raise UsageError(
            f"{what}(reason=...): {len(reason):,} characters are more than {REASON_CHARACTERS_MAX:,}"
        )
    return reason


def _checked_confidence(confidence: object) -> float | None:
    if confidence is None:
        return None
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise UsageError(f"Route(confidence={confidence!r}): confidence is a number from 0 to 1")
    return float(confidence)
