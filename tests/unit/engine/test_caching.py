"""Cached outputs with the whole engine on virtual time."""

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.errors import StoreUnavailable
from orchestrator.kernel.events import DecisionMade, TaskCompleted
from orchestrator.kernel.state import RunState
from orchestrator.model.declarations import Effect
from orchestrator.sdk.results import Route
from tests.unit.engine.lab import Lab, in_lab


class Open(BaseModel):
    """Any params."""

    model_config = ConfigDict(extra="allow")


def _classes(lab: Lab) -> list[Any]:
    """`Look` (read), `Think` (pure), `Choose` (read, decides), `Peek` (reads its run), each noting that it ran."""
    ran: list[Any] = []

    async def look(params: Any, ctx: Any) -> Any:
        ran.append(params.n)
        if params.n == "bad":
            raise ValueError("bad")
        return {"n": params.n, "text": "x" * getattr(params, "size", 1)}

    async def choose(params: Any, ctx: Any) -> Any:
        ran.append("choose")
        return Route("b", output=1, reason="because", confidence=0.5, by="model", model="m")

    async def peek(params: Any, ctx: Any) -> Any:
        ran.append("peek")
        return ctx.input

    lab.node("Look", look, Params=Open, effect=Effect.READ)
    lab.node("Think", look, Params=Open, effect=Effect.PURE)
    lab.node("Choose", choose, Params=Open, effect=Effect.READ, routes=["a", "b"])
    lab.node("Peek", peek, Params=Open, effect=Effect.READ)
    return ran


async def _completed(lab: Lab, run_id: str) -> list[TaskCompleted]:
    return [event for event in await lab.journal(run_id) if isinstance(event, TaskCompleted)]


async def _twice(
    lab: Lab, node: dict[str, Any], first: Any = None, second: Any = None
) -> list[TaskCompleted]:
    """The completions of a cached node in two runs, one after the other."""
    found: list[TaskCompleted] = []
    for given in (first, second):
        state = await lab.run({"a": {"class": "Look", "cache": True, **node}}, given)
        found += [event for event in await _completed(lab, state.run_id) if event.node == "a"]
        await asyncio.sleep(0.01)
    return found


def test_a_second_run_takes_the_output_and_says_from_where() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        first, second = await _twice(lab, {"params": {"n": "{{ input }}"}}, 1, 1)
        assert ran == [1]
        assert first.cached is None
        assert first.cache_key
        assert second.cached is not None
        assert (second.cached.run, second.cached.path, second.cached.at) == ("run-1", "a", first.at)
        assert second.output == first.output
        assert not second.cache_key

    in_lab(test)


def test_other_params_run() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        await _twice(lab, {"params": {"n": "{{ input }}"}}, 1, 2)
        assert ran == [1, 2]

    in_lab(test)


def test_pure_chains_that_run_ahead_are_cached_too() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        for _ in range(2):
            think = {"class": "Think", "cache": True}
            await lab.run(
                {
                    "a": {**think, "params": {"n": 1}, "next_node": "b"},
                    "b": {**think, "params": {"n": "{{ previous.n + 1 }}"}, "next_node": "c"},
                    "c": {**think, "params": {"n": "{{ previous.n + 1 }}"}},
                }
            )
            await asyncio.sleep(0.01)
        assert ran == [1, 2, 3]
        assert all(event.cached is not None for event in await _completed(lab, "run-2"))

    in_lab(test)


def test_a_large_output_is_kept_and_becomes_a_blob_of_the_run_that_takes_it() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        node = {"class": "Look", "cache": True, "params": {"n": 1, "size": 100_000}}
        states: list[RunState] = []
        for _ in range(2):
            states.append(await lab.run({"a": node}))
            await asyncio.sleep(0.01)
        assert ran == [1]
        (taken,) = await _completed(lab, "run-2")
        assert taken.output.run == "run-2"
        assert await lab.output(states[1]) == await lab.output(states[0])

    in_lab(test)


def test_it_is_over_when_its_time_is() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        node = {"class": "Look", "cache": {"ttl": "1m"}, "params": {"n": 1}}
        for pause in (30.0, 31.0, 0.0):
            await lab.run({"a": node})
            await asyncio.sleep(pause)
        assert ran == [1, 1]
        await asyncio.sleep(100.0)
        assert lab.store._cached == {}  # the reconciler's work

    in_lab(test)


def test_an_own_key_counts_in_the_place_of_the_params() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        node = {"cache": {"key": "{{ input.tenant }}"}, "params": {"n": "{{ input.n }}"}}
        await _twice(lab, node, {"tenant": "a", "n": 1}, {"tenant": "a", "n": 2})
        assert ran == [1]
        await _twice(lab, node, {"tenant": 1, "n": 3}, {"tenant": "1", "n": 4})
        assert ran == [1, 3, 4]

    in_lab(test)


def test_items_are_cached_one_by_one() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        node = {"for_each": "{{ input }}", "params": {"n": "{{ item }}"}}
        await _twice(lab, node, [1, 2], [2, 3, 1])
        assert sorted(ran) == [1, 2, 3]
        hits = {event.path for event in await _completed(lab, "run-2") if event.cached is not None}
        assert hits == {"a[0]", "a[2]"}

    in_lab(test)


def test_a_decision_is_taken_with_its_output() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        for _ in range(2):
            await lab.run(
                {
                    "choose": {"class": "Choose", "cache": True},
                    "a": {"class": "Look", "params": {"n": "a"}},
                    "b": {"class": "Look", "params": {"n": "b"}},
                }
            )
            await asyncio.sleep(0.01)
        assert ran == ["choose", "b", "b"]
        decisions = [
            e for run in ("run-1", "run-2") for e in await lab.journal(run) if isinstance(e, DecisionMade)
        ]
        first, second = decisions
        assert (second.chosen, second.reason, second.model) == (first.chosen, "because", "m")

    in_lab(test)


def test_failures_and_what_reads_its_run_are_not_kept() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)
        for _ in range(2):
            await lab.run(
                {"a": {"class": "Look", "cache": True, "params": {"n": "bad"}, "retry": {"max_attempts": 1}}}
            )
            await lab.run({"a": {"class": "Peek", "cache": True}})
            await asyncio.sleep(0.01)
        assert ran == ["bad", "peek", "bad", "peek"]
        for _ in range(2):
            await lab.run({"a": {"class": "Peek", "cache": {"key": "mine"}}})
            await asyncio.sleep(0.01)
        assert ran[4:] == ["peek"]

    in_lab(test)


def test_a_store_that_cannot_be_asked_delays_nobody() -> None:
    async def test(lab: Lab) -> None:
        ran = _classes(lab)

        async def fail(*args: Any, **kwargs: Any) -> Any:
            raise StoreUnavailable("not now")

        lab.store.get_cached = fail
        lab.store.put_cached = fail
        first, second = await _twice(lab, {"params": {"n": 1}})
        assert ran == [1, 1]
        assert (first.cached, second.cached) == (None, None)

    in_lab(test)
