"""The workflow document as written (DESIGN section 2): one pydantic class per JSON object, words unchanged.

These classes check shapes: types, lengths, unknown keys. What needs the whole document (ids, classes, the graph) is the
work of `checks`. Fields of the language that this release doesn't act on are no fields here; `refused` names them, so
that each is refused in words until its issue switches it on.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.model import limits
from orchestrator.model.durations import Duration, PositiveDuration
from orchestrator.model.plain import is_dict
from orchestrator.model.reading import read_document as read_document

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)

ID_RULE = "1 to 128 characters of `A-Z a-z 0-9 _ . : -`"
NAME_RULE = "1 to 200 printable characters without `/`"


def is_id(text: str) -> bool:
    """Whether the text may be a node's id."""
    return _ID.fullmatch(text) is not None


def is_workflow_name(text: str) -> bool:
    """Whether the text may be a workflow's name."""
    return 1 <= len(text) <= limits.DEFAULT_LIMITS.name_length_max and text.isprintable() and "/" not in text


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise ValueError(f"an id is {ID_RULE}")
    return text


def _checked_name(text: str) -> str:
    if not is_workflow_name(text):
        raise ValueError(f"a workflow's name is {NAME_RULE}")
    return text


NodeId = Annotated[
    str, AfterValidator(_checked_id), Field(json_schema_extra={"pattern": "^[A-Za-z0-9_.:-]{1,128}$"})
]
Targets = NodeId | list[NodeId]

JOIN_COUNT_MAX = 1_000_000
PRIORITY_MAX = limits.PRIORITY_MAX
JoinCount = Annotated[int, Field(ge=1, le=JOIN_COUNT_MAX)]


class _Document(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, regex_engine="rust-regex"
    )


class RetryDocument(_Document):
    """How often and when a failed attempt is tried again."""

    max_attempts: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Attempts in all, the first included (default 3; irreversible: 1).",
    )
    initial: Duration = Field(limits.RETRY_INITIAL_SECONDS, description="Wait before the second attempt.")
    multiplier: float = Field(
        limits.RETRY_MULTIPLIER,
        ge=1,
        le=1000,
        allow_inf_nan=False,
        description="Growth of the wait per attempt.",
    )
    max_interval: Duration = Field(limits.RETRY_MAX_INTERVAL_SECONDS, description="The longest wait.")
    jitter: float = Field(
        limits.RETRY_JITTER, ge=0, le=1, allow_inf_nan=False, description="Random part of each wait, 0 to 1."
    )
    retry_on: list[str] = Field(
        default_factory=list[str],
        description="Error types that are tried again; none named: every retryable one.",
    )
    never_on: list[str] = Field(
        default_factory=list[str], description="Error types that are never tried again."
    )


class BudgetDocument(_Document):
    """What a run may use at most."""

    tasks: int = Field(limits.BUDGET_TASKS, ge=1, le=limits.BUDGET_TASKS, description="Tasks in one run.")
    duration: PositiveDuration = Field(
        limits.BUDGET_DURATION_SECONDS, description="Time from the start, not counting suspension."
    )
    tokens: int | None = Field(
        None, ge=1, le=limits.BUDGET_TOKENS_MAX, description="Tokens that the run's models may use."
    )
    cost_usd: float | None = Field(
        None,
        gt=0,
        le=limits.BUDGET_COST_USD_MAX,
        allow_inf_nan=False,
        description="What the run's calls may cost, in US dollars.",
    )
    on_exceeded: Literal["fail", "pause"] | None = Field(
        None,
        description="At the cap the run fails, or pauses until its budget is raised (default: `fail` for tasks and "
        "duration, `pause` for tokens and cost).",
    )


class JoinDocument(_Document):
    """A join that runs once it has some arrivals, and what becomes of the rest of its round."""

    count: int = Field(ge=1, le=JOIN_COUNT_MAX, description="Run at this many arrivals.")
    rest: Literal["ignore", "cancel"] = Field(
        "ignore",
        description="What could still come then: `ignore` swallows it when it arrives, `cancel` withdraws it.",
    )


class LimitDocument(_Document):
    """How many tasks may run at once, or start in a time, counted over all runs by key."""

    key: str | None = Field(
        None,
        min_length=1,
        max_length=limits.DEFAULT_LIMITS.expression_characters_max,
        description="What is counted together, over all workflows; may hold `{{ expression }}`. Left out: this node.",
    )
    concurrency: int | None = Field(
        None, ge=1, le=limits.LIMIT_NUMBER_MAX, description="How many tasks may run at once."
    )
    rate: int | None = Field(
        None, ge=1, le=limits.LIMIT_NUMBER_MAX, description="How many tasks may start `per` so long."
    )
    per: PositiveDuration = Field(1.0, description="The time of `rate` (default 1 s).")


class CacheDocument(_Document):
    """How long a node's outputs are kept for runs to come, and under which key."""

    ttl: PositiveDuration = Field(
        limits.CACHE_TTL_SECONDS, le=limits.CACHE_TTL_SECONDS_MAX, description="How long (default 1 day)."
    )
    key: str | None = Field(
        None,
        min_length=1,
        max_length=limits.DEFAULT_LIMITS.expression_characters_max,
        description="What the output depends on; may hold `{{ expression }}`. Left out: the params.",
    )


def _listed(written: Any) -> Any:
    return [written] if is_dict(written) else written


def _one_or_list(schema: dict[str, Any]) -> None:
    choices = schema["anyOf"]
    items = next(choice["items"] for choice in choices if choice.get("type") == "array")
    schema["anyOf"] = [items, *choices]


def _whole(written: Any) -> Any:
    return ({} if written else None) if isinstance(written, bool) else written


def _or_boolean(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"type": "boolean"}, *schema["anyOf"]]


Cache = Annotated[CacheDocument | None, BeforeValidator(_whole)]
Limits = Annotated[list[LimitDocument] | None, BeforeValidator(_listed)]


class NodeDocument(_Document):
    """One node: a class, its parameters, and where the run goes next."""

    class_name: str = Field(
        alias="class",
        min_length=1,
        max_length=200,
        description="The node class, with or without the ending `Node`.",
    )
    description: str = Field("", description="What this node is for, in a person's words.")
    params: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="The class's parameters. A string may hold `{{ expression }}`.",
    )
    next_node: NodeId | list[NodeId] | dict[str, Targets] | None = Field(
        None,
        description="Where the run goes next: a node id; a list (all of them, in parallel); or a map from label to id "
        'or list, with `"*"` for the rest. Left out: the node decides, or the path ends here.',
    )
    routes: list[str] | None = Field(
        None, description='The ids that a deciding node may choose from; `["*"]` means any node.'
    )
    when: str | bool | None = Field(None, description="An expression; if false, the node is skipped.")
    for_each: str | list[Any] | None = Field(
        None,
        description="An expression giving a list (or a list): the node runs once per item, with `item`; its output is "
        "the list of outputs.",
    )
    max_parallel: int = Field(
        limits.MAX_PARALLEL,
        ge=1,
        le=limits.MAX_PARALLEL_MAX,
        description="How many items of `for_each` may be open at a time.",
    )
    on_item_error: Literal["fail", "collect"] = Field(
        "fail",
        description="What an item that fails for good does: `fail` fails the node; `collect` puts its error into the "
        "list.",
    )
    complete_when: int | str | None = Field(
        None,
        description="Ends `for_each` early: after so many completed items, or when an expression (over `output`, what "
        "an item gave) says so.",
    )
    join: Literal["all", "any", "each", "one_of_each"] | JoinCount | JoinDocument | None = Field(
        None,
        description="How a node with several ways in waits: `all` (default) for everything that can still come, `any` "
        "for the first arrival, a number for that many, an object to say what becomes of the rest, `one_of_each` for "
        "one from each way in; `each` runs on every arrival.",
    )
    cancels: list[NodeId] | None = Field(
        None, description="Nodes whose live tasks are withdrawn when this node completes."
    )
    may_use: list[str] | None = Field(
        None,
        description="The node classes that the plans of this node may use; no others than its class allows.",
    )
    max_nodes: int | None = Field(
        None,
        ge=1,
        le=limits.PLAN_NODES_MAX,
        description="How many nodes one plan of this node may have; at most what its class allows.",
    )
    retry: RetryDocument | None = Field(
        None, description="How often and when a failed attempt is tried again."
    )
    timeout: PositiveDuration | None = Field(
        None, description="The longest that one attempt may take (default 1 h)."
    )
    limits: Limits = Field(
        None,
        max_length=limits.NODE_LIMITS_MAX,
        json_schema_extra=_one_or_list,
        description="How many tasks may run at once, or start in a time, over all runs: one limit, or a list of them.",
    )
    cache: Cache = Field(
        None,
        json_schema_extra=_or_boolean,
        description="Take the output from an earlier task of the same class with the same params (or key), of any run: "
        "only where the effect is `pure` or `read`.",
    )
    on_error: NodeId | dict[str, NodeId] | None = Field(
        None,
        description="Where the run goes if the node fails: a node id, or a map from error type to node id.",
    )
    compensate: NodeId | None = Field(
        None,
        description="The node that takes back what this one did, if the run fails or is cancelled after it completed.",
    )

    effect: Literal["pure", "read", "write", "irreversible"] | None = Field(
        None,
        description="What running the node does to the world, at least: stronger than its class says, never weaker.",
    )
    on_doubt: Literal["ask", "retry", "skip", "fail"] | None = Field(
        None,
        description="What becomes of an irreversible attempt or step whose outcome is unknown (default: as the class "
        "says, which is `ask`).",
    )
    queue: NodeId | None = Field(
        None, description="The queue that its tasks wait in, for workers that serve it (default `default`)."
    )
    priority: int = Field(
        0,
        ge=-PRIORITY_MAX,
        le=PRIORITY_MAX,
        description="Within its queue: higher first, -100 to 100.",
    )


class PositionDocument(_Document):
    """Where the canvas draws a node."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    x: float = Field(allow_inf_nan=False)
    y: float = Field(allow_inf_nan=False)


class WorkflowDocument(_Document):
    """A whole workflow."""

    name: Annotated[str, AfterValidator(_checked_name)] = Field(
        min_length=1, max_length=200, description=f"The workflow's name: {NAME_RULE}."
    )
    description: str = Field("", description="What the workflow is for.")
    start_at: NodeId = Field(description="The node that a run starts with.")
    nodes: dict[str, NodeDocument] = Field(description="The nodes by id; their order counts.")
    input_schema: dict[str, Any] | None = Field(
        None, description="JSON Schema that a run's input must satisfy."
    )
    output: Any = Field(None, description="What a run that succeeds gives back; may hold expressions.")
    vars: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="First values of the run's variables."
    )
    budget: BudgetDocument | None = Field(None, description="What a run may use at most.")
    on_failure: Literal["stop", "finish_branches"] | None = Field(
        None,
        description="What a failure that nothing handles does: `stop` (default) ends the run, `finish_branches` lets "
        "the other branches go on first.",
    )
    on_parent_cancel: str | None = Field(
        None, description="`cancel` in this release: the run is cancelled with the run that awaits it."
    )
    labels: dict[str, str] = Field(
        default_factory=dict[str, str], description="Up to 32 labels that runs can be found by."
    )
    positions: dict[str, PositionDocument] = Field(
        default_factory=dict[str, PositionDocument],
        description="Where the canvas draws each node; never part of the version's meaning.",
    )

    @property
    def has_output(self) -> bool:
        """Whether the document says what its output is; `"output": null` says so too."""
        return "output" in self.model_fields_set
