"""Every check of the project, in the order that finds a mistake soonest. Runs in `.venv`; the Makefile calls it.

    check    format, lint, types, import contracts, unit and conformance tests: under a minute
    test     all of it, as continuous integration runs it: up to 15 minutes on two cores
    faults   the tests that kill, fill and cut, and the limits in real time
    fuzz     the random tests with new seeds (repeat one: FUZZ_SEED=n make fuzz)

Further arguments go to pytest. pytest always comes last and runs once, so its closing line tells of all the tests.
Tests marked `faults` or `browser` are the last in it and have the machine to themselves (tests/conftest.py).
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARALLEL = ("--numprocesses", "2")
CHECK_PATHS = ("tests/unit", "tests/conformance")
FUZZ_PATHS = ("tests/unit", "tests/model", "tests/simulation")

# Package of Debian, and the program that shows that it is there already.
SYSTEM_PACKAGES = {"redis-server": "redis-server", "chromium": "chromium", "postgresql": "postgres"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the checks of the project.")
    parser.add_argument("what", choices=["check", "test", "faults", "fuzz"])
    wanted, extra = parser.parse_known_args()

    started = time.monotonic()
    failed: list[str] = []
    environment = {"HYPOTHESIS_PROFILE": "ci"}
    match wanted.what:
        case "check":
            failed += static_checks()
            chosen = [*PARALLEL, "-m", "not slow and not faults and not browser", *existing(CHECK_PATHS)]
        case "test":
            system_packages()
            failed += static_checks() + page_checks()
            chosen = [*PARALLEL, "--durations", "15"]
        case "faults":
            system_packages()
            chosen = ["-m", "faults", "-s"]
            environment["ORCHESTRATOR_TEST_REALTIME"] = "1"
        case _:
            seed = os.environ.get("FUZZ_SEED") or str(random.SystemRandom().randrange(1, 2**31))
            print(f"== new seeds from FUZZ_SEED={seed}", flush=True)
            environment = {"HYPOTHESIS_PROFILE": "fuzz", "FUZZ_SEED": seed}
            chosen = [*PARALLEL, "-m", "not faults and not browser", *existing(FUZZ_PATHS)]

    if failed:
        print(f"\n== failed so far: {', '.join(failed)} (see above); the tests run all the same", flush=True)
    if not step("tests", [sys.executable, "-m", "pytest", *chosen, *extra], environment):
        failed.append("tests")
    if failed:
        print(
            f"\nmake {wanted.what}: FAILED after {time.monotonic() - started:.0f} s: {', '.join(failed)}",
            flush=True,
        )
    return 1 if failed else 0


def static_checks() -> list[str]:
    """What can be known without running anything; gives the names of what failed."""
    steps = {
        "format": [str(BIN / "ruff"), "format", "--check", "--quiet"],
        "lint": [str(BIN / "ruff"), "check", "--quiet"],
        "import contracts": [str(BIN / "lint-imports"), "--no-logo"],
        "types": [str(BIN / "pyright")],
    }
    failed = [name for name, command in steps.items() if not step(name, command)]
    if {"format", "lint"} & set(failed):
        print("== mend most of it: .venv/bin/ruff check --fix; .venv/bin/ruff format", flush=True)
    return failed


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
    """The folders that hold tests by now."""
    return [path for path in paths if any((ROOT / path).rglob("test_*.py"))]


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
