"""What a running node sees of its run, and how it asks the engine for durable things.

**A node is a durable function.** After a crash, a lost worker or a suspension its code runs again from the top, and
every step that was recorded answers at once from the journal with the result it had, whatever the attempt. So:

- What must not happen again, or must come out the same again (a charge, a model's answer, today's date), stands in a
  `step`. Everything outside steps may run several times.
- `sleep`, `sleep_until`, `wait_for_signal` and `run_workflow` suspend the task: **suspending unwinds the code** and
  lets the worker go, for seconds or for months. `finally` blocks and `async with` exits run at each suspension. The
  unwinding passes through `except Exception` untouched; a bare `except:` must raise it again.
- Steps are matched by `key` if given, else by name and order, and the hash of their arguments is compared with what was
  recorded. If the code changed underneath, the task fails with `StepMismatch`, which shows both sides.
- Two steps at once (in `asyncio.gather` or a task group) need a `key` each; without, they are an error.

A value that goes in or comes back (output, step result, signal, child's output) is what its JSON says: a tuple comes
back as a list, a model as a map. What isn't JSON fails with `OutputNotStorable`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from orchestrator.model.declarations import Effect

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One output that led to this task: the node it came from, its value, and the path of the task that made it."""

    node: str
    output: Any
    path: str = ""


class Context(Protocol):
    """One attempt of one task, as its node sees it. Implemented by the engine, without inheriting from this class.

    `log`, `progress` and `set_variables` may be called from the thread of a plain `execute` too; the methods to await
    only from an `async` one.
    """

    @property
    def run_id(self) -> str:
        """The run's id."""
        ...

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        ...

    @property
    def version(self) -> int:
        """The version of the workflow that the run is pinned to."""
        ...

    @property
    def node_id(self) -> str:
        """The node's id in the document."""
        ...

    @property
    def path(self) -> str:
        """The task's structural name in the run: `review`, `review@3` at the third visit."""
        ...

    @property
    def attempt(self) -> int:
        """Which try of the task this is, from 1. A suspension doesn't count as one."""
        ...

    @property
    def max_attempts(self) -> int:
        """How many tries there are at most, this one and the first included."""
        ...

    @property
    def input(self) -> Any:
        """The run's input."""
        ...

    @property
    def previous(self) -> Any:
        """The output that led here; of a join a map by node id (several visits: a list); null at the start."""
        ...

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """The outputs that led here as one flat list, whether or not the node is a join; empty at the start."""
        ...

    @property
    def variables(self) -> Mapping[str, Any]:
        """Those variables of the run that the node's expressions name, as of the task's scheduling."""
        ...

    @property
    def params_written(self) -> Mapping[str, Any]:
        """The node's params as the document has them, expressions not evaluated: for reasons and messages."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """The run's labels."""
        ...

    @property
    def allowed_routes(self) -> tuple[str, ...]:
        """What a Route may name: labels where `next_node` is a map, else node ids; () if the node doesn't decide."""
        ...

    @property
    def idempotency_key(self) -> str:
        """The task's own key, the same at every attempt: hand it on to whatever is written to."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the task is asked to end. A plain `execute` that runs long looks here now and then."""
        ...

    @property
    def sub_depth(self) -> int:
        """How many runs stand above this one: 0 for a run that no workflow started."""
        ...

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        effect: Effect = Effect.WRITE,
        **kwargs: Any,
    ) -> Any:
        """Call `fn(*args, **kwargs)` and record its result, or its final failure, under `name`.

        `fn` is `async` or plain; a plain one runs in a thread. Once recorded it is never called again in this run: the
        same call answers from the journal. If the process dies in between, a `pure`, `read` or `write` step runs again
        (give it `step_idempotency_key(name)` to write with); an `irreversible` one does not, and the task is in doubt.

        An error of `fn` that the node's code lets out fails the attempt, and the next attempt calls `fn` again. It
        becomes the step's recorded, final answer if it is a `PermanentFailure`, or if the node's code catches it and
        goes on: then the same call raises it again, as a `NodeError` that names its type. `RetryLater` records nothing.
        An irreversible step that fails with anything but `RetryLater` leaves the task in doubt.

        Arguments are hashed by their JSON; keep what changes from try to try (times, random ids) out of them.

        Raises:
            StepMismatch: the journal has another step, or other arguments, at this place.
            OutputNotStorable: the result isn't JSON, or is too large.
        """
        ...

    async def sleep(self, seconds: float | timedelta, /, *, key: str | None = None) -> None:
        """Suspend the task for this long. The end is fixed when it is first asked for, and survives any restart."""
        ...

    async def sleep_until(self, moment: datetime, /, *, key: str | None = None) -> None:
        """Suspend the task until `moment`, which has a time zone; a moment that has passed returns at once.

        Raises:
            UsageError: `moment` has no time zone.
        """
        ...

    async def wait_for_signal(
        self,
        name: str,
        /,
        *,
        timeout: float | timedelta | None = None,
        key: str | None = None,
    ) -> Any:
        """Suspend the task until the run has a signal `name`, take the oldest one, and return its payload.

        Signals are kept from the run's start on, each is taken once. Without `timeout` it waits as long as it takes.

        Raises:
            SignalTimeout: the signal did not come in time.
        """
        ...

    async def run_workflow(
        self,
        name: str,
        input: Any = None,
        /,
        *,
        version: int | None = None,
        key: str | None = None,
    ) -> Any:
        """Start a child run of the workflow `name`, suspend the task until it ends, and return its output.

        The child's id derives from this run and task, so that it is started once however often this code runs. It is
        cancelled together with this run. `version` None: the latest at the child's start.

        Raises:
            ChildFailed: the child failed or was cancelled; `error` has its error.
            NotFound: there is no such workflow or version.
            LimitExceeded: runs are nested too deep.
        """
        ...

    def log(self, message: str, /, *, level: LogLevel = "info", **fields: Any) -> None:
        """Add a line to the task's log: what happened, in a person's words. Live only, never journalled."""
        ...

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell whoever watches how far the task is. Live only, never journalled."""
        ...

    def set_variables(self, /, **values: Any) -> None:
        """Give variables of the run new values. They are journalled with the task's completion, or not at all."""
        ...

    def step_idempotency_key(self, name: str, /) -> str:
        """A key of its own for the step of this name (or key), the same at every attempt."""
        ...
