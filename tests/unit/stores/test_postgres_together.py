"""Those who ask the same at the same time share an answer that isn't older than their question."""

import asyncio

import pytest

from orchestrator.stores.postgres.connections import Together


async def test_an_answer_is_never_older_than_the_question() -> None:
    together: Together[int] = Together()
    calls: list[asyncio.Future[int]] = []

    async def read() -> int:
        calls.append(asyncio.get_running_loop().create_future())
        return await calls[-1]

    async def settled() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    first = [asyncio.create_task(together.ask("a", read)) for _ in range(3)]
    await settled()
    assert len(calls) == 1
    later = [asyncio.create_task(together.ask("a", read)) for _ in range(3)]
    other = asyncio.create_task(together.ask("b", read))
    await settled()
    assert len(calls) == 2, "what was asked meanwhile waits; another question doesn't"
    calls[1].set_result(20)
    calls[0].set_result(1)
    assert await asyncio.gather(*first, other) == [1, 1, 1, 20]
    await settled()
    assert len(calls) == 3
    calls[2].set_result(2)
    assert await asyncio.gather(*later) == [2, 2, 2]


async def test_an_error_reaches_everybody_and_the_next_one_asks_anew() -> None:
    together: Together[int] = Together()

    async def fail() -> int:
        raise ValueError("x")

    async def work() -> int:
        return 7

    for answer in await asyncio.gather(*(together.ask("a", fail) for _ in range(3)), return_exceptions=True):
        assert isinstance(answer, ValueError)
    assert await together.ask("a", work) == 7


async def test_who_gives_up_takes_nobody_along() -> None:
    together: Together[int] = Together()
    go = asyncio.Event()

    async def read() -> int:
        await go.wait()
        return 3

    gone, stays = (asyncio.create_task(together.ask("a", read)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    go.set()
    assert await stays == 3
