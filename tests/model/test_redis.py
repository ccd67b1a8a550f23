"""Does Redis agree with the memory oracle under random commands? On one server, and on a cluster of three masters.

In the cluster the store has one partition: with several, partitions take turns, and claims come in another order than
the oracle's. Rows and accounts are in different slots all the same.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from orchestrator.stores.contract import Store
from orchestrator.stores.redis import RedisStore
from tests.model.stores import SECOND, StoreComparison
from tests.redis_servers import durable, redis_cluster, redis_server

pytestmark = pytest.mark.slow

EXAMPLES = 80
EXAMPLES_IN_A_CLUSTER = 25
STEPS = 40
REACHED = (
    "commit ok",
    "commit conflict",
    "commit fenced",
    "granted",
    "claimed",
    "repeat",
    "released",
    "expired",
    "acquire granted",
    "acquire waits",
    "acquire fenced",
    "cached",
    "rewritten",
)

_numbers = itertools.count(1)


class RedisComparison(StoreComparison):
    """A prefix of its own for each example."""

    reached: ClassVar[Counter[str]] = Counter()
    url: ClassVar[str] = ""
    partitions: ClassVar[int] = 16

    def make_store(self) -> Store:
        """A store that nobody used before."""
        url = f"{self.url}?prefix=m{next(_numbers)}&partitions={self.partitions}"
        return RedisStore(url, now_us=lambda: self.now)

    def cache(self, data: st.DataObject) -> None:
        """As the others, but that the server sweeps by itself."""
        key, value = data.draw(st.sampled_from("kl")), data.draw(st.binary(max_size=9))
        ttl_us = data.draw(st.sampled_from([0, SECOND * 600, 6_000 * SECOND]))
        self.done("cached", self.both(lambda store: store.put_cached(key, value, ttl_us=ttl_us)))


def compare(url: str, *, partitions: int, examples: int, least: int) -> None:
    RedisComparison.reached.clear()
    RedisComparison.url, RedisComparison.partitions = url, partitions
    run_state_machine_as_test(
        RedisComparison,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            phases=(Phase.generate,),  # shrinking takes minutes; take it in when there is something to shrink
            derandomize=True,
            suppress_health_check=(
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ),
        ),
    )
    reached = RedisComparison.reached
    for what in REACHED:
        assert reached[what] > least, f"{what}: {reached}"


def test_redis_agrees_with_memory_under_random_commands(find_program: Callable[[str], str]) -> None:
    with redis_server(find_program, options=durable("everysec")) as server:
        compare(server.url, partitions=16, examples=EXAMPLES, least=4)


def test_a_redis_cluster_agrees_with_memory_under_random_commands(
    find_program: Callable[[str], str],
) -> None:
    with redis_cluster(find_program) as nodes:
        compare(nodes[0].url, partitions=1, examples=EXAMPLES_IN_A_CLUSTER, least=0)
