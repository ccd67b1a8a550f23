"""Take the README's picture: the workbench with a run of the onboarding workflow that succeeded.

    python scripts/screenshots.py                       write docs/images/workbench.png
    python scripts/screenshots.py --dark --to out.png   the dark theme, elsewhere

Starts `orchestrator dev` with an empty store in a temporary folder, on a free port, and ends it. Needs the development
requirements (`make prepare`), the built page (`make ui`) and Chromium (Debian, Ubuntu: sudo apt-get install chromium).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "workbench.png"
BYTES_MAX = 300 * 1024
READY_SECONDS = 60.0
EXAMPLE = ROOT / "examples" / "onboarding.json"
JSON = {"Content-Type": "application/json"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Take the README's picture of the workbench.")
    parser.add_argument("--to", type=Path, default=PICTURE, help="the file to write")
    parser.add_argument("--dark", action="store_true", help="in the dark theme")
    wanted = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("Chromium is missing (Debian, Ubuntu: sudo apt-get install chromium)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(Path(folder))
        try:
            take(program, url, wanted.to.resolve(), dark=wanted.dark)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
    size = wanted.to.stat().st_size
    if size > BYTES_MAX:
        print(
            f"{wanted.to} has {size:,} bytes; at most {BYTES_MAX:,} belong into the README", file=sys.stderr
        )
        return 1
    print(f"{wanted.to}: {size:,} bytes")
    return 0


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """`orchestrator dev` in this folder, ready; its process and its address."""
    # The address is read from the file, so that no pipe can fill up.
    said = folder / "server.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    with said.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "dev", "--no-examples", "--port", "0"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for word in said.read_text(errors="replace").split():
            if word.startswith("http://127.0.0.1:"):
                with urllib.request.urlopen(f"{word}/readyz", timeout=10):
                    return server, word
        time.sleep(0.1)
    server.kill()
    server.wait()
    raise SystemExit(f"the server did not start:\n{said.read_text(errors='replace')}")


def take(program: str, url: str, to: Path, *, dark: bool) -> None:
    """Run the onboarding workflow as a person does, and take the picture when it is over."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(
            base_url=url,
            viewport={"width": 1440, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
        )
        document = json.loads(EXAMPLE.read_text(encoding="utf-8"))
        page.request.post("/api/v1/workflows", data=json.dumps(document, indent=2), headers=JSON)
        page.goto(f"/workflows/{document['name']}")
        page.get_by_role("button", name="Run version 1…").click()
        page.get_by_role("dialog").get_by_role("button", name="Run version 1", exact=True).click()
        settled(page)
        page.screenshot(path=to)
        browser.close()


def settled(page: Page) -> None:
    """Wait until the run is over, its journal complete, and what passes by is gone."""
    expect(page.locator(".runbar")).to_contain_text("Succeeded", timeout=20_000)
    expect(page.locator(".react-flow__node").get_by_label("Completed")).to_have_count(6, timeout=20_000)
    expect(page.locator(".jl")).to_contain_text("run_succeeded", timeout=20_000)
    # Up to the decision: the journal follows its end until somebody turns the wheel.
    page.locator(".jl").hover()
    page.mouse.wheel(0, -120)
    page.mouse.move(700, 60)
    expect(page.locator(".toast")).to_have_count(0, timeout=20_000)
    page.evaluate("document.activeElement instanceof HTMLElement && document.activeElement.blur()")
    page.wait_for_timeout(500)


if __name__ == "__main__":
    sys.exit(main())
