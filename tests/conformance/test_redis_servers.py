"""What only Redis does: servers that refuse, hang, restart, or fail over to a copy that is behind."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from orchestrator.errors import CommitUnknown, StoreIncompatible, StoreUnavailable, UsageError
from orchestrator.stores.contract import (
    Acquired,
    Enqueue,
    Granted,
    Keeps,
    Limit,
    Notice,
    Outcome,
    RunAdvanced,
    RunFilter,
)
from orchestrator.stores.redis import RedisStore, accounts, link, lists
from orchestrator.stores.redis.keys import partition_of
from orchestrator.stores.redis.link import Call
from orchestrator.testing.conformance.harness import LONG, Harness, index_of, lease_of
from orchestrator.testing.conformance.wakes import Ear
from tests.redis_servers import RedisServer, durable, redis_cluster, redis_server

pytestmark = pytest.mark.slow


async def advance(us: int) -> None:
    await asyncio.sleep(us / 1_000_000)


@pytest.fixture
def server(find_program: Callable[[str], str]) -> Iterator[RedisServer]:
    with redis_server(find_program, options=durable("everysec")) as found:
        yield found


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Harness]:
    store = RedisStore(url)
    await store.open()
    try:
        yield Harness(store, advance)
    finally:
        await store.close()


@pytest.fixture
async def harness(server: RedisServer) -> AsyncIterator[Harness]:
    async with opened(server.url) as found:
        yield found


# --- refusals -----------------------------------------------------------------------------------------------------


async def test_a_server_that_forgot_the_functions_gets_them_again(
    harness: Harness, server: RedisServer
) -> None:
    await harness.commit("run")
    server.say("SCRIPT", "FLUSH")
    assert (await harness.commit("run", expected=1, events=[b"2"])).outcome is Outcome.OK
    assert await harness.seq("run") == 2


async def test_a_full_server_refuses_and_goes_on_when_it_has_room(
    harness: Harness, server: RedisServer
) -> None:
    change = harness.change("run")
    server.say("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="memory is full"):
        await harness.send(change)
    server.say("CONFIG", "SET", "maxmemory", "0")
    assert await harness.seq("run") == 0
    assert (await harness.send(change)).outcome is Outcome.OK


async def test_a_server_that_became_a_replica_refuses_until_it_is_a_master_again(
    harness: Harness, server: RedisServer
) -> None:
    await harness.commit("run")
    change = harness.change("run", expected=1, events=[b"2"])
    server.say("REPLICAOF", "127.0.0.1", "1")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await harness.send(change)
    server.say("REPLICAOF", "NO", "ONE")
    assert (await harness.send(change)).outcome is Outcome.CONFLICT, "it may have lost what it had"
    assert await harness.store.load("run") is not None
    assert (await harness.send(change)).outcome is Outcome.OK


async def test_a_server_that_is_gone_is_unavailable_and_found_again(
    harness: Harness, server: RedisServer
) -> None:
    await harness.commit("run", enqueue=[Enqueue(path="a")])
    await asyncio.sleep(1.2)  # what was acknowledged longer than a second ago is on the disk
    server.kill()
    for _ in range(2):
        with pytest.raises((StoreUnavailable, CommitUnknown)):
            await harness.commit("other")
    with pytest.raises(StoreUnavailable):
        await harness.store.claim("w1", queues=["default"], limit=1)
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(harness.store.heartbeat_blocking, "w1", lease_us=LONG)
    server.start()
    assert await harness.seq("run") == 1
    await asyncio.to_thread(harness.store.heartbeat_blocking, "w1", lease_us=LONG)
    (claim,) = await harness.claim()
    assert claim.rolled_back, "it was due when the server restarted, and a second may be missing"


async def test_a_commit_whose_answer_did_not_come_may_have_happened(
    harness: Harness, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.3)
    async with opened(server.url + "?prefix=quick") as quick:
        lease = await quick.started("run")
        change = quick.change(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True)],
        )
        server.send(signal.SIGSTOP)
        try:
            with pytest.raises(CommitUnknown):
                await quick.send(change)
            with pytest.raises(StoreUnavailable):
                await quick.store.load("run")
        finally:
            server.send(signal.SIGCONT)
        first = await quick.send(change)
        again = await quick.send(change)
        assert (first.outcome, again.outcome) == (Outcome.OK, Outcome.OK)
        assert list(first.leases) == list(again.leases)
        assert await quick.store.read_journal("run") == [b"first", b"2"]


# --- opening ------------------------------------------------------------------------------------------------------


async def test_the_number_of_partitions_is_fixed_when_the_store_is_created(server: RedisServer) -> None:
    async with opened(server.url + "?partitions=3") as harness:
        await harness.commit("run")
    async with opened(server.url) as harness:
        assert await harness.seq("run") == 1
    with pytest.raises(StoreIncompatible, match="created with 3 partitions"):
        await RedisStore(server.url + "?partitions=4").open()


async def test_a_store_of_a_newer_release_is_left_alone(server: RedisServer) -> None:
    server.say("HSET", "ao:{store}", "format", "99", "partitions", "16", "id", "x")
    with pytest.raises(StoreIncompatible, match="newer release"):
        await RedisStore(server.url).open()


async def test_a_user_who_may_not_ask_for_the_configuration_can_work(server: RedisServer) -> None:
    server.say("ACL", "SETUSER", "worker", "on", ">secret", "~ao:*", "&ao:*", "+@all", "-@dangerous", "+info")
    url = server.url.replace("redis://", "redis://worker:secret@")
    async with opened(url) as harness:
        assert (await harness.commit("run")).outcome is Outcome.OK
        assert harness.store.durability().keeps is Keeps.ALL_BUT_LAST
        assert "secret" not in harness.store.url


async def test_a_wrong_password_is_said_in_words(server: RedisServer) -> None:
    server.say("CONFIG", "SET", "requirepass", "right")
    with pytest.raises(StoreUnavailable, match="refuses") as caught:
        await RedisStore(server.url.replace("redis://", "redis://:wrong@")).open()
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "query", ["?partitions=0", "?partitions=x", "?partitions=129", "?prefix=a{b", "?prefix="]
)
def test_a_url_that_cannot_be_meant_is_refused(query: str) -> None:
    with pytest.raises(UsageError):
        RedisStore("redis://localhost/0" + query)


async def test_a_cursor_of_another_store_is_refused(harness: Harness, server: RedisServer) -> None:
    _, cursor = await harness.store.read_feed(cursor=None, limit=1)
    async with opened(server.url + "?prefix=other") as other:
        with pytest.raises(UsageError, match="another store"):
            await other.store.read_feed(cursor=cursor, limit=1)


# --- several processes --------------------------------------------------------------------------------------------


async def test_another_process_hears_of_commits_and_notices(harness: Harness, server: RedisServer) -> None:
    async with opened(server.url) as other:
        ear = Ear(other)
        await harness.commit("run", events=[b"1"])
        await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=1))
        harness.store.notify(Notice(run_id="run", workflow="flow", data=b"\xff"))
        await ear.wait_for(Notice(run_id="run", workflow="flow", data=b"\xff"))


async def test_who_comes_after_a_long_silence_is_told_too(harness: Harness, server: RedisServer) -> None:
    for number in range(3):  # alone, it has stopped to tell the server
        await harness.commit(f"alone{number}")
    async with opened(server.url) as other:
        ear = Ear(other)
        await asyncio.sleep(0.05)
        await harness.commit("run")
        await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=1))


async def test_listening_goes_on_after_the_connection_was_cut(harness: Harness, server: RedisServer) -> None:
    ear = Ear(harness)
    async with opened(server.url) as other:
        server.say("CLIENT", "KILL", "TYPE", "pubsub")
        async with asyncio.timeout(10):
            number = 0
            while RunAdvanced(run_id=f"run{number - 1}", workflow="flow", seq=1) not in ear.heard:
                with contextlib.suppress(StoreUnavailable, CommitUnknown):
                    await other.commit(f"run{number}")
                    number += 1
                await asyncio.sleep(0.1)


# --- lists --------------------------------------------------------------------------------------------------------


async def test_a_search_looks_at_a_bounded_number_and_goes_on(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKED_AT", 16)
    monkeypatch.setattr(lists, "LOOKED_AT_MIN", 1)
    for number in range(60):
        error = "needle" if number % 29 == 0 else ""
        await harness.commit(f"run{number}", index=index_of(created_us=number + 1, error=error))
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        page = await harness.store.list_runs(RunFilter(text="NEEDLE"), limit=10, cursor=cursor)
        found += [row.run_id for row in page.items]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            break
    assert found == ["run58", "run29", "run0"]
    assert pages > 3


# --- failover -----------------------------------------------------------------------------------------------------


class Switch:
    """One address in front of servers, of which one answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def to(self, port: int) -> None:
        """From now on the other; what was connected is cut."""
        self.port = port
        for writer in list(self._open):
            writer.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self.to(0)
        await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            theirs_in, theirs_out = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        self._open |= {writer, theirs_out}
        await asyncio.gather(self._copy(reader, theirs_out), self._copy(theirs_in, writer))
        self._open -= {writer, theirs_out}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()


def wait_until_linked(replica: RedisServer) -> None:
    deadline = time.monotonic() + 20
    while b"master_link_status:up" not in replica.say("INFO", "replication"):
        assert time.monotonic() < deadline, replica.log
        time.sleep(0.05)


async def test_a_failover_to_a_copy_that_is_behind_is_noticed(find_program: Callable[[str], str]) -> None:
    with (
        redis_server(find_program, options=durable("always")) as master,
        redis_server(find_program, options=durable("always")) as replica,
    ):
        switch = Switch(master.port)
        url = await switch.start()
        async with opened(url) as harness:
            await harness.register("w1")
            await harness.commit("run", enqueue=[Enqueue(path="a"), Enqueue(path="t", delay_us=LONG)])
            await harness.commit("other", events=[b"1"])
            replica.say("REPLICAOF", "127.0.0.1", str(master.port))
            await asyncio.to_thread(wait_until_linked, replica)
            replica.say("REPLICAOF", "127.0.0.1", "1")  # it hears no more of its master
            (lost,) = await harness.claim()
            answer = await harness.commit(
                "run", expected=1, events=[b"2"], stands_on=[lease_of(lost, finish=False)]
            )
            assert answer.outcome is Outcome.OK, "acknowledged, and on the master's disk"
            assert (await harness.commit("other", expected=1, events=[b"2"])).outcome is Outcome.OK
            master.kill()
            replica.say("REPLICAOF", "NO", "ONE")
            await switch.to(replica.port)
            with contextlib.suppress(StoreUnavailable):
                await harness.store.now_us()

            assert await harness.seq("run") == 1, "the copy was behind"
            old = await harness.commit("run", expected=None, stands_on=[lease_of(lost)])
            assert old.outcome is Outcome.FENCED
            # Somebody else brings the run to the seq that the writer knows, with other events.
            async with opened(url) as somebody:
                await somebody.store.load("other")
                assert (await somebody.commit("other", expected=1, commit_id="s", events=[b"x"])).seq == 2
            stale = await harness.commit("other", expected=2, events=[b"3"])
            assert stale.outcome is Outcome.CONFLICT, "its writer must load the run first"
            await harness.store.load("other")
            assert (await harness.commit("other", expected=2, events=[b"3"])).outcome is Outcome.OK
            await harness.register("w1")
            (claim,) = await harness.claim()
            assert claim.path == "a"
            assert claim.rolled_back
            assert claim.epoch > lost.epoch
            await harness.commit("new", enqueue=[Enqueue(path="n")])
            (fresh,) = await harness.claim()
            assert not fresh.rolled_back
        await switch.stop()


async def test_a_restart_of_a_server_that_syncs_always_rolls_nothing_back(
    find_program: Callable[[str], str],
) -> None:
    with redis_server(find_program, options=durable("always")) as server:
        async with opened(server.url) as harness:
            await harness.commit("run", enqueue=[Enqueue(path="a")])
            server.kill()
            server.start()
            with contextlib.suppress(StoreUnavailable):
                await harness.store.now_us()
            await harness.register("w1")
            (claim,) = await harness.claim()
            assert not claim.rolled_back
            assert await harness.seq("run") == 1


# --- slots over two slots -----------------------------------------------------------------------------------------


async def test_what_a_dead_process_left_at_the_accounts_is_repaired(
    find_program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = Limit(account="x", name="x", concurrency=1)
    with redis_cluster(find_program) as nodes:
        async with opened(nodes[0].url) as harness:
            lease = await harness.started("run", path="a")
            ours = harness.store
            assert isinstance(ours, RedisStore)
            # A process that died after it took a slot and before its row said so.
            place = partition_of("run", 16)
            given = accounts._encode([place, "run", "a", lease.epoch])
            wanted = accounts._encode([("x", "x", 1, False, 1, "")])
            await ours._link.ask(Call("acquire_take", "acc", [given, wanted]))
            await harness.store.release("w1", [lease])
            other = await harness.started("other", path="a")
            assert await harness.store.acquire("w1", other, [limit]) is Acquired.WAITS
            monkeypatch.setattr(accounts, "REPAIR_SECONDS", 0.0)
            await harness.store.expire_workers()
            assert [row.holders for row in await harness.store.accounts()] == [()], "it was called"
            claims = {claim.run_id: claim for claim in await harness.claim()}
            again = Granted(run_id="other", path="a", epoch=claims["other"].epoch)
            assert await harness.store.acquire("w1", again, [limit]) is Acquired.GRANTED


# --- power loss ---------------------------------------------------------------------------------------------------


async def test_after_a_power_cut_everything_that_was_synced_is_there(
    find_program: Callable[[str], str],
) -> None:
    """The append-only file is cut to where it was at the last acknowledged commit, and its last record torn."""
    with redis_server(find_program, options=durable("always")) as server:
        seqs: dict[str, int] = {}
        for cut in range(5):
            async with opened(server.url) as harness:
                for run_id, seq in seqs.items():
                    assert await harness.seq(run_id) == seq
                    assert len(await harness.store.read_journal(run_id)) == seq
                    await harness.store.load(run_id)
                for number in range(8):
                    run_id = f"run{cut}-{number}"
                    await harness.commit(run_id, events=[b"1"])
                    answer = await harness.commit(run_id, expected=1, events=[b"2", b"3"])
                    seqs[run_id] = answer.seq
                (log,) = (server.folder / "appendonlydir").glob("*.incr.aof")
                synced = log.stat().st_size
                late = harness.change(f"late{cut}", events=[b"x" * 5_000])
                await harness.send(late)
                server.kill()
            with log.open("r+b") as handle:
                handle.truncate(synced + 1_000 * (cut + 1))
            server.start()
        async with opened(server.url) as harness:
            for run_id, seq in seqs.items():
                assert await harness.seq(run_id) == seq
            late_run = await harness.store.load("late4")
            assert late_run is None or len(late_run.events) == late_run.seq
