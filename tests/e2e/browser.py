"""The page as a person uses it: Debian's Chromium with a fresh profile, and a watch that hears every complaint.

What the browser's console complains of (errors, refused loads, the content security policy) fails the test that was on
the page, unless the test said before that it is to come.
"""

import contextlib
import os
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "orchestrator" / "api" / "static"
AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WINDOW = {"width": 1440, "height": 900}
PATIENCE_MS = 10_000
"""How long an expectation of what is shown is given on a busy machine."""

SAY_WHAT_THE_POLICY_REFUSED = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(
    `policy: ${event.violatedDirective} refused ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`));
"""


@dataclass
class Watch:
    """Everything that the browser complained of, and what it is allowed to."""

    complaints: list[str] = field(default_factory=list[str])
    allowed: list[str] = field(default_factory=list[str])

    def allow(self, pattern: str) -> None:
        """Expect complaints that this regular expression finds."""
        self.allowed.append(pattern)

    def on(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"answer: {response.status} {response.request.method} {response.url}")

    def check(self) -> None:
        """Fail if there was a complaint that nobody expected."""
        left = [
            text for text in self.complaints if not any(re.search(pattern, text) for pattern in self.allowed)
        ]
        assert not left, "the browser complained:\n" + "\n".join(left)


@contextlib.contextmanager
def chromium(program: str) -> Generator[Browser]:
    """A browser with a profile of its own, gone at the end."""
    if not (STATIC / "index.html").is_file():
        raise AssertionError("the page is not built: run `make ui`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def tab(
    browser: Browser, url: str, watch: Watch, *, dark: bool = False, reduced_motion: bool = False
) -> Generator[Page]:
    """A page of `url` in a context of its own: no cookies, no storage, and the clipboard may be used."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": WINDOW["width"], "height": WINDOW["height"]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if reduced_motion else "no-preference",
        permissions=["clipboard-read", "clipboard-write"],
        locale="en-GB",
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    context.add_init_script(SAY_WHAT_THE_POLICY_REFUSED)
    try:
        page = context.new_page()
        watch.on(page)
        yield page
    finally:
        context.close()


# ---------------------------------------------------------------------------------------------------- what is shown


def card(page: Page, node: str) -> Locator:
    """The node's card in the drawing, under the name that a screen reader says."""
    return page.locator(f'.react-flow__node[data-id="{node}"]')


def journal_seqs(page: Page) -> list[int]:
    """The numbers of the events that the journal shows, in its order."""
    return [int(text) for text in page.locator(".jl .jr:not(.lv) .first").all_inner_texts()]


def journal_kinds(page: Page) -> list[str]:
    return page.locator(".jl .jr:not(.lv) .kd").all_inner_texts()


def open_dock(page: Page, name: str) -> None:
    """Show Journal, Timeline, Output or Outbox."""
    page.get_by_role("tablist", name="Views of the run").get_by_role("tab", name=name).click()


def choose_node(page: Page, node: str) -> None:
    """Click a node's card."""
    card(page, node).get_by_role("button").first.click()


def editor(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Workflow document, JSON")


def paste_document(page: Page, text: str) -> None:
    """Put the document into the editor as a person does: copied elsewhere, everything marked, pasted."""
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    editor(page).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+v")


def run_id(page: Page) -> str:
    """The run in the address: `/runs/<id>`, or `?run=<id>` of a workbench."""
    found = re.search(r"(?:/runs/|[?&]run=)([^/?&#]+)", page.url)
    assert found, f"no run in {page.url}"
    return found[1]


# ---------------------------------------------------------------------------------------------------- accessibility


def accessible(page: Page, *, rules: list[str] | None = None) -> list[str]:
    """What axe finds on the page as it is now (by these rules, else by all), one line per rule and place.

    Its source comes over the debugger's protocol, so the page's policy stands as it is.
    """
    if not AXE.is_file():
        message = "axe-core is missing (make ui)"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(message + "; in CI nothing may be left out", pytrace=False)
        pytest.skip(message)
    if page.evaluate("typeof window.axe") == "undefined":
        page.evaluate(AXE.read_text(encoding="utf-8") + "\n;0")
    found: dict[str, Any] = page.evaluate(
        "async (options) => await axe.run(document, options)",
        {"resultTypes": ["violations"], **({"runOnly": {"type": "rule", "values": rules}} if rules else {})},
    )
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {place['html'][:160]} {place['failureSummary']}"
        for rule in found["violations"]
        for place in rule["nodes"]
    ]


FOCUSED = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const probe = document.createElement("i");
  probe.style.color = "var(--focus)";
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  const marked = (element) => {
    const style = getComputedStyle(element);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) ||
      [style.boxShadow, style.borderTopColor, style.backgroundColor].some((value) => value.includes(colour));
  };
  // The mark may be drawn around the box that the field stands in.
  let shown = false;
  for (let at = one, up = 0; at && up < 3 && !shown; at = at.parentElement, up += 1) shown = marked(at);
  return {
    name: one.getAttribute("aria-label") || one.textContent.trim().slice(0, 60) || one.tagName,
    html: one.outerHTML.slice(0, 160),
    editor: one.classList.contains("cm-content"),
    shown,
  };
}"""


def focused(page: Page) -> dict[str, Any] | None:
    """What has the focus, and whether one sees that it has it."""
    return page.evaluate(FOCUSED)


# ------------------------------------------------------------------------------------------------- what was shown

WATCH_STATES = """() => {
  window.statesShown = [];
  const stateOf = (card) => {
    const classes = card.querySelector(".node")?.classList;
    const state = ["running", "waiting", "doubt", "failed", "off"].find((one) => classes?.contains(one));
    return state ?? (card.querySelector("[aria-label=Completed]") ? "completed" : "plain");
  };
  const note = () => {
    for (const card of document.querySelectorAll(".react-flow__node")) {
      const [node, state] = [card.dataset.id, stateOf(card)];
      const known = window.statesShown.some(([id, was]) => id === node && was === state);
      if (!known) window.statesShown.push([node, state]);
    }
  };
  new MutationObserver(note).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def watch_states(page: Page) -> None:
    """From now on note every state that a node's card is seen in."""
    page.evaluate(WATCH_STATES)


def states_shown(page: Page) -> list[tuple[str, str]]:
    """(node, state) in the order in which they were first seen."""
    return [(node, state) for node, state in page.evaluate("window.statesShown")]
