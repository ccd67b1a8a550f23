"""The memory store keeps the contract: it is what the others are compared with."""

from collections.abc import AsyncIterator

import pytest

from orchestrator.stores.memory import MemoryStore
from orchestrator.testing.conformance import Harness, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[Harness]:
        now = 1_700_000_000_000_000

        def tick() -> int:
            nonlocal now
            now += 1
            return now

        async def advance(us: int) -> None:
            nonlocal now
            now += us

        store = MemoryStore(now_us=tick)
        await store.open()
        yield Harness(store, advance)
        await store.close()
