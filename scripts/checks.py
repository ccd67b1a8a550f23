"""Every check of the project, in the order that finds a mistake soonest. Runs in `.venv`; the Makefile calls it.

    check    format, lint, types, import contracts, unit and conformance tests: under a minute
    test     all of it, as continuous integration runs it: up to 15 minutes on two cores
    faults   the tests that kill, fill and cut, and the limits in real time
    fuzz     the random tests with new seeds (repeat one: FUZZ_SEED=n make fuzz)

Further arguments go to pytest. It runs once, and in `test` last, so that its closing line tells of all the tests.
Tests marked `faults` or `browser` are the last in it and have the machine to themselves (tests/conftest.py).
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARALLEL = ("--numprocesses", "2")
CHECK_PATHS = ("tests/unit", "tests/conformance")
FUZZ_PATHS = ("tests/unit", "tests/model", "tests/simulation", "tests/e2e/test_api_schemathesis.py")
# Requests per route that schemathesis makes, each with and without the key.
API_EXAMPLES = {"ci": "100", "fuzz": "2000"}

# Package of Debian, and the program that shows that it is there already.
SYSTEM_PACKAGES = {"redis-server": "redis-server", "chromium": "chromium", "postgresql": "postgres"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the checks of the project.")
    whats = {"check": check, "test": test, "faults": faults, "fuzz": fuzz}
    parser.add_argument("what", choices=list(whats))
    wanted, extra = parser.parse_known_args()

    started = time.monotonic()
    failed = whats[wanted.what](extra)
    if failed:
        seconds = time.monotonic() - started
        print(f"\nmake {wanted.what}: FAILED after {seconds:.0f} s: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


# Each of these gives the names of what failed.


def check(extra: list[str]) -> list[str]:
    types = Beside("types", [str(BIN / "pyright")])
    failed = static_checks()
    chosen = [*PARALLEL, "-m", "not slow and not faults and not browser", *existing(CHECK_PATHS)]
    failed += tests([*chosen, *extra], profile="quick")
    return failed + types.finish()


def test(extra: list[str]) -> list[str]:
    system_packages()
    types = Beside("types", [str(BIN / "pyright")])
    failed = static_checks() + page_checks() + types.finish()
    if failed:
        print(f"\n== failed so far: {', '.join(failed)} (see above); the tests run all the same", flush=True)
    return failed + tests([*PARALLEL, "--durations", "15", *extra], profile="ci")


def faults(extra: list[str]) -> list[str]:
    system_packages()
    return tests(["-m", "faults", "-s", *extra], profile="ci", ORCHESTRATOR_TEST_REALTIME="1")


def fuzz(extra: list[str]) -> list[str]:
    seed = os.environ.get("FUZZ_SEED") or str(random.SystemRandom().randrange(1, 2**31))
    print(f"== new seeds from FUZZ_SEED={seed}", flush=True)
    chosen = [*PARALLEL, "-m", "not faults and not browser", *existing(FUZZ_PATHS)]
    return tests([*chosen, *extra], profile="fuzz", FUZZ_SEED=seed)


def tests(chosen: Sequence[str], *, profile: str, **environment: str) -> list[str]:
    """One run of pytest; with a Hypothesis profile of tests/conftest.py."""
    environment["HYPOTHESIS_PROFILE"] = profile
    if profile in API_EXAMPLES:
        environment.setdefault("ORCHESTRATOR_TESTS_API_EXAMPLES", API_EXAMPLES[profile])
    passed = step("tests", [sys.executable, "-m", "pytest", *chosen], environment)
    return [] if passed else ["tests"]


def static_checks() -> list[str]:
    """What can be known without running anything, but the types: they take long (see `Beside`)."""
    steps = {
        "format": [str(BIN / "ruff"), "format", "--check", "--quiet"],
        "lint": [str(BIN / "ruff"), "check", "--quiet"],
        "import contracts": [str(BIN / "lint-imports"), "--no-logo"],
    }
    failed = [name for name, command in steps.items() if not step(name, command)]
    if {"format", "lint"} & set(failed):
        print("== mend most of it: .venv/bin/ruff check --fix; .venv/bin/ruff format", flush=True)
    return failed


class Beside:
    """A check that runs beside others; what it says is shown when it is waited for."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by finish)
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )

    def finish(self) -> list[str]:
        failed = self.process.wait() != 0
        self.output.seek(0)
        print(f"\n== {self.name}\n{self.output.read().rstrip()}")
        self.output.close()
        print(f"== {self.name}: {'FAILED' if failed else 'ok'}", flush=True)
        return [self.name] if failed else []


def page_checks() -> list[str]:
    """Types, lint and unit tests of the page."""
    if not (ROOT / "ui" / "package.json").is_file():
        loud("There is no ui/ in this tree: the page's own checks are left out.")
        return []
    name = "page: types, lint, unit tests"
    return [] if step(name, [sys.executable, "scripts/build_ui.py", "--run", "check"]) else [name]


def step(name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> bool:
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, check=False
    )
    if name != "tests":  # pytest says its own last word
        verdict = "ok" if done.returncode == 0 else "FAILED"
        print(f"== {name}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
    return done.returncode == 0


def existing(paths: Sequence[str]) -> list[str]:
    """The folders that hold tests by now, and the files that are there."""
    return [path for path in paths if (ROOT / path).is_file() or any((ROOT / path).rglob("test_*.py"))]


def system_packages() -> None:
    """Install what the tests start for themselves (Redis, PostgreSQL, Chromium) where that may be done.

    Where it may not, the tests that need them say so: skipped on a person's machine, failed with CI=true.
    """
    missing = [package for package, program in SYSTEM_PACKAGES.items() if not has(program)]
    if not missing:
        return
    names = " ".join(missing)
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        loud(
            f"Missing: {names}. The tests that need them are left out. Debian, Ubuntu: sudo apt-get install {names}"
        )
        return
    loud(f"Installing {names} with apt-get (this is Debian, and we are root)")
    apt = ["apt-get", "--quiet=2", "-o", "DPkg::Lock::Timeout=120", "-o", "APT::Update::Error-Mode=any"]
    environment = {
        "DEBIAN_FRONTEND": "noninteractive",
        "RUNLEVEL": "1",  # the tests start servers of their own; none is wanted on the usual ports
    }
    if not step("apt-get update", [*apt, "update"], environment):
        loud("apt-get update failed; trying with the lists that are here")
    install = [*apt, "install", "--yes", "--no-install-recommends", *missing]
    if not step("apt-get install", install, environment):
        loud(f"apt-get could not install {names}; the tests that need them can't run")


def has(program: str) -> bool:
    if program == "postgres":  # Debian keeps the servers out of the path
        return shutil.which(program) is not None or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return shutil.which(program) is not None


def loud(message: str) -> None:
    print(f"\n{'!' * 110}\n!! {message}\n{'!' * 110}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
