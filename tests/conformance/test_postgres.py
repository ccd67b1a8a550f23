"""The PostgreSQL store keeps the contract, on a clock that the test moves and on the server's own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.stores.postgres import PostgresStore
from orchestrator.testing.conformance import Harness, StoreConformance
from orchestrator.testing.conformance.claims import ClaimTests
from orchestrator.testing.conformance.leases import LeaseTests
from tests.postgres_servers import PostgresServer


class TestPostgresStore(StoreConformance):
    @pytest.fixture
    async def harness(self, postgres: PostgresServer) -> AsyncIterator[Harness]:
        now = 1_700_000_000_000_000

        def tick() -> int:
            nonlocal now
            now += 1
            return now

        async def advance(us: int) -> None:
            nonlocal now
            now += us

        store = PostgresStore(postgres.emptied(), now_us=tick)
        await store.open()
        yield Harness(store, advance)
        await store.close()


class TestPostgresStoreOnItsOwnClock(LeaseTests, ClaimTests):
    @pytest.fixture
    async def harness(self, postgres: PostgresServer) -> AsyncIterator[Harness]:
        async def advance(us: int) -> None:
            await asyncio.sleep(us / 1_000_000)

        store = PostgresStore(postgres.emptied())
        await store.open()
        yield Harness(store, advance)
        await store.close()
