"""What a person does with the page, in a real browser on a real `orchestrator dev`, and what they see then."""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import (
    ROOT,
    Browser,
    Locator,
    Page,
    Watch,
    accessible,
    card,
    choose_node,
    chromium,
    editor,
    expect,
    focused,
    journal_kinds,
    journal_seqs,
    open_dock,
    paste_document,
    run_id,
    states_shown,
    tab,
    watch_states,
)
from tests.faults.processes import Server, journal, save, server, start, until_over, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]

NODES = Path(__file__).with_name("page_nodes.py")

# As it stands in the design, spaces and all.
ONBOARDING = """\
{"name": "Agentic User Onboarding", "start_at": "step_start",
 "nodes": {
   "step_start":    {"class": "StartNode", "next_node": "step_get_user"},
   "step_get_user": {"class": "GetUserDataNode", "next_node": "step_route_user"},
   "step_route_user": {"class": "RouteUserByTypeNode"},
   "step_escalate": {"class": "EscalateToPremiumSupportNode", "next_node": "step_send_email"},
   "step_standard_process": {"class": "ProcessStandardUserNode", "next_node": "step_send_email"},
   "step_send_email": {"class": "SendWelcomeEmailNode", "next_node": "step_end"},
   "step_end":      {"class": "EndNode"}}}
"""
ON_THE_WAY = ["step_start", "step_get_user", "step_route_user", "step_send_email", "step_end"]


def chain(name: str, **nodes: dict[str, Any]) -> dict[str, Any]:
    """A workflow whose nodes run one after the other, between a start and an end."""
    ids = ["begin", *nodes, "finish"]
    between = {"begin": {"class": "StartNode"}, **nodes, "finish": {"class": "EndNode"}}
    linked = {node: {**between[node], "next_node": after} for node, after in itertools.pairwise(ids)}
    return {"name": name, "start_at": "begin", "nodes": {**linked, "finish": between["finish"]}}


def wait(**params: Any) -> dict[str, Any]:
    return {"class": "WaitNode", "params": params}


@pytest.fixture(scope="module")
def browser(find_program: Callable[[str], str]) -> Generator[Browser]:
    with chromium(find_program("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server with an empty store, used by every test that doesn't say otherwise."""
    folder = tmp_path_factory.mktemp("page")
    settings = {"ORCHESTRATOR_NODES": str(NODES), "PAGE_TEST_FOLDER": str(folder)}
    with server(folder, "dev", "--no-examples", environment=settings) as found:
        yield found


@pytest.fixture
def watch() -> Generator[Watch]:
    found = Watch()
    yield found
    found.check()


@pytest.fixture
def page(browser: Browser, dev: Server, watch: Watch) -> Generator[Page]:
    with tab(browser, dev.url, watch) as found:
        yield found


def saved(found: Server, document: dict[str, Any]) -> str:
    """Save by the API; the workflow's name."""
    with found.client() as client:
        save(client, document)
    return document["name"]


def started(found: Server, workflow: str, **body: Any) -> str:
    with found.client() as client:
        return start(client, workflow, **body)


def over(found: Server, run: str) -> dict[str, Any]:
    with found.client() as client:
        return until_over(client, run)


def chip(page: Page) -> Locator:
    """The status of the run that the page shows."""
    return page.locator(".runbar .chip, .run-sub .chip")


def run_by_dialog(page: Page, *, given: Any = None, labels: str = "") -> str:
    """Press Run in a workbench, fill the dialog in and send it; the run's id."""
    before = page.url
    page.get_by_role("button", name=re.compile(r"^Run version \d+…$")).click()
    dialog = page.get_by_role("dialog")
    if given is not None:
        dialog.get_by_role("textbox", name="Input").fill(json.dumps(given))
    if labels:
        dialog.get_by_role("textbox", name="Labels").fill(labels)
    dialog.get_by_role("button", name=re.compile(r"^Run version \d+$")).click()
    expect(dialog).to_have_count(0)
    page.wait_for_url(lambda url: url != before and "run=" in url)
    return run_id(page)


# ------------------------------------------------------------------------------------------------------- onboarding


def test_the_onboarding_workflow_is_pasted_saved_and_runs_on_both_paths(page: Page, dev: Server) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="There is no workflow yet")).to_be_visible()
    page.get_by_role("link", name="New workflow").click()
    paste_document(page, ONBOARDING)
    expect(page.get_by_text("No problems")).to_be_visible()
    expect(card(page, "step_standard_process")).to_be_visible()
    expect(card(page, "step_route_user")).to_contain_text("2 routes")
    with page.expect_response(lambda answer: answer.url.endswith("/api/v1/workflows")) as answered:
        page.get_by_role("button", name="Save as version 1").click()
    assert answered.value.status == 201
    assert answered.value.json()["hints"] == []
    expect(page.get_by_role("heading", name="Agentic User Onboarding")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Version 1 saved \d"))).to_be_visible()
    assert page.locator(".diag").count() == 0

    watch_states(page)
    first = run_by_dialog(page)
    expect(chip(page)).to_have_text("Succeeded")
    for node in [*ON_THE_WAY, "step_escalate"]:
        expect(card(page, node).get_by_label("Completed")).to_be_visible()
    expect(card(page, "step_standard_process")).to_contain_text("not taken")
    shown = states_shown(page)
    assert any(state == "running" for _, state in shown), f"no node was seen running: {shown}"
    assert all(state in ("plain", "off") for node, state in shown if node == "step_standard_process")

    strip = card(page, "step_route_user").locator(".dec")
    expect(strip).to_contain_text("step_escalate")
    expect(strip).to_contain_text('user.type is "premium"')
    expect(strip).to_have_css("background-color", colour_of(page, "--iris-bg"))
    expect(page.locator(".jl .jr.decision")).to_contain_text('user.type is "premium"')
    assert "decision_made" in journal_kinds(page)
    expect(page.locator(".jl .jr.decision .kd")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    open_dock(page, "Outbox")
    expect(page.locator(".mail")).to_have_count(1)
    expect(page.locator(".mail")).to_contain_text("Welcome, Ada Lovelace!")
    expect(page.locator(".mail")).to_contain_text("ada@example.com")
    open_dock(page, "Output")
    expect(page.get_by_role("tabpanel", name="Output")).to_contain_text("Welcome, Ada Lovelace!")

    open_dock(page, "Journal")
    second = run_by_dialog(page, given={"user_type": "standard"}, labels="path: standard")
    assert second != first
    expect(card(page, "step_standard_process").get_by_label("Completed")).to_be_visible()
    expect(card(page, "step_escalate")).to_contain_text("not taken")
    expect(card(page, "step_route_user").locator(".dec")).to_contain_text('user.type is "standard"')
    expect(chip(page)).to_have_text("Succeeded")
    open_dock(page, "Outbox")
    expect(page.locator(".mail")).to_have_count(1)
    expect(page.locator(".mail")).to_contain_text("Welcome, Sam Miller!")
    assert over(dev, second)["labels"] == {"path": "standard"}

    # The other tip: what decided can be run the other way with one click.
    page.get_by_role("button", name="Run with “premium”").click()
    expect(card(page, "step_escalate").get_by_label("Completed")).to_be_visible()
    assert run_id(page) not in (first, second)
    page.get_by_role("link", name="Workflows", exact=True).first.click()
    expect(page.get_by_role("list", name="Workflows").get_by_role("listitem")).to_contain_text(["Succeeded"])


def colour_of(page: Page, token: str) -> str:
    """A colour of the look as the browser computes it."""
    return page.evaluate(
        """token => {
          const probe = document.createElement("i");
          probe.style.color = `var(${token})`;
          document.body.append(probe);
          const colour = getComputedStyle(probe).color;
          probe.remove();
          return colour;
        }""",
        token,
    )


def test_a_form_is_made_of_the_input_schema(page: Page, dev: Server) -> None:
    document = {
        **chain(
            "asks for input", greet={"class": "SetNode", "params": {"values": {"said": "{{ input.who }}"}}}
        ),
        "input_schema": {
            "type": "object",
            "required": ["who"],
            "properties": {
                "who": {"type": "string", "title": "Who", "minLength": 2},
                "loud": {"type": "boolean", "title": "Loud"},
            },
        },
    }
    page.goto(f"/workflows/{saved(dev, document)}")
    page.get_by_role("button", name="Run version 1…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Who").fill("A")
    dialog.get_by_role("button", name="Run version 1").click()
    expect(dialog.get_by_text("This is too short (1 < 2).").first).to_be_visible()
    assert "run=" not in page.url, "a faulty form was sent"
    dialog.get_by_role("textbox", name="Who").fill("Ada")
    dialog.get_by_role("checkbox", name="Loud").check()
    dialog.get_by_role("button", name="Run version 1").click()
    expect(chip(page)).to_have_text("Succeeded")
    assert over(dev, run_id(page))["input"] == {"who": "Ada", "loud": True}


# ------------------------------------------------------------------------------------------------------- the editor


def test_problems_show_as_one_types_and_replace_mends_them(page: Page) -> None:
    page.goto("/new")
    paste_document(
        page, ONBOARDING.replace('"step_send_email"},\n   "step_send', '"step_send_emial"},\n   "step_send')
    )
    problem = page.locator(".diag.fault").first
    expect(problem).to_contain_text("step_send_emial")
    expect(problem).to_contain_text("Did you mean step_send_email?")
    # What only follows from the misspelling isn't said as well: one place to mend, one problem.
    expect(page.locator(".diag.fault")).to_have_count(1)
    blocked = page.get_by_role("button", name="Fix 1 problem to save")
    expect(blocked).to_be_disabled()
    expect(page.get_by_role("button", name="1 problem", exact=True)).to_be_visible()
    # Long lines must not push the button out of sight.
    expect(problem.get_by_role("button", name="Replace")).to_be_in_viewport(ratio=1)
    problem.get_by_role("button", name="Replace").click()
    expect(page.get_by_text("No problems")).to_be_visible()
    expect(page.locator(".diag")).to_have_count(0)
    expect(blocked).to_have_count(0)
    expect(page.get_by_role("button", name="Save as version 1")).to_be_enabled()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".diag.fault")).to_contain_text("Did you mean step_send_email?")

    editor(page).click()
    page.keyboard.press("Control+End")
    page.keyboard.type("]")
    expect(page.get_by_role("button", name=re.compile(r"^Fix \d+ problems? to save$"))).to_be_disabled()
    expect(page.locator(".diag.fault").last).to_be_visible()
    page.keyboard.press("Backspace")
    expect(page.locator(".diag.fault")).to_contain_text("Did you mean step_send_email?")


def test_the_editor_completes_classes_and_ids_and_ctrl_s_saves(page: Page, dev: Server) -> None:
    page.goto("/new")
    paste_document(
        page,
        '{"name": "completed by keyboard", "start_at": "a",\n'
        ' "nodes": {"a": {"class": "StartNode", "next_node": "b"}, "b": {"class": ""}}}',
    )
    page.keyboard.press("Control+End")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    page.keyboard.type("EndN")
    choices = page.locator(".cm-tooltip-autocomplete")
    expect(choices.get_by_role("option", name=re.compile("^EndNode"))).to_be_visible()
    # Right after it opened, the list ignores Enter for a moment, so that fast typing isn't caught.
    page.wait_for_timeout(150)
    page.keyboard.press("Enter")
    expect(editor(page)).to_contain_text('"class": "EndNode"')
    expect(page.get_by_text("No problems")).to_be_visible()
    expect(page.get_by_role("button", name="Save as version 1")).to_be_enabled()
    page.keyboard.press("Control+s")
    expect(page.get_by_text("Saved as version 1")).to_be_visible()
    with dev.client() as client:
        answer = client.get("/workflows/completed by keyboard")
        assert answer.json()["document"]["nodes"]["b"] == {"class": "EndNode"}


def test_a_draft_survives_a_reload_and_a_saved_change_is_a_new_version(page: Page, dev: Server) -> None:
    name = saved(dev, chain("drafted"))
    page.goto(f"/workflows/{name}")
    document = chain(name, pause=wait(**{"for": "10ms"}))
    paste_document(page, json.dumps(document, indent=2))
    expect(page.get_by_text(re.compile("^Draft kept"))).to_be_visible()
    expect(page.get_by_role("button", name="Save as version 2")).to_be_enabled()
    page.reload()
    expect(editor(page)).to_contain_text('"pause"')
    page.get_by_role("button", name="Save as version 2").click()
    expect(page.get_by_text("Saved as version 2")).to_be_visible()
    run_by_dialog(page)
    expect(chip(page)).to_have_text("Succeeded")
    expect(page.locator(".runbar")).to_contain_text("version 2")
    page.get_by_role("link", name="Versions", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Version 1")
    expect(page.get_by_role("main")).to_contain_text("Version 2")


# ------------------------------------------------------------------------------------------ kill -9, reload of code


def test_the_page_follows_a_run_over_kill_9_of_its_server(
    browser: Browser, watch: Watch, tmp_path: Path
) -> None:
    # While there is no server, the browser says so in its console for each try.
    watch.allow(
        r"ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE"
    )
    settings = {"ORCHESTRATOR_NODES": ""}
    with server(tmp_path, environment=settings) as found, tab(browser, found.url, watch) as page:
        name = saved(
            found,
            chain(
                "waits",
                first={"class": "SetNode", "params": {"values": {"n": 1}}},
                nap=wait(**{"for": "1500ms"}),
                second={"class": "SetNode", "params": {"values": {"n": "{{ nodes.first.n + 1 }}"}}},
                rest=wait(**{"for": "1500ms"}),
            ),
        )
        page.goto(f"/workflows/{name}")
        run = run_by_dialog(page)
        page.evaluate("window.notReloaded = true")
        expect(card(page, "nap").get_by_label("Waiting")).to_be_visible()
        expect(chip(page)).to_have_text("Waiting")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        found.kill()
        expect(page.get_by_role("button", name=re.compile("^Reconnecting, last event"))).to_be_visible()
        expect(card(page, "nap").get_by_label("Waiting")).to_be_visible()
        found.start()
        expect(chip(page)).to_have_text("Succeeded", timeout=30_000)
        for node in ("begin", "first", "nap", "second", "rest", "finish"):
            expect(card(page, node).get_by_label("Completed")).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("^Reconnecting"))).to_have_count(0)
        assert page.evaluate("window.notReloaded") is True
        with found.client() as client:
            events = journal(client, run)
        expect(page.get_by_role("tab", name=f"Journal {len(events)} events")).to_be_visible()
        seqs = shown_seqs(page)
        assert seqs == [event["seq"] for event in events]
        completed = [event["path"] for event in events if event["kind"] == "task_completed"]
        assert sorted(completed) == sorted({"begin", "first", "nap", "second", "rest", "finish"})


def shown_seqs(page: Page) -> list[int]:
    """All events that the journal has; it draws only the rows in view, so it is scrolled through."""
    seen: list[int] = []
    page.locator(".jl").evaluate("list => { list.scrollTop = 0; }")
    for _ in range(200):
        page.wait_for_timeout(50)
        rows = journal_seqs(page)
        assert len(rows) == len(set(rows)), f"a row is there twice: {rows}"
        seen += [seq for seq in rows if seq not in seen]
        bottom = page.locator(".jl").evaluate(
            """list => {
              const before = list.scrollTop;
              list.scrollTop += list.clientHeight / 2;
              return list.scrollTop === before;
            }"""
        )
        if bottom:
            return seen
    raise AssertionError("the journal never ends")


def test_dev_takes_the_other_path_after_the_constant_in_onboarding_py_is_edited(
    browser: Browser, watch: Watch, tmp_path: Path
) -> None:
    # A copy of the whole package is edited, as a person edits their clone.
    shutil.copytree(
        ROOT / "src" / "orchestrator",
        tmp_path / "src" / "orchestrator",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    file = tmp_path / "src" / "orchestrator" / "nodes" / "onboarding.py"
    source = file.read_text()
    settings = {"ORCHESTRATOR_NODES": "", "PYTHONPATH": str(tmp_path / "src")}
    with (
        server(tmp_path, "dev", environment=settings) as found,
        tab(browser, found.url, watch) as page,
    ):
        page.goto("/")
        examples = page.get_by_role("article")
        expect(page.get_by_role("heading", name="Nothing has run yet")).to_be_visible()
        examples.filter(has_text="Agentic User Onboarding").get_by_role("button", name="Run it…").click()
        page.get_by_role("dialog").get_by_role("button", name="Run version 1").click()
        expect(card(page, "step_escalate").get_by_label("Completed")).to_be_visible()
        expect(chip(page)).to_have_text("Succeeded")

        line = 'DEFAULT_USER_TYPE: UserType = "premium"'
        assert source.count(line) == 1
        file.write_text(source.replace(line, 'DEFAULT_USER_TYPE: UserType = "standard"'))
        wait_until(lambda: "reloaded" in found.log, "the server says that it reloaded the file", log=found)
        run_by_dialog(page)
        expect(card(page, "step_standard_process").get_by_label("Completed")).to_be_visible()
        expect(card(page, "step_escalate")).to_contain_text("not taken")
        expect(card(page, "step_route_user").locator(".dec")).to_contain_text('user.type is "standard"')
        assert over(found, run_id(page))["status"] == "succeeded"


# ---------------------------------------------------------------------------------------------- addresses and lists


def test_an_address_opens_run_node_and_tab_and_back_goes_back(page: Page, dev: Server) -> None:
    name = saved(dev, {**json.loads(ONBOARDING), "name": "linked"})
    run = started(dev, name, input={"user_type": "standard"})
    over(dev, run)
    page.goto(f"/runs/{run}?node=step_get_user&tab=output&dock=journal")
    panel = page.get_by_role("complementary", name="Node step_get_user")
    expect(panel.get_by_role("tab", name="Output")).to_have_attribute("aria-selected", "true")
    expect(panel).to_contain_text("Sam Miller")
    expect(page.get_by_role("tab", name=re.compile("^Journal"))).to_have_attribute("aria-selected", "true")
    panel.get_by_role("tab", name="Logs").click()
    expect(panel).to_contain_text("looking up a standard user in the directory")
    assert "tab=logs" in page.url
    page.go_back()
    expect(panel.get_by_role("tab", name="Output")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(panel).to_contain_text("Sam Miller")

    choose_node(page, "step_route_user")
    decision = page.get_by_role("complementary", name="Node step_route_user")
    expect(decision).to_contain_text('user.type is "standard"')
    expect(decision).to_contain_text("not chosen")
    open_dock(page, "Timeline")
    expect(page.get_by_role("tabpanel", name="Timeline")).to_contain_text("step_send_email")

    page.goto(f"/runs?workflow={name}")
    page.get_by_role("list", name="Runs").get_by_role("link").first.click()
    page.wait_for_url(re.compile(f"/runs/{run}"))
    expect(chip(page)).to_have_text("Succeeded")
    page.go_back()
    page.wait_for_url(re.compile(r"/runs\?workflow=linked"))
    expect(page.get_by_role("list", name="Runs").get_by_role("link")).to_have_count(1)


def test_an_unknown_run_and_workflow_say_so(page: Page, watch: Watch) -> None:
    watch.allow(r"404")
    page.goto("/runs/run_nobody")
    expect(page.get_by_role("heading", name=re.compile("^There is no run"))).to_be_visible()
    page.goto("/workflows/nobody")
    expect(page.get_by_role("heading", name="There is no workflow “nobody”")).to_be_visible()
    page.get_by_role("link", name="Open the workflows").click()
    expect(page.get_by_role("heading", name="Workflows", exact=True)).to_be_visible()


def test_the_list_of_runs_is_filtered_by_the_address_and_stays_live(page: Page, dev: Server) -> None:
    quick, slow = saved(dev, chain("quick")), saved(dev, chain("slow", hold=wait(signal="go")))
    broken = saved(
        dev, chain("broken", check={"class": "NeedsFileNode", "params": {"name": "never-there.txt"}})
    )
    over(dev, started(dev, quick, labels={"team": "red"}))
    over(dev, started(dev, broken, labels={"team": "red"}))
    started(dev, slow, labels={"team": "blue"})
    rows = page.get_by_role("list", name="Runs").get_by_role("link")
    page.goto("/runs?label=team:red")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("there is no file never-there.txt")
    show = page.get_by_role("group", name="Show")
    show.get_by_role("button", name="Failed").click()
    expect(rows).to_have_count(1)
    assert "status=" in page.url
    page.reload()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Failed")
    page.get_by_role("button", name="Remove the filter team red").click()
    show.get_by_role("button", name="Waiting").click()
    page.get_by_role("textbox", name="Search runs").fill("slow")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("Waits for signal go")
    page.wait_for_url(re.compile("text=slow"))
    page.go_back()

    # What somebody else starts appears by itself.
    page.goto("/runs?workflow=quick")
    expect(rows).to_have_count(1)
    started(dev, quick)
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Succeeded")


# ------------------------------------------------------------------------------------------------- acting on a run


def test_a_waiting_run_is_paused_resumed_and_cancelled(page: Page, dev: Server) -> None:
    run = started(dev, saved(dev, chain("to cancel", hold=wait(signal="never"))))
    page.goto(f"/runs/{run}?dock=journal")
    expect(chip(page)).to_have_text("Waiting")
    expect(page.get_by_role("status").filter(has_text="never")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(chip(page)).to_have_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(chip(page)).to_have_text("Waiting")
    page.get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_have_count(0)
    expect(chip(page)).to_have_text("Waiting")
    page.get_by_role("button", name="Cancel…").click()
    dialog.get_by_role("textbox", name="Reason, for the journal").fill("wrong order")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(chip(page)).to_have_text("Cancelled")
    expect(page.locator(".jl")).to_contain_text("wrong order")
    for action in ("Pause", "Resume", "Cancel…"):
        expect(page.get_by_role("button", name=action)).to_have_count(0)


def test_a_signal_is_sent_from_the_banner(page: Page, dev: Server) -> None:
    run = started(dev, saved(dev, chain("to signal", approval=wait(signal="approve"))))
    page.goto(f"/runs/{run}")
    page.get_by_role("button", name="Send “approve”…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Payload").fill('{"approved": ')
    expect(dialog.get_by_role("button", name="Send “approve”")).to_be_disabled()
    dialog.get_by_role("textbox", name="Payload").fill('{"approved": "by Ines"}')
    dialog.get_by_role("button", name="Send “approve”").click()
    expect(chip(page)).to_have_text("Succeeded")
    open_dock(page, "Output")
    expect(page.get_by_role("tabpanel", name="Output").first).to_contain_text("by Ines")


def test_a_failed_run_shows_its_root_and_is_retried(page: Page, dev: Server) -> None:
    node = {"class": "NeedsFileNode", "params": {"name": "now-there.txt"}}
    run = started(dev, saved(dev, chain("to retry", check=node)))
    page.goto(f"/runs/{run}")
    expect(chip(page)).to_have_text("Failed")
    alert = page.locator(".why.fail")
    expect(alert).to_contain_text("check failed")
    expect(alert).to_contain_text("there is no file now-there.txt")
    expect(page.get_by_role("complementary", name="Node check")).to_contain_text("now-there.txt")
    expect(card(page, "check").get_by_label("Failed")).to_be_visible()
    (dev.folder / "now-there.txt").touch()
    page.get_by_role("button", name="Retry failed…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 result is kept")
    expect(dialog).to_contain_text("there is no file now-there.txt")
    dialog.get_by_role("button", name="Retry failed").click()
    expect(chip(page)).to_have_text("Succeeded")
    expect(card(page, "check").get_by_label("Completed")).to_be_visible()
    expect(page.locator(".why.fail")).to_have_count(0)
    open_dock(page, "Journal")
    expect(page.locator(".jl")).to_contain_text("run_retried")


def test_a_task_in_doubt_is_resolved_by_a_person(page: Page, dev: Server) -> None:
    run = started(dev, saved(dev, chain("to resolve", charge={"class": "ChargeCardNode"})))
    page.goto(f"/runs/{run}")
    banner = page.locator(".why.doubt")
    expect(banner).to_contain_text("charge is in doubt")
    expect(card(page, "charge").get_by_label("In doubt")).to_be_visible()
    expect(card(page, "charge")).to_contain_text("asks you")
    banner.get_by_role("button", name="Resolve…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio", name=re.compile("^It happened")).check()
    dialog.get_by_role("textbox", name="Output").fill('{"charge": "ch_17"}')
    dialog.get_by_role("textbox", name="Note, for the journal").fill("seen in the bank's list")
    dialog.get_by_role("button", name="Record: it happened").click()
    expect(chip(page)).to_have_text("Succeeded")
    open_dock(page, "Output")
    expect(page.get_by_role("tabpanel", name="Output").first).to_contain_text("ch_17")


def test_a_fork_takes_the_other_path(page: Page, dev: Server) -> None:
    name = saved(dev, {**json.loads(ONBOARDING), "name": "to fork"})
    run = started(dev, name, input={"user_type": "premium"})
    over(dev, run)
    page.goto(f"/runs/{run}")
    expect(chip(page)).to_have_text("Succeeded")
    page.get_by_role("button", name="Fork…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("combobox", name="Go on after")).to_be_visible()
    dialog.get_by_role("button", name="Input").click()
    dialog.get_by_role("textbox", name="Input").fill('{"user_type": "standard"}')
    dialog.get_by_role("button", name="Start the fork").click()
    page.wait_for_url(lambda url: "/runs/" in url and run not in url)
    expect(chip(page)).to_have_text("Succeeded")
    expect(page.get_by_role("navigation", name="Runs that belong")).to_contain_text(f"Fork of run {run[-5:]}")
    expect(card(page, "step_escalate")).to_contain_text("not taken")
    expect(card(page, "step_standard_process").get_by_label("Completed")).to_be_visible()
    assert over(dev, run_id(page))["forked_from"]["run"] == run


def test_the_other_way_is_planned_before_it_is_taken(page: Page, dev: Server) -> None:
    name = saved(dev, {**json.loads(ONBOARDING), "name": "to send another way"})
    run = started(dev, name, input={"user_type": "premium"})
    over(dev, run)
    page.goto(f"/runs/{run}?node=step_route_user")
    page.get_by_role("button", name="Run the other way…").click()
    dialog = page.get_by_role("dialog")
    way = dialog.get_by_role("combobox", name="Send it another way")
    expect(way).to_have_value("step_route_user step_standard_process")
    plan = dialog.get_by_role("region", name="Plan")
    expect(plan).to_contain_text("2 tasks are reused")
    expect(plan).to_contain_text("1 write effect would repeat")
    expect(plan.locator(".ban.fail")).to_contain_text("step_send_email")
    dialog.get_by_role("button", name="Start the fork").click()
    page.wait_for_url(lambda url: "/runs/" in url and run not in url)
    expect(chip(page)).to_have_text("Succeeded")
    expect(card(page, "step_standard_process").get_by_label("Completed")).to_be_visible()
    assert over(dev, run_id(page))["input"] == {"user_type": "premium"}


# ------------------------------------------------------------------------------------- accessibility and keyboard


# The themes differ in nothing else.
COLOUR_RULES = ["color-contrast", "link-in-text-block"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(browser: Browser, dev: Server, watch: Watch, dark: bool) -> None:
    name = saved(dev, {**json.loads(ONBOARDING), "name": "looked at"})
    done = started(dev, name, input={"user_type": "premium"}, labels={"env": "test"})
    over(dev, done)
    doubt = started(dev, saved(dev, chain("in doubt", charge={"class": "ChargeCardNode"})))
    failed = started(
        dev, saved(dev, chain("failing", check={"class": "NeedsFileNode", "params": {"name": "nowhere"}}))
    )
    held = started(dev, saved(dev, chain("held", hold=wait(signal="go"))))
    faults: dict[str, list[str]] = {}
    with tab(browser, dev.url, watch, dark=dark, reduced_motion=True) as page:

        def look(path: str, sign: Locator) -> None:
            page.goto(path)
            expect(sign).to_be_visible()
            look_again(path)

        def look_again(what: str) -> None:
            if found := accessible(page, rules=COLOUR_RULES if dark else None):
                faults[what] = found

        look("/", page.get_by_role("heading", name="looked at").get_by_role("link"))
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(15, 16, 19)" if dark else "rgb(246, 246, 243)"
        )
        look("/nodes?name=WaitNode", page.get_by_role("article", name="Wait"))
        look("/runs", page.get_by_role("list", name="Runs").get_by_role("link").first)
        for run, word in ((done, "Succeeded"), (doubt, "Waiting"), (failed, "Failed"), (held, "Waiting")):
            look(f"/runs/{run}", chip(page).filter(has_text=word))
        look(f"/runs/{done}?node=step_get_user&tab=output&dock=outbox", page.locator(".mail"))
        look(f"/workflows/{name}?run={done}", chip(page).filter(has_text="Succeeded"))
        page.get_by_role("button", name="Run version 1…").click()
        expect(page.get_by_role("dialog").get_by_role("textbox", name="Input")).to_be_visible()
        look_again("the dialog of Run")
        look(f"/workflows/{name}/versions", page.get_by_role("main").get_by_text("Version 1").first)
        page.goto("/new")
        paste_document(page, ONBOARDING.replace('"StartNode"', '"SartNode"'))
        expect(page.locator(".diag.fault").first).to_be_visible()
        look_again("/new with a problem")
        page.keyboard.press("Control+k")
        expect(page.get_by_role("dialog")).to_be_visible()
        look_again("the palette")
    assert not faults, json.dumps(faults, indent=2)


def test_lists_are_walked_with_j_k_and_enter(page: Page, dev: Server) -> None:
    name = saved(dev, chain("walked"))
    older = started(dev, name)
    over(dev, older)
    newer = started(dev, name)
    over(dev, newer)
    page.goto(f"/runs?workflow={name}")
    rows = page.get_by_role("list", name="Runs").get_by_role("link")
    expect(rows).to_have_count(2)
    page.keyboard.press("j")
    expect(rows.nth(0)).to_have_class(re.compile(r"\bon\b"))
    page.keyboard.press("j")
    expect(rows.nth(1)).to_have_class(re.compile(r"\bon\b"))
    page.keyboard.press("k")
    expect(rows.nth(0)).to_have_class(re.compile(r"\bon\b"))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"/runs/{older}"))
    expect(chip(page)).to_have_text("Succeeded")

    page.goto("/")
    expect(page.get_by_role("list", name="Workflows").get_by_role("listitem").first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/workflows/."))
    page.goto("/runs")
    expect(rows.first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Search runs")).to_be_focused()
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill("walked")
    expect(page.get_by_role("dialog").get_by_role("option").first).to_contain_text("walked")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/(workflows/walked|runs/)"))


@pytest.mark.parametrize("path", ["/", "/runs", "/nodes", "run", "workbench"])
def test_the_tab_key_reaches_everything_and_one_sees_where_it_is(page: Page, dev: Server, path: str) -> None:
    name = saved(dev, {**json.loads(ONBOARDING), "name": "tabbed"})
    run = started(dev, name)
    over(dev, run)
    page.goto({"run": f"/runs/{run}", "workbench": f"/workflows/{name}?run={run}"}.get(path, path))
    if path in ("run", "workbench"):
        expect(chip(page)).to_have_text("Succeeded")
        expect(card(page, "step_end")).to_be_visible()
    else:
        expect(
            page.get_by_role("main").get_by_role("link").or_(page.locator(".node-row")).first
        ).to_be_visible()
    names: list[str] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        at = focused(page)
        if at is None:
            break
        names.append(at["name"])
        if at["editor"]:
            # Its cursor shows the focus. Tab indents in the editor; Escape, then Tab, leaves it.
            page.keyboard.press("Escape")
        else:
            assert at["shown"], f"one does not see that {at} has the focus"
    assert "Skip to the content" in names[0]
    assert len(set(names)) >= 8, names
