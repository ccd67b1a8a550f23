"""Chains of pure tasks run ahead of the disk: written together, shown only when written, thrown away on a conflict."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.engine.runs.ahead import Ahead
from orchestrator.errors import StoreUnavailable
from orchestrator.kernel.commands import DeliverSignal
from orchestrator.kernel.events import Event, TaskCompleted, TaskScheduled
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.kernel.values import NULL
from orchestrator.sdk.effect import Effect
from orchestrator.stores.contract import Commit, CommitAnswer, Granted, Outcome
from tests.unit.engine.lab import Lab, in_lab


def chain(*classes: str) -> dict[str, Any]:
    """Nodes n1, n2 ... of these classes, one after another."""
    nodes: dict[str, Any] = {}
    for number, name in enumerate(classes, start=1):
        nodes[f"n{number}"] = {"class": name}
        if number < len(classes):
            nodes[f"n{number}"]["next_node"] = f"n{number + 1}"
    return nodes


class Watch:
    """Counts what the nodes do and what the store is asked to write; `refuse` answers once with a conflict."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.did: list[str] = []
        self.commits: list[Commit] = []
        self.refuse: int | None = None
        self.inner = lab.store.commit
        lab.store.commit = self.commit
        lab.node("Think", self.think, effect=Effect.PURE)
        lab.node("Act", self.think)

    async def think(self, params: Any, ctx: Any) -> Any:
        """Note that it ran."""
        self.did.append(ctx.path)
        return {"at": ctx.path, "after": ctx.previous}

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """Write, or say that somebody was faster."""
        with_events = [commit for commit in batch if commit.events]
        self.commits.extend(with_events)
        if self.refuse is not None and len(self.commits) >= self.refuse:
            self.refuse = None
            return [CommitAnswer(outcome=Outcome.CONFLICT, seq=1) for _ in batch]
        return await self.inner(batch)


def test_a_chain_of_pure_tasks_commits_together() -> None:
    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        state = await lab.run(chain("Think", "Think", "Think", "Think", "Think"))
        assert state.status is RunStatus.SUCCEEDED
        assert watch.did == ["n1", "n2", "n3", "n4", "n5"]
        assert len(watch.commits) == 2  # the start, and all the rest
        output: Any = await lab.output(state)
        for path in ("n5", "n4", "n3", "n2", "n1"):
            assert output["at"] == path
            output = output["after"]
        events = await lab.journal(state.run_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert len({event.group for event in events}) == 6, "each command has a group of its own"

    in_lab(test)


def test_what_a_task_with_an_effect_builds_on_is_durable_before_it_begins() -> None:
    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        durable: list[str] = []

        async def touch(params: Any, ctx: Any) -> Any:
            events = await lab.journal(ctx.run_id)
            durable.extend(event.path for event in events if isinstance(event, TaskCompleted))
            assert any(isinstance(event, TaskScheduled) and event.path == ctx.path for event in events)

        lab.node("Touch", touch)
        state = await lab.run(chain("Think", "Think", "Think", "Touch", "Think"))
        assert state.status is RunStatus.SUCCEEDED
        assert durable == ["n1", "n2", "n3"]
        assert len(watch.commits) == 4

    in_lab(test)


def test_a_step_with_an_effect_in_a_pure_task_waits_for_the_disk() -> None:
    async def test(lab: Lab) -> None:
        Watch(lab)
        seen: list[int] = []

        async def steps(params: Any, ctx: Any) -> Any:
            async def look() -> int:
                seen.append(len(await lab.journal(ctx.run_id)))
                return len(seen)

            return [await ctx.step("first", look), await ctx.step("second", look)]

        lab.node("Steps", steps, effect=Effect.PURE)
        state = await lab.run(chain("Think", "Think", "Steps"))
        assert await lab.output(state) == [1, 2]
        assert seen == [6, 7]

    in_lab(test)


def test_after_a_conflict_all_that_was_computed_ahead_is_thrown_away() -> None:
    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        watch.refuse = 2
        state = await lab.run(chain("Think", "Think", "Think"))
        assert state.status is RunStatus.SUCCEEDED
        # The first task's result stands on its lease and is decided again; the others are computed anew.
        assert watch.did == ["n1", "n2", "n3", "n2", "n3"]
        done = [event.path for event in await lab.journal(state.run_id) if isinstance(event, TaskCompleted)]
        assert done == ["n1", "n2", "n3"]

    in_lab(test)


def test_nothing_is_shown_before_it_is_durable() -> None:
    async def test(lab: Lab) -> None:
        Watch(lab)
        shown: list[Event] = []
        release = asyncio.Event()

        async def wait(params: Any, ctx: Any) -> Any:
            await release.wait()

        def observe(state: RunState, events: Sequence[Event]) -> None:
            shown.extend(events)

        lab.node("Wait", wait, effect=Effect.PURE)
        lab.engine.observers.append(observe)
        await lab.save("w", chain("Think", "Think", "Wait", "Think"))
        run_id = await lab.start("w")
        await asyncio.sleep(0.02)
        assert len(await lab.journal(run_id)) == 2
        assert len(shown) == 2
        await asyncio.sleep(0.1)  # no further ahead than 50 ms
        assert len(await lab.journal(run_id)) == 6
        assert len(shown) == 6
        rows = await lab.store.queue_rows(run_id)
        assert [(row.path, row.worker) for row in rows] == [("n3", "w1")], "what still runs has a lease now"
        release.set()
        assert (await lab.end(run_id)).status is RunStatus.SUCCEEDED

    in_lab(test)


def test_a_run_is_at_most_a_thousand_tasks_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.runs.ahead.TASKS_MAX", 5)

    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        state = await lab.run(chain(*["Think"] * 20))
        assert state.status is RunStatus.SUCCEEDED
        finished = [sum(b'"task_completed"' in line for line in commit.events) for commit in watch.commits]
        assert sum(finished) == 20
        assert max(finished) <= 6

    in_lab(test)


def test_a_command_in_between_is_answered_at_once() -> None:
    async def test(lab: Lab) -> None:
        Watch(lab)

        async def slow(params: Any, ctx: Any) -> Any:
            await asyncio.sleep(0.01)

        lab.node("Slow", slow, effect=Effect.PURE)
        await lab.save("w", chain("Think", "Slow", "Slow", "Slow"))
        run_id = await lab.start("w")
        await asyncio.sleep(0.015)
        before = lab.loop.time()
        await lab.engine.command(run_id, DeliverSignal(name="s", payload=NULL, key="k"))
        assert lab.loop.time() - before < 0.01
        assert len(await lab.journal(run_id)) > 3
        assert (await lab.end(run_id)).status is RunStatus.SUCCEEDED

    in_lab(test)


def test_an_outage_loses_nothing_of_what_was_computed_ahead() -> None:
    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        inner, failures = watch.inner, 3

        async def fail(batch: Sequence[Commit]) -> list[CommitAnswer]:
            nonlocal failures
            if len(watch.commits) > 1 and failures:
                failures -= 1
                raise StoreUnavailable("not now")
            return await inner(batch)

        watch.inner = fail
        state = await lab.run(chain("Think", "Think", "Think"))
        assert state.status is RunStatus.SUCCEEDED
        assert watch.did == ["n1", "n2", "n3"]

    in_lab(test)


def test_a_pure_task_that_fails_ahead_is_tried_again() -> None:
    async def test(lab: Lab) -> None:
        Watch(lab)

        async def fail(params: Any, ctx: Any) -> Any:
            if ctx.attempt == 1:
                raise OSError("once")
            return ctx.attempt

        lab.node("Fail", fail, effect=Effect.PURE)
        state = await lab.run(chain("Think", "Fail"))
        assert await lab.output(state) == 2

    in_lab(test)


def test_one_slot_is_enough_to_run_ahead() -> None:
    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        state = await lab.run(chain("Think", "Think", "Think", "Think"))
        assert state.status is RunStatus.SUCCEEDED
        assert len(watch.commits) == 2

    in_lab(test, concurrency=1)


def test_parallel_pure_tasks_run_ahead_of_the_disk_too() -> None:
    async def test(lab: Lab) -> None:
        watch = Watch(lab)
        nodes = {
            "a": {"class": "Think", "next_node": ["b", "c", "d"]},
            "b": {"class": "Think", "next_node": "e"},
            "c": {"class": "Think", "next_node": "e"},
            "d": {"class": "Think", "next_node": "e"},
            "e": {"class": "Think"},
        }
        state = await lab.run(nodes)
        assert state.status is RunStatus.SUCCEEDED
        assert len(watch.commits) == 2
        assert sorted(watch.did) == ["a", "b", "c", "d", "e"]

    in_lab(test)


def test_a_lease_that_comes_after_an_attempt_has_ended_is_for_another() -> None:
    class Runner:
        epoch = 0

        def __init__(self, *, ended: bool) -> None:
            self.ended = ended

        def lose(self) -> None:
            raise AssertionError("it has its lease")

        def adopt(self, epoch: int) -> bool:
            return not self.ended

    ahead = Ahead()
    ahead.started("gone", Runner(ended=True))
    ahead.started("there", Runner(ended=False))
    leases = [
        Granted(run_id="run", path=path, epoch=number) for number, path in enumerate(["gone", "there"], 1)
    ]
    assert [lease.path for lease in ahead.adopt(leases, [])] == ["gone"]
    assert not ahead.runners
