"""A process ends, whatever the code does that it leaves behind."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from orchestrator.cli import processes
from orchestrator.cli.processes import run_to_end


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STUBBORN_SECONDS", 0.05)


def test_code_that_swallows_its_cancellation_is_left_behind(capfd: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.new_event_loop()
    free = False

    async def stubborn() -> None:
        while not free:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue

    async def main() -> tuple[str, asyncio.Task[None]]:
        task = asyncio.create_task(stubborn(), name="run_1/hanger")
        await asyncio.sleep(0)
        return "done", task

    begun = time.monotonic()
    result, task = run_to_end(main(), loop)
    assert result == "done"
    assert time.monotonic() - begun < 5
    assert not task.done()

    said = capfd.readouterr()
    assert "run_1/hanger" in said.out + said.err
    free = True
    task.cancel()
    loop.run_until_complete(asyncio.wait({task}))
    loop.close()


def test_what_can_be_cancelled_is_cancelled_and_unwound() -> None:
    loop, unwound = asyncio.new_event_loop(), list[str]()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("task")

    async def gives() -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            unwound.append("generator")

    async def main() -> AsyncGenerator[int]:
        running = asyncio.create_task(waits())
        await asyncio.sleep(0)
        assert not running.done()
        generator = gives()
        await anext(generator)
        return generator

    kept = run_to_end(main(), loop)
    assert kept is not None
    assert unwound == ["task", "generator"]
    assert loop.is_closed()


def test_an_error_of_the_work_comes_out() -> None:
    loop = asyncio.new_event_loop()

    async def main() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_to_end(main(), loop)
    assert loop.is_closed()
