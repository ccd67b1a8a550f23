"""Feeds over runs: no gap, no repeat, whoever writes meanwhile."""

import asyncio

import pytest

from orchestrator.errors import UsageError
from orchestrator.stores.contract import FeedItem
from orchestrator.testing.conformance.harness import Harness, index_of


async def drain(
    harness: Harness, cursor: str, *, limit: int = 100, **where: str
) -> tuple[list[FeedItem], str]:
    """Read on until two calls in a row have nothing new."""
    items: list[FeedItem] = []
    idle = 0
    while idle < 2:
        found, cursor = await harness.store.read_feed(cursor=cursor, limit=limit, **where)
        assert len(found) <= limit
        items += found
        idle = 0 if found else idle + 1
    return items, cursor


async def now_on(harness: Harness, **where: str) -> str:
    """The cursor of this moment."""
    items, cursor = await harness.store.read_feed(cursor=None, limit=10, **where)
    assert items == []
    return cursor


@pytest.mark.asyncio
class FeedTests:
    """Committed events of many runs, under an opaque cursor."""

    async def test_a_feed_begins_now(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"before"])
        cursor = await now_on(harness)
        await harness.commit("run", expected=1, events=[b"after"])
        items, _ = await drain(harness, cursor)
        assert [(item.run_id, item.workflow, item.event) for item in items] == [("run", "flow", b"after")]

    async def test_a_feed_of_an_empty_store_begins_too(self, harness: Harness) -> None:
        cursor = await now_on(harness)
        await harness.commit("run", events=[b"1"])
        items, _ = await drain(harness, cursor)
        assert [item.event for item in items] == [b"1"]

    async def test_a_feed_with_nothing_new_goes_on_later(self, harness: Harness) -> None:
        cursor = await now_on(harness)
        for number in range(3):
            items, cursor = await drain(harness, cursor)
            assert items == []
            await harness.commit(f"run{number}", events=[b"x"])
            items, cursor = await drain(harness, cursor)
            assert [item.run_id for item in items] == [f"run{number}"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    async def test_no_slice_skips_or_repeats_an_event(self, harness: Harness, limit: int) -> None:
        cursor = await now_on(harness)
        await harness.commit("a", events=[b"1", b"2", b"3"])
        await harness.commit("b", events=[b"1"])
        await harness.commit("a", expected=3, events=[b"4", b"5\n5"])
        await harness.commit("a", expected=5, summary=b"no events")
        await harness.commit("b", expected=1, events=[b"2", b"3", b"4"])
        items, _ = await drain(harness, cursor, limit=limit)
        by_run = {run_id: [item.event for item in items if item.run_id == run_id] for run_id in ("a", "b")}
        assert by_run == {"a": [b"1", b"2", b"3", b"4", b"5\n5"], "b": [b"1", b"2", b"3", b"4"]}

    async def test_the_cursor_of_each_item_resumes_after_it(self, harness: Harness) -> None:
        cursor = await now_on(harness)
        await harness.commit("a", events=[b"1", b"2", b"3"])
        await harness.commit("b", events=[b"4", b"5"])
        items, _ = await drain(harness, cursor)
        for place, item in enumerate(items):
            rest, _ = await drain(harness, item.cursor, limit=2)
            assert [one.event for one in rest] == [one.event for one in items[place + 1 :]]

    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_a_feed_of_one_run_has_only_its_events(self, harness: Harness, limit: int) -> None:
        await harness.commit("mine", events=[b"0"])
        cursor = await now_on(harness, run_id="mine")
        for number in range(4):
            await harness.commit(f"other{number}", events=[b"x", b"y"])
            await harness.commit(
                "mine", expected=1 + 2 * number, events=[f"{number}a".encode(), f"{number}b".encode()]
            )
        items, cursor = await drain(harness, cursor, limit=limit, run_id="mine")
        assert [item.event for item in items] == [b"0a", b"0b", b"1a", b"1b", b"2a", b"2b", b"3a", b"3b"]
        for place, item in enumerate(items):
            rest, _ = await drain(harness, item.cursor, limit=limit, run_id="mine")
            assert [one.event for one in rest] == [one.event for one in items[place + 1 :]]
        await harness.commit("mine", expected=9, events=[b"last"])
        items, _ = await drain(harness, cursor, run_id="mine")
        assert [item.event for item in items] == [b"last"]

    async def test_a_feed_of_a_run_that_comes_later_sees_it_from_its_start(self, harness: Harness) -> None:
        cursor = await now_on(harness, run_id="later")
        await harness.commit("other", events=[b"x"])
        items, cursor = await drain(harness, cursor, run_id="later")
        assert items == []
        await harness.commit("later", events=[b"1", b"2"])
        items, _ = await drain(harness, cursor, run_id="later")
        assert [item.event for item in items] == [b"1", b"2"]

    async def test_a_cursor_of_the_whole_feed_serves_one_run(self, harness: Harness) -> None:
        await harness.commit("mine", events=[b"before"])
        cursor = await now_on(harness)
        await harness.commit("mine", expected=1, events=[b"1", b"2"])
        items, _ = await drain(harness, cursor, limit=1, run_id="mine")
        assert [item.event for item in items] == [b"1", b"2"]

    async def test_a_feed_of_a_workflow_has_only_its_runs(self, harness: Harness) -> None:
        cursor = await now_on(harness)
        await harness.commit("a", index=index_of(workflow="one"), events=[b"1"])
        await harness.commit("b", index=index_of(workflow="two"), events=[b"2"])
        await harness.commit("a", expected=1, events=[b"3"])
        items, _ = await drain(harness, cursor, limit=1, workflow="one")
        assert [(item.workflow, item.event) for item in items] == [("one", b"1"), ("one", b"3")]

    async def test_a_feed_shows_its_namespace_only(self, harness: Harness) -> None:
        cursor = await now_on(harness, namespace="one")
        await harness.commit("a", namespace="one", events=[b"1"])
        await harness.commit("b", namespace="two", events=[b"2"])
        items, _ = await drain(harness, cursor, namespace="one")
        assert [item.run_id for item in items] == ["a"]
        items, _ = await drain(harness, cursor, run_id="b", namespace="one")
        assert items == []

    async def test_refused_commits_never_show(self, harness: Harness) -> None:
        cursor = await now_on(harness)
        await harness.commit("run", events=[b"1"])
        await harness.commit("run", expected=9, events=[b"refused"])
        items, _ = await drain(harness, cursor)
        assert [item.event for item in items] == [b"1"]

    async def test_a_feed_misses_and_repeats_nothing_while_many_write(self, harness: Harness) -> None:
        runs, rounds = 8, 25

        async def write(run_id: str) -> None:
            for seq in range(rounds):
                answer = await harness.commit(run_id, expected=seq, events=[f"{run_id}:{seq + 1}".encode()])
                assert answer.seq == seq + 1

        cursor = await now_on(harness)
        writers = [asyncio.create_task(write(f"run{number}")) for number in range(runs)]
        seen: list[FeedItem] = []
        while len(seen) < runs * rounds:
            found, cursor = await harness.store.read_feed(cursor=cursor, limit=7)
            seen += found
            await asyncio.sleep(0)
            if all(writer.done() for writer in writers) and not found:
                break
        await asyncio.gather(*writers)
        rest, _ = await drain(harness, cursor)
        for number in range(runs):
            run_id = f"run{number}"
            events = [item.event for item in [*seen, *rest] if item.run_id == run_id]
            assert events == [f"{run_id}:{seq}".encode() for seq in range(1, rounds + 1)]

    @pytest.mark.parametrize("cursor", ["", "x", "12", "????", "eyJhIjoxfQ", "W10", "ü"])
    async def test_a_foreign_feed_cursor_is_refused(self, harness: Harness, cursor: str) -> None:
        with pytest.raises(UsageError):
            await harness.store.read_feed(cursor=cursor, limit=1)
