"""Does SQLite agree with the memory oracle under random commands?"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from orchestrator.stores.contract import Store
from orchestrator.stores.sqlite import SqliteStore
from tests.model.stores import StoreComparison

EXAMPLES = 80
STEPS = 40


class SqliteComparison(StoreComparison):
    """A file of its own for each example."""

    reached: ClassVar[Counter[str]] = Counter()

    def make_store(self) -> Store:
        """A store in a new folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="orchestrator-model-"))
        return SqliteStore(f"sqlite:///{self.folder / 'store.db'}", now_us=lambda: self.now)

    def teardown(self) -> None:
        """Nothing is left lying beside a closed store's file."""
        super().teardown()
        left = [path.name for path in self.folder.iterdir() if path.name != "store.db"]
        shutil.rmtree(self.folder)
        assert left == []


def test_sqlite_agrees_with_memory_under_random_commands() -> None:
    SqliteComparison.reached.clear()
    run_state_machine_as_test(
        SqliteComparison,
        settings=settings(
            max_examples=EXAMPLES,
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
    reached = SqliteComparison.reached
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
        assert reached[what] > 10, f"{what}: {reached}"
