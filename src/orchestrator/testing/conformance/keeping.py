"""Turns of writers, cached outputs, and events that are written anew."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.stores.contract import TURN_US, Blob, Commit, Enqueue, Leftover, Outcome
from orchestrator.testing.conformance.harness import TICK, Harness, index_of, lease_of


async def refused(harness: Harness, turn: str, *, expected: int = 7) -> None:
    """A commit that comes too late, of a writer that asks for the run."""
    answer = await harness.commit("run", expected=expected, events=[b"late"], turn=turn)
    assert answer.outcome is Outcome.CONFLICT


@pytest.mark.asyncio
class TurnTests:
    """A writer that was refused often has the run to itself for a moment."""

    async def test_a_refused_writer_that_asks_gets_the_run_to_itself(self, harness: Harness) -> None:
        await harness.commit("run")
        await refused(harness, "a")
        other = await harness.commit("run", expected=1, events=[b"x"])
        named = await harness.commit("run", expected=1, events=[b"x"], turn="b")
        assert (other.outcome, other.seq) == (Outcome.CONFLICT, 1)
        assert (named.outcome, named.seq) == (Outcome.CONFLICT, 1)
        mine = await harness.commit("run", expected=1, events=[b"mine"], turn="a")
        assert (mine.outcome, mine.seq) == (Outcome.OK, 2)

    async def test_a_turn_ends_with_its_holders_next_accepted_commit(self, harness: Harness) -> None:
        await harness.commit("run")
        await refused(harness, "a")
        await harness.commit("run", expected=1, events=[b"mine"], turn="a")
        assert (await harness.commit("run", expected=2, events=[b"x"])).outcome is Outcome.OK

    async def test_a_turn_ends_by_the_stores_clock(self, harness: Harness) -> None:
        await harness.commit("run")
        await refused(harness, "a")
        for _ in range(TURN_US // (4 * TICK) - 1):
            await harness.advance(4 * TICK)
        await refused(harness, "a")  # asking again prolongs nothing
        for _ in range(2):
            await harness.advance(4 * TICK)
        assert (await harness.commit("run", expected=1, events=[b"x"])).outcome is Outcome.OK

    async def test_a_turn_is_of_one_run_only(self, harness: Harness) -> None:
        await harness.commit("run")
        await harness.commit("other")
        await refused(harness, "a")
        assert (await harness.commit("other", expected=1, events=[b"x"])).outcome is Outcome.OK

    async def test_who_asks_while_another_has_the_turn_doesnt_get_it(self, harness: Harness) -> None:
        await harness.commit("run")
        await refused(harness, "a")
        await refused(harness, "b")
        assert (await harness.commit("run", expected=1, events=[b"x"], turn="b")).outcome is Outcome.CONFLICT
        assert (await harness.commit("run", expected=1, events=[b"x"], turn="a")).outcome is Outcome.OK

    async def test_only_a_wrong_version_gives_a_turn(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.store.release("w1", [lease])
        fenced = await harness.commit("run", expected=7, events=[b"x"], stands_on=[lease_of(lease)], turn="a")
        assert fenced.outcome is Outcome.FENCED
        assert (await harness.commit("run", expected=1, events=[b"x"], turn="a")).outcome is Outcome.OK
        assert (await harness.commit("run", expected=2, events=[b"x"])).outcome is Outcome.OK

    async def test_a_run_that_doesnt_exist_has_no_turns(self, harness: Harness) -> None:
        await refused(harness, "a")
        assert (await harness.commit("run")).outcome is Outcome.OK

    async def test_queue_rows_are_finished_whoever_has_the_turn(self, harness: Harness) -> None:
        lease = await harness.started("run", path="message")
        await refused(harness, "a")
        answer = await harness.commit("run", expected=None, stands_on=[lease_of(lease)])
        assert answer.outcome is Outcome.OK

    async def test_a_repeat_gets_its_answer_whoever_has_the_turn(self, harness: Harness) -> None:
        change = harness.change("run", events=[b"1"])
        await harness.send(change)
        await refused(harness, "a")
        assert (await harness.send(change)).outcome is Outcome.OK

    async def test_the_common_commits_of_a_chain_wait_for_the_turn_too(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await refused(harness, "other")
        step = harness.change(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True)],
        )
        assert (await harness.send(step)).outcome is Outcome.CONFLICT
        mine: Commit = harness.change("run", expected=1, events=[b"2"], turn="other")
        assert (await harness.send(mine)).outcome is Outcome.OK


@pytest.mark.asyncio
class CachedTests:
    """Outputs under a key, for a time."""

    async def test_what_was_put_is_there(self, harness: Harness) -> None:
        value = bytes(range(256)) * 300
        await harness.store.put_cached("k", value, ttl_us=100 * TICK)
        assert await harness.store.get_cached("k") == value
        assert await harness.store.get_cached("other") is None

    async def test_the_last_one_counts(self, harness: Harness) -> None:
        for value in (b"1", b"2"):
            await harness.store.put_cached("k", value, ttl_us=100 * TICK)
        assert await harness.store.get_cached("k") == b"2"

    async def test_a_namespace_sees_its_own(self, harness: Harness) -> None:
        await harness.store.put_cached("k", b"1", ttl_us=100 * TICK)
        await harness.store.put_cached("k", b"2", ttl_us=100 * TICK, namespace="n")
        assert await harness.store.get_cached("k") == b"1"
        assert await harness.store.get_cached("k", namespace="n") == b"2"

    async def test_its_time_ends_by_the_stores_clock(self, harness: Harness) -> None:
        await harness.store.put_cached("short", b"1", ttl_us=2 * TICK)
        await harness.store.put_cached("long", b"1", ttl_us=1_000 * TICK)
        await harness.advance(3 * TICK)
        assert await harness.store.get_cached("short") is None
        assert await harness.store.get_cached("long") == b"1"

    async def test_putting_it_again_starts_its_time_anew(self, harness: Harness) -> None:
        await harness.store.put_cached("k", b"1", ttl_us=2 * TICK)
        await harness.store.put_cached("k", b"2", ttl_us=1_000 * TICK)
        await harness.advance(3 * TICK)
        assert await harness.store.get_cached("k") == b"2"

    async def test_a_time_of_nothing_takes_it_away(self, harness: Harness) -> None:
        await harness.store.put_cached("k", b"1", ttl_us=100 * TICK)
        await harness.store.put_cached("k", b"", ttl_us=0)
        await harness.store.put_cached("never", b"", ttl_us=0)
        assert await harness.store.get_cached("k") is None

    async def test_what_is_over_is_removed_in_batches(self, harness: Harness) -> None:
        for n in range(5):
            await harness.store.put_cached(f"k{n}", b"1", ttl_us=TICK)
        await harness.store.put_cached("lives", b"1", ttl_us=1_000 * TICK)
        await harness.advance(2 * TICK)
        removed = [await harness.store.expire_cached(limit=2) for _ in range(4)]
        assert removed in ([2, 2, 1, 0], [0, 0, 0, 0])
        assert await harness.store.get_cached("lives") == b"1"

    @pytest.mark.parametrize(("key", "ttl_us"), [("", TICK), ("k" * 201, TICK), ("k", -1)])
    async def test_what_cant_be_meant_is_refused(self, harness: Harness, key: str, ttl_us: int) -> None:
        with pytest.raises(UsageError):
            await harness.store.put_cached(key, b"1", ttl_us=ttl_us)


@pytest.mark.asyncio
class RewriteTests:
    """Events whose bytes are replaced."""

    async def long_run(self, harness: Harness) -> None:
        """Seqs 1 to 9, in commits of 2, 3, 1 and 3, one of them framed."""
        await harness.commit("run", events=[b"1", b"2"], blobs=[Blob(blob_id="b", codec="c", data=b"secret")])
        await harness.commit("run", expected=2, events=[b"3", b"4\n4", b"5"], snapshot=b"secret")
        await harness.commit("run", expected=5, events=[b"6"], summary=b"secret")
        await harness.commit("run", expected=6, events=[b"7", b"8", b"9"])

    @pytest.mark.parametrize(
        ("after", "count"), [(0, 9), (0, 1), (1, 3), (2, 3), (3, 1), (4, 4), (8, 1), (5, 0)]
    )
    async def test_as_many_events_as_are_given_are_replaced(
        self, harness: Harness, after: int, count: int
    ) -> None:
        await self.long_run(harness)
        before = await harness.store.read_journal("run")
        new = [b"new\n%d" % place for place in range(count)]
        assert await harness.store.rewrite("run", expected=9, after=after, events=new)
        assert await harness.store.read_journal("run") == [*before[:after], *new, *before[after + count :]]
        assert await harness.seq() == 9

    async def test_feeds_and_loading_give_the_new_bytes(self, harness: Harness) -> None:
        _, cursor = await harness.store.read_feed(cursor=None, limit=1)
        await self.long_run(harness)
        new = [b"n%d" % place for place in range(9)]
        rest = Leftover(snapshot=None, summary=b"", index=index_of())
        await harness.store.rewrite("run", expected=9, after=0, events=new, rest=rest)
        items, _ = await harness.store.read_feed(cursor=cursor, limit=100)
        assert [item.event for item in items] == new
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert list(loaded.events) == new

    async def test_the_rest_takes_the_place_of_everything_else(self, harness: Harness) -> None:
        await self.long_run(harness)
        index = index_of(status="failed", live=False, error="erased")
        rest = Leftover(snapshot=b"bare", summary=b"bare", index=index)
        assert await harness.store.rewrite("run", expected=9, after=8, events=[b"x"], rest=rest)
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.snapshot, loaded.snapshot_seq, loaded.summary, loaded.index) == (
            b"bare",
            9,
            b"bare",
            index,
        )
        assert await harness.store.load_blob("run", "b") is None
        rest = Leftover(snapshot=None, summary=b"", index=index)
        assert await harness.store.rewrite("run", expected=9, after=0, events=[], rest=rest)
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.snapshot, len(loaded.events)) == (None, 9)

    async def test_the_run_can_go_on_and_knows_its_commits(self, harness: Harness) -> None:
        await self.long_run(harness)
        last = harness.change("run", expected=9, events=[b"10"])
        await harness.send(last)
        await harness.store.rewrite("run", expected=10, after=9, events=[b"new"])
        assert (await harness.send(last)).outcome is Outcome.OK
        assert (await harness.commit("run", expected=10, events=[b"11"])).outcome is Outcome.OK
        assert (await harness.store.read_journal("run"))[-2:] == [b"new", b"11"]

    async def test_another_version_changes_nothing(self, harness: Harness) -> None:
        await self.long_run(harness)
        assert not await harness.store.rewrite("run", expected=8, after=0, events=[b"x"])
        assert not await harness.store.rewrite("none", expected=0, after=0, events=[])
        assert (await harness.store.read_journal("run"))[0] == b"1"

    async def test_events_that_arent_there_are_refused(self, harness: Harness) -> None:
        await self.long_run(harness)
        with pytest.raises(UsageError):
            await harness.store.rewrite("run", expected=9, after=8, events=[b"x", b"y"])
        assert (await harness.store.read_journal("run"))[8:] == [b"9"]
