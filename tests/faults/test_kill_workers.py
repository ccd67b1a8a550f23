"""`serve` with workers of its own: a worker, the server, or all of them die; and what a process leaves behind."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.processes import (
    REALTIME,
    Server,
    alive,
    children_of,
    journal,
    run_of,
    save,
    send,
    server,
    start,
    tell,
    until_over,
    wait_until,
)
from tests.faults.thirty import Driver, Story, check, ledger, prepare

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = 30 if REALTIME else 3
ORPHANS_SECONDS = 10.0


def test_kill_9_of_workers_and_of_their_server(tmp_path: Path, first_seed: int) -> None:
    with server(tmp_path, "serve", "--workers", "2") as found:
        prepare(found)
        stories = [_killed(found, first_seed + number) for number in range(ROUNDS)]
        for story in stories:
            # One kill of several processes: each of them may have been at the same task in turn.
            check(story, found, executions_max=3)
    gaps = [story.gap_seconds for story in stories if story.gap_seconds is not None]
    tell(
        f"{len(stories)} kills of worker, server and both; {sum(s.doubts for s in stories)} in doubt; from kill (of a "
        f"worker) or ready (of the server) to the next event at most {max(gaps, default=0):.2f} s ({len(gaps)} times)"
    )


def _killed(found: Server, seed: int) -> Story:
    whom = ("worker", "server", "both")[seed % 3]
    draw = random.Random(seed)

    def kill() -> None:
        workers = children_of(found.pid)
        match whom:
            case "worker":
                send(draw.choice(workers), signal.SIGKILL)
            case "server":
                found.kill()
                # A worker whose server is gone ends by itself.
                wait_until(
                    lambda: not any(alive(pid) for pid in workers), "the workers end", seconds=ORPHANS_SECONDS
                )
            case _:
                found.kill(children=True)

    def restart() -> float:
        found.start()
        wait_until(lambda: len(children_of(found.pid)) == 2, "the workers are there", log=found)
        return found.ready_at

    story = Driver(
        found, seed, kill=kill, restart=restart, within_seconds=1.1, server_stays=whom == "worker"
    ).tell()
    # A worker that dies is started again, whatever else happens.
    wait_until(lambda: len(children_of(found.pid)) == 2, "two workers run", seconds=60, log=found)
    return story


SLOW = {
    "name": "slow",
    "start_at": "a",
    "nodes": {
        "a": {
            "class": "LedgerNode",
            "params": {"seconds": "{{ input.seconds }}", "value": 1},
            "next_node": "b",
        },
        "b": {"class": "ThreadNode", "params": {"seconds": 0.1, "value": 2}, "next_node": "end"},
        "end": {"class": "EndNode"},
    },
}


def running(found: Server, run: str) -> bool:
    with found.client() as client:
        return run_of(client, run)["tasks"]["running"] == 1


def leftovers(found: Server) -> list[str]:
    """Lock files, sockets and the like of processes that are gone."""
    folder = found.store.with_name(found.store.name + ".procs")
    return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.mark.parametrize(
    "command", [("dev", "--no-examples"), ("serve", "--workers", "2")], ids=["dev", "serve"]
)
def test_sigterm_lets_what_runs_finish_and_leaves_nothing_behind(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with server(tmp_path, *command) as found:
        with found.client() as client:
            save(client, SLOW)
            run = start(client, "slow", input={"seconds": 1.5})
        wait_until(lambda: running(found, run), "it runs", log=found)
        family = [found.pid, *children_of(found.pid)]
        began = time.monotonic()
        assert found.stop() == 0, found.log[-3000:]
        took = time.monotonic() - began
        assert not [pid for pid in family if alive(pid)], "a process was left behind"
        assert leftovers(found) == []
        assert not found.store.with_name("store.db-wal").exists(), "the write-ahead log wasn't closed"
        done = [line for line in ledger(found) if line["path"] == "a"]
        assert len(done) == 1, "what ran was not let finish"
        found.start()
        with found.client() as client:
            over = until_over(client, run)
            assert over["status"] == "succeeded"
            completed = [e["path"] for e in journal(client, run) if e["kind"] == "task_completed"]
        assert completed == ["a", "b", "end"]
        assert [line["path"] for line in ledger(found)] == ["a", "b"], "something ran twice"
        tell(f"{command[0]}: SIGTERM with a task of 1.5 s: ended after {took:.2f} s")


@pytest.mark.parametrize(
    "command", [("dev", "--no-examples"), ("serve", "--workers", "2")], ids=["dev", "serve"]
)
def test_a_second_signal_ends_at_once_and_loses_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    with server(tmp_path, *command) as found:
        with found.client() as client:
            save(client, SLOW)
            run = start(client, "slow", input={"seconds": 6.0})
        wait_until(lambda: running(found, run), "it runs", log=found)
        family = [found.pid, *children_of(found.pid)]
        assert found.process is not None
        began = time.monotonic()
        os.kill(found.pid, signal.SIGTERM)
        time.sleep(0.5)
        os.kill(found.pid, signal.SIGTERM)
        found.process.wait(timeout=20)
        took = time.monotonic() - began
        wait_until(lambda: not [pid for pid in family if alive(pid)], "all processes end", seconds=5)
        assert took < 4.0, f"{took:.1f} s, although it was told twice\n{found.log[-3000:]}"
        assert leftovers(found) == []
        found.start()
        with found.client() as client:
            over = until_over(client, run)
            assert over["status"] == "succeeded"
            events = journal(client, run)
        assert [e["path"] for e in events if e["kind"] == "task_completed"] == ["a", "b", "end"]
        lost = [task for task in events if task["kind"] == "task_failed"]
        assert lost == [], "an end in order counted as a failure"
        keys = {line["key"] for line in ledger(found) if line["path"] == "a"}
        assert len(keys) == 1
        tell(f"{command[0]}: second SIGTERM: ended {took - 0.5:.2f} s after it")
