"""Renew the locks: exact versions and hashes for every platform, and no address of any registry in them.

    python scripts/lock.py             the newest versions that pyproject.toml allows
    python scripts/lock.py --keep      only what a change of pyproject.toml asks for

`requirements.txt` holds what running needs and what building the page needs; `requirements-dev.txt` holds all of that
in the same versions, and what the tests need. uv computes them; it is fetched into `.venv` for that, and nobody who
only uses or tests the project needs it.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = [
    *("pip", "compile", "pyproject.toml", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-header", "--no-emit-index-url"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description="Renew requirements.txt and requirements-dev.txt.")
    parser.add_argument("--keep", action="store_true", help="keep the versions that still fit")
    upgrade = [] if parser.parse_args().keep else ["--upgrade"]
    if importlib.util.find_spec("uv") is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    for extra in (
        ["--group", "build", "--output-file", "requirements.txt"],
        [
            "--all-extras",
            "--group",
            "dev",
            "--constraint",
            "requirements.txt",
            "--output-file",
            "requirements-dev.txt",
        ],
    ):
        subprocess.run([sys.executable, "-m", "uv", *COMPILE, *upgrade, *extra], cwd=ROOT, check=True)
    print(
        "requirements.txt and requirements-dev.txt are renewed; `make test` says whether everything still works"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
