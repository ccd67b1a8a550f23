"""How long it takes to begin: `import orchestrator` beside `import pydantic`, and `orchestrator run` of the example.

Every measurement is a process of its own. The two imports take turns, so that a neighbour on the machine meets both.

    python benchmarks/startup.py
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from measure import HERE, median, output_of

EXAMPLE = HERE.parent / "examples" / "onboarding.json"
_IMPORT = "import time; start = time.perf_counter(); {what}; print(time.perf_counter() - start)"


def import_seconds(what: str) -> float:
    """What an import statement takes in a fresh interpreter."""
    return float(output_of([sys.executable, "-c", _IMPORT.format(what=what)]))


def import_ratios(rounds: int) -> dict[str, float]:
    """Median seconds of the imports, and of their ratios to `import pydantic` in the same round."""
    whole = "from orchestrator import BaseNode, Context, Route, node"
    pydantic: list[float] = []
    package: list[float] = []
    names: list[float] = []
    for _ in range(rounds):
        pydantic.append(import_seconds("import pydantic"))
        package.append(import_seconds("import orchestrator"))
        names.append(import_seconds(whole))
    return {
        "pydantic_seconds": median(pydantic),
        "orchestrator_seconds": median(package),
        "orchestrator_ratio": median([a / b for a, b in zip(package, pydantic, strict=True)]),
        "names_seconds": median(names),
        "names_ratio": median([a / b for a, b in zip(names, pydantic, strict=True)]),
    }


def run_seconds(rounds: int) -> list[float]:
    """From the start of `orchestrator run EXAMPLE` to its end, in a new folder with a new store each time."""
    program = Path(sys.executable).parent / ("orchestrator.exe" if os.name == "nt" else "orchestrator")
    taken: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            said = output_of([str(program), "run", str(EXAMPLE), "--json"], cwd=Path(folder))
            taken.append(time.perf_counter() - start)
        if '"succeeded"' not in said:
            raise SystemExit(f"orchestrator run did not succeed: {said[-1000:]}")
    return taken


def main() -> None:
    """Both, as a line of JSON."""
    print(json.dumps({"import": import_ratios(7), "run_seconds": run_seconds(5)}))


if __name__ == "__main__":
    main()
