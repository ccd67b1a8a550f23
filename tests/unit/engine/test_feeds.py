"""Feeds over the memory store, fed with the events of runs that the kernel made."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
import pytest

from orchestrator.engine.runs.index import index_of
from orchestrator.engine.runs.summary import summarize
from orchestrator.engine.views.feeds import NOTICES_WAITING_MAX, FeedItem, Feeds, Hub
from orchestrator.engine.views.runs import View, run_summary
from orchestrator.errors import NotFound
from orchestrator.kernel import commands as c
from orchestrator.kernel.events import encode
from orchestrator.kernel.values import ErrorInfo
from orchestrator.stores.contract import Commit, Enqueue, Notice, RunRow
from orchestrator.stores.memory import MemoryStore
from tests.unit.engine.runs import Run

NODES = {"a": {"class": "Plain", "next_node": "b"}, "b": {"class": "Plain"}}
FINAL = ErrorInfo(type="ValueError", message="no", retryable=False)


class Kept:
    """A kernel-made run, and as much of it as was committed under `run_id`."""

    def __init__(self, store: MemoryStore, run_id: str, *, namespace: str = "default") -> None:
        self.store, self.run_id, self.namespace = store, run_id, namespace
        self.run = Run(NODES)
        self.kept = 0

    async def commit(self, **more: Any) -> None:
        """Keep what the run has done since."""
        await self.store.commit(
            [
                Commit(
                    commit_id=f"{self.run_id}-{self.kept}",
                    run_id=self.run_id,
                    namespace=self.namespace,
                    expected=self.kept,
                    events=[encode(event) for event in self.run.events[self.kept :]],
                    index=index_of(self.run.state),
                    summary=summarize(self.run.state),
                    **more,
                )
            ]
        )
        self.kept = len(self.run.events)

    def notice(self, **data: Any) -> None:
        self.store.notify(
            Notice(run_id=self.run_id, workflow="flow", data=msgspec.json.encode({"path": "a", **data}))
        )


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


def feeds_of(store: MemoryStore, hub: Hub | None = None, *, poll_seconds: float = 30.0) -> Feeds:
    async def summarise(row: RunRow) -> View:
        return run_summary(row, rows=await store.queue_rows(row.run_id), now_us=await store.now_us())

    return Feeds(
        store,
        hub or Hub(store),
        namespace="default",
        slow_poll_seconds=poll_seconds,
        summarise=summarise,
    )


async def some(feed: AsyncGenerator[FeedItem], count: int) -> list[FeedItem]:
    async with asyncio.timeout(10):
        return [await anext(feed) for _ in range(count)]


async def all_of(feed: AsyncGenerator[FeedItem]) -> list[FeedItem]:
    async with asyncio.timeout(10):
        return [item async for item in feed]


def seqs(items: list[FeedItem]) -> list[int]:
    return [item.data["seq"] for item in items if item.event == "journal"]


async def test_a_run_that_is_over_is_told_whole_and_then_ends(store: MemoryStore) -> None:
    kept = Kept(store, "run_1")
    kept.run.complete("a")
    kept.run.complete("b")
    await kept.commit()
    items = await all_of(feeds_of(store).of_run("run_1", after=0))
    assert seqs(items) == list(range(1, len(kept.run.events) + 1))
    assert [item.id for item in items] == [str(seq) for seq in seqs(items)] + [None]
    assert items[-1] == FeedItem(event="end", data={"status": "succeeded"})


async def test_a_follower_resumes_behind_what_it_saw(store: MemoryStore) -> None:
    kept = Kept(store, "run_1")
    await kept.commit()
    feeds = feeds_of(store)
    first = feeds.of_run("run_1", after=0)
    seen = seqs(await some(first, 2))
    await first.aclose()
    kept.run.complete("a")
    await kept.commit()
    second = feeds.of_run("run_1", after=seen[-1])
    seen += seqs(await some(second, 2))
    waiting = asyncio.ensure_future(anext(second))
    await asyncio.sleep(0)
    kept.run.complete("b")
    await kept.commit()
    seen += [(await waiting).data["seq"]]
    seen += seqs(await all_of(second))
    assert seen == list(range(1, len(kept.run.events) + 1))


async def test_a_follower_that_saw_the_end_gets_only_the_end(store: MemoryStore) -> None:
    kept = Kept(store, "run_1")
    kept.run.fail("a", FINAL)
    await kept.commit()
    items = await all_of(feeds_of(store).of_run("run_1", after=kept.kept))
    assert items == [FeedItem(event="end", data={"status": "failed"})]


async def test_a_lost_wake_up_is_made_good_by_the_slow_poll(store: MemoryStore) -> None:
    kept = Kept(store, "run_1")
    await kept.commit()
    hub = Hub(store)
    feed = feeds_of(store, hub, poll_seconds=0.02).of_run("run_1", after=0)
    await some(feed, 2)
    hub.close()
    kept.run.complete("a")
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    await kept.commit()
    async with asyncio.timeout(10):
        assert (await waiting).data["kind"] == "task_completed"


async def test_live_notices_come_without_a_position_and_none_after_its_end(store: MemoryStore) -> None:
    kept = Kept(store, "run_1")
    await kept.commit()
    feed = feeds_of(store).of_run("run_1", after=0)
    await some(feed, 2)
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    kept.notice(kind="task_started", node="a", attempt=1)
    live = await waiting
    assert (live.event, live.id) == ("live", None)
    assert live.data == {"kind": "task_started", "path": "a", "node": "a", "attempt": 1}
    kept.run.complete("a")
    await kept.commit()
    assert seqs(await some(feed, 2)) == [3, 4]
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    kept.notice(kind="task_progress", node="a", attempt=1, message="too late")
    kept.notice(kind="task_log", node="a", attempt=1, message="still told")
    assert (await waiting).data["message"] == "still told"
    await feed.aclose()


async def test_what_began_before_anybody_listened_is_read_from_the_leases(store: MemoryStore) -> None:
    await store.heartbeat("w1", lease_us=60_000_000)
    kept = Kept(store, "run_1")
    await kept.commit(worker="w1", enqueue=[Enqueue(path="a", leased=True)])
    feed = feeds_of(store).of_run("run_1", after=0)
    items = await some(feed, 3)
    assert items[2].event == "live"
    assert (items[2].data["kind"], items[2].data["path"], items[2].data["worker"]) == (
        "task_started",
        "a",
        "w1",
    )
    await feed.aclose()


async def test_a_retried_run_goes_on_in_the_feed_of_who_comes_back(store: MemoryStore) -> None:
    kept = Kept(store, "run_1")
    kept.run.fail("a", FINAL)
    kept.run.do(c.RetryRun())
    await kept.commit()
    feed = feeds_of(store).of_run("run_1", after=0)
    items = await some(feed, len(kept.run.events))
    assert {item.event for item in items} == {"journal"}
    kept.run.complete("a")
    kept.run.complete("b")
    await kept.commit()
    rest = await all_of(feed)
    assert rest[-1].data == {"status": "succeeded"}


async def test_an_unknown_run_or_one_of_another_namespace_is_not_followed(store: MemoryStore) -> None:
    await Kept(store, "run_2", namespace="other").commit()
    for run_id in ("run_1", "run_2"):
        with pytest.raises(NotFound):
            await all_of(feeds_of(store).of_run(run_id, after=10))


async def test_notices_that_nobody_takes_are_bounded(store: MemoryStore) -> None:
    hub = Hub(store)
    kept = Kept(store, "run_1")
    with hub.listening("run_1") as ear:
        for number in range(NOTICES_WAITING_MAX + 50):
            kept.notice(kind="task_log", message=str(number))
        store.notify(Notice(run_id="run_1", workflow="flow", data=b"not json"))
        await asyncio.sleep(0.01)
        taken = ear.take()
    assert len(taken) == NOTICES_WAITING_MAX
    assert taken[-1]["message"] == str(NOTICES_WAITING_MAX + 49)
    assert hub.logs("run_1", "a")[-1]["message"] == taken[-1]["message"]
    assert hub.logs("run_1", "b") == []


async def test_many_runs_are_followed_from_now_on_and_resumed_by_cursor(store: MemoryStore) -> None:
    old = Kept(store, "run_0")
    await old.commit()
    feeds = feeds_of(store)
    feed = feeds.of_many(run_id=None, workflow=None, cursor=None)
    (ready,) = await some(feed, 1)
    assert (ready.event, ready.id is not None) == ("ready", True)
    one, two = Kept(store, "run_1"), Kept(store, "run_2")
    await one.commit()
    await two.commit()
    items = await some(feed, 6)
    assert [(i.event, i.data["run"]) for i in items] == [
        ("journal", "run_1"),
        ("journal", "run_1"),
        ("journal", "run_2"),
        ("journal", "run_2"),
        ("run", "run_1"),
        ("run", "run_2"),
    ]
    assert items[4].data["id"] == "run_1"
    assert items[4].data["tasks"]["total"] == 1
    await feed.aclose()
    cursor = items[1].id
    again = feeds.of_many(run_id=None, workflow=None, cursor=cursor)
    items = await some(again, 3)
    assert [(i.event, i.data.get("run")) for i in items] == [
        ("ready", None),
        ("journal", "run_2"),
        ("journal", "run_2"),
    ]
    await again.aclose()


async def test_a_cursor_of_another_store_resets_the_client(store: MemoryStore) -> None:
    feed = feeds_of(store).of_many(run_id=None, workflow=None, cursor="nonsense")
    (reset,) = await some(feed, 1)
    assert reset.event == "reset"
    assert reset.id is not None
    await feed.aclose()


async def test_a_feed_of_one_workflow_hears_nothing_of_others_or_of_other_namespaces(
    store: MemoryStore,
) -> None:
    feed = feeds_of(store, poll_seconds=0.02).of_many(run_id=None, workflow="flow", cursor=None)
    await some(feed, 1)
    foreign, own = Kept(store, "run_1", namespace="other"), Kept(store, "run_2")
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    await foreign.commit()
    foreign.notice(kind="task_log", message="secret")
    await own.commit()
    own.notice(kind="task_log", message="mine")
    items = [await waiting, *await some(feed, 3)]
    assert {item.data["run"] for item in items} == {"run_2"}
    await feed.aclose()
