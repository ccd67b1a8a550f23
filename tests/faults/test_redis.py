"""Processes of ours on a Redis server: killed workers, a server that is killed and comes back, and an outage."""

import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.processes import (
    REALTIME,
    TERMINAL,
    Server,
    journal,
    run_of,
    save,
    server,
    spawn,
    start,
    tell,
    wait_until,
)
from tests.redis_servers import RedisServer, durable, redis_cluster, redis_server

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

LEASE = {"ORCHESTRATOR_LEASE_SECONDS": "3", "ORCHESTRATOR_HEARTBEAT_SECONDS": "1"}
CHAIN: dict[str, Any] = {
    "name": "chain",
    "start_at": "a",
    "nodes": {
        **{
            name: {"class": "LedgerNode", "params": {"seconds": 0.05, "value": name}, "next_node": following}
            for name, following in zip("abcde", "bcdef", strict=True)
        },
        "f": {"class": "EndNode"},
    },
}
PATHS = list("abcdef")
OUTAGE_SECONDS = 30.0 if REALTIME else 4.0
HEALED_SECONDS = 5.0
KILLS = 20 if REALTIME else 3


@pytest.fixture
def redis(find_program: Callable[[str], str]) -> Iterator[RedisServer]:
    with redis_server(find_program, options=durable("always")) as found:
        yield found


@contextlib.contextmanager
def workers(folder: Path, redis: RedisServer, count: int) -> Generator[list[subprocess.Popen[bytes]]]:
    """Worker processes of their own, as on other machines."""
    store = {"ORCHESTRATOR_STORE": redis.url}
    found = [
        spawn(["worker"], folder=folder, store=folder / "unused", **store, **LEASE) for _ in range(count)
    ]
    try:
        yield found
    finally:
        for worker in found:
            worker.kill()
            worker.wait(timeout=30)


def on(redis: RedisServer) -> dict[str, str]:
    return {"ORCHESTRATOR_STORE": redis.url, **LEASE}


def check_runs(found: Server, runs: list[str]) -> None:
    """Every acknowledged run ended well, its journal has no gap, and each task one result."""
    with found.client() as client:
        for run in runs:
            over = wait_until(lambda run=run: _over(client, run), f"run {run} ends", seconds=60, log=found)
            assert over["status"] == "succeeded", over
            events = journal(client, run)
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            completed = Counter(event["path"] for event in events if event["kind"] == "task_completed")
            assert completed == Counter(PATHS)


def _workers(client: httpx2.Client) -> int:
    return len(client.get("/system").json()["workers"])


def _over(client: httpx2.Client, run: str) -> dict[str, Any] | None:
    found = run_of(client, run)
    return found if found["status"] in TERMINAL else None


def test_kill_9_of_one_of_two_workers_on_redis(tmp_path: Path, redis: RedisServer) -> None:
    with (
        server(tmp_path, "serve", "--workers", "0", ready_means="/healthz", environment=on(redis)) as found,
        workers(tmp_path, redis, 2) as family,
    ):
        with found.client() as client:
            save(client, CHAIN)
            wait_until(lambda: _workers(client) == 2, "two workers are there", log=found)
            runs = [start(client, "chain") for _ in range(30)]
            wait_until(lambda: found.ledger.exists(), "work has begun", log=found)
        time.sleep(0.3)
        family[0].send_signal(signal.SIGKILL)
        check_runs(found, runs)
        with found.client() as client:
            system = client.get("/system").json()
    assert system["store"] == redis.url


def test_redis_killed_and_restarted_under_load_loses_nothing_acknowledged(
    tmp_path: Path, redis: RedisServer
) -> None:
    runs: list[str] = []
    with server(tmp_path, "serve", "--workers", "2", environment=on(redis)) as found:
        with found.client() as client:
            save(client, CHAIN)
            for _ in range(KILLS):
                until = time.monotonic() + 1.0
                while time.monotonic() < until:
                    runs += _start(client)
                redis.kill()
                runs += _start(client, timeout=1.0)
                redis.start()
        check_runs(found, runs)
    tell(f"{KILLS} kills of redis-server (always) under load: {len(runs)} acknowledged runs, none lost")


def _start(client: httpx2.Client, timeout: float = 20.0) -> list[str]:
    """The run, if it was acknowledged."""
    with contextlib.suppress(httpx2.HTTPError):
        answer = client.post("/workflows/chain/runs", json={}, timeout=timeout)
        if answer.status_code == 201:
            return [str(answer.json()["id"])]
        assert answer.status_code == 503, answer.text
    return []


def test_an_outage_of_redis_heals_by_itself(tmp_path: Path, redis: RedisServer) -> None:
    with server(tmp_path, "serve", "--workers", "2", environment=on(redis)) as found:
        with found.client() as client:
            save(client, CHAIN)
            runs = [start(client, "chain") for _ in range(10)]
        redis.kill()
        time.sleep(OUTAGE_SECONDS)
        redis.start()
        back = time.monotonic()
        with found.client() as client:
            wait_until(lambda: _start(client, timeout=2.0), "a run can be started", seconds=20, log=found)
            healed = time.monotonic() - back
        check_runs(found, runs)
    tell(
        f"after an outage of {OUTAGE_SECONDS:g} s runs were started again {healed:.2f} s after redis was back"
    )
    if REALTIME:
        assert healed < HEALED_SECONDS


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_redis_that_keeps_nothing_is_refused_with_the_two_commands_that_cure_it(
    tmp_path: Path, find_program: Callable[[str], str], command: str
) -> None:
    with redis_server(find_program, options=("--appendonly", "no")) as redis:
        port = ["--port", "0"] if command == "serve" else []
        process = spawn([command, *port], folder=tmp_path, store=tmp_path / "no", **on(redis))
        assert process.wait(timeout=60) == 6
        said = " ".join((tmp_path / "server.log").read_text().split())
        assert "appendonly no" in said
        assert "CONFIG SET appendonly yes" in said
        assert "CONFIG REWRITE" in said


def test_dev_says_what_a_redis_that_keeps_nothing_could_lose_and_goes_on(
    tmp_path: Path, find_program: Callable[[str], str]
) -> None:
    with (
        redis_server(find_program, options=("--appendonly", "no")) as redis,
        server(tmp_path, "dev", "--no-examples", environment=on(redis)) as found,
    ):
        with found.client() as client:
            save(client, CHAIN)
            runs = [start(client, "chain")]
        check_runs(found, runs)
        assert "appendonly no" in found.log


@pytest.mark.parametrize(("sync", "told"), [("everysec", 1), ("always", 0)])
def test_what_could_be_lost_is_said_in_one_line(
    tmp_path: Path, find_program: Callable[[str], str], sync: str, told: int
) -> None:
    with (
        redis_server(find_program, options=durable(sync)) as redis,
        server(tmp_path, "serve", "--workers", "1", environment=on(redis)) as found,
    ):
        assert found.log.count("appendfsync everysec") == told


def test_a_redis_that_throws_data_away_is_refused(tmp_path: Path, find_program: Callable[[str], str]) -> None:
    options = (*durable("always"), "--maxmemory-policy", "allkeys-lru")
    with redis_server(find_program, options=options) as redis:
        process = spawn(["dev", "--port", "0"], folder=tmp_path, store=tmp_path / "no", **on(redis))
        assert process.wait(timeout=60) == 6
        assert "allkeys-lru" in (tmp_path / "server.log").read_text()


def test_a_cluster_serves_runs_while_a_worker_and_a_master_are_killed(
    tmp_path: Path, find_program: Callable[[str], str]
) -> None:
    with redis_cluster(find_program, sync="always") as nodes:
        environment = {**LEASE, "ORCHESTRATOR_STORE": nodes[0].url}
        with (
            server(
                tmp_path, "serve", "--workers", "0", ready_means="/healthz", environment=environment
            ) as found,
            workers(tmp_path, nodes[1], 2) as family,
        ):
            with found.client() as client:
                save(client, CHAIN)
                wait_until(lambda: _workers(client) == 2, "two workers are there", log=found)
                runs = [start(client, "chain") for _ in range(20)]
            family[0].send_signal(signal.SIGKILL)
            nodes[2].kill()
            time.sleep(1.0)
            nodes[2].start()
            with found.client() as client:
                until = time.monotonic() + 5.0
                while time.monotonic() < until:
                    runs += _start(client)
                    time.sleep(0.1)
            check_runs(found, runs)
            tell(f"{len(runs)} runs on a cluster with a worker and a master killed, none lost")
