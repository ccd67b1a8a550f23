"""Processes of ours on a Redis server: killed workers, a server that is killed and comes back, and an outage."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.processes import (
    REALTIME,
    save,
    server,
    spawn,
    start,
    tell,
    wait_until,
)
from tests.faults.shared import CHAIN, HEALED_SECONDS, begin, check_runs, on, wait_for_workers, workers
from tests.redis_servers import RedisServer, durable, redis_cluster, redis_server

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

OUTAGE_SECONDS = 30.0 if REALTIME else 4.0
KILLS = 20 if REALTIME else 3


@pytest.fixture
def redis(find_program: Callable[[str], str]) -> Iterator[RedisServer]:
    with redis_server(find_program, options=durable("always")) as found:
        yield found


def test_kill_9_of_one_of_two_workers_on_redis(tmp_path: Path, redis: RedisServer) -> None:
    with (
        server(
            tmp_path, "serve", "--workers", "0", ready_means="/healthz", environment=on(redis.url)
        ) as found,
        workers(tmp_path, redis.url, 2) as family,
    ):
        with found.client() as client:
            save(client, CHAIN)
            wait_for_workers(client, 2, found)
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
    with server(tmp_path, "serve", "--workers", "2", environment=on(redis.url)) as found:
        with found.client() as client:
            save(client, CHAIN)
            for _ in range(KILLS):
                until = time.monotonic() + 1.0
                while time.monotonic() < until:
                    runs += begin(client)
                redis.kill()
                runs += begin(client, timeout=1.0)
                redis.start()
        check_runs(found, runs)
    tell(f"{KILLS} kills of redis-server (always) under load: {len(runs)} acknowledged runs, none lost")


def test_an_outage_of_redis_heals_by_itself(tmp_path: Path, redis: RedisServer) -> None:
    with server(tmp_path, "serve", "--workers", "2", environment=on(redis.url)) as found:
        with found.client() as client:
            save(client, CHAIN)
            runs = [start(client, "chain") for _ in range(10)]
        redis.kill()
        time.sleep(OUTAGE_SECONDS)
        redis.start()
        back = time.monotonic()
        with found.client() as client:
            wait_until(lambda: begin(client, timeout=2.0), "a run can be started", seconds=20, log=found)
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
        process = spawn([command, *port], folder=tmp_path, store=tmp_path / "no", **on(redis.url))
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
        server(tmp_path, "dev", "--no-examples", environment=on(redis.url)) as found,
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
        server(tmp_path, "serve", "--workers", "1", environment=on(redis.url)) as found,
    ):
        assert found.log.count("appendfsync everysec") == told


def test_a_redis_that_throws_data_away_is_refused(tmp_path: Path, find_program: Callable[[str], str]) -> None:
    options = (*durable("always"), "--maxmemory-policy", "allkeys-lru")
    with redis_server(find_program, options=options) as redis:
        process = spawn(["dev", "--port", "0"], folder=tmp_path, store=tmp_path / "no", **on(redis.url))
        assert process.wait(timeout=60) == 6
        assert "allkeys-lru" in (tmp_path / "server.log").read_text()


def test_a_cluster_serves_runs_while_a_worker_and_a_master_are_killed(
    tmp_path: Path, find_program: Callable[[str], str]
) -> None:
    with redis_cluster(find_program, sync="always") as nodes:
        environment = on(nodes[0].url)
        with (
            server(
                tmp_path, "serve", "--workers", "0", ready_means="/healthz", environment=environment
            ) as found,
            workers(tmp_path, nodes[1].url, 2) as family,
        ):
            with found.client() as client:
                save(client, CHAIN)
                wait_for_workers(client, 2, found)
                runs = [start(client, "chain") for _ in range(20)]
            family[0].send_signal(signal.SIGKILL)
            nodes[2].kill()
            time.sleep(1.0)
            nodes[2].start()
            with found.client() as client:
                until = time.monotonic() + 5.0
                while time.monotonic() < until:
                    runs += begin(client)
                    time.sleep(0.1)
            check_runs(found, runs)
            tell(f"{len(runs)} runs on a cluster with a worker and a master killed, none lost")
