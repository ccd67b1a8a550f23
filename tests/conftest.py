"""What holds for every test: Hypothesis profiles, seeds, who may run beside whom, and programs that may be missing."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres_servers import PostgresServer, postgres_server

pytest_plugins = ("orchestrator.testing.plugin",)  # what an installed package brings by its entry point

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# No deadline anywhere: the machines are slow at times, and a slow example is no wrong one.
settings.register_profile("dev", deadline=None)
settings.register_profile("quick", deadline=None, derandomize=True, database=None, max_examples=25)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile(
    "fuzz", deadline=None, max_examples=2_000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "dev"))

ALONE = ("faults", "browser")
# Made by the process that starts the workers, and handed to them in the environment.
LOCK_VARIABLE = "ORCHESTRATOR_TESTS_LOCK"

DEBIAN_PACKAGES = {"postgres": "postgresql", "initdb": "postgresql"}


def pytest_report_header() -> str:
    return (
        f"hypothesis profile: {settings.get_current_profile_name()}; first seed: {first_seed_of_this_run()}"
    )


# ---------------------------------------------------------------------------------------------------------- seeds


def first_seed_of_this_run() -> int:
    return int(os.environ.get("FUZZ_SEED") or 0)


@pytest.fixture(scope="session")
def first_seed() -> int:
    """Where simulations begin to count their seeds: 0, or FUZZ_SEED (`make fuzz` draws one and prints it)."""
    return first_seed_of_this_run()


# ------------------------------------------------------------------------------------------------ alone, and last


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that must run alone at the end; otherwise the order stays."""
    items.sort(key=wants_to_be_alone)


def wants_to_be_alone(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ALONE)


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        handle, os.environ[LOCK_VARIABLE] = tempfile.mkstemp(prefix="orchestrator-tests-", suffix=".lock")
        os.close(handle)


def pytest_unconfigure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ.pop(LOCK_VARIABLE)).unlink()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test that must be alone wait until the other workers are between two tests.

    Every test holds one lock: shared, or for itself. The system frees it if a worker dies.
    """
    with Path(os.environ[LOCK_VARIABLE]).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wants_to_be_alone(item) else fcntl.LOCK_SH)
        return (yield)


# ------------------------------------------------------------------------------------------- programs of the machine


@pytest.fixture(scope="session")
def find_program() -> Callable[[str], str]:
    """Gives `find_program("redis-server")`: its path; where it is missing the test is skipped, in CI it fails."""

    def find(name: str) -> str:
        # Debian keeps PostgreSQL's programs out of the path; the newest comes last.
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = shutil.which(name) or (str(places[-1]) if places else None)
        if found is not None:
            return found
        package = DEBIAN_PACKAGES.get(name, name)
        message = f"{name} is missing (Debian, Ubuntu: sudo apt-get install {package})"
        if IN_CI:
            pytest.fail(message + "; in CI nothing may be left out", pytrace=False)
        pytest.skip(message)

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was left out; skipped tests alone are easily overlooked."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    missing = sorted(
        {text.split("Skipped: ")[1].split(" is missing")[0] for text in skipped if " is missing (" in text}
    )
    if missing:
        terminalreporter.section("NOT TESTED HERE", sep="!", yellow=True, bold=True)
        terminalreporter.write_line(
            f"Left out, because these programs are missing: {', '.join(missing)}", yellow=True
        )


@pytest.fixture(scope="session")
def postgres(find_program: Callable[[str], str]) -> Generator[PostgresServer]:
    """A PostgreSQL server for the tests of this process; `postgres.url()` names a new, empty schema of it.

    It doesn't wait for the disk. What is to be kept over its end is tested on servers that do.
    """
    with postgres_server(find_program, fsync="off") as server:
        yield server
