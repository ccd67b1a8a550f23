"""Several processes on one file: they share no row, wake one another, and notice each other's death at once."""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.stores.contract import Enqueue, Notice, Outcome, RunAdvanced
from orchestrator.stores.sqlite import SqliteStore
from orchestrator.testing.conformance import Harness
from orchestrator.testing.conformance.harness import lease_of
from orchestrator.testing.conformance.wakes import Ear

CHILD = """
import asyncio, sys
from orchestrator.stores.contract import Commit, Lease, Notice, RunIndex
from orchestrator.stores.sqlite import SqliteStore

async def main(url, worker, task):
    store = SqliteStore(url)
    await store.open()
    await store.heartbeat(worker, lease_us=3_600_000_000)
    print("ready", flush=True)
    if task == "claim":
        await asyncio.to_thread(sys.stdin.readline)
        while claims := (await store.claim(worker, queues=["default"], limit=3)).claims:
            print(*(claim.path for claim in claims), flush=True)
            done = [Lease(path=claim.path, epoch=claim.epoch) for claim in claims]
            await store.commit([Commit(commit_id=claims[0].path, run_id="run", expected=None, stands_on=done)])
    elif task == "commit":
        await asyncio.to_thread(sys.stdin.readline)
        index = RunIndex(workflow="flow", version=1, status="running", live=True)
        await store.commit([Commit(commit_id="c", run_id="child", expected=0, events=[b"1"], index=index)])
        store.notify(Notice(run_id="child", workflow="flow", data=b"hello"))
        store.notify(Notice(run_id="child", workflow="flow", data=bytes(1_000_000)))
    else:
        claims = (await store.claim(worker, queues=["default"], limit=100)).claims
        print(*(claim.path for claim in claims), flush=True)
        await asyncio.sleep(3600)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name: these tests are about the sockets beside the file, whose paths have a limit."""
    with tempfile.TemporaryDirectory(prefix="st") as folder:
        yield Path(folder)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async def advance(us: int) -> None:
        await asyncio.sleep(us / 1_000_000)

    store = SqliteStore(f"sqlite:///{tmp_path / 'store.db'}")
    await store.open()
    yield Harness(store, advance)
    await store.close()


@contextlib.asynccontextmanager
async def child(harness: Harness, worker: str, task: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Another process on the same file, past its first heartbeat; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, harness.store.url, worker, task,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert await line(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


async def test_claims_of_two_processes_share_nothing(harness: Harness) -> None:
    paths = [f"p{number}" for number in range(120)]
    await harness.commit("run", enqueue=[Enqueue(path=path) for path in paths])
    async with child(harness, "c1", "claim") as one, child(harness, "c2", "claim") as two:
        outputs = await asyncio.gather(one.communicate(b"go\n"), two.communicate(b"go\n"))
    got = [output.decode().split() for output, _ in outputs]
    assert sorted([*got[0], *got[1]]) == sorted(paths)
    assert all(row.worker is None for row in (await harness.rows()).values()), (
        "both closed, so nothing is leased"
    )


async def test_a_commit_of_another_process_wakes_this_one(harness: Harness) -> None:
    ear = Ear(harness)
    async with child(harness, "c1", "commit") as process:
        await process.communicate(b"go\n")
    await ear.wait_for(RunAdvanced(run_id="child", workflow="flow", seq=1))
    await ear.wait_for(Notice(run_id="child", workflow="flow", data=b"hello"))
    assert await harness.seq("child") == 1


async def test_the_leases_of_a_killed_process_are_free_at_once(harness: Harness) -> None:
    await harness.register("w1")
    await harness.commit("run", enqueue=[Enqueue(path="a"), Enqueue(path="b")])
    async with child(harness, "c1", "hold") as process:
        assert (await line(process)).split() == ["a", "b"]
        assert await harness.store.expire_workers() == []
        assert await harness.claim("w1") == []
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert await harness.store.expire_workers() == ["c1"]
    claims = await harness.claim("w1")
    assert [(claim.path, claim.lost) for claim in claims] == [("a", 1), ("b", 1)]
    answer = await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(claims[0])])
    assert answer.outcome is Outcome.OK


async def test_opening_frees_what_a_killed_process_held_and_clears_up(
    harness: Harness, tmp_path: Path
) -> None:
    await harness.commit("run", enqueue=[Enqueue(path="a")])
    await harness.store.close()
    async with child(harness, "c1", "hold") as process:
        assert await line(process) == "a"
        process.kill()
        await process.wait()
    assert len(list((tmp_path / "store.db.procs").iterdir())) == 2
    await harness.store.open()
    assert await harness.store.workers() == []
    row = (await harness.rows())["a"]
    assert (row.worker, row.lost) == (None, 1)
    assert len(list((tmp_path / "store.db.procs").iterdir())) == 2, "this process's own lock and socket"


async def test_two_stores_of_one_process_do_not_take_each_other_for_dead(harness: Harness) -> None:
    other = SqliteStore(harness.store.url)
    await other.open()
    await other.heartbeat("o1", lease_us=3_600_000_000)
    await harness.register("w1")
    ear = Ear(harness)
    assert await harness.store.expire_workers() == []
    assert await other.expire_workers() == []
    await Harness(other, harness.advance).commit("run", enqueue=[Enqueue(path="a")])
    await ear.wait_for(RunAdvanced(run_id="run", workflow="flow", seq=1))
    await other.close()
    assert [row.worker for row in await harness.store.workers()] == ["w1"]
    assert await harness.store.expire_workers() == []


async def test_both_processes_advance_one_run_without_losing_an_event(harness: Harness) -> None:
    other = SqliteStore(harness.store.url)
    await other.open()
    hands = [harness, Harness(other, harness.advance)]
    await harness.commit("run", events=[b"0"])

    async def write(place: int) -> int:
        written = 0
        while written < 40:
            run = await hands[place].store.get_run("run")
            assert run is not None
            change = hands[place].change(
                "run",
                expected=run.seq,
                commit_id=f"{place}-{written}-{run.seq}",
                events=[f"{place}:{written}".encode()],
            )
            written += (await hands[place].send(change)).outcome is Outcome.OK
        return written

    await asyncio.gather(write(0), write(1))
    await other.close()
    events = await harness.store.read_journal("run")
    for place in (0, 1):
        assert [event for event in events if event.startswith(b"%d:" % place)] == [
            f"{place}:{number}".encode() for number in range(40)
        ]
