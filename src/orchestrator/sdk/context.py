"""What a running node sees of its run, and how it asks the engine for durable things.

**A node is a durable function.** After a crash, a lost worker or a suspension its code runs again from the top, and
every step that was recorded answers at once from the journal with the result it had, whatever the attempt. So:

- What must not happen again, or must come out the same again (a charge, a model's answer, today's date), stands in a
  `step`. Everything outside steps may run several times.
- `sleep`, `sleep_until`, `wait_for_signal` and `run_workflow` suspend the task: **suspending unwinds the code** and
  lets the worker go, for seconds or for months. `finally` blocks and `async with` exits run at each suspension. The
  unwinding passes through `except Exception` untouched; a bare `except:` must raise it again.
- Steps are matched by branch (see `gather`), then by `key` if given, else by name and order, and the hash of their
  arguments is compared with what was recorded. If the code changed underneath, the task fails with `StepMismatch`,
  which shows both sides.
- Two steps at once are branches of `gather`. Elsewhere (in `asyncio.gather` or a task group) they need a `key` each;
  without, they are an error.
- `now`, `random` and `uuid` give the same value whenever the code runs again.

A value that goes in or comes back (output, step result, signal, child's output) is what its JSON says: a tuple comes
back as a list, a model as a map. What isn't JSON fails with `OutputNotStorable`.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from orchestrator.model.declarations import Effect

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One output that led to this task: the node it came from, its value, and the path of the task that made it."""

    node: str
    output: Any
    path: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call uses, or may use at most: tokens, and money in US dollars."""

    tokens: int = 0
    cost_usd: float = 0.0


class Context(Protocol):
    """One attempt of one task, as its node sees it. Implemented by the engine, without inheriting from this class.

    `log`, `progress`, `used`, `set_variables`, `now`, `random` and `uuid` may be called from the thread of a plain
    `execute` too; the methods to await only from an `async` one.
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
        reserve: Usage | None = None,
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

        `reserve` is the most that the call may use. It is set aside in the run's budget, durably, before `fn` is
        called; if there isn't as much left, `fn` isn't called, and the run pauses (or fails) until its budget is
        raised. What `fn` says that it `used` takes its place; if it says nothing, all that was reserved counts.

        Arguments are hashed by their JSON; keep what changes from try to try (times, random ids) out of them.

        Raises:
            StepMismatch: the journal has another step, or other arguments, at this place.
            OutputNotStorable: the result isn't JSON, or is too large.
        """
        ...

    async def gather(self, *branches: Coroutine[Any, Any, Any], return_exceptions: bool = False) -> list[Any]:
        """Run coroutines side by side, each as a branch of its own, and return their results in order.

            profile, orders = await ctx.gather(ctx.step("profile", load, user), collect_orders(ctx, user))

        The steps of a branch are matched within it, whoever is faster: no keys needed. While one branch works the
        others may wait; the task suspends once every branch is over or waits, and the first of the waits that ends
        wakes it. A gathering in a branch nests. `step_idempotency_key` is another one in every branch that asks.

        **If a branch fails**, the others aren't interrupted: a step that began is recorded. Once each of them is over
        or waits, the failure is raised (of several that of the first branch in order), and what still waits is given
        up. With `return_exceptions` an exception takes the place of that branch's result, and the gathering goes on to
        the end of all. A step in doubt counts as a failure in any case.

        Raises:
            UsageError: a branch is no coroutine (a task that was started elsewhere has no branch of its own).
        """
        ...

    def now(self) -> datetime:
        """The time, in UTC, as it was when the code came here first.

        Recorded as a step of effect `pure`, and durable before the next step with another effect begins, before the
        task waits, and with its end. What happens outside of steps before that may see another value after a crash.
        May be called from the thread of a plain `execute` too.
        """
        ...

    def random(self) -> float:
        """A random number from 0 up to 1; recorded like `now`."""
        ...

    def uuid(self) -> UUID:
        """A random UUID; recorded like `now`. It names things, it is no secret."""
        ...

    def used(self, *, tokens: int = 0, cost_usd: float = 0.0) -> None:
        """Say what a call has used: within a step of that step, elsewhere of the task. Adds up; counts in the budget.

        Raises:
            UsageError: it is less than nothing, or more than can be meant.
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
        fresh: bool = False,
        key: str | None = None,
    ) -> Any:
        """Suspend the task until the run has a signal `name`, take the oldest one, and return its payload.

        Signals are kept from the run's start on, each is taken once. Without `timeout` it waits as long as it takes.
        `fresh`: only a signal counts that comes after the wait has begun; what came before stays for others.

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
