"""Lists of runs: filters, order, pages."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.stores.contract import RunFilter
from orchestrator.testing.conformance.harness import Harness, index_of


async def ids(harness: Harness, where: RunFilter | None = None, *, limit: int = 100) -> list[str]:
    """The ids of all runs that fulfil the filter, read in pages."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await harness.store.list_runs(where or RunFilter(), limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        found += [row.run_id for row in page.items]
        cursor = page.cursor
        if cursor is None:
            return found


async def fill(harness: Harness) -> None:
    """Six runs that differ in everything."""
    rows = [
        ("r1", index_of(created_us=10, status="running", labels={"team": "red"})),
        (
            "r2",
            index_of(created_us=20, status="succeeded", live=False, labels={"team": "blue", "env": "prod"}),
        ),
        (
            "r3",
            index_of(
                created_us=30, status="failed", live=False, error="Timeout while Posting", workflow="mail"
            ),
        ),
        ("r4", index_of(created_us=40, status="failed", live=False, workflow="mail", labels={"team": "red"})),
        ("r5", index_of(created_us=50, status="waiting", parent_run="r1", workflow="child")),
        (
            "r6",
            index_of(created_us=60, status="running", parent_run="r1", labels={"team": "red", "env": "prod"}),
        ),
    ]
    for run_id, index in rows:
        await harness.commit(run_id, index=index, summary=run_id.encode())


CASES: list[tuple[RunFilter, list[str]]] = [
    (RunFilter(), ["r6", "r5", "r4", "r3", "r2", "r1"]),
    (RunFilter(statuses=["failed"]), ["r4", "r3"]),
    (RunFilter(statuses=["failed", "waiting"]), ["r5", "r4", "r3"]),
    (RunFilter(statuses=["nothing"]), []),
    (RunFilter(workflow="mail"), ["r4", "r3"]),
    (RunFilter(workflow="mail", statuses=["failed"]), ["r4", "r3"]),
    (RunFilter(workflow="flow", statuses=["running"]), ["r6", "r1"]),
    (RunFilter(workflow="flow", statuses=["running", "succeeded"]), ["r6", "r2", "r1"]),
    (RunFilter(live=True), ["r6", "r5", "r1"]),
    (RunFilter(live=False), ["r4", "r3", "r2"]),
    (RunFilter(live=True, workflow="flow"), ["r6", "r1"]),
    (RunFilter(labels={"team": "red"}), ["r6", "r4", "r1"]),
    (RunFilter(labels={"team": "red", "env": "prod"}), ["r6"]),
    (RunFilter(labels={"env": "prod"}), ["r6", "r2"]),
    (RunFilter(labels={"env": "red"}), []),
    (RunFilter(labels={"team": "red"}, statuses=["failed"]), ["r4"]),
    (RunFilter(parent_run="r1"), ["r6", "r5"]),
    (RunFilter(parent_run="r1", workflow="child"), ["r5"]),
    (RunFilter(created_after_us=30), ["r6", "r5", "r4"]),
    (RunFilter(created_before_us=30), ["r2", "r1"]),
    (RunFilter(created_after_us=10, created_before_us=50), ["r4", "r3", "r2"]),
    (RunFilter(text="TIMEOUT"), ["r3"]),
    (RunFilter(text="posting"), ["r3"]),
    (RunFilter(text="R4"), ["r4"]),
    (RunFilter(text="mail"), ["r4", "r3"]),
    (RunFilter(text="prod"), ["r6", "r2"]),
    (RunFilter(text="%"), []),
    (RunFilter(text="flow", live=True), ["r6", "r1"]),
    (RunFilter(namespace="elsewhere"), []),
]


@pytest.mark.asyncio
class ListTests:
    """Newest first, in pages, by every filter."""

    @pytest.mark.parametrize(("where", "expected"), CASES, ids=[str(place) for place in range(len(CASES))])
    async def test_a_filter_finds_its_runs_newest_first(
        self, harness: Harness, where: RunFilter, expected: list[str]
    ) -> None:
        await fill(harness)
        assert await ids(harness, where) == expected
        assert await ids(harness, where, limit=1) == expected
        assert await ids(harness, where, limit=2) == expected

    async def test_a_line_has_what_lists_show(self, harness: Harness) -> None:
        await fill(harness)
        page = await harness.store.list_runs(RunFilter(statuses=["waiting"]), limit=5)
        (row,) = page.items
        assert (row.run_id, row.namespace, row.seq, row.summary) == ("r5", "default", 1, b"r5")
        assert row.index.parent_run == "r1"
        assert row == await harness.store.get_run("r5")

    async def test_a_list_follows_the_index_row(self, harness: Harness) -> None:
        await fill(harness)
        await harness.commit(
            "r1",
            expected=1,
            events=[b"2"],
            summary=b"new",
            index=index_of(
                created_us=10, status="failed", live=False, labels={"team": "green"}, error="disk full"
            ),
        )
        assert await ids(harness, RunFilter(statuses=["running"])) == ["r6"]
        assert await ids(harness, RunFilter(statuses=["failed"])) == ["r4", "r3", "r1"]
        assert await ids(harness, RunFilter(labels={"team": "red"})) == ["r6", "r4"]
        assert await ids(harness, RunFilter(labels={"team": "green"})) == ["r1"]
        assert await ids(harness, RunFilter(text="disk FULL")) == ["r1"]
        assert await ids(harness, RunFilter(live=True)) == ["r6", "r5"]
        run = await harness.store.get_run("r1")
        assert run is not None
        assert (run.seq, run.summary) == (2, b"new")

    async def test_runs_of_the_same_moment_are_listed_by_id(self, harness: Harness) -> None:
        for number in (3, 0, 6, 1, 5, 2, 4):
            await harness.commit(f"r{number}", index=index_of(created_us=5, labels={"a": "b"}))
        expected = [f"r{number}" for number in reversed(range(7))]
        assert await ids(harness, limit=2) == expected
        assert await ids(harness, RunFilter(labels={"a": "b"}), limit=2) == expected

    async def test_a_run_that_starts_meanwhile_does_not_disturb_the_pages(self, harness: Harness) -> None:
        await fill(harness)
        page = await harness.store.list_runs(RunFilter(), limit=2)
        await harness.commit("r7", index=index_of(created_us=70))
        seen = [row.run_id for row in page.items]
        while page.cursor is not None:
            page = await harness.store.list_runs(RunFilter(), limit=2, cursor=page.cursor)
            seen += [row.run_id for row in page.items]
        assert seen == ["r6", "r5", "r4", "r3", "r2", "r1"]

    async def test_a_page_that_is_not_the_last_has_a_cursor(self, harness: Harness) -> None:
        await fill(harness)
        page = await harness.store.list_runs(RunFilter(), limit=5)
        assert page.cursor is not None
        assert await ids(harness, limit=6) == await ids(harness, limit=5)

    async def test_namespaces_do_not_see_one_another(self, harness: Harness) -> None:
        await harness.commit("a", namespace="one", index=index_of(labels={"x": "y"}))
        await harness.commit("b", namespace="two", index=index_of(labels={"x": "y"}))
        for where in (RunFilter(namespace="one"), RunFilter(namespace="one", labels={"x": "y"})):
            assert await ids(harness, where) == ["a"]

    @pytest.mark.parametrize("cursor", ["", "x", "W10", "WzEsMl0", "\x00"])
    async def test_a_foreign_list_cursor_is_refused(self, harness: Harness, cursor: str) -> None:
        await fill(harness)
        with pytest.raises(UsageError):
            await harness.store.list_runs(RunFilter(), limit=1, cursor=cursor)

    async def test_a_cursor_of_another_list_is_refused(self, harness: Harness) -> None:
        _, feed = await harness.store.read_feed(cursor=None, limit=1)
        with pytest.raises(UsageError):
            await harness.store.list_runs(RunFilter(), limit=1, cursor=feed)

    async def test_a_list_limit_below_one_is_refused(self, harness: Harness) -> None:
        with pytest.raises(UsageError):
            await harness.store.list_runs(RunFilter(), limit=0)
