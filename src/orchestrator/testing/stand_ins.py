"""Stand-ins: what answers in a test in place of a node class, or of one node.

A stand-in takes the place of `execute` and of nothing else. The params are still checked against the class, the output
against its `Output`, a Route against what the node may choose, and effects, retries and steps are as they would be: a
stand-in can't do what the real class couldn't.
"""

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import PermanentFailure, UsageError
from orchestrator.model.nearest import Nearest
from orchestrator.sdk.context import Context
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One attempt that a stand-in answered, as its node would have seen it."""

    run: str
    path: str
    node: str
    attempt: int
    params: Any
    previous: Any
    input: Any
    idempotency_key: str


class StandIn:
    """Answers for a class or a node, and keeps every call. Made by `Lab.stand_in`.

    Attributes:
        name: the class or node that it stands for.
        calls: every attempt it answered, in order.
    """

    def __init__(self, name: str, answers: Sequence[Any], *, repeat: bool) -> None:
        self.name = name
        self.calls: list[Call] = []
        self._answers = list(answers)
        self._repeat = repeat

    @property
    def count(self) -> int:
        """How often it was called."""
        return len(self.calls)

    def __repr__(self) -> str:
        return f"<stand-in for {self.name}, called {self.count} times>"

    async def answer(self, params: Any, ctx: Context) -> Any:
        """What the node does in the real one's place."""
        number = len(self.calls)
        self.calls.append(
            Call(
                run=ctx.run_id,
                path=ctx.path,
                node=ctx.node_id,
                attempt=ctx.attempt,
                params=params,
                previous=ctx.previous,
                input=ctx.input,
                idempotency_key=ctx.idempotency_key,
            )
        )
        if number >= len(self._answers) and not self._repeat:
            raise PermanentFailure(
                f"the stand-in for {self.name} has {len(self._answers)} answers, and this is call {number + 1} "
                f"({ctx.path}, attempt {ctx.attempt}); give it more, or `returns=` for every call"
            )
        given = self._answers[min(number, len(self._answers) - 1)]
        if _is_error(given):
            raise given
        if inspect.isroutine(given):
            given = given(params, ctx)
            return await given if inspect.isawaitable(given) else given
        return given


def _is_error(given: object) -> bool:
    """Whether it is an exception, or a class of them."""
    return isinstance(given, BaseException) or (isinstance(given, type) and issubclass(given, BaseException))


class StandInRegistry(Registry):
    """The classes of a lab: the real ones, asked for the work only where no stand-in answers."""

    def __init__(self) -> None:
        super().__init__()
        self._by_class: dict[str, StandIn] = {}
        self._by_node: dict[tuple[str | None, str], StandIn] = {}
        self._wrapped: dict[type[BaseNode], type[BaseNode]] = {}

    def stand_in(self, stand_in: StandIn, *, class_name: str) -> None:
        """Let it answer for every node of a class. Raises NotFound: there is no such class."""
        self._by_class[self.real(class_name).class_name()] = stand_in

    def stand_in_for_node(self, stand_in: StandIn, *, node: str, workflow: str | None) -> None:
        """Let it answer for one node, of one workflow or of all. It comes before one for the class."""
        self._by_node[(workflow, node)] = stand_in

    def check_nodes(self, workflow: str, nodes: Mapping[str, Any]) -> None:
        """Find stand-ins for nodes that a workflow doesn't have.

        Raises:
            UsageError: one names this workflow, and a node that isn't in it.
        """
        for (where, node), stand_in in self._by_node.items():
            if where == workflow and node not in nodes:
                near = Nearest().find(node, tuple(nodes))
                hint = f"; did you mean `{near}`?" if near else ""
                raise UsageError(f"{stand_in.name}: workflow {workflow!r} has no node `{node}`{hint}")

    def real(self, name: str, /) -> type[BaseNode]:
        """The class itself. Raises NotFound: there is none; the nearest name is suggested."""
        return super().get(name)

    def get(self, name: str, /) -> type[BaseNode]:
        """The class of this name, with an `execute` that asks the stand-ins first."""
        real = super().get(name)
        if not self._by_class and not self._by_node:
            return real
        wrapped = self._wrapped.get(real)
        if wrapped is None:
            wrapped = self._wrapped[real] = self._wrap(real)
        return wrapped

    def _wrap(self, real: type[BaseNode]) -> type[BaseNode]:
        find = self._find

        async def execute(self: BaseNode, params: Any, ctx: Context) -> Any:
            stand_in = find(real, ctx)
            if stand_in is not None:
                return await stand_in.answer(params, ctx)
            if real.is_async:
                return await real.execute(self, params, ctx)
            return await asyncio.to_thread(real.execute, self, params, ctx)

        body = {"execute": execute, "name": real.class_name(), "Params": real.Params, "__doc__": real.__doc__}
        wrapped = type(real.__name__, (real,), body)
        type.__setattr__(wrapped, "_declaration", real.declaration())
        return wrapped

    def _find(self, real: type[BaseNode], ctx: Context) -> StandIn | None:
        for key in ((ctx.workflow, ctx.node_id), (None, ctx.node_id)):
            if key in self._by_node:
                return self._by_node[key]
        return self._by_class.get(real.class_name())


def answers_of(
    *, returns: Any, raises: Any, does: Any, answers: Sequence[Any] | None, nothing: object
) -> tuple[list[Any], bool]:
    """What a stand-in answers, and whether the last answer goes on for ever.

    Raises:
        UsageError: not exactly one way to answer was given.
    """
    given = {
        "returns": returns is not nothing,
        "raises": raises is not None,
        "does": does is not None,
        "answers": answers is not None,
    }
    if sum(given.values()) != 1:
        ways = ", ".join(f"`{name}=`" for name in given)
        said = ", ".join(f"`{name}=`" for name, there in given.items() if there) or "none"
        raise UsageError(f"a stand-in answers in exactly one way, {ways}; given: {said}")
    if answers is not None:
        if isinstance(answers, str | bytes | Mapping) or not list(answers):
            raise UsageError("`answers=` is a list with at least one answer, one for each call in turn")
        return list(answers), False
    if does is not None and not callable(does):
        raise UsageError(f"`does={does!r}` is no function of (params, ctx)")
    return [raises if raises is not None else does if does is not None else returns], True
