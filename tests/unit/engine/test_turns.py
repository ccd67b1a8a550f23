"""A writer of a run that others keep busy gets it to itself for one turn."""

import asyncio
from collections.abc import Sequence
from typing import Any

from orchestrator.engine.clock import StoreClock
from orchestrator.engine.engine import Engine
from orchestrator.kernel.commands import DeliverSignal
from orchestrator.kernel.events import SignalReceived
from orchestrator.kernel.values import NULL
from orchestrator.stores.contract import Commit, CommitAnswer, Outcome
from tests.unit.engine.lab import Lab, in_lab

RUN = "run-1"


async def _waiting_run(lab: Lab) -> None:
    async def wait(params: Any, ctx: Any) -> Any:
        return await ctx.wait_for_signal("never", timeout=100_000)

    lab.node("Wait", wait)
    await lab.save("w", {"a": {"class": "Wait"}})
    await lab.start("w")
    await asyncio.sleep(1)


async def _other(lab: Lab) -> Engine:
    """Another process's engine on the same store, which is always faster."""
    other = Engine(
        lab.store, lab.registry, config=lab.engine.config, clock=StoreClock(monotonic_us=lab.loop.now_us)
    )
    await other.open()
    return other


class Interference:
    """Before each commit of the lab's engine the other one delivers a signal of its own."""

    def __init__(self, lab: Lab, other: Engine) -> None:
        self.lab, self.other = lab, other
        self.sent = 0
        self.outcomes: list[Outcome] = []
        self.deliveries: list[asyncio.Task[Any]] = []
        self._commit = lab.store.commit
        self._ours = lab.engine.writer
        lab.store.commit = self.commit

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        ours = [one for one in batch if one.commit_id.startswith(self._ours) and one.events]
        if ours:
            self.sent += 1
            signal = DeliverSignal(name="s", payload=NULL, key=f"other-{self.sent}")
            task = asyncio.create_task(self.other.command(RUN, signal))
            self.deliveries.append(task)
            await asyncio.wait({task}, timeout=0.3)
        answers = await self._commit(batch)
        if ours:
            self.outcomes += [answer.outcome for answer in answers]
        return answers


def test_after_three_conflicts_a_writer_is_not_refused_again() -> None:
    async def test(lab: Lab) -> None:
        await _waiting_run(lab)
        other = await _other(lab)
        between = Interference(lab, other)
        await lab.engine.command(RUN, DeliverSignal(name="s", payload=NULL, key="ours"))
        assert between.outcomes == [Outcome.CONFLICT] * 3 + [Outcome.OK]
        await asyncio.gather(*between.deliveries)  # who had to wait for the turn comes right after it
        keys = [event.key for event in await lab.journal(RUN) if isinstance(event, SignalReceived)]
        assert sorted(keys) == ["other-1", "other-2", "other-3", "other-4", "ours"]
        assert keys.index("ours") < keys.index("other-4")
        await other.close()

    in_lab(test)


def test_the_turn_is_given_back_and_the_next_conflict_is_the_first() -> None:
    async def test(lab: Lab) -> None:
        await _waiting_run(lab)
        other = await _other(lab)
        between = Interference(lab, other)
        for key in ("one", "two"):
            between.outcomes.clear()
            await lab.engine.command(RUN, DeliverSignal(name="s", payload=NULL, key=key))
            await asyncio.gather(*between.deliveries)
            assert between.outcomes == [Outcome.CONFLICT] * 3 + [Outcome.OK]
        await other.close()

    in_lab(test)
