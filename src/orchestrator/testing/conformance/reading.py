"""Loading runs, their journals, snapshots and blobs; values survive as they are."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.stores.contract import Blob, Enqueue, RunIndex
from orchestrator.testing.conformance.harness import TICK, Harness, index_of

ODD_BYTES = [
    b"",
    b"\n",
    b"\n\n",
    b"a\nb",
    b"\x00",
    b"\xff\xfe\x80",
    b"\r\n\x00\n",
    bytes(range(256)),
    b"[]",
    b"{}",
]
ODD_IDS = [
    "a b",
    "ü.ö:ä-_",
    "日本語",
    "%",
    "_",
    "'; DROP TABLE runs --",
    '"',
    "\\",
    "{x}",
    "a/b/c",
    "x@2[17]",
    "🙂",
]


@pytest.mark.asyncio
class ReadingTests:
    """What was committed can be read."""

    async def test_an_unknown_run_loads_as_none(self, harness: Harness) -> None:
        assert await harness.store.load("nobody") is None
        assert await harness.store.get_run("nobody") is None
        assert await harness.store.read_journal("nobody") == []
        assert await harness.store.queue_rows("nobody") == []
        assert await harness.store.load_blob("nobody", "b") is None

    async def test_a_run_loads_with_everything_of_its_head(self, harness: Harness) -> None:
        index = index_of(
            workflow="w/ü",
            version=7,
            labels={"team": "a", "": ""},
            error="boom",
            created_us=5,
            started_us=6,
            finished_us=7,
            parent_run="mother",
        )
        await harness.commit("run", namespace="space", index=index, summary=b"\x00sum", events=[b"1", b"2"])
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.run_id, loaded.namespace, loaded.seq, loaded.held) == ("run", "space", 2, False)
        assert (loaded.index, loaded.summary) == (index, b"\x00sum")
        assert (loaded.snapshot_seq, loaded.snapshot, list(loaded.events)) == (0, None, [b"1", b"2"])

    async def test_a_run_loads_from_its_last_snapshot(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"1", b"2"], snapshot=b"state at 2")
        await harness.commit("run", expected=2, events=[b"3"], snapshot=b"state at 3")
        await harness.commit("run", expected=3, events=[b"4", b"5"])
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.snapshot_seq, loaded.snapshot, list(loaded.events)) == (3, b"state at 3", [b"4", b"5"])

    async def test_a_snapshot_without_events_is_of_the_seq_it_was_written_at(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"1", b"2"])
        await harness.commit("run", expected=2, snapshot=b"s")
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.seq, loaded.snapshot_seq, loaded.snapshot, list(loaded.events)) == (2, 2, b"s", [])

    @pytest.mark.parametrize(("after", "events"), [(0, [b"1", b"2", b"3"]), (2, [b"3"]), (3, []), (9, [])])
    async def test_loading_the_tail_leaves_the_snapshot_out(
        self, harness: Harness, after: int, events: list[bytes]
    ) -> None:
        await harness.commit("run", events=[b"1", b"2", b"3"], snapshot=b"s")
        loaded = await harness.store.load("run", after=after)
        assert loaded is not None
        assert (loaded.seq, loaded.snapshot, list(loaded.events)) == (3, None, events)

    async def test_the_journal_is_read_in_slices(self, harness: Harness) -> None:
        events = [str(number).encode() for number in range(1, 21)]
        await harness.commit("run", events=events[:3])
        for start in range(3, 20):
            await harness.commit("run", expected=start, events=[events[start]])
        read: list[bytes] = []
        while batch := await harness.store.read_journal("run", after=len(read), limit=4):
            assert len(batch) <= 4
            read += batch
        assert read == events
        assert await harness.store.read_journal("run", after=1, limit=2) == events[1:3]
        assert await harness.store.read_journal("run", after=2) == events[2:]

    async def test_a_journal_limit_below_one_is_refused(self, harness: Harness) -> None:
        with pytest.raises(UsageError):
            await harness.store.read_journal("run", limit=0)

    @pytest.mark.parametrize("odd", ODD_BYTES, ids=repr)
    async def test_bytes_survive_alone_and_beside_others(self, harness: Harness, odd: bytes) -> None:
        await harness.register("w1")
        await harness.commit("alone", events=[odd])
        await harness.commit("run", events=[odd, b"x", odd], snapshot=odd, summary=odd)
        await harness.commit(
            "run",
            expected=3,
            events=[b"y", odd],
            enqueue=[Enqueue(path="a", payload=odd)],
            blobs=[Blob(blob_id="b", codec="c", data=odd)],
        )
        assert await harness.store.read_journal("alone") == [odd]
        assert await harness.store.read_journal("run") == [odd, b"x", odd, b"y", odd]
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.snapshot, loaded.summary, list(loaded.events)) == (odd, odd, [b"y", odd])
        assert [claim.payload for claim in await harness.claim("w1")] == [odd]
        assert await harness.store.load_blob("run", "b") == Blob(blob_id="b", codec="c", data=odd)

    @pytest.mark.parametrize("odd", ODD_IDS, ids=ascii)
    async def test_ids_with_odd_characters_are_ids(self, harness: Harness, odd: str) -> None:
        await harness.register(odd)
        answer = await harness.commit(
            odd,
            commit_id=odd,
            namespace=odd,
            worker=odd,
            index=index_of(workflow=odd, status=odd, labels={odd: odd}, parent_run=odd),
            enqueue=[Enqueue(path=odd, leased=True), Enqueue(path=odd + "2", queue=odd)],
            blobs=[Blob(blob_id=odd, codec=odd, data=b"x")],
        )
        assert [(lease.run_id, lease.path) for lease in answer.leases] == [(odd, odd)]
        assert [claim.path for claim in await harness.claim(odd, queues=[odd])] == [odd + "2"]
        assert {row.path: row.worker for row in await harness.store.queue_rows(odd)} == {
            odd: odd,
            odd + "2": odd,
        }
        assert await harness.store.load_blob(odd, odd) == Blob(blob_id=odd, codec=odd, data=b"x")
        owned = (await harness.store.heartbeat(odd, lease_us=TICK)).owned
        assert sorted(lease.path for lease in owned) == sorted([odd, odd + "2"])
        run = await harness.store.get_run(odd)
        assert run is not None
        assert run.index.labels == {odd: odd}
        assert await harness.store.changed({odd: 0}) == {odd: 1}

    async def test_large_blobs_survive(self, harness: Harness) -> None:
        data = bytes(range(256)) * 65_536
        await harness.commit("run", blobs=[Blob(blob_id="big", codec="plain", data=data)])
        blob = await harness.store.load_blob("run", "big")
        assert blob is not None
        assert blob.data == data

    async def test_a_blob_belongs_to_its_run(self, harness: Harness) -> None:
        await harness.commit("one", blobs=[Blob(blob_id="b", codec="", data=b"1")])
        await harness.commit("two", blobs=[Blob(blob_id="b", codec="", data=b"2")])
        one, two = await harness.store.load_blob("one", "b"), await harness.store.load_blob("two", "b")
        assert one is not None
        assert two is not None
        assert (one.data, two.data) == (b"1", b"2")

    async def test_a_blob_is_written_once(self, harness: Harness) -> None:
        await harness.commit("run", blobs=[Blob(blob_id="b", codec="", data=b"1")])
        await harness.commit("run", expected=1, events=[b"2"], blobs=[Blob(blob_id="b", codec="", data=b"2")])
        blob = await harness.store.load_blob("run", "b")
        assert blob is not None
        assert blob.data == b"1"

    async def test_the_index_row_is_replaced_whole(self, harness: Harness) -> None:
        await harness.commit("run", index=index_of(labels={"a": "1"}, error="x", parent_run="p"))
        new: RunIndex = index_of(status="succeeded", live=False, labels={"b": "2"}, finished_us=9, version=3)
        await harness.commit("run", expected=1, events=[b"2"], index=new)
        run = await harness.store.get_run("run")
        assert run is not None
        assert run.index == new

    async def test_changed_tells_only_what_the_caller_does_not_know(self, harness: Harness) -> None:
        await harness.commit("one", events=[b"1"])
        await harness.commit("two", events=[b"1", b"2"])
        await harness.commit("three", events=[b"1", b"2", b"3"])
        known = {"one": 1, "two": 1, "three": 5, "gone": 4, "never": 0}
        assert await harness.store.changed(known) == {"two": 2, "three": 3, "gone": 0}
        assert await harness.store.changed({}) == {}

    async def test_long_journals_load_whole(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"x"] * 3_000)
        await harness.commit("run", expected=3_000, events=[b"y"] * 2_000)
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert len(loaded.events) == loaded.seq == 5_000
