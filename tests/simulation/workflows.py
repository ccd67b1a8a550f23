"""Node classes and workflows of the simulation: every construct of this release, with side effects that are counted."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Generator
from typing import Any, cast

from pydantic import BaseModel

from orchestrator.engine.attempts.context import TaskContext
from orchestrator.errors import PermanentFailure, RetryLater
from orchestrator.sdk.context import Context, Usage
from orchestrator.sdk.effect import Effect
from orchestrator.sdk.errors import ChildFailed, SignalTimeout
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.registry import Registry
from orchestrator.sdk.results import Continue, Plan, Route, Stop


class Ledger:
    """The world outside: every side effect in its order, with the key that it was made under."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, str, str]] = []
        self.at_work: dict[tuple[str, str, int], set[str]] = {}
        self.is_alive: Callable[[str], bool] = bool
        self.wrong: list[str] = []

    def note(self, kind: str, run_and_path: str, key: str) -> None:
        """Something happened that can't be taken back."""
        self.effects.append((kind, run_and_path, key))

    @contextlib.contextmanager
    def working(self, ctx: Context) -> Generator[None]:
        """One attempt is at work in one process at a time; a process that was killed doesn't count."""
        name = cast(TaskContext, ctx)._attempt.worker.name
        who = self.at_work.setdefault((ctx.run_id, ctx.path, ctx.attempt), set())
        others = [other for other in who if self.is_alive(other)]
        if others and self.is_alive(name):
            self.wrong.append(f"{ctx.path} of {ctx.run_id} runs in {name} and in {others} at once")
        who.add(name)
        try:
            yield
        finally:
            who.discard(name)

    def count(self, kind: str, key: str) -> int:
        """How often it happened under this key."""
        return sum(1 for effect in self.effects if effect[0] == kind and effect[2] == key)


def build_registry(ledger: Ledger, rng: random.Random) -> Registry:
    """The classes of the simulation, over this ledger."""
    registry = Registry()

    async def work() -> None:
        await asyncio.sleep(rng.choice([0, 0, 0.01, 0.2, 3.0, 9.0]))

    @registry.register
    class Write(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            with ledger.working(ctx):
                await work()
                ledger.note("write", f"{ctx.run_id}/{ctx.path}", ctx.idempotency_key)
                await work()
            return {"path": ctx.path, "previous": [a.path for a in ctx.arrivals]}

    @registry.register
    class Pure(BaseNode):
        effect = Effect.PURE

        async def execute(self, params: Any, ctx: Context) -> Any:
            return {"sum": len(ctx.arrivals)}

    @registry.register
    class Think(BaseNode):
        effect = Effect.PURE

        async def execute(self, params: Any, ctx: Context) -> Any:
            await asyncio.sleep(rng.choice([0, 0, 0.02, 0.3, 5.0]))
            if rng.random() < 0.1:
                raise OSError("lost in thought")
            if ctx.node_id != "e":
                return await ctx.step("act", work)
            visit = int(ctx.path.partition("@")[2] or 1)
            return Route("more" if visit < 4 else "done", output=visit)

    @registry.register
    class Flaky(BaseNode):
        class Params(BaseModel):
            fails: int = 1
            how: str = "error"

        async def execute(self, params: Params, ctx: Context) -> Any:
            await work()
            if ctx.attempt <= params.fails:
                if params.how == "later":
                    raise RetryLater("not yet", delay_seconds=2)
                if params.how == "permanent":
                    raise PermanentFailure("never")
                raise OSError(f"attempt {ctx.attempt}")
            return ctx.attempt

    @registry.register
    class Steps(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            results: list[Any] = []
            for name in ("first", "second", "third"):

                async def act(name: str = name) -> str:
                    await work()
                    ledger.note("step", f"{ctx.run_id}/{ctx.path}", ctx.step_idempotency_key(name))
                    return name

                results.append(await ctx.step(name, act))
                if name == "second":
                    await ctx.sleep(rng.choice([1, 20]))
            return results

    @registry.register
    class Branches(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            drawn = [ctx.random(), str(ctx.uuid()), ctx.now().isoformat()]

            async def act(word: str, *values: Any) -> str:
                await work()
                ledger.note("step", f"{ctx.run_id}/{ctx.path}", ctx.step_idempotency_key(word))
                return word

            async def works(word: str) -> list[str]:
                # What was drawn must be the same whenever this runs: else the step doesn't fit what was recorded.
                first = await ctx.step("act", act, word, *drawn)
                number = ctx.random()
                return [first, await ctx.step("act", act, word, number)]

            async def waits() -> Any:
                await ctx.sleep(rng.choice([1, 20]))
                return await ctx.gather(ctx.step("act", act, "after"), ctx.sleep(rng.choice([0, 5])))

            async def asks() -> Any:
                try:
                    return await ctx.wait_for_signal("answer", timeout=rng.choice([5, 60]))
                except SignalTimeout:
                    return None

            async def pays() -> str:
                async def pay() -> str:
                    ledger.note("pay", f"{ctx.run_id}/{ctx.path}", ctx.step_idempotency_key("pay"))
                    await work()
                    return "paid"

                return await ctx.step("pay", pay, effect=Effect.IRREVERSIBLE)

            got = await ctx.gather(works("one"), waits(), asks(), works("two"), pays())
            return [got, ctx.uuid()]

    @registry.register
    class Item(BaseNode):
        class Params(BaseModel):
            n: int

        async def execute(self, params: Params, ctx: Context) -> Any:
            await work()
            if params.n == 9 or (params.n == 5 and ctx.attempt == 1):
                raise OSError(f"item {params.n}, attempt {ctx.attempt}")
            if params.n == 4:
                await ctx.sleep(7)
            ledger.note("write", f"{ctx.run_id}/{ctx.path}", ctx.idempotency_key)
            return {"n": params.n, "path": ctx.path}

    @registry.register
    class Pay(BaseNode):
        effect = Effect.IRREVERSIBLE

        async def execute(self, params: Any, ctx: Context) -> Any:
            with ledger.working(ctx):
                await work()
                ledger.note("pay", f"{ctx.run_id}/{ctx.path}", ctx.idempotency_key)
                await work()
            if rng.random() < 0.1:
                raise OSError("the answer was lost")
            return "paid"

    @registry.register
    class PayAnyway(BaseNode):
        effect = Effect.IRREVERSIBLE

        async def execute(self, params: Any, ctx: Context) -> Any:
            ledger.note("pay", f"{ctx.run_id}/{ctx.path}", ctx.idempotency_key)
            try:
                await asyncio.sleep(rng.choice([0.2, 9.0, 20.0]))
            except asyncio.CancelledError:
                ctx.log("told to end, and it has happened all the same")
            return "paid"

    @registry.register
    class PayStep(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            async def pay() -> str:
                ledger.note("pay", f"{ctx.run_id}/{ctx.path}", ctx.step_idempotency_key("pay"))
                await work()
                return "paid"

            return await ctx.step("pay", pay, effect=Effect.IRREVERSIBLE)

    @registry.register
    class Again(BaseNode):
        routes = ("more", "done")

        class Params(BaseModel):
            times: int = 2

        async def execute(self, params: Params, ctx: Context) -> Any:
            visit = int(ctx.path.partition("@")[2] or 1)
            return Route("more" if visit <= params.times else "done", reason=f"visit {visit}", output=visit)

    @registry.register
    class Ask(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            try:
                return {"answer": await ctx.wait_for_signal("answer", timeout=rng.choice([5, 60]))}
            except SignalTimeout:
                return {"answer": None}

    @registry.register
    class Child(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            try:
                return await ctx.run_workflow("chain", {"from": ctx.path})
            except ChildFailed as failed:
                return {"failed": str(failed)}

    @registry.register
    class Halt(BaseNode):
        class Params(BaseModel):
            succeed: bool = True

        async def execute(self, params: Params, ctx: Context) -> Any:
            await work()
            return Stop(succeed=params.succeed, message="enough", output={"stopped": True})

    @registry.register
    class Onward(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            lives = int(ctx.input.get("lives", 0))
            await work()
            if lives >= 2:
                return {"lives": lives}
            return Continue({"lives": lives + 1})

    @registry.register
    class ChildChain(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            try:
                return await ctx.run_workflow("lives", {"lives": 0})
            except ChildFailed as failed:
                return {"failed": str(failed)}

    @registry.register
    class Undo(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            await work()
            ledger.note("undo", f"{ctx.run_id}/{ctx.arrivals[0].path}", ctx.idempotency_key)
            if rng.random() < 0.2:
                raise OSError("not to be reached")
            if rng.random() < 0.1:
                raise PermanentFailure("nothing to take back")
            await ctx.sleep(rng.choice([0, 15]))
            return ctx.path

    @registry.register
    class Model(BaseNode):
        """Calls that cost: three steps, each with its bound; what a crash leaves open is settled in full."""

        async def execute(self, params: Any, ctx: Context) -> Any:
            async def ask(name: str) -> str:
                ctx.used(tokens=rng.randint(1, 5))
                await work()
                ledger.note("call", f"{ctx.run_id}/{ctx.path}", ctx.step_idempotency_key(name))
                if rng.random() < 0.1:
                    raise OSError("the model is busy")
                return name

            return [
                await ctx.step(name, ask, name, reserve=Usage(tokens=6)) for name in ("one", "two", "six")
            ]

    @registry.register
    class Planner(BaseNode):
        """Lays one of some plans; how deep plans lie in plans stands in its params."""

        effect = Effect.IRREVERSIBLE
        may_use = ("Write", "Flaky", "Steps", "Item", "Ask", "Child", "Pay", "Undo", "Planner")

        class Params(BaseModel):
            depth: int = 1
            kinds: list[str] = ["diamond", "sinks", "items", "pays"]

        @classmethod
        def effect_for(cls, params: Any) -> Effect:
            return Effect.WRITE

        async def execute(self, params: Params, ctx: Context) -> Any:
            await work()
            ledger.note("write", f"{ctx.run_id}/{ctx.path}", ctx.idempotency_key)
            kinds = [*params.kinds, "nested"] if params.depth else params.kinds
            kind = rng.choice(kinds)
            nodes = PLANS[kind](params.depth)
            more = {"output": {"n": "{{ nodes.n }}"}} if kind == "sinks" and rng.random() < 0.5 else {}
            return Plan(nodes, start_at="n", reason=f"{kind} it is", **more)

    @registry.register
    class Remember(BaseNode):
        async def execute(self, params: Any, ctx: Context) -> Any:
            ctx.set_variables(seen=ctx.path)
            return ctx.path

    return registry


def _node(name: str, **fields: Any) -> dict[str, Any]:
    return {"class": name, **fields}


_QUICK = {"max_attempts": 3, "initial": 0.5}

PLANS: dict[str, Callable[[int], dict[str, Any]]] = {
    "diamond": lambda depth: {
        "n": _node("Write", next_node=["m", "k"]),
        "m": _node("Flaky", params={"fails": 1}, retry=_QUICK, next_node="j"),
        "k": _node("Steps", next_node="j"),
        "j": _node("Write"),
    },
    "sinks": lambda depth: {
        "n": _node("Write", next_node=["m", "k"], compensate="u"),
        "m": _node("Write"),
        "k": _node("Ask"),
        "u": _node("Undo", retry=_QUICK),
    },
    "items": lambda depth: {
        "n": _node("Item", for_each=[1, 5, 3], params={"n": "{{ item }}"}, retry=_QUICK, next_node="m"),
        "m": _node("Child"),
    },
    "pays": lambda depth: {"n": _node("Pay", on_doubt="retry", next_node="m"), "m": _node("Write")},
    "nested": lambda depth: {
        "n": _node("Write", next_node=["p", "k"]),
        "p": _node("Planner", params={"depth": depth - 1}, next_node="q"),
        "k": _node("Write", next_node="q"),
        "q": _node("Write"),
    },
    "fails": lambda depth: {
        "n": _node("Write", next_node=["m", "k"]),
        "m": _node("Flaky", params={"fails": 9, "how": "permanent"}),
        "k": _node("Steps"),
    },
}
"""What a Planner lays."""

WORKFLOWS: dict[str, dict[str, Any]] = {
    "plans": {
        "a": _node("Write", next_node="b"),
        "b": _node("Planner", next_node=["c", "x"]),
        "c": _node("Write", next_node="d"),
        "x": _node("Planner", params={"depth": 2}, next_node="d"),
        "d": _node("Again", params={"times": 1}, next_node={"more": "b", "done": "e"}),
        "e": _node("Planner", params={"kinds": ["fails"], "depth": 0}, on_error="f", next_node="f"),
        "f": _node("Write"),
    },
    "beside": {
        "a": _node("Write", next_node=["p", "b"]),
        "p": _node("Planner", next_node="j"),
        "b": _node("Write", next_node="j"),
        "j": _node("Write"),
    },
    "tries": {
        "a": _node("Planner", params={"kinds": ["sinks"], "depth": 0}, next_node=["b", "c"]),
        "b": _node("Planner", params={"kinds": ["fails", "diamond"], "depth": 0}, next_node="d"),
        "c": _node("Write", next_node="d"),
        "d": _node("Write"),
    },
    "chain": {
        "a": _node("Write", next_node="b"),
        "b": _node("Pure", cache={"ttl": 20, "key": "{{ previous.path }}"}, next_node="c"),
        "c": _node("Write", next_node="d"),
        "d": _node("Steps"),
    },
    "diamond": {
        "a": _node("Remember", next_node=["b", "c", "d"]),
        "b": _node("Write", next_node="e"),
        "c": _node("Flaky", params={"fails": 2}, retry=_QUICK, next_node="e"),
        "d": _node("Write", when="{{ input.deep | default(false) }}", next_node="e"),
        "e": _node("Pure", params={}, next_node="f"),
        "f": _node("Write"),
    },
    "loop": {
        "a": _node("Write", next_node="b"),
        "b": _node("Again", params={"times": 3}, next_node={"more": ["c", "d"], "done": "f"}),
        "c": _node("Write", next_node="e"),
        "d": _node("Write", next_node="e"),
        "e": _node("Pure", next_node="b"),
        "f": _node("Write"),
    },
    "ahead": {
        "a": _node("Pure", next_node=["b", "c"]),
        "b": _node("Pure", next_node="d"),
        "c": _node("Pure", next_node=["d", "w"]),
        "d": _node("Think", next_node="e"),
        "e": _node("Think", next_node={"more": "f", "done": "g"}),
        "f": _node("Pure", next_node="d"),
        "g": _node("Write"),
        "w": _node("Write", next_node="x"),
        "x": _node("Pure"),
    },
    "waits": {
        "a": _node("Write", next_node=["b", "c"]),
        "b": _node("Ask", next_node="d"),
        "c": _node("Steps", next_node="d"),
        "d": _node("Write"),
    },
    "parent": {
        "a": _node("Child", next_node="b"),
        "b": _node("Write", next_node="c"),
        "c": _node("Child"),
    },
    "branches": {
        "a": _node("Branches", next_node="b"),
        "b": _node("Write"),
    },
    "decides": {
        "a": _node("Write", next_node=["b", "c", "d", "f"]),
        "f": _node("PayAnyway", next_node="e"),
        "b": _node("Pay", on_doubt="retry", next_node="e"),
        "c": _node("Pay", on_doubt="skip", next_node="e"),
        "d": _node("PayStep", on_doubt="fail", priority=5, on_error="e"),
        "e": _node("Write", effect="irreversible", queue="slow"),
    },
    "pays": {
        "a": _node("Write", next_node=["b", "c"]),
        "b": _node("Pay", next_node="d"),
        "c": _node("PayStep", next_node="d"),
        "d": _node("Write"),
    },
    "fails": {
        "a": _node("Write", next_node=["b", "c", "d"]),
        "b": _node("Flaky", params={"fails": 9, "how": "permanent"}),
        "c": _node("Write", next_node="e"),
        "d": _node("Flaky", params={"fails": 2, "how": "later"}, next_node="e"),
        "e": _node("Write"),
    },
    "handles": {
        "a": _node("Flaky", params={"fails": 9, "how": "permanent"}, on_error="c", next_node="b"),
        "b": _node("Write", next_node="d"),
        "c": _node("Write", next_node="d"),
        "d": _node("Write"),
    },
    "stops": {
        "a": _node("Write", next_node=["b", "c"]),
        "b": _node("Write", next_node="d"),
        "c": _node("Halt", params={"succeed": True}),
        "d": _node("Steps"),
    },
    "loses": {
        "a": _node("Write", next_node=["b", "c"]),
        "b": _node("Ask", next_node="d"),
        "c": _node("Halt", params={"succeed": False}),
        "d": _node("Write"),
    },
    "trip": {
        "a": _node("Write", next_node=["b", "c"], compensate="u"),
        "b": _node("Write", next_node="d", compensate="u"),
        "c": _node("Ask", next_node="d"),
        "d": _node("Pay", next_node="e", compensate="v"),
        "e": _node("Flaky", params={"fails": 1, "how": "permanent"}, compensate="u"),
        "u": _node("Undo"),
        "v": _node("Undo", retry=_QUICK),
    },
    "race": {
        "a": _node("Write", next_node=["b", "c", "d"]),
        "b": _node("Write", next_node="e"),
        "c": _node("Ask", next_node=["e", "h"]),
        "d": _node("Steps", next_node="e"),
        "e": _node("Again", params={"times": 2}, join="any", next_node={"more": "a", "done": "f"}),
        "f": _node("Write", cancels=["h"]),
        "h": _node("Child", join="each"),
    },
    "quorum": {
        "a": _node("Write", next_node=["b", "c", "d", "g"]),
        "b": _node("Pay", next_node="e"),
        "c": _node("Flaky", params={"fails": 9, "how": "permanent"}, next_node="e"),
        "d": _node("Child", next_node="e"),
        "e": _node("Write", join={"count": 2, "rest": "cancel"}, on_error="f"),
        "f": _node("Write"),
        "g": _node("Flaky", params={"fails": 2}, retry=_QUICK, next_node="e"),
    },
    "persists": {
        "a": _node("Write", next_node=["b", "c", "d"]),
        "b": _node("Flaky", params={"fails": 2, "how": "permanent"}, next_node=["e", "g"]),
        "c": _node("Steps", next_node=["e", "g"]),
        "d": _node("Write", next_node=["f", "g"]),
        "e": _node("Write", next_node="f"),
        "f": _node("Write"),
        "g": _node("Write", join=3),
    },
    "lives": {
        "a": _node("Write", next_node=["b", "c"]),
        "b": _node("Onward", next_node="d"),
        "c": _node("Steps", next_node="d"),
        "d": _node("Pure"),
    },
    "waits_for_lives": {
        "a": _node("ChildChain", next_node="b"),
        "b": _node("Write"),
    },
    "items": {
        "a": _node("Write", next_node="b"),
        "b": _node(
            "Item",
            for_each="{{ input.items | default([5, 1, 0, 2, 3, 4, 1, 0]) }}",
            params={"n": "{{ item }}"},
            max_parallel=3,
            on_item_error="collect",
            retry=_QUICK,
            next_node=["c", "d"],
        ),
        "c": _node("Write", next_node="e"),
        "d": _node("Steps", for_each=[1, 2, 3], complete_when=2, next_node="e"),
        "e": _node("Pay", for_each="{{ nodes.b }}", max_parallel=2, next_node="f"),
        "f": _node("Item", for_each=[1, 2, 9, 3, 4], params={"n": "{{ item }}"}, on_error="g", next_node="g"),
        "g": _node("Write"),
    },
    "endless": {
        "a": _node("Pure", next_node="b"),
        "b": _node("Again", params={"times": 999}, next_node={"more": "a", "done": "c"}),
        "c": _node("Pure"),
    },
}

ONCE = ("chain", "diamond", "waits", "parent", "pays", "fails", "handles", "stops", "loses", "beside")
"""The workflows whose every node runs at most once: no loop, and no join that runs on each arrival."""

WORKFLOWS["spends"] = {
    "a": _node("Write", next_node=["b", "c"]),
    "b": _node("Model", retry=_QUICK, next_node="d"),
    "c": _node("Model", retry=_QUICK, next_node="d"),
    "d": _node("Write"),
}

SLOTS = 2
"""How many tasks with one key may run at once."""

WORKFLOWS["limited"] = {
    "a": _node(
        "Write", limits={"key": "shared-{{ input.deep }}", "concurrency": SLOTS}, next_node=["b", "c", "d"]
    ),
    "b": _node("Steps", limits=[{"key": "shared-{{ input.deep }}", "concurrency": SLOTS}], next_node="e"),
    "c": _node("Flaky", limits={"rate": 3, "per": 5}, retry=_QUICK, next_node="e"),
    "d": _node("Pay", limits={"key": "pay", "concurrency": SLOTS}, next_node="e"),
    "e": _node("Write"),
}

OUTPUTS: dict[str, Any] = {
    "items": {"all": "{{ nodes.b }}"},
    "loop": {"visits": "{{ nodes.b }}"},
    "diamond": {"seen": "{{ vars.seen }}"},
}


def documents() -> dict[str, dict[str, Any]]:
    """The workflows as documents."""
    found: dict[str, dict[str, Any]] = {}
    for name, nodes in WORKFLOWS.items():
        document: dict[str, Any] = {"name": name, "start_at": "a", "nodes": nodes}
        if name in OUTPUTS:
            document["output"] = OUTPUTS[name]
        if name == "diamond":
            document["vars"] = {"seen": "nothing"}
        if name == "endless":
            document["budget"] = {"tasks": 12}
        if name in ("persists", "tries"):
            document["on_failure"] = "finish_branches"
        if name == "spends":
            document["budget"] = {"tokens": 25}
        if name == "waits":
            document["budget"] = {"duration": 90}
        found[name] = document
    return found
