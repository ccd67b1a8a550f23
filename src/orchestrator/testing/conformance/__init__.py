"""The conformance suite: a store is right if it passes these tests.

A store's author gives a fixture and inherits the rest:

    class TestMyStore(StoreConformance):
        @pytest.fixture
        async def harness(self) -> AsyncIterator[Harness]:
            store = MyStore(...)
            await store.open()
            yield Harness(store, advance)
            await store.close()

`advance(us)` moves the store's clock: a store with its own clock sleeps that long (the suite never asks for more than
a quarter of a second at a time), a store with a clock from outside sets it. Each test gets an empty store.

The tests need pytest with pytest-asyncio. For readable failures register the package for assertion rewriting, in a
`conftest.py`: `pytest.register_assert_rewrite("orchestrator.testing.conformance")`.
"""

from orchestrator.testing.conformance.accounts import AccountTests
from orchestrator.testing.conformance.claims import ClaimTests
from orchestrator.testing.conformance.commits import CommitTests
from orchestrator.testing.conformance.enqueues import EnqueueTests
from orchestrator.testing.conformance.feeds import FeedTests
from orchestrator.testing.conformance.harness import TICK, Harness
from orchestrator.testing.conformance.keeping import CachedTests, RewriteTests, TurnTests
from orchestrator.testing.conformance.leases import LeaseTests
from orchestrator.testing.conformance.lists import ListTests
from orchestrator.testing.conformance.reading import ReadingTests
from orchestrator.testing.conformance.wakes import WakeTests
from orchestrator.testing.conformance.workflows import WorkflowTests


class StoreConformance(
    CommitTests,
    EnqueueTests,
    LeaseTests,
    ClaimTests,
    ReadingTests,
    FeedTests,
    ListTests,
    WorkflowTests,
    WakeTests,
    AccountTests,
    TurnTests,
    CachedTests,
    RewriteTests,
):
    """Every test of the contract. Inherit, and give the fixture `harness`."""


__all__ = ["TICK", "Harness", "StoreConformance"]
