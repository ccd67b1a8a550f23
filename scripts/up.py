"""From nothing to the printed address: `make up`, or `python scripts/up.py` where there is no make.

    python scripts/up.py                     make the environment, build the page, start `orchestrator dev`
    python scripts/up.py --port 9000         whatever isn't known here goes to `orchestrator dev`
    python scripts/up.py --prepare           all but the start
    python scripts/up.py --prepare --dev     with what the tests need (requirements-dev.txt)

It runs with whatever Python 3 the machine has (3.6 or newer, standard library only) and looks for a Python that
Agentic Orchestrator itself can run on. Everything lands in `.venv`, `ui/node_modules` and
`src/orchestrator/api/static`; nothing needs root, a system Node.js, or an answer from a person. What is already there
is not done again: `.venv/.installed` holds the hashes of what it was made from, so a second run needs no network.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Set, Tuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
WINDOWS = os.name == "nt"
BIN = VENV / ("Scripts" if WINDOWS else "bin")
VENV_PYTHON = str(BIN / ("python.exe" if WINDOWS else "python"))

OLDEST, NEWEST = (3, 11), (3, 13)
VERSIONS = ["3.13", "3.12", "3.11"]
# Prints what a Python is, whether it can make a virtual environment with pip in it, and whether it has pip already.
PROBE = """
import importlib.util, json, sys
missing = []
for name in ("venv", "ensurepip", "ssl"):
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
pip = importlib.util.find_spec("pip") is not None
print(json.dumps({"version": list(sys.version_info[:3]), "path": sys.executable, "missing": missing, "pip": pip}))
"""


class Python(NamedTuple):
    path: str
    version: Tuple[int, ...]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description="Make the environment, build the page and start Agentic Orchestrator on this machine.",
        epilog="Everything else is handed to `orchestrator dev`, for example: --port 9000",
    )
    parser.add_argument("--prepare", action="store_true", help="do everything but start it")
    parser.add_argument("--dev", action="store_true", help="also install what the tests need")
    parser.add_argument("--no-page", action="store_true", help="don't build the page")
    options, rest = parser.parse_known_args(arguments)

    started = time.time()
    prepare_environment(dev=options.dev)
    build_page = [VENV_PYTHON, str(ROOT / "scripts" / "build_ui.py")]
    if not options.no_page and subprocess.call(build_page) != 0:
        return 1
    say("ready after {:.1f} s".format(time.time() - started))
    if options.prepare:
        return 0
    return start([word for word in rest if word != "--"])


def start(arguments: List[str]) -> int:
    """Become `orchestrator dev`, so that Ctrl-C and signals reach it and nothing stays behind."""
    program = BIN / ("orchestrator.exe" if WINDOWS else "orchestrator")
    command = [str(program), "dev", *arguments]
    sys.stdout.flush()
    os.chdir(str(ROOT))
    if WINDOWS:
        return subprocess.call(command)
    os.execv(command[0], command)


# ------------------------------------------------------------------------------------------------- the environment


def prepare_environment(*, dev: bool) -> None:
    """Make `.venv` hold exactly what the locks say, and this project in editable form."""
    runtime, development = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
    wanted = {
        # A virtual environment doesn't survive being moved, nor its Python being taken away.
        "place": str(ROOT),
        "packages": digest(runtime),
        "dev": digest(runtime, development),
        "project": digest(ROOT / "pyproject.toml", ROOT / "hatch_build.py"),
    }
    found = installed()
    if not runs(VENV_PYTHON) or found.get("place", wanted["place"]) != wanted["place"]:
        create_environment()
        found = {}

    have_packages = found.get("packages") == wanted["packages"]
    have_dev = found.get("dev") == wanted["dev"]
    if not have_packages or (dev and not have_dev):
        remember({"place": wanted["place"]})  # until it is done, nothing counts as installed
        lock = development if dev else runtime
        install("the packages of " + lock.name, "--require-hashes", "--no-deps", "-r", str(lock))
        found = {"packages": wanted["packages"], "dev": wanted["dev"] if dev else ""}
    else:
        say("environment: up to date")
    if found.get("project") != wanted["project"]:
        install("this project", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    keep = dict(found, place=wanted["place"], project=wanted["project"])
    if keep != installed():
        remember(keep)


def create_environment() -> None:
    python = find_python()
    version = ".".join(str(part) for part in python.version)
    if os.path.lexists(str(VENV)):
        say("environment: .venv is of no use (moved, unfinished, or of another Python); made anew")
    say("environment: Python {} ({})".format(version, python.path))
    run([python.path, "-m", "venv", "--clear", str(VENV)], "The virtual environment .venv could not be made.")


def install(what: str, *arguments: str) -> None:
    say("environment: installing {} ...".format(what))
    started = time.time()
    pip = [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    run(
        [*pip, *arguments],
        "pip could not install {}. The first time it needs the network; `pip config list` shows where pip "
        "looks, and a proxy or mirror is set there.".format(what),
    )
    say("environment: installed in {:.1f} s".format(time.time() - started))


def runs(python: str) -> bool:
    """Whether this is a Python that still starts, has pip, and a version that we can run on."""
    about, _ = probe([python])
    return about is not None and about["pip"] and OLDEST <= tuple(about["version"][:2]) <= NEWEST


def installed() -> Dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # there is none, or its writing was cut short: nothing counts as installed
        return {}


def remember(what: Dict[str, str]) -> None:
    STAMP.write_text(json.dumps(what, indent=1), encoding="utf-8")


# --------------------------------------------------------------------------------------------------- finding Python


def find_python() -> Python:
    """The first Python of the machine that we can run on; if there is none, say which to install and stop."""
    rejected: List[str] = []
    seen: Set[str] = set()
    for command in candidates():
        about, fault = probe(command)
        if about is None:
            if fault:
                rejected.append("{}: {}".format(" ".join(command), fault))
            continue
        place, version = str(about["path"]), tuple(int(part) for part in about["version"])
        if place in seen:
            continue
        seen.add(place)
        written = ".".join(str(part) for part in version)
        if not OLDEST <= version[:2] <= NEWEST:
            rejected.append("{} is {}".format(place, written))
        elif about["missing"]:
            rejected.append("{} is {}, but lacks {}".format(place, written, ", ".join(about["missing"])))
        else:
            return Python(place, version)
    fail(advice(rejected))


def candidates() -> List[List[str]]:
    """Commands that may be a Python, the most wanted first."""
    chosen = os.environ.get("ORCHESTRATOR_PYTHON")
    if chosen:
        return [[chosen]]
    found = [["python" + version] for version in VERSIONS] + [["python3"], ["python"]]
    if WINDOWS:
        found = [["py", "-" + version] for version in VERSIONS] + found
    # Where Pythons stand that aren't on the path: uv, pyenv, Homebrew, python.org.
    for version in VERSIONS:
        for folder, pattern in (
            (Path.home(), ".local/bin/python{}"),
            (Path.home(), ".local/share/uv/python/cpython-{}.*/bin/python3"),
            (Path.home(), ".pyenv/versions/{}.*/bin/python3"),
            (Path("/opt/homebrew/bin"), "python{}"),
            (Path("/usr/local/bin"), "python{}"),
            (Path("/Library/Frameworks/Python.framework/Versions"), "{}/bin/python3"),
        ):
            found += [[str(match)] for match in sorted(folder.glob(pattern.format(version)))]
    return found


def probe(command: List[str]) -> Tuple[Optional[Dict[str, Any]], str]:
    """What this Python says of itself; or None and why not (empty where there simply is none)."""
    program = shutil.which(command[0])
    if program is None:
        return None, ""
    try:
        done = subprocess.run(
            [program, *command[1:], "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, "doesn't start ({})".format(error)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return None, "doesn't start ({})".format(said[0] if said else "exit {}".format(done.returncode))
    try:
        return json.loads(done.stdout.decode()), ""
    except ValueError:
        return None, "isn't a Python"


def advice(rejected: Sequence[str]) -> str:
    lines = ["Agentic Orchestrator needs Python {}.{} to {}.{}, and none was found.".format(*OLDEST + NEWEST)]
    if rejected:
        lines += ["", "What is here:"] + ["  - " + line for line in rejected]
    lines += ["", "Install one, then run this again:"] + ["  " + line for line in how_to_install()]
    lines += ["", "Or name one yourself: ORCHESTRATOR_PYTHON=/path/to/python3.13 make up"]
    return "\n".join(lines)


def how_to_install() -> List[str]:
    system = platform.system()
    without_root = "without root, on any system: `uv python install 3.13` (https://docs.astral.sh/uv/)"
    if system == "Darwin":
        return ["brew install python@3.13", "or the installer of python.org", without_root]
    if system == "Windows":
        return ["winget install Python.Python.3.13", "or the installer of python.org"]
    by_program = (
        ("apt-get", "sudo apt-get install python3 python3-venv    (Debian 12, Ubuntu 24.04 or newer)"),
        ("dnf", "sudo dnf install python3.13"),
        ("zypper", "sudo zypper install python313"),
        ("apk", "sudo apk add python3"),
        ("pacman", "sudo pacman -S uv, then: uv python install 3.13"),
    )
    return [line for program, line in by_program if shutil.which(program)] + [without_root]


# ------------------------------------------------------------------------------------------------------- small parts


def digest(*files: Path) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def run(command: Sequence[str], fault: str) -> None:
    """Run it quietly; if it fails, show what it said, and what to do."""
    done = subprocess.run(
        command,
        cwd=str(ROOT),
        # This script builds the page itself, as its own step, after the environment.
        env=dict(os.environ, ORCHESTRATOR_SKIP_UI="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        fail(fault)


def say(line: str) -> None:
    print("  " + line, flush=True)


def fail(message: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write("\n" + message + "\n")
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
