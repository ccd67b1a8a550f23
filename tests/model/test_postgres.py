"""Does PostgreSQL agree with the memory oracle under random commands?"""

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from orchestrator.stores.contract import Store
from orchestrator.stores.postgres import PostgresStore
from tests.model.stores import StoreComparison
from tests.postgres_servers import PostgresServer

EXAMPLES = 40
STEPS = 40


@pytest.mark.slow
def test_postgres_agrees_with_memory_under_random_commands(postgres: PostgresServer) -> None:
    class PostgresComparison(StoreComparison):
        """An empty schema for each example."""

        reached: ClassVar[Counter[str]] = Counter()

        def make_store(self) -> Store:
            return PostgresStore(postgres.emptied(), now_us=lambda: self.now)

    run_state_machine_as_test(
        PostgresComparison,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=(Phase.generate,),
            derandomize=True,
            suppress_health_check=(
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
                HealthCheck.filter_too_much,
            ),
        ),
    )
    reached = PostgresComparison.reached
    for what in (
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
    ):
        assert reached[what] > 0, f"{what}: {reached}"
