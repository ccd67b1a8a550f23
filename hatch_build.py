"""Build the page into the wheel, so that whoever installs it needs neither Node.js nor this repository.

The example workflows go in, too. The building itself is `scripts/build_ui.py`; this hook only decides whether it is
wanted: always where the page is missing or older than its sources, never with ORCHESTRATOR_SKIP_UI=1 (then the API
serves no page).
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel" and version == "standard":
            # An installed package has its example workflows beside the command line; an editable one finds the folder.
            build_data["force_include"][str(Path(self.root) / "examples")] = (
                "orchestrator/cli/example_workflows"
            )
        if os.environ.get("ORCHESTRATOR_SKIP_UI") == "1":
            return
        root = Path(self.root)
        if (root / "PKG-INFO").is_file() and (root / "src/orchestrator/api/static/index.html").is_file():
            return  # this is a source distribution: it brings the page along, built
        script = root / "scripts" / "build_ui.py"
        # The sub-process sees the packages of an isolated build: pip and uv hand them over in the environment.
        done = subprocess.run([sys.executable, str(script)], cwd=self.root, check=False)
        if done.returncode != 0:
            raise SystemExit(
                "The page could not be built (its output is above). Mend that, or set ORCHESTRATOR_SKIP_UI=1 "
                "to build the package without a page."
            )
