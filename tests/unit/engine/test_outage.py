"""What a person's command hears while the store takes nothing and a task's result waits for it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.kernel.commands import CancelRun
from orchestrator.kernel.status import RunStatus
from orchestrator.stores.contract import Commit
from tests.unit.engine.lab import Lab, in_lab


def test_a_command_behind_a_result_that_waits_for_the_store_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(lab: Lab) -> None:
        full = False
        commit = lab.store.commit

        async def refusing(commits: Sequence[Commit]) -> Any:
            if full:
                raise StoreUnavailable("the disk is full")
            return await commit(commits)

        monkeypatch.setattr(lab.store, "commit", refusing)

        async def work(params: Any, ctx: Any) -> str:
            await asyncio.sleep(1)
            return "done"

        lab.node("Work", work)
        await lab.save("w", {"a": {"class": "Work"}})
        run = await lab.start("w")
        full = True
        await asyncio.sleep(2)
        for _ in range(2):
            begun = lab.loop.time()
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                await lab.engine.command(run, CancelRun())
            assert lab.loop.time() - begun < 5

        full = False
        assert (await lab.end(run)).status is RunStatus.SUCCEEDED
        assert "cancel_requested" not in {event.kind for event in await lab.journal(run)}

    in_lab(test)
