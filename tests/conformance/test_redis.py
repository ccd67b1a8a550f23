"""The Redis store keeps the contract: on one server, synced always or every second, and on a cluster of three masters.

The servers are started once; each test gets a prefix of its own on them, so an empty store.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from orchestrator.stores.redis import RedisStore
from orchestrator.testing.conformance import Harness, StoreConformance
from orchestrator.testing.conformance.claims import ClaimTests
from orchestrator.testing.conformance.leases import LeaseTests
from tests.redis_servers import RedisServer, durable, redis_cluster, redis_server

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def everysec(find_program: Callable[[str], str]) -> Iterator[RedisServer]:
    with redis_server(find_program, options=durable("everysec")) as server:
        yield server


@pytest.fixture(scope="module")
def always(find_program: Callable[[str], str]) -> Iterator[RedisServer]:
    with redis_server(find_program, options=durable("always")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(find_program: Callable[[str], str]) -> Iterator[list[RedisServer]]:
    with redis_cluster(find_program) as nodes:
        yield nodes


async def harness_on(url: str, *, own_clock: bool = False) -> AsyncIterator[Harness]:
    now = 1_700_000_000_000_000

    def tick() -> int:
        nonlocal now
        now += 1
        return now

    async def advance(us: int) -> None:
        nonlocal now
        now += us
        if own_clock:
            await asyncio.sleep(us / 1_000_000)

    store = RedisStore(f"{url}?prefix=t{next(_numbers)}", now_us=None if own_clock else tick)
    await store.open()
    yield Harness(store, advance)
    await store.close()


class TestRedisStore(StoreConformance):
    @pytest.fixture
    async def harness(self, everysec: RedisServer) -> AsyncIterator[Harness]:
        async for harness in harness_on(everysec.url):
            yield harness


class TestRedisStoreOnItsOwnClock(LeaseTests, ClaimTests):
    @pytest.fixture
    async def harness(self, always: RedisServer) -> AsyncIterator[Harness]:
        async for harness in harness_on(always.url, own_clock=True):
            yield harness


@pytest.mark.slow
class TestRedisCluster(StoreConformance):
    @pytest.fixture
    async def harness(self, cluster: list[RedisServer]) -> AsyncIterator[Harness]:
        async for harness in harness_on(cluster[0].url):
            yield harness
