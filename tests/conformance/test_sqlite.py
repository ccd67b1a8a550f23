"""The SQLite store keeps the contract, on a clock that the test moves and on its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.stores.sqlite import SqliteStore
from orchestrator.testing.conformance import Harness, StoreConformance
from orchestrator.testing.conformance.claims import ClaimTests
from orchestrator.testing.conformance.leases import LeaseTests


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
        now = 1_700_000_000_000_000

        def tick() -> int:
            nonlocal now
            now += 1
            return now

        async def advance(us: int) -> None:
            nonlocal now
            now += us

        store = SqliteStore(f"sqlite:///{tmp_path / 'store.db'}", now_us=tick)
        await store.open()
        yield Harness(store, advance)
        await store.close()


class TestSqliteStoreOnItsOwnClock(LeaseTests, ClaimTests):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[Harness]:
        async def advance(us: int) -> None:
            await asyncio.sleep(us / 1_000_000)

        store = SqliteStore(f"sqlite:///{tmp_path / 'store.db'}")
        await store.open()
        yield Harness(store, advance)
        await store.close()
