"""A store behind a key ring keeps the contract: what goes in comes out, whatever lies in between."""

from collections.abc import AsyncIterator

import pytest

from orchestrator.engine.sealing import KeyRing, sealed
from orchestrator.stores.memory import MemoryStore
from orchestrator.testing.conformance import Harness, StoreConformance

pytest.importorskip("cryptography")


class TestSealedMemoryStore(StoreConformance):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[Harness]:
        clock = [1_000_000_000]

        async def advance(us: int) -> None:
            clock[0] += us

        store = sealed(MemoryStore(now_us=lambda: clock[0]), KeyRing.parse("ab" * 32))
        await store.open()
        yield Harness(store, advance)
        await store.close()
