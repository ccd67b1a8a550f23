"""The small values that events, commands and state are made of.

Nothing here looks into a payload: to the kernel what a node returned is bytes with a name.
"""

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

Microseconds = int


NOTHING = msgspec.Raw(b"")
"""No inline text: the value is in a blob."""


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Immutable, left out of JSON where it has its default."""


class Listed(Value, frozen=True):
    """The outputs of the items of a `for_each`, where they stand: in the journal of `run`, up to event `until`.

    `path` is the task whose items they are, `count` how many have a place in the list. The items began after event
    `after` of the run that lies `forks` forks before `run` (0: of itself).
    """

    run: str
    path: str
    count: int
    after: int
    until: int
    forks: int = 0


class Payload(Value, frozen=True):
    """A JSON value that is carried and never read: its text, or a reference to a blob of the run `run`.

    `value` is raw JSON. A blob is named with its size in bytes and the SHA-256 of its plain text, so that a journal
    whose data was erased still says what was there. `listed` refers to a list that its journal holds in pieces.
    """

    value: msgspec.Raw = NOTHING
    blob: str | None = None
    run: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    listed: Listed | None = None

    @property
    def inline(self) -> bool:
        """Whether it holds its value itself."""
        return self.blob is None and self.listed is None

    @property
    def size(self) -> int:
        """Bytes of its JSON."""
        return self.bytes if self.bytes is not None else len(self.value)


NULL = Payload(value=msgspec.Raw(b"null"))
EMPTY_LIST = Payload(value=msgspec.Raw(b"[]"))


class ItemChunk(Value, frozen=True):
    """Some of the items of a `for_each`, one after the other: a list of `count` values."""

    payload: Payload
    count: int


class ErrorInfo(Value, frozen=True):
    """Why something failed: a stable type, a sentence, and the details that help.

    `type` is what `retry_on` and `on_error` compare with: the code of one of our errors, or the name of the Python
    exception. `retryable` is false where trying again is pointless.
    """

    type: str
    message: str
    retryable: bool = True
    path: str | None = None
    node: str | None = None
    attempt: int | None = None
    details: dict[str, msgspec.Raw] | None = None


class Origin(Value, frozen=True):
    """What `previous` of a task stands for: one output, or of a join a list of them by source node.

    Both empty: nothing led here (the start), `previous` is null.
    """

    path: str | None = None
    sources: dict[str, list["Origin"]] | None = None


class Reads(Value, frozen=True):
    """What a task's expressions read, fixed when it was scheduled: keys of values by name.

    `nodes` maps a node id to the path of the visit whose output counts; `variables` a name to the value's key.
    """

    nodes: dict[str, str] = {}
    variables: dict[str, str] = {}


class Timing(Value, frozen=True):
    """Who ran an attempt and when (RFC 3339). `usage` is what it spent, such as tokens."""

    worker: str = ""
    queued_at: str = ""
    started_at: str = ""
    usage: dict[str, float] | None = None


class Usage(Value, frozen=True):
    """What a call uses, or may use at most."""

    tokens: int = 0
    cost_usd: float = 0.0

    @property
    def nano_usd(self) -> int:
        """The money as a whole number, which adds up without a remainder."""
        return nano_usd(self.cost_usd)


def nano_usd(cost_usd: float) -> int:
    """Billionths of a US dollar."""
    return round(cost_usd * 1_000_000_000)


NO_ORIGIN = Origin()
NO_READS = Reads()
NO_TIMING = Timing()
"""The defaults, shared: what is the default itself is left out of JSON, an equal copy of it would be written."""


class Parent(Value, frozen=True):
    """The task that waits for this run: deliver its end there."""

    run: str
    path: str
    step: str


class Predecessor(Value, frozen=True):
    """The run that this one continues, the first run of that chain, what the chain has spent so far, and its budgets
    that were raised."""

    run: str
    first: str
    tasks: int = 0
    active_us: int = 0
    usage: Usage = Usage()
    limits: dict[str, int | float] = {}


class CachedFrom(Value, frozen=True):
    """The task whose output was taken instead of running: its run, its path, when it completed (RFC 3339)."""

    run: str
    path: str
    at: str


class Handover(Value, frozen=True):
    """The run that goes on for this one, and what it starts with. `latest`: under the workflow's current version."""

    run: str
    input: Payload | None = None
    latest: bool = False
    tasks: int = 0
    active_us: int = 0


class Plan(Value, frozen=True):
    """Nodes for one run: their record (a `model.grafts.PlanRecord` as JSON), and of it what the kernel asks.

    `nodes` are their ids in the plan, in its order. `output`: it says what its output is made of. `compensates`: one of
    its nodes may have to be taken back, so that it is kept until the run is over.
    """

    record: msgspec.Raw
    start_at: str
    nodes: list[str]
    output: bool = False
    compensates: bool = False


class Signalled(Value, frozen=True):
    """A signal that a run takes over unread."""

    name: str
    payload: Payload
    key: str


class ForkOrigin(Value, frozen=True):
    """The run and the seq (the end of a group) that a fork continues from."""

    run: str
    seq: int


class Imported(Value, frozen=True):
    """The file that a run came from: its id there, how many events it had, the file's hash, when it was read.

    `parent` is the task that it was started by there.
    """

    run: str
    seq: int
    sha256: str
    at: str = ""
    parent: Parent | None = None


class Chosen(Value, frozen=True):
    """One target of a decision; `label` where the node's `next_node` is a map."""

    node: str
    label: str | None = None


class Wait(Value, frozen=True):
    """One thing that a suspended task waits for, under the name of the step that waits.

    kinds: `timer` (until `due_us`), `signal` (named `name`, at most until `due_us`), `child` (the run `run`, started
    from `workflow` with `input`). A signal's wait may be `fresh`: it began at the seq `after`, and signals that came
    before don't count.
    """

    step: str
    kind: str
    due_us: Microseconds | None = None
    name: str | None = None
    run: str | None = None
    workflow: str | None = None
    version: int | None = None
    input: Payload | None = None
    fresh: bool = False
    after: int = 0


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(time_us: Microseconds) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC, always with six digits, so that text sorts as time does."""
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{micros:06d}Z"


def microseconds(text: str) -> Microseconds:
    """The inverse of `rfc3339`; takes any RFC 3339 time with an offset."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
