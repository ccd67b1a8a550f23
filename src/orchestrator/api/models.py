"""The shapes that cross the API: what OpenAPI describes, and what request bodies are checked against.

Answers are written by the engine and are not validated again on their way out: the classes of answers describe (a test
holds the engine's answers against them), the classes of requests check. Times are RFC 3339 UTC with microseconds.
"""

from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.model.durations import PositiveDuration
from orchestrator.model.limits import BUDGET_COST_USD_MAX, BUDGET_TASKS, BUDGET_TOKENS_MAX, DEFAULT_LIMITS

T = TypeVar("T")

Time = Annotated[
    str,
    Field(
        json_schema_extra={"format": "date-time"},
        description="RFC 3339 UTC with microseconds.",
        examples=["2026-11-22T16:00:00.123456Z"],
    ),
]
Labels = Annotated[
    dict[str, str], Field(description="Free words to find runs by.", examples=[{"team": "growth"}])
]


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskStatus(StrEnum):
    """Where a task stands."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    IN_DOUBT = "in_doubt"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class EffectName(StrEnum):
    """What running a node does to the world, from harmless to what must not happen twice."""

    PURE = "pure"
    READ = "read"
    WRITE = "write"
    IRREVERSIBLE = "irreversible"


class Answer(BaseModel):
    """What every answer is: fields may be added by a later release, none is taken away."""


class Items(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(description="Give it as `cursor` to go on; null at the end of the list.")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{params[0].__name__}Page"


class Fault(Answer):
    """One thing that is wrong or doubtful, and where."""

    pointer: str = Field(
        description="JSON pointer to the place; empty for the whole.", examples=["/nodes/a/next_node"]
    )
    code: str = Field(description="Stable name of the kind of fault.", examples=["unknown_node"])
    message: str = Field(examples=["no node `step_ned`"])
    suggestion: str | None = Field(None, description="The nearest right thing.", examples=["step_end"])
    line: int | None = Field(None, description="Of a YAML document: the line, from 1.", examples=[4])
    column: int | None = Field(None, description="Of a YAML document: the column, from 1.", examples=[7])


class Problem(Answer):
    """What went wrong, in the form of RFC 9457. `code` is stable; `detail` is for people."""

    type: str = Field(examples=["/problems/not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no run 'r1'"])
    code: str = Field(examples=["not_found"])
    errors: list[Fault] | None = Field(
        None, description="Every single fault, where there are several places."
    )


# --- workflows ----------------------------------------------------------------------------------------------------


class GraphNode(Answer):
    """A node as it is drawn."""

    id: str = Field(examples=["step_route_user"])
    class_name: str = Field(alias="class", examples=["RouteUserByTypeNode"])
    decides: bool = Field(description="Whether it chooses where the run goes next.")
    effect: EffectName | None
    join: bool = Field(description="Whether it has several ways in.")
    for_each: bool = Field(description="Whether it runs once for each item of a list.")
    end: bool
    start: bool


class GraphEdge(Answer):
    """A way from one node to another."""

    source: str
    target: str
    kind: Literal["next", "label", "route", "error", "compensate"] = Field(
        description="`compensate`: the target takes back what the source did, apart from the flow."
    )
    label: str | None = Field(description="The label, or the error type.")
    back: bool = Field(description="Whether it closes a loop.")


class Graph(Answer):
    """The drawn form of a workflow."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]


class LaidPlan(Answer):
    """A plan that a task of a run laid: nodes for this run only, which lead to one another."""

    path: str = Field(description="The task that laid it.", examples=["plan@2"])
    node: str = Field(description="The node of that task.", examples=["plan"])
    seq: int = Field(description="The event that says so.", examples=[5])
    at: Time
    reason: str | None
    done: bool = Field(description="Whether nothing of it can run any more.")
    start_at: str = Field(description="Its first node, by its id in the plan.", examples=["fetch"])
    nodes: dict[str, dict[str, Any]] = Field(
        description="Its nodes as written, by their ids in the plan.",
        examples=[{"fetch": {"class": "Fetch", "next_node": "sum_up"}, "sum_up": {"class": "SumUp"}}],
    )
    output: Any = Field(description="What the plan says that it gives; null: what its sinks gave.")
    graph: Graph = Field(
        description="Its drawn form; ids are those of the run's tasks, such as `plan@2/fetch`."
    )


class SavedVersion(Answer):
    """What saving a workflow answers."""

    name: str = Field(examples=["Agentic User Onboarding"])
    version: int = Field(examples=[1])
    created_at: Time
    created: bool = Field(description="False: a version of the same meaning was there already.")
    hints: list[Fault] = Field(description="Doubtful places; they hinder nothing.")
    hash: str = Field(description="Hash of the meaning.")


class Validation(Answer):
    """What a document would be, were it saved."""

    valid: bool
    faults: list[Fault]
    hints: list[Fault]
    graph: Graph | None = Field(description="Drawn as far as it can be; null if there is no saying.")
    document: dict[str, Any] | None = Field(
        None, description="Of YAML: what it means, if that is an object at all."
    )


class WorkflowVersion(Answer):
    """A line in the list of versions."""

    version: int
    created_at: Time
    hash: str


# --- runs ---------------------------------------------------------------------------------------------------------


class RunError(Answer):
    """Why a task or a run failed."""

    type: str = Field(examples=["ConnectionError"])
    message: str
    path: str | None = None
    node: str | None = None
    attempt: int | None = None
    retryable: bool | None = None
    details: dict[str, Any] | None = None


class Waker(Answer):
    """What will move a waiting task on."""

    kind: str = Field(
        description="lease, timer, signal, child, operator, approval, budget, slot or queue.",
        examples=["signal"],
    )
    path: str | None = None
    node: str | None = None
    sentence: str = Field(examples=["step_wait waits for the signal `approved`"])
    at: Time | None = None
    name: str | None = Field(None, description="Name of the signal, or of the budget.")
    run: str | None = Field(None, description="The child run.")
    worker: str | None = None


class WaitingFor(Answer):
    """What a run waits for."""

    sentence: str
    wakers: list[Waker]


class TaskCountsOf(Answer):
    """How many tasks stand where."""

    completed: int
    failed: int
    skipped: int
    running: int
    waiting: int
    in_doubt: int
    ready: int
    cancelled: int


class TaskCounts(TaskCountsOf):
    """How many tasks of a run stand where."""

    total: int


class ParentTask(Answer):
    """The task that started this run as a child."""

    run: str
    path: str


class ForkedFrom(Answer):
    """Where a fork was cut."""

    run: str
    seq: int


class CompensationProgress(Answer):
    """How far a run that failed or was cancelled has taken back what it did."""

    total: int
    completed: int
    failed: int
    left: int


class ErasedData(Answer):
    """A run whose data was taken out of its journal."""

    at: Time
    by: str
    complete: bool = Field(description="False: it was begun and not finished; erase it again.")


class Imported(Answer):
    """The file that a run was read from. Such a run stays as it is; it can be looked at, and forked."""

    run: str = Field(description="Its id in the store that it comes from.")
    seq: int = Field(description="How many events it had; as long as there are fewer, the import isn't done.")
    sha256: str = Field(description="Hash of the file's content.")
    at: Time


class RunSummary(Answer):
    """A run as lists show it."""

    id: str = Field(examples=["01jdaq8v5e7r2k"])
    workflow: str = Field(examples=["Agentic User Onboarding"])
    version: int = Field(examples=[1])
    status: RunStatus
    error: RunError | None
    cancelled_for: str | None = Field(description="What was said when it was cancelled.")
    labels: Labels
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    parent: ParentTask | None
    forked_from: ForkedFrom | None
    continues: str | None = Field(description="The run that this one goes on for.")
    continued_as: str | None = Field(description="The run that goes on for this one.")
    imported: Imported | None
    erased: ErasedData | None = Field(description="Its data was erased: hashes and sizes stand in its place.")
    compensation: CompensationProgress | None
    waiting_for: WaitingFor | None
    seq: int = Field(description="Number of the last event in the journal.")
    tasks: TaskCounts
    duration_us: int | None = Field(description="Microseconds from its start to its end.")


class Counted(Answer):
    """How much of a budget is used."""

    used: int
    limit: int


class Reserved(Answer):
    """How much of a budget is used, and how much is set aside for calls that are being made."""

    used: float
    reserved: float
    limit: float | None = Field(description="Null: there is no limit.")


class Budget(Answer):
    """What a run has used of what it may use."""

    tasks: Counted
    duration_us: Counted = Field(description="Microseconds, not counting waiting and pauses.")
    tokens: Reserved
    cost_usd: Reserved


class Run(RunSummary):
    """One execution of one version of a workflow."""

    input: Any = Field(examples=[{"user_id": "u-1"}])
    output: Any
    budget: Budget


class RunOfFile(Answer):
    """A journal of a run file, and the run that it is here."""

    id: str
    was: str = Field(description="Its id in the store that it comes from.")


class ImportAnswer(Answer):
    """What an import made."""

    run: Run
    created: bool = Field(description="False: the same file had been imported before.")
    runs: list[RunOfFile] = Field(description="The run, last, and before it the parents that a fork needs.")


class PlannedTask(Answer):
    """A task in the plan of a fork."""

    path: str = Field(examples=["step_send_email"])
    node: str
    effect: EffectName
    was: str | None = Field(
        description="How it ended in this run: completed, skipped, failed, cancelled, or open; null: it isn't in it."
    )
    steps_kept: list[str] = Field(description="Recorded steps that aren't done again.")


class PlannedNode(Answer):
    """A node that the fork may come to, and this run didn't."""

    node: str
    effect: EffectName


class RepeatedStep(Answer):
    """A step that would be taken again."""

    name: str
    effect: EffectName


class Repeat(Answer):
    """An effect on the world that this run had, and the fork would have again."""

    path: str
    node: str
    effect: EffectName = Field(
        description="`write` or `irreversible`: the strongest of the task and its steps."
    )
    steps: list[RepeatedStep]


class RepeatedEffects(Answer):
    """How many effects would repeat, those of child runs included."""

    write: int
    irreversible: int


class PlannedChild(Answer):
    """A child run that would be started again, as a new one."""

    run: str = Field(description="The child run of this run.")
    workflow: str
    path: str = Field(description="The task that waits for it.")
    tasks: int
    repeated_effects: dict[str, int]
    cost_usd: float


class Estimate(Answer):
    """What the fork would take, by what was recorded."""

    tasks: int
    cost_usd: float
    usage: dict[str, float]
    basis: str


class PlanList(Answer, Generic[T]):
    """A list of a plan: all are counted, at most 200 are listed."""

    total: int
    items: list[T]

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"Plan{params[0].__name__}List"


class ForkPlan(Answer):
    """What a fork would reuse, run again, repeat and cost. Nothing was started."""

    run: str
    seq: int = Field(description="Where it would be cut.")
    moved: bool = Field(
        description="Whether that is another event than the one asked for: before a decision."
    )
    version: int
    replaced: list[str] = Field(description="Tasks whose output would be another one.")
    completed: list[str] = Field(description="Tasks open at the cut that would complete with what is given.")
    reused: PlanList[PlannedTask] = Field(
        description="Tasks whose results are shared and not computed again."
    )
    starts: PlanList[PlannedTask] = Field(description="Tasks that the fork begins with.")
    later: PlanList[PlannedTask] = Field(
        description="Tasks of this run behind them that the fork may come to again."
    )
    new: PlanList[PlannedNode] = Field(
        description="Nodes that the fork may come to, although this run didn't."
    )
    repeats: PlanList[Repeat] = Field(description="What would be done to the world again.")
    repeated_effects: RepeatedEffects
    children: PlanList[PlannedChild]
    children_unread: int = Field(description="Child runs beyond the first 100, whose effects aren't counted.")
    estimate: Estimate
    sentence: str = Field(
        examples=["2 tasks are reused; `b` starts at once, and what follows; 1 write effect would repeat."]
    )


class WorkflowSummary(Answer):
    """A line in the list of workflows."""

    name: str
    version: int = Field(description="The version that new runs take.")
    versions: int = Field(description="How many versions there are.")
    description: str | None
    labels: Labels
    created_at: Time
    updated_at: Time
    last_run: RunSummary | None


class Workflow(Answer):
    """One version of a workflow, with its text as it was saved."""

    name: str
    version: int
    versions: int
    document: dict[str, Any]
    text: str
    syntax: Literal["json", "yaml"] = Field(description="How the text is written.")
    graph: Graph
    created_at: Time
    updated_at: Time
    hints: list[Fault]


class Chosen(Answer):
    """A target that was chosen."""

    label: str | None
    node: str


class Decision(Answer):
    """Why a node sent the run where it sent it."""

    chosen: list[Chosen]
    allowed: list[str]
    reason: str | None
    confidence: float | None
    by: str = Field(description="rule, function, model or person.")
    model: str | None
    cost_usd: float | None


class Attempt(Answer):
    """One try of a task."""

    attempt: int
    worker: str | None
    queued_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    error: RunError | None


class Step(Answer):
    """A recorded sub-operation of a task."""

    name: str
    status: str
    effect: EffectName | None
    at: Time | None
    duration_us: int | None
    value: Any = Field(None, description="Only where one task is asked for.")
    error: RunError | None = None


class ItemFailure(Answer):
    """An item of a `for_each` that failed."""

    path: str = Field(examples=["review[17]"])
    item: int = Field(description="Its place in the list, from 0.")
    error: RunError | None


class ItemsSummary(TaskCountsOf):
    """How far the items of a `for_each` task are."""

    count: int = Field(description="How many the list has.")
    scheduled: int = Field(
        description="How many of them were scheduled: at most a window more than are done."
    )
    first_failures: list[ItemFailure] = Field(
        description="The first ten that failed; `?of=…&status=failed` lists them all."
    )


class CachedFrom(Answer):
    """The task that a cached output comes from."""

    run: str
    path: str
    at: Time


class Task(Answer):
    """One execution of one node in a run."""

    path: str = Field(
        description="Its structural name: the node, later visits as `node@2`.", examples=["review@2"]
    )
    node: str
    class_name: str = Field(alias="class")
    visit: int
    status: TaskStatus
    attempt: int
    attempts: list[Attempt]
    scheduled_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    duration_us: int | None
    effect: EffectName | None
    decision: Decision | None
    error: RunError | None
    waiting_for: Waker | None
    previous: list[str] = Field(description="Paths of the tasks that led here.")
    steps: list[Step]
    output_bytes: int | None
    reason: str | None = Field(
        description="Why it was skipped or withdrawn, or why nobody knows how it ended."
    )
    from_parent: bool = Field(description="Of a fork: whether this is the parent's, and shared.")
    compensates: str | None = Field(description="Path of the task that this one takes back.")
    compensated_by: str | None = Field(description="Path of the task that takes this one back.")
    item: int | None = Field(description="Of an item of a `for_each`: its place in the list, from 0.")
    items: ItemsSummary | None = Field(
        description="Of a `for_each`: how far its items are, once they are known."
    )
    cached: CachedFrom | None = Field(description="The task whose output this one took instead of running.")


class LogLine(Answer):
    """One line that a node logged."""

    at: Time
    level: str
    message: str


class TaskDetail(Task):
    """A task with its values."""

    params: Any
    input: Any = Field(description="What led here: the value of `previous`.")
    output: Any
    late: Any = Field(
        None,
        description="Of a task in doubt: the result that a worker had after it lost its lease. It decides nothing.",
    )
    logs: list[LogLine]


class JournalEvent(Answer):
    """One immutable fact in a run's journal; the fields of its kind stand beside these."""

    model_config = ConfigDict(extra="allow")

    seq: int
    group: int = Field(description="Seq of the first event that the same command brought.")
    at: Time
    kind: str = Field(examples=["task_completed"])
    path: str | None = None
    node: str | None = None


class RunState(Answer):
    """What a run knew at a seq; `seq` tells at which, because only whole groups of events are shown."""

    seq: int
    status: RunStatus
    input: Any
    variables: dict[str, Any]
    open: list[Any] = Field(description="The tasks that are live.")
    outputs: dict[str, Any] = Field(description="The outputs by node.")
    arrivals: Any
    budget: Budget


class Explanation(Answer):
    """What a run waits for, in a sentence and as data."""

    sentence: str
    status: RunStatus
    wakers: list[Waker]
    data: dict[str, Any]


class SignalTaken(Answer):
    """A signal that was kept."""

    run: str
    name: str
    seq: int


# --- the rest -----------------------------------------------------------------------------------------------------


class NodeClass(Answer):
    """A node class that this server knows."""

    name: str = Field(examples=["RouteUserByTypeNode"])
    title: str
    summary: str
    description: str
    family: str
    icon: str | None
    effect: EffectName
    routes: list[str] | Literal["*"] | None = Field(
        description="What it chooses among; null: it doesn't decide."
    )
    may_use: list[str] | Literal["*"] | None = Field(
        description="The classes that its plans may use; null: it lays no plans."
    )
    max_nodes: int | None = Field(description="How many nodes one of its plans may have.")
    decides: bool
    class_version: int | str
    params_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    deterministic: bool | None


class OutboxItem(Answer):
    """A message that a node sent; in this release it stays here."""

    id: str
    run: str
    path: str
    node: str
    channel: str = Field(examples=["email"])
    to: str
    subject: str
    body: str
    at: Time
    idempotency_key: str


class SystemInfo(Answer):
    """The server itself."""

    version: str
    store: str
    workers: list[Any]
    dev: bool
    started_at: Time


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]


class Readiness(Answer):
    """Whether work gets on: a worker claimed not long ago, and the store answers."""

    ready: bool
    checks: dict[str, Any]


class Session(Answer):
    """Whether this server asks for a key, and whether the caller has shown it."""

    required: bool
    authenticated: bool


# --- requests -----------------------------------------------------------------------------------------------------


class RequestBody(BaseModel):
    """What every request body is: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StartRun(RequestBody):
    """How to start a run; every field may be left out."""

    input: Any = Field(None, description="The run's input; must satisfy the workflow's `input_schema`.")
    labels: dict[
        Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field(max_length=1000)]
    ] = Field(
        default_factory=dict[str, str],
        max_length=DEFAULT_LIMITS.labels_max,
        description="Up to 32 words to find the run by.",
        examples=[{"team": "growth"}],
    )
    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Which version; the current one if left out."
    )
    priority: int = Field(
        0, ge=-100, le=100, description="Added to its nodes' priorities (together -100 to 100): higher first."
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": {"user_type": "standard"}, "labels": {"team": "growth"}}]}
    )


class Reason(RequestBody):
    """Why; it stands in the journal."""

    reason: str | None = Field(None, max_length=2000, examples=["a wrong address in the input"])


class RaiseBudget(RequestBody):
    """The new limits; what is left out stays as it is."""

    tasks: int | None = Field(None, ge=1, le=BUDGET_TASKS, description="Tasks in all.")
    duration: PositiveDuration | None = Field(
        None, description="Active time in all: seconds, or a text such as `2h`."
    )
    tokens: int | None = Field(None, ge=1, le=BUDGET_TOKENS_MAX, description="Tokens in all.")
    cost_usd: float | None = Field(
        None, gt=0, le=BUDGET_COST_USD_MAX, allow_inf_nan=False, description="US dollars in all."
    )
    reason: str | None = Field(None, max_length=2000, description="Why; it stands in the journal.")

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens": 200000, "reason": "a longer text"}]})


class Nothing(RequestBody):
    """An empty object."""


class ForkChanges(RequestBody):
    """What the fork does differently; every field may be left out."""

    input: Any = Field(default=None, description="Another input. Left out: the parent's.")
    vars: dict[str, Any] | None = Field(default=None, description="Other values of variables, by name.")
    outputs: dict[str, Any] | None = Field(
        default=None,
        description="Other outputs of tasks, by path: of one that has completed and that nothing has built on yet, "
        "or of one that is open or failed at the cut, which then completes with it.",
        examples=[{"fetch@2": {"rows": []}}],
    )
    decisions: dict[str, str | list[str]] | None = Field(
        default=None,
        description="Other routes of tasks, by path: a node id or label, a list of them, or [] for the end of the "
        "path. The fork is cut before the task completed.",
        examples=[{"step_route_user": "step_standard_process"}],
    )
    version: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Another version of the workflow."
    )
    reason: str | None = Field(
        default=None, max_length=2000, description="Why another route; it stands in the journal."
    )


class ForkPatch(ForkChanges):
    """The same under one name, as earlier clients write it."""

    variables: dict[str, Any] | None = Field(default=None, description="Another word for `vars`.")


class ForkRun(ForkChanges):
    """Where to cut, and what is to be different."""

    seq: int | None = Field(
        default=None,
        ge=1,
        le=2**53,
        description="The last event that both share: the end of a group. May be left out with `outputs` or "
        "`decisions`: then it is the last at which they can be changed.",
    )
    patch: ForkPatch | None = Field(
        default=None, description="The changes, if they don't stand beside `seq`."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"decisions": {"step_route_user": "step_standard_process"}, "reason": "what if?"},
                {"seq": 6, "vars": {"tries": 0}},
            ]
        }
    )


class Signal(RequestBody):
    """What a signal carries."""

    payload: Any = Field(None, description="Any JSON value.", examples=[{"approved": True}])


class Resolve(RequestBody):
    """What is to become of a task in doubt."""

    action: Literal["done", "retry", "skip", "fail"] = Field(
        description="`done`: it happened, with this output; `retry`: it didn't, run it again; `skip`; `fail`."
    )
    output: Any = Field(None, description="With `done`: the output.")
    message: str | None = Field(None, max_length=2000, description="Why; it stands in the journal.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "done", "output": {"charged": True}}]}
    )


class Login(RequestBody):
    """The key of this server."""

    key: str = Field(min_length=1, max_length=1024, description="The value of ORCHESTRATOR_API_KEY.")
