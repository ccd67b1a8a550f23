"""A Context without an engine: answers what the test gives it, and keeps what the node asked for.

It keeps the contract's arithmetic (stable keys, JSON in and out, signals in order) and suspends nothing: what a node
would wait for is there at once, or the wait ends as the engine would end it.
"""

import asyncio
import inspect
import json
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.sdk import Arrival, ChildFailed, Context, Effect, LogLevel, SignalTimeout, Usage, UsageError


def as_json(value: Any) -> Any:
    """What a value is once it was written down and read again."""
    return json.loads(json.dumps(value, allow_nan=False))


@dataclass
class FakeContext:
    """One attempt of one task. `signals`, `children` and `previous` are what the outside gives."""

    input: Any = None
    previous: Any = None
    arrivals: Sequence[Arrival] = ()
    allowed_routes: tuple[str, ...] = ()
    params_written: Mapping[str, Any] = field(default_factory=dict[str, Any])
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    signals: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
    children: Mapping[str, Any] = field(default_factory=dict[str, Any])
    run_id: str = "run_1"
    workflow: str = "test"
    version: int = 1
    node_id: str = "node"
    path: str = "node"
    attempt: int = 1
    max_attempts: int = 3
    idempotency_key: str = "run_1/node"
    cancelled: bool = False
    sub_depth: int = 0

    def __post_init__(self) -> None:
        self.steps: dict[str, Any] = {}
        self.slept: list[float | datetime] = []
        self.waited_for: list[tuple[str, float | timedelta | None]] = []
        self.started: list[tuple[str, Any, int | None]] = []
        self.logged: list[tuple[LogLevel, str]] = []
        self.progressed: list[tuple[float, float | None, str | None]] = []
        self.spent: list[Usage] = []
        self.set: dict[str, Any] = {}
        self._waiting: dict[str, deque[Any]] = defaultdict(
            deque, {n: deque(p) for n, p in self.signals.items()}
        )

    def used(self, *, tokens: int = 0, cost_usd: float = 0.0) -> None:
        self.spent.append(Usage(tokens=tokens, cost_usd=cost_usd))

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
        place = key or name
        as_json([args, kwargs])
        if place not in self.steps:
            result = fn(*args, **kwargs)
            self.steps[place] = as_json(await result if inspect.isawaitable(result) else result)
        return self.steps[place]

    async def gather(self, *branches: Coroutine[Any, Any, Any], return_exceptions: bool = False) -> list[Any]:
        return list(await asyncio.gather(*branches, return_exceptions=return_exceptions))

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def random(self) -> float:
        return 0.5

    def uuid(self) -> UUID:
        return UUID(int=1, version=4)

    async def sleep(self, seconds: float | timedelta, /, *, key: str | None = None) -> None:
        self.slept.append(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)

    async def sleep_until(self, moment: datetime, /, *, key: str | None = None) -> None:
        if moment.tzinfo is None:
            raise UsageError("sleep_until(...) needs a time zone")
        self.slept.append(moment)

    async def wait_for_signal(
        self,
        name: str,
        /,
        *,
        timeout: float | timedelta | None = None,
        fresh: bool = False,
        key: str | None = None,
    ) -> Any:
        self.waited_for.append((name, timeout))
        if not self._waiting[name]:
            seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
            raise SignalTimeout(name, timeout_seconds=seconds)
        return as_json(self._waiting[name].popleft())

    async def run_workflow(
        self, name: str, input: Any = None, /, *, version: int | None = None, key: str | None = None
    ) -> Any:
        self.started.append((name, as_json(input), version))
        output = self.children[name]
        if isinstance(output, ChildFailed):
            raise output
        return as_json(output)

    def log(self, message: str, /, *, level: LogLevel = "info", **fields: Any) -> None:
        self.logged.append((level, message))

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self.progressed.append((done, total, message))

    def set_variables(self, /, **values: Any) -> None:
        self.set.update(as_json(values))

    def step_idempotency_key(self, name: str, /) -> str:
        return f"{self.idempotency_key}/{name}"


def as_context(fake: FakeContext) -> Context:
    """Nothing at run time: the type checker compares the signatures here."""
    return fake
