"""Processes of ours on a PostgreSQL server: killed workers, a server that dies and comes back, and weak settings."""

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
from tests.faults.shared import CHAIN, HEALED_SECONDS, begin, check_runs, on, workers
from tests.postgres_servers import PostgresServer, postgres_server

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

CRASHES = 20 if REALTIME else 3


@pytest.fixture
def durable(find_program: Callable[[str], str]) -> Iterator[PostgresServer]:
    """A server that waits for the disk."""
    with postgres_server(find_program) as found:
        yield found


def test_kill_9_of_one_of_two_workers_on_postgres(tmp_path: Path, durable: PostgresServer) -> None:
    url = durable.url()
    with (
        server(tmp_path, "serve", "--workers", "0", ready_means="/healthz", environment=on(url)) as found,
        workers(tmp_path, url, 2) as family,
    ):
        with found.client() as client:
            save(client, CHAIN)
            runs = [start(client, "chain") for _ in range(30)]
            wait_until(lambda: found.ledger.exists(), "work has begun", log=found)
        time.sleep(0.3)
        family[0].send_signal(signal.SIGKILL)
        check_runs(found, runs)
        with found.client() as client:
            system = client.get("/system").json()
    assert system["store"].startswith("postgresql://127.0.0.1")
    assert "tester" not in system["store"]


def test_postgres_stopped_immediately_under_load_loses_nothing_acknowledged(
    tmp_path: Path, durable: PostgresServer
) -> None:
    runs: list[str] = []
    healed: list[float] = []
    with server(tmp_path, "serve", "--workers", "2", environment=on(durable.url())) as found:
        with found.client() as client:
            save(client, CHAIN)
            for _ in range(CRASHES):
                until = time.monotonic() + 1.0
                while time.monotonic() < until:
                    runs += begin(client)
                durable.stop(signal.SIGQUIT)
                runs += begin(client, timeout=1.0)
                durable.start()
                back = time.monotonic()
                runs += wait_until(lambda: begin(client, timeout=2.0), "a run can be started", log=found)
                healed.append(time.monotonic() - back)
        check_runs(found, runs)
    assert len(runs) > CRASHES
    tell(
        f"{CRASHES} immediate stops of PostgreSQL under load: {len(runs)} acknowledged runs, none lost; "
        f"runs were started again {max(healed):.2f} s after it was back at the latest"
    )
    if REALTIME:
        assert max(healed) < HEALED_SECONDS


def test_a_server_that_may_lose_everything_is_refused_with_its_cure(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    process = spawn(["serve", "--port", "0"], folder=tmp_path, store=tmp_path / "no", **on(postgres.url()))
    assert process.wait(timeout=60) == 6
    said = " ".join((tmp_path / "server.log").read_text().split())
    assert "fsync = off" in said
    assert "ALTER SYSTEM SET fsync = on;" in said


def test_what_a_weak_setting_could_lose_is_said_once_and_work_goes_on(
    tmp_path: Path, find_program: Callable[[str], str]
) -> None:
    with (
        postgres_server(find_program, synchronous_commit="off") as weak,
        server(tmp_path, "serve", "--workers", "1", environment=on(weak.url())) as found,
    ):
        with found.client() as client:
            save(client, CHAIN)
            runs = [start(client, "chain")]
        check_runs(found, runs)
        assert found.log.count("synchronous_commit = off") == 1
