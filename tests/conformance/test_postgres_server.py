"""What PostgreSQL adds to the contract: several processes, cut connections, transactions out of order, migrations."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import psycopg
import pytest

from orchestrator.errors import CommitUnknown, StoreIncompatible, StoreUnavailable, UsageError
from orchestrator.stores.contract import (
    Commit,
    CommitAnswer,
    Enqueue,
    FeedItem,
    Keeps,
    Lease,
    Outcome,
    QueueWake,
    RunAdvanced,
)
from orchestrator.stores.numbered import Migration
from orchestrator.stores.postgres import PostgresStore, commits, migrations, packing
from orchestrator.stores.postgres.connections import address_of, connect
from orchestrator.testing.conformance import Harness
from orchestrator.testing.conformance.harness import index_of
from orchestrator.testing.conformance.wakes import Ear
from tests.postgres_servers import PostgresServer


def again_url(harness: Harness) -> str:
    """The URL that the harness's store was made with: as it is shown it has no user."""
    return harness.store.url.replace("//", "//tester@")


async def advance(us: int) -> None:
    await asyncio.sleep(us / 1_000_000)


@pytest.fixture
async def harness(postgres: PostgresServer) -> AsyncIterator[Harness]:
    async with opened(postgres.emptied()) as found:
        yield found


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Harness]:
    store = PostgresStore(url)
    await store.open()
    yield Harness(store, advance)
    await store.close()


MARK = b"cut-here"


@dataclass
class Proxy:
    """Stands between a store and its server. With `cut` it ends the connection of the next request that has the mark,
    `before` it reaches the server or `after`."""

    to_port: int
    port: int = 0
    cut: str = ""
    cuts: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def on(self, url: str) -> str:
        """The URL by way of this."""
        return url.replace(f":{self.to_port}/", f":{self.port}/")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Proxy"]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_server = await asyncio.open_connection("127.0.0.1", self.to_port)
        self._writers += [writer, from_server]
        deaf = asyncio.Event()
        for task in (
            asyncio.create_task(self._requests(reader, from_server, writer, deaf)),
            asyncio.create_task(self._answers(to_server, writer, deaf)),
        ):
            self._tasks.add(task)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        deaf: asyncio.Event,
    ) -> None:
        while data := await reader.read(1 << 20):
            wanted = self.cut if MARK in data else ""
            if wanted:
                self.cut = ""
                self.cuts += 1
                deaf.set()  # what the server answers is lost on the way
            if wanted != "before":
                server.write(data)
                await server.drain()
            if wanted:
                if wanted == "after":
                    await asyncio.sleep(0.2)
                client.transport.abort()
                server.close()
                return
        server.close()

    async def _answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, deaf: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await server.read(1 << 20):
                if not deaf.is_set():
                    client.write(data)
                    await client.drain()
        client.close()


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_commit_whose_connection_is_cut_is_repeated_without_harm(
    postgres: PostgresServer, where: str
) -> None:
    url = postgres.emptied()
    proxy = Proxy(postgres.port)
    async with opened(url) as direct, proxy.running(), opened(proxy.on(url)) as cut:
        await cut.register("w1")
        await cut.commit("run", worker="w1", enqueue=[Enqueue(path="a", leased=True)])
        rows = await direct.rows("run")
        for number in range(4):  # unprepared and prepared statements alike
            path = "ab"[number % 2]
            step = direct.change(
                "run",
                commit_id=f"cut-here-{number}",
                expected=number + 1,
                worker="w1",
                events=[b"%d" % number],
                stands_on=[Lease(path=path, epoch=rows[path].epoch)],
                enqueue=[Enqueue(path="ba"[number % 2], leased=True)],
            )
            proxy.cut = where
            with pytest.raises(CommitUnknown):
                await cut.send(step)
            answer = await again(cut, step)
            assert (answer.outcome, answer.seq) == (Outcome.OK, number + 2)
            rows = await direct.rows("run")
            assert [lease.epoch for lease in answer.leases] == [row.epoch for row in rows.values()]
        assert proxy.cuts == 4
        assert await direct.store.read_journal("run") == [b"first", b"0", b"1", b"2", b"3"]


async def again(harness: Harness, commit: Commit) -> CommitAnswer:
    """The same until it isn't in use any more: the server may still be at the first."""
    while True:
        answer = await harness.send(commit)
        if answer.outcome is not Outcome.CONFLICT or answer.seq != commit.expected:
            return answer
        await asyncio.sleep(0.05)


async def test_other_calls_say_that_the_connection_broke_and_work_again(postgres: PostgresServer) -> None:
    async with Proxy(postgres.port).running() as proxy, opened(proxy.on(postgres.emptied())) as harness:
        for _ in range(20):
            proxy.cut = "before"
            with pytest.raises(StoreUnavailable):
                await harness.claim("cut-here")
            assert await harness.claim("cut-here") == []


async def test_a_feed_waits_for_transactions_that_began_before_and_skips_none(
    postgres: PostgresServer, harness: Harness
) -> None:
    cursor = await begin(harness)
    async with await connect(address_of(again_url(harness))) as slow:
        await slow.execute("BEGIN")
        await slow.execute("SELECT pg_current_xact_id()")
        await harness.commit("run", events=[b"1", b"2"])
        found, cursor = await harness.store.read_feed(cursor=cursor, limit=10)
        assert found == [], "something older may still appear before it"
        own = await begin(harness, "run")
        await harness.commit("run", expected=2, events=[b"3"])
        mine, _ = await harness.store.read_feed(cursor=own, limit=10, run_id="run")
        assert [item.event for item in mine] == [b"3"], "the feed of one run waits for nobody"
        await slow.execute("COMMIT")
    found = await drained(harness, cursor)
    assert [item.event for item in found] == [b"1", b"2", b"3"]


async def test_a_feed_that_begins_beside_an_open_transaction_shows_what_comes_and_nothing_else(
    postgres: PostgresServer, harness: Harness
) -> None:
    async with await connect(address_of(again_url(harness))) as slow:
        await slow.execute("BEGIN")
        await slow.execute("SELECT pg_current_xact_id()")
        await harness.commit("run", events=[b"before"])
        cursor = await begin(harness)
        await harness.commit("run", expected=1, events=[b"after"])
        await slow.execute("COMMIT")
    assert [item.event for item in await drained(harness, cursor)] == [b"after"]


async def test_a_transaction_whose_number_is_too_old_is_a_conflict(
    postgres: PostgresServer, harness: Harness
) -> None:
    await harness.commit("run", events=[b"1"])
    change = harness.change("run", expected=2, events=[b"3"])
    async with await connect(address_of(again_url(harness))) as early:
        packing.register(early)
        async with early.transaction():
            await early.execute("SELECT pg_current_xact_id()")
            await harness.commit("run", expected=1, events=[b"2"])
            (one,) = commits.rounds_of([change])
            cursor = await early.execute(commits.COMMIT, commits.parameters(one, None))
            row = await cursor.fetchone()
    assert row is not None
    ((answer,), _) = commits.answers_of(one, row)
    assert (answer.outcome, answer.seq) == (Outcome.CONFLICT, 2)
    assert (await harness.send(change)).outcome is Outcome.OK


async def test_two_processes_advance_the_same_runs_without_losing_an_event(
    postgres: PostgresServer, harness: Harness
) -> None:
    runs = [f"run{number}" for number in range(10)]
    for run in runs:
        await harness.commit(run, events=[b"0"])
    cursor = await begin(harness)

    async def write(hand: Harness, place: int) -> int:
        written = dict.fromkeys(runs, 0)
        refused = 0
        while min(written.values()) < 12:
            left = [run for run in runs if written[run] < 12]
            batch = [
                hand.change(
                    run,
                    commit_id=f"{place}-{run}-{written[run]}-{refused}",
                    expected=seq,
                    events=[b"%d:%d" % (place, written[run])],
                )
                for run in (left if place else left[::-1])
                if (seq := await hand.seq(run))
            ]
            for commit, answer in zip(batch, await hand.store.commit(batch), strict=True):
                written[commit.run_id] += answer.outcome is Outcome.OK
                refused += answer.outcome is not Outcome.OK
        return refused

    async with opened(again_url(harness)) as other:
        refused = await asyncio.gather(write(harness, 0), write(other, 1))
    assert sum(refused) > 0, "they never met"
    told = await drained(harness, cursor)
    for run in runs:
        events = (await harness.store.read_journal(run))[1:]
        for place in (0, 1):
            mine = [event for event in events if event.startswith(b"%d:" % place)]
            assert mine == [b"%d:%d" % (place, number) for number in range(12)]
        assert [item.event for item in told if item.run_id == run] == events


async def test_claims_of_two_processes_share_nothing(harness: Harness) -> None:
    paths = [f"p{number}" for number in range(200)]
    async with opened(again_url(harness)) as other:
        await harness.register("w1")
        await other.register("w2")
        await harness.commit("run", enqueue=[Enqueue(path=path) for path in paths])

        async def take(hand: Harness, worker: str) -> list[str]:
            found: list[str] = []
            while claims := await hand.claim(worker, limit=7):
                found += [claim.path for claim in claims]
            return found

        one, two = await asyncio.gather(take(harness, "w1"), take(other, "w2"))
        left = [claim.path for claim in await harness.claim("w1", limit=200)]
    assert sorted([*one, *two, *left]) == sorted(paths)


async def test_other_processes_are_woken(harness: Harness) -> None:
    async with opened(again_url(harness)) as other:
        ear = Ear(other)
        async with asyncio.timeout(20):
            number = 0
            while RunAdvanced(run_id=f"run{number}", workflow="flow", seq=1) not in ear.heard:
                number += 1  # the other's connection may not listen yet
                await harness.commit(f"run{number}", enqueue=[Enqueue(path="a", queue="q")])
                await asyncio.sleep(0.1)
        assert QueueWake(queues=["q"]) in ear.heard


async def test_a_text_that_cannot_be_stored_refuses_the_batch_and_halving_finds_it(harness: Harness) -> None:
    good, bad = harness.change("good"), harness.change("bad", index=index_of(labels={"a": "\0"}))
    with pytest.raises(UsageError):
        await harness.store.commit([good, bad])
    assert await harness.seq("good") == 0
    assert (await harness.send(good)).outcome is Outcome.OK
    with pytest.raises(UsageError):
        await harness.send(harness.change("x\ud800"))


async def test_a_server_that_does_not_wait_for_the_disk_is_named(harness: Harness) -> None:
    told = harness.store.durability()
    assert told.keeps is Keeps.NOTHING_SURE
    assert "fsync = off" in told.words
    assert told.cure == ["ALTER SYSTEM SET fsync = on;", "SELECT pg_reload_conf();"]


async def test_several_processes_open_a_new_schema_at_once(postgres: PostgresServer) -> None:
    stores = [PostgresStore(url) for url in [postgres.url()] * 4]
    await asyncio.gather(*(store.open() for store in stores))
    await Harness(stores[0], advance).commit("run")
    assert [await Harness(store, advance).seq("run") for store in stores] == [1] * 4
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_step_is_applied_once_and_a_changed_or_unknown_one_is_refused(
    postgres: PostgresServer,
) -> None:
    address = address_of(postgres.url())
    known = migrations.bundled()
    later = Migration(900, "later", "CREATE TABLE later (x integer)")
    async with await connect(address) as connection:
        assert await migrations.migrate(connection, address) == [step.number for step in known]
        assert await migrations.migrate(connection, address) == []
        assert await migrations.migrate(connection, address, [*known, later]) == [900]
        with pytest.raises(StoreIncompatible, match="newer release"):
            await migrations.migrate(connection, address)
        changed = Migration(900, "later", "CREATE TABLE later (x bigint)")
        with pytest.raises(StoreIncompatible, match="was changed"):
            await migrations.migrate(connection, address, [*known, changed])
        broken = Migration(901, "broken", "CREATE TABLE half (x integer); SELECT 1 / 0")
        with pytest.raises(UsageError):
            await migrations.migrate(connection, address, [*known, later, broken])
        cursor = await connection.execute("SELECT to_regclass('half')")
        assert await cursor.fetchone() == (None,), "a step happens whole or not at all"


async def test_a_schema_of_somebody_else_is_left_alone(postgres: PostgresServer) -> None:
    url = postgres.url()
    address = address_of(url)
    async with await psycopg.AsyncConnection.connect(address.conninfo, autocommit=True) as connection:
        await connection.execute(f"CREATE SCHEMA {address.schema}".encode())
        await connection.execute("CREATE TABLE theirs (x integer)")
    with pytest.raises(StoreIncompatible, match="something else"):
        await PostgresStore(url).open()


async def test_feeds_go_on_after_the_data_moved_to_a_server_with_younger_transactions(
    postgres: PostgresServer, harness: Harness
) -> None:
    cursor = await begin(harness)
    await harness.commit("run", events=[b"1"])
    before = await drained(harness, cursor)
    async with await connect(address_of(again_url(harness))) as hand:
        # as a restored copy looks: its rows have numbers that this server hasn't reached
        await hand.execute("UPDATE journal SET tx = tx + 1000000000")
        await hand.execute("UPDATE heads SET tx = tx + 1000000000")
    try:
        await harness.store.close()
        await harness.store.open()
        cursor = await begin(harness)
        await harness.commit("run", expected=1, events=[b"2"])
        assert [item.event for item in [*before, *await drained(harness, cursor)]] == [b"1", b"2"]
    finally:
        async with await connect(address_of(again_url(harness))) as hand:
            await hand.execute("UPDATE store SET tx_offset = 0")


async def test_an_unreachable_server_is_said_in_words() -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
        await PostgresStore("postgresql://127.0.0.1:1/nowhere").open()


async def begin(harness: Harness, run_id: str | None = None) -> str:
    return (await harness.store.read_feed(cursor=None, limit=1, run_id=run_id))[1]


async def drained(harness: Harness, cursor: str) -> list[FeedItem]:
    found: list[FeedItem] = []
    idle = 0
    while idle < 3:
        items, cursor = await harness.store.read_feed(cursor=cursor, limit=5)
        found += items
        idle = 0 if items else idle + 1
        await asyncio.sleep(0 if items else 0.02)
    return found
