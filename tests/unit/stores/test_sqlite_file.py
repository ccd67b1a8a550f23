"""The file itself: where it may lie, whose it is, and what happens when the disk or the driver fails."""

import asyncio
import inspect
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from orchestrator.errors import (
    CommitUnknown,
    OrchestratorError,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
)
from orchestrator.stores.contract import Blob, Commit, Enqueue, Lease, Leftover, Outcome, RunIndex
from orchestrator.stores.sqlite import SqliteStore, migrations
from orchestrator.stores.sqlite.database import connect, path_of, prepare_file, translate
from orchestrator.testing import conformance
from orchestrator.testing.conformance import Harness
from orchestrator.testing.conformance.harness import index_of


def store_at(path: Path, **fields: Any) -> SqliteStore:
    return SqliteStore(f"sqlite:///{path}", **fields)


async def nothing(_: int) -> None:
    raise AssertionError("these tests don't move the clock")


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    store = store_at(tmp_path / "store.db")
    await store.open()
    yield Harness(store, nothing)
    await store.close()


# --- names and places -------------------------------------------------------------------------------------------------


def test_urls_name_relative_and_absolute_files() -> None:
    assert path_of("sqlite:///.orchestrator/store.db") == Path(".orchestrator/store.db")
    assert path_of("sqlite:////var/lib/store.db") == Path("/var/lib/store.db")


@pytest.mark.parametrize(
    "url", ["", "store.db", "sqlite:", "sqlite://x.db", "sqlite:///", "redis:///x", "sqlite:///a\0b"]
)
def test_other_urls_are_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(UsageError, match=r"sqlite:///relative/path\.db"):
        SqliteStore(url)


async def test_folder_and_file_are_for_the_owner_only(tmp_path: Path) -> None:
    store = store_at(tmp_path / "new" / "deep" / "store.db")
    await store.open()
    folder, file = tmp_path / "new" / "deep", tmp_path / "new" / "deep" / "store.db"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, file, file.with_name("store.db.procs"))]
    await store.close()
    assert modes == [0o700, 0o600, 0o700]
    assert [path.name for path in folder.iterdir()] == ["store.db"]


async def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is a folder"):
        await store_at(tmp_path).open()


async def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailable, match="can't open"):
        await store_at(tmp_path / "file" / "store.db").open()


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("these are my notes, not a database " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="is not a SQLite database"):
        await store_at(path).open()
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match="another program"):
        await store_at(path).open()
    assert path.read_bytes() == before


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(_: Path) -> str:
        return "nfs4"

    monkeypatch.setattr("orchestrator.stores.sqlite.database._file_system", network)
    with pytest.raises(StoreUnavailable, match="network file system"):
        prepare_file(tmp_path / "store.db")


async def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = store_at(path)
    await store.open()
    await Harness(store, nothing).commit("run", events=[b"x" * 100_000])
    await store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xde\xad\xbe\xef" * ((len(data) - 4096) // 4)
    path.write_bytes(data)
    with pytest.raises(StoreUnavailable, match=r"damaged|not a SQLite database"):
        await store.open()


async def test_paths_longer_than_a_socket_address_work(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 30) / "store.db"
    store, other = store_at(path), store_at(path)
    await store.open()
    await other.open()
    await Harness(other, nothing).commit("run")
    assert await Harness(store, nothing).seq("run") == 1
    await other.close()
    await store.close()
    assert [entry.name for entry in path.parent.iterdir()] == ["store.db"]


# --- migrations -------------------------------------------------------------------------------------------------------


async def test_a_file_of_a_newer_release_is_left_alone(harness: Harness, tmp_path: Path) -> None:
    await harness.store.close()
    path = tmp_path / "store.db"
    change(path, "INSERT INTO migrations VALUES (9999, 'from_the_future', 'x', 0)")
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match=r"newer release: it has migration 9999 \(from_the_future\)"):
        await harness.store.open()
    assert path.read_bytes() == before


async def test_a_migration_that_was_edited_is_noticed(harness: Harness, tmp_path: Path) -> None:
    await harness.store.close()
    path = tmp_path / "store.db"
    change(path, "UPDATE migrations SET checksum = 'other' WHERE number = 1")
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match=r"migration 1 \(first\)"):
        await harness.store.open()
    assert path.read_bytes() == before


def change(path: Path, statement: str) -> None:
    """Change a closed store's file from outside."""
    connection = connect(path, write=True)
    connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def test_migrations_run_once_each_in_order(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    prepare_file(path)
    connection = connect(path, write=True)
    first = migrations.bundled()
    assert [step.number for step in first] == list(range(1, len(first) + 1))
    assert migrations.migrate(connection, path, first) == [step.number for step in first]
    assert migrations.migrate(connection, path, first) == []
    later = [
        *first,
        migrations.Migration(len(first) + 1, "later", "CREATE TABLE later (x); INSERT INTO later VALUES (1)"),
    ]
    assert migrations.migrate(connection, path, later) == [len(first) + 1]
    assert connection.execute("SELECT x FROM later").get == 1
    connection.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    prepare_file(path)
    connection = connect(path, write=True)
    broken = [migrations.Migration(1, "broken", "CREATE TABLE half (x); INSERT INTO missing VALUES (1)")]
    with pytest.raises(apsw.SQLError):
        migrations.migrate(connection, path, broken)
    assert connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    connection.close()


@pytest.mark.faults  # many processes at once: it runs alone
async def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    stores = [store_at(tmp_path / "store.db") for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        assert (await Harness(store, nothing).commit(f"run{number}")).outcome is Outcome.OK
    assert await stores[0].changed({f"run{number}": 0 for number in range(4)}) == {
        f"run{number}": 1 for number in range(4)
    }
    await asyncio.gather(*(store.close() for store in stores))


# --- failures ---------------------------------------------------------------------------------------------------------


def driver_errors() -> list[type[apsw.Error]]:
    """Every error that the driver can raise."""
    return [kind for _, kind in inspect.getmembers(apsw, inspect.isclass) if issubclass(kind, apsw.Error)]


@pytest.mark.parametrize("kind", driver_errors(), ids=lambda kind: kind.__name__)
def test_every_driver_error_becomes_ours(kind: type[apsw.Error]) -> None:
    ours = translate(kind("what it says"), Path("/some/store.db"))
    assert isinstance(ours, OrchestratorError)
    assert "/some/store.db" in str(ours)


async def test_a_full_disk_refuses_the_commit_and_leaves_nothing(harness: Harness) -> None:
    store = harness.store
    assert isinstance(store, SqliteStore)
    await harness.commit("before")
    connection = store._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").get
    connection.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    big = harness.change("big", events=[b"x" * 1_000_000])
    with pytest.raises(StoreUnavailable, match="full"):
        await harness.send(big)
    assert await store.get_run("big") is None
    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert (await harness.send(big)).outcome is Outcome.OK


class FailingConnection:
    """The store's connection, with a COMMIT that does what it shall and then fails."""

    def __init__(self, connection: Any, error: Exception, *, written: bool) -> None:
        self._connection, self._error, self._written = connection, error, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statements: str, bindings: Any = ()) -> Any:
        if statements == "COMMIT":
            self._connection.execute("COMMIT" if self._written else "ROLLBACK")
            raise self._error
        return self._connection.execute(statements, bindings)


@pytest.mark.parametrize("written", [True, False])
async def test_a_commit_whose_fate_is_unknown_is_repeated_and_happens_once(
    harness: Harness, written: bool
) -> None:
    store = harness.store
    assert isinstance(store, SqliteStore)
    writer = store._writer
    assert writer is not None
    change = harness.change("run", events=[b"1"], enqueue=[Enqueue(path="a")])
    real = writer._connection
    failing: Any = FailingConnection(real, apsw.IOError("the disk went away"), written=written)
    writer._connection = failing
    with pytest.raises(CommitUnknown, match="repeat the same batch"):
        await harness.send(change)
    with pytest.raises(StoreUnavailable):
        await store.forget_worker("nobody")
    writer._connection = real
    answer = await harness.send(change)
    assert (answer.outcome, answer.seq) == (Outcome.OK, 1)
    assert await store.read_journal("run") == [b"1"]


async def test_a_locked_file_is_told_in_words(harness: Harness, tmp_path: Path) -> None:
    store = harness.store
    assert isinstance(store, SqliteStore)
    assert store._connection is not None
    store._connection.set_busy_timeout(50)
    other = connect(tmp_path / "store.db", write=True)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="another process has been writing"):
        await harness.commit("run")
    other.execute("ROLLBACK")
    other.close()
    assert (await harness.commit("run")).outcome is Outcome.OK


async def test_a_value_that_cannot_be_stored_fails_alone(harness: Harness) -> None:
    bad = harness.change("bad\ud800")
    results = await asyncio.gather(
        harness.commit("one"), harness.send(bad), harness.commit("two"), return_exceptions=True
    )
    assert isinstance(results[1], UsageError)
    assert [await harness.seq(run_id) for run_id in ("one", "two")] == [1, 1]


async def test_an_error_text_that_is_not_unicode_is_stored_all_the_same(harness: Harness) -> None:
    assert (await harness.commit("run", index=index_of(error="bad \ud800 and \x00"))).outcome is Outcome.OK
    run = await harness.store.get_run("run")
    assert run is not None
    assert run.index.error == "bad ? and \x00"


async def test_a_bug_of_ours_fails_its_own_job_only(harness: Harness) -> None:
    store = harness.store
    assert isinstance(store, SqliteStore)

    def broken(_: object) -> None:
        raise KeyError("oops")

    results = await asyncio.gather(harness.commit("one"), store._write(broken), return_exceptions=True)
    assert "internal error" in str(results[1])
    assert await harness.seq("one") == 1


async def test_who_stops_waiting_disturbs_nobody(harness: Harness) -> None:
    waiting = asyncio.create_task(harness.commit("given up"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await harness.commit("run")).outcome is Outcome.OK
    assert await harness.seq("given up") == 1


# --- time and place ---------------------------------------------------------------------------------------------------


async def test_the_clock_of_the_file_never_runs_backwards(tmp_path: Path) -> None:
    hour = 3_600_000_000

    def at(now: int) -> Callable[[], int]:
        return lambda: now

    for now in (10 * hour, 9 * hour):
        store = store_at(tmp_path / "store.db", now_us=at(now))
        await store.open()
        answer = await Harness(store, nothing).commit(f"run{now}")
        await store.close()
        assert answer.now_us >= 10 * hour


async def test_epochs_rise_over_restarts(tmp_path: Path) -> None:
    epochs: list[int] = []
    for seq in range(4):
        store = store_at(tmp_path / "store.db")
        await store.open()
        await store.heartbeat("w", lease_us=1_000_000)
        (answer,) = await store.commit(
            [
                Commit(
                    commit_id=str(seq),
                    run_id="run",
                    expected=seq,
                    worker="w",
                    events=[b"x"],
                    index=index_of(),
                    enqueue=[Enqueue(path="a", leased=True)],
                )
            ]
        )
        epochs.append(answer.leases[0].epoch)
        await store.close()
    assert epochs == sorted(set(epochs))


async def test_the_short_path_and_the_complete_path_write_the_same(tmp_path: Path) -> None:
    """A commit goes the short way; the same one beside a second commit of its run goes the complete one."""
    shown: list[Any] = []
    for crowded in (False, True):
        store = store_at(tmp_path / f"{crowded}.db", now_us=lambda: 1_000_000)
        await store.open()
        await store.heartbeat("w", lease_us=10**12)
        start = Commit(
            commit_id="1", run_id="run", expected=0, worker="w", events=[b"1"], index=index_of(),
            enqueue=[Enqueue(path="a", leased=True)],
        )  # fmt: skip
        first = (await store.commit([start, start] if crowded else [start]))[0]
        shown.append(
            [first, await store.queue_rows("run"), await store.load("run"), await store.get_run("run")]
        )
        step = Commit(
            commit_id="2", run_id="run", expected=1, worker="w", events=[b"2", b"3\n"], summary=b"s",
            stands_on=[Lease(path="a", epoch=first.leases[0].epoch)],
            enqueue=[Enqueue(path="b", queue="q", priority=3, delay_us=5, leased=True, payload=b"p")],
        )  # fmt: skip
        second = (await store.commit([step, step] if crowded else [step]))[0]
        end = Commit(
            commit_id="3", run_id="run", expected=3, worker="w", events=[b"4"],
            index=RunIndex(workflow="flow", version=1, status="succeeded", live=False, created_us=1),
            stands_on=[Lease(path="b", epoch=second.leases[0].epoch)],
        )  # fmt: skip
        rows = await store.queue_rows("run")
        third = (await store.commit([end, end] if crowded else [end]))[0]
        shown.append([second, rows, third, await store.load("run"), await store.queue_rows("run")])
        await store.close()
    assert shown[:2] == shown[2:]


def test_no_test_of_the_suite_hides_another() -> None:
    names = [
        name
        for base in conformance.StoreConformance.__bases__
        for name, _ in inspect.getmembers(base, inspect.isfunction)
        if name.startswith("test_")
    ]
    assert sorted(names) == sorted(set(names))
    assert len(names) >= 100


async def test_what_was_rewritten_is_neither_in_the_file_nor_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(f"sqlite:///{path}")
    await store.open()
    index = RunIndex(workflow="w", version=1, status="failed", live=False, error="PLANTED")
    large = b"PLANTED " * 20_000
    await store.commit(
        [
            Commit(
                commit_id="c",
                run_id="r",
                expected=0,
                index=index,
                events=[b"PLANTED 1", large],
                blobs=[Blob(blob_id="b", codec="json", data=large)],
                snapshot=large,
                summary=b"PLANTED",
            )
        ]
    )
    assert await store.rewrite("r", expected=2, after=0, events=[b"1", b"2"])
    rest = Leftover(snapshot=b"s", summary=b"s", index=msgspec.structs.replace(index, error="gone"))
    assert await store.rewrite("r", expected=2, after=2, events=[], rest=rest)
    for file in await asyncio.to_thread(lambda: list(tmp_path.iterdir())):
        if file.is_file():
            assert b"PLANTED" not in await asyncio.to_thread(file.read_bytes), file.name
    await store.close()
