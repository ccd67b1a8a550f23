"""What the page shows of a run that has more to tell than one path: items, budgets, compensation, successors."""

import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import (
    Browser,
    Page,
    Watch,
    accessible,
    card,
    choose_node,
    chromium,
    expect,
    open_dock,
    run_id,
    tab,
)
from tests.faults.processes import Server, save, server, start, until_over, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]

NODES = Path(__file__).with_name("page_nodes.py")


@pytest.fixture(scope="module")
def browser(find_program: Callable[[str], str]) -> Generator[Browser]:
    with chromium(find_program("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder = tmp_path_factory.mktemp("page_runs")
    settings = {"ORCHESTRATOR_NODES": str(NODES), "PAGE_TEST_FOLDER": str(folder)}
    with server(folder, "dev", "--no-examples", environment=settings) as found:
        yield found


@pytest.fixture
def page(browser: Browser, dev: Server) -> Generator[Page]:
    watch = Watch()
    watch.allow("/runs/import")
    with tab(browser, dev.url, watch) as found:
        yield found
    watch.check()


def ran(dev: Server, name: str, nodes: dict[str, Any], *, over: bool = True, **more: Any) -> str:
    """Save a workflow and start it; its run, over unless it is to wait."""
    given = more.pop("input", None)
    with dev.client() as client:
        save(client, {"name": name, "start_at": "begin", "nodes": nodes, **more})
        run = start(client, name, input=given)
        if over:
            until_over(client, run)
    return run


def status(dev: Server, run: str) -> str:
    with dev.client() as client:
        return client.get(f"/runs/{run}").json()["status"]


BEGIN = {"class": "StartNode"}
END = {"class": "EndNode"}
PHOTOS = {
    "begin": {**BEGIN, "next_node": "photos"},
    "photos": {
        "class": "ReadPhotoNode",
        "for_each": "{{ input.photos }}",
        "on_item_error": "collect",
        "params": {"number": "{{ item }}"},
        "next_node": "finish",
    },
    "finish": END,
}


def test_a_list_is_one_card_and_its_items_are_found_in_its_panel(page: Page, dev: Server) -> None:
    run = ran(dev, "photos", PHOTOS, input={"photos": list(range(450))})
    page.goto(f"/runs/{run}")
    expect(card(page, "photos")).to_contain_text("450 of 450")
    expect(card(page, "photos")).to_contain_text("45 failed")
    expect(page.locator(".tl .tr")).to_have_count(3)
    expect(page.locator(".tl")).to_contain_text("450 items · 45 failed")
    choose_node(page, "photos")
    panel = page.get_by_role("complementary", name="Node photos")
    expect(panel).to_contain_text("450 of 450 items done · 45 failed")
    rows = panel.get_by_role("list", name="Items").get_by_role("button")
    panel.get_by_role("button", name="Failed 45", exact=True).click()
    expect(rows.first).to_contain_text("photo 7 is no image")
    panel.get_by_role("button", name="All 450").click()
    panel.get_by_role("textbox", name=re.compile("^Go to an item")).fill("407")
    page.keyboard.press("Enter")
    expect(rows.first).to_contain_text("407")
    assert not accessible(page)
    rows.first.click()
    expect(panel).to_contain_text("photos[407]")
    expect(panel.get_by_role("alert")).to_contain_text("photo 407 is no image")
    assert re.search(r"[?&]task=photos", page.url)
    page.reload()
    expect(panel).to_contain_text("photos[407]")
    panel.get_by_role("button", name="All items").click()
    expect(rows.first).to_be_visible()


def test_a_spent_budget_says_which_cap_and_is_raised(page: Page, dev: Server) -> None:
    nodes = {
        "begin": {**BEGIN, "next_node": "ask"},
        "ask": {"class": "AskModelNode", "for_each": [1, 2, 3], "max_parallel": 1, "next_node": "finish"},
        "finish": END,
    }
    run = ran(dev, "ask a model", nodes, over=False, budget={"cost_usd": 0.05})
    wait_until(lambda: status(dev, run) == "paused", "the run pauses")
    page.goto(f"/runs/{run}")
    banner = page.locator(".why")
    expect(banner).to_contain_text("Paused: the budget of $0.05 is spent — $0.04 used")
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    page.get_by_role("button", name=re.compile("^Budget: ")).click()
    expect(page.locator(".budget-card:popover-open")).to_contain_text("$0.04of $0.05")
    assert not accessible(page)
    page.keyboard.press("Escape")
    banner.get_by_role("button", name="Raise the budget…").click()
    dialog = page.get_by_role("dialog", name=re.compile("^Raise the budget"))
    limit = dialog.get_by_role("textbox", name="New limit, US dollars in all")
    expect(limit).to_have_value("0.1")
    limit.fill("0.01")
    expect(dialog).to_contain_text("Not less than the $0.05 there is")
    expect(dialog.get_by_role("button", name="Raise the budget")).to_be_disabled()
    assert not accessible(page)
    limit.fill("0.2")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".run-sub .chip")).to_have_text("Succeeded")
    expect(banner).to_have_count(0)


def test_what_is_taken_back_stands_apart_and_says_of_whom(page: Page, dev: Server) -> None:
    nodes = {
        "begin": {**BEGIN, "next_node": "hotel"},
        "hotel": {
            "class": "BookNode",
            "params": {"what": "hotel"},
            "compensate": "give_back",
            "next_node": "flight",
        },
        "flight": {"class": "BookNode", "params": {"what": "none"}, "next_node": "finish"},
        "give_back": {"class": "BookNode"},
        "finish": END,
    }
    run = ran(dev, "a trip", nodes)
    page.goto(f"/runs/{run}")
    expect(page.locator(".why")).to_contain_text("flight failed — there is none left. Taken back: 1 of 1.")
    expect(page.get_by_role("button", name="Retry failed…")).to_have_count(0)
    expect(page.locator(".frame.compensation")).to_contain_text("Takes back, newest first")
    expect(card(page, "give_back")).to_contain_text("took back hotel")
    choose_node(page, "give_back")
    panel = page.get_by_role("complementary")
    panel.get_by_role("button", name="hotel").click()
    expect(panel.get_by_role("heading", name="hotel")).to_be_visible()
    expect(panel).to_contain_text("Taken back by give_back")
    assert not accessible(page)


def test_a_join_by_number_and_a_withdrawn_task_say_so(page: Page, dev: Server) -> None:
    slow = {"class": "WaitNode", "params": {"for": "1h"}, "next_node": "choose"}
    nodes = {
        "begin": {**BEGIN, "next_node": ["north", "south", "west"]},
        "north": {"class": "SetNode", "params": {"values": {"n": 1}}, "next_node": "choose"},
        "south": {"class": "WaitNode", "params": {"signal": "south"}, "next_node": "choose"},
        "west": slow,
        "choose": {
            "class": "SetNode",
            "params": {"values": {"ok": True}},
            "join": {"count": 2, "rest": "cancel"},
            "next_node": "finish",
        },
        "finish": END,
    }
    run = ran(dev, "two of three", nodes, over=False)
    page.goto(f"/runs/{run}")
    expect(card(page, "choose")).to_contain_text("1 of 2")
    page.get_by_role("button", name="Send “south”…").click()
    page.get_by_role("dialog").get_by_role("button", name="Send “south”").click()
    expect(page.locator(".run-sub .chip")).to_have_text("Succeeded")
    expect(card(page, "west")).to_contain_text("withdrawn")
    expect(card(page, "west").get_by_label("Cancelled")).to_be_visible()
    choose_node(page, "west")
    expect(page.get_by_role("complementary")).to_contain_text("Withdrawn, not failed")


def test_runs_that_belong_together_are_linked(page: Page, dev: Server) -> None:
    chapter = {"class": "NextChapterNode", "params": {"chapter": "{{ input.chapter }}"}}
    with dev.client() as client:
        save(client, {"name": "chapters", "start_at": "write", "nodes": {"write": chapter}})
    nodes = {
        "begin": {**BEGIN, "next_node": "book"},
        "book": {
            "class": "SubWorkflowNode",
            "params": {"workflow": "chapters", "input": {"chapter": 1}},
            "next_node": "finish",
        },
        "finish": END,
    }
    parent = ran(dev, "a book", nodes)
    page.goto(f"/runs/{parent}")
    kin = page.get_by_role("navigation", name="Runs that belong with this one")
    expect(kin).to_contain_text("Started")
    kin.get_by_role("link").first.click()
    page.wait_for_url(lambda url: parent not in url)
    child = run_id(page)
    expect(kin).to_contain_text(f"Started by run {parent[-5:]}, task book")
    expect(page.locator(".run-sub")).to_contain_text("chapters")
    with dev.client() as client:
        found = client.get(f"/runs?parent={parent}").json()["items"]
        assert child in [one["id"] for one in found]
        first = start(client, "chapters", input={"chapter": 1})
        until_over(client, first)
    page.goto(f"/runs/{first}")
    kin.get_by_role("link").click()
    page.wait_for_url(lambda url: first not in url)
    expect(kin).to_contain_text(f"Goes on for run {first[-5:]}")


def test_a_failed_run_that_is_retried_elsewhere_wakes_the_page(
    page: Page, dev: Server, tmp_path: Path
) -> None:
    nodes = {
        "begin": {**BEGIN, "next_node": "look"},
        "look": {
            "class": "NeedsFileNode",
            "params": {"name": str(tmp_path / "there")},
            "next_node": "finish",
        },
        "finish": END,
    }
    run = ran(dev, "to retry elsewhere", nodes)
    page.goto(f"/runs/{run}")
    expect(page.locator(".run-sub .chip")).to_have_text("Failed")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    (tmp_path / "there").write_text("yes")
    with dev.client() as client:
        assert client.post(f"/runs/{run}/retry", json={}).status_code == 202
    expect(page.locator(".run-sub .chip")).to_have_text("Succeeded")
    open_dock(page, "Journal")
    expect(page.locator(".jl")).to_contain_text("run_retried")


def test_the_list_says_why_a_run_was_cancelled(page: Page, dev: Server) -> None:
    nodes = {"begin": {**BEGIN, "next_node": "wait"}, "wait": {"class": "WaitNode", "params": {"for": "1h"}}}
    run = ran(dev, "to cancel with a reason", nodes, over=False)
    with dev.client() as client:
        client.post(f"/runs/{run}/cancel", json={"reason": "the customer took it back"})
        until_over(client, run)
    page.goto("/runs?status=cancelled")
    expect(page.get_by_role("list", name="Runs")).to_contain_text("the customer took it back")


def test_a_fork_gets_another_output_and_says_what_that_means(page: Page, dev: Server) -> None:
    nodes = {
        "begin": {**BEGIN, "next_node": "price"},
        "price": {"class": "SetNode", "params": {"values": {"amount": 7}}, "next_node": "book"},
        "book": {
            "class": "BookNode",
            "params": {"what": "{{ previous.amount }} seats"},
            "next_node": "finish",
        },
        "finish": END,
    }
    run = ran(dev, "to fork with an output", nodes)
    page.goto(f"/runs/{run}?node=price&tab=output")
    page.get_by_role("button", name="Fork with another output…").click()
    dialog = page.get_by_role("dialog", name=re.compile("^Fork run"))
    text = dialog.get_by_role("textbox", name="Output of price")
    expect(text).to_contain_text('"amount": 7')
    text.fill('{"amount": ')
    expect(dialog.get_by_role("button", name=re.compile("^Start the fork"))).to_be_disabled()
    text.fill('{"amount": 9}')
    plan = dialog.get_by_role("region", name="Plan")
    expect(plan).to_contain_text("1 write effect would repeat")
    expect(plan.locator(".ban.fail")).to_contain_text("book")
    assert not accessible(page)
    expect(dialog.get_by_role("button", name="Start the fork, repeating 1 write effect")).to_be_enabled()
    text.press("Control+Enter")
    page.wait_for_url(lambda url: "/runs/" in url and run not in url)
    expect(page.locator(".run-sub .chip")).to_have_text("Succeeded")
    fork = run_id(page)
    with dev.client() as client:
        until_over(client, fork)
        assert client.get(f"/runs/{fork}/tasks/book").json()["output"] == {"booked": "9 seats"}


def test_a_run_is_downloaded_and_its_file_is_opened(page: Page, dev: Server, tmp_path: Path) -> None:
    run = ran(dev, "to download", {"begin": {**BEGIN, "next_node": "finish"}, "finish": END})
    page.goto(f"/runs/{run}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download run").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    page.goto("/runs")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open run file…").click()
    chooser.value.set_files(file)
    page.wait_for_url(lambda url: "/runs/run_" in url and run not in url)
    expect(page.get_by_role("navigation", name="Runs that belong")).to_contain_text("Read from a file")
    expect(page.locator(".run-sub .chip")).to_have_text("Succeeded")


def test_a_file_that_is_no_run_is_refused_in_words(page: Page, dev: Server, tmp_path: Path) -> None:
    ran(dev, "beside the file", {"begin": {**BEGIN, "next_node": "finish"}, "finish": END})
    (tmp_path / "cat.jpg").write_bytes(b"no run at all")
    page.goto("/runs")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open run file…").click()
    chooser.value.set_files(tmp_path / "cat.jpg")
    expect(page.locator(".toast")).to_contain_text("run file")


def test_what_a_node_laid_is_drawn_in_a_frame_of_its_own(page: Page, dev: Server) -> None:
    nodes = {
        "begin": {**BEGIN, "next_node": "research"},
        "research": {"class": "ResearchNode", "params": {"sources": [1, 2, 3]}, "next_node": "finish"},
        "finish": END,
    }
    run = ran(dev, "to plan", nodes)
    page.goto(f"/runs/{run}")
    frame = page.locator(".frame.plan")
    expect(frame).to_contain_text("research laid 5 nodes: 3 sources fit")
    expect(card(page, "research/read_2").get_by_label("Completed")).to_be_visible()
    expect(card(page, "research/read_2")).to_contain_text("read_2")
    open_dock(page, "Journal")
    expect(page.locator(".jl")).to_contain_text("because 3 sources fit")
    choose_node(page, "research/read_2")
    panel = page.get_by_role("complementary", name="Node research/read_2")
    expect(panel).to_contain_text("laid by research")
    panel.get_by_role("tab", name="Settings").click()
    expect(panel.get_by_label("Settings", exact=True).last).to_contain_text('"number": 2')
    choose_node(page, "research")
    expect(page.get_by_role("complementary")).to_contain_text("Laid 5 nodes into this run: 3 sources fit")
    assert not accessible(page)


IN_YAML = """\
# Why: the first one that was written by hand
name: in yaml
start_at: begin
nodes:
  begin: {class: StartNode, next_node: finish}
  finish:
    class: EndNode  # the end
"""


def test_yaml_is_shown_with_its_comments_turned_into_json_and_saved_as_yaml(page: Page, dev: Server) -> None:
    yaml = {"Content-Type": "application/yaml"}
    with dev.client() as client:
        assert client.post("/workflows", content=IN_YAML.encode(), headers=yaml).status_code in (200, 201)
    page.goto("/workflows/in%20yaml")
    text = page.get_by_role("textbox", name="Workflow document, YAML")
    expect(text).to_contain_text("# Why: the first one")
    expect(card(page, "finish")).to_be_visible()
    page.get_by_role("button", name="JSON", exact=True).click()
    expect(page.get_by_role("textbox", name="Workflow document, JSON")).to_contain_text('"start_at": "begin"')
    page.get_by_role("button", name="YAML", exact=True).click()
    expect(text).to_contain_text("# the end")
    assert not accessible(page)
    changed = IN_YAML.replace("next_node: finish}", "next_node: finsh}")
    text.fill(changed)
    expect(page.locator(".diag.fault")).to_contain_text("finsh")
    text.fill(IN_YAML.replace("class: StartNode", "class: StartNode, when: '{{ true }}'"))
    page.get_by_role("button", name="Save as version 2").click()
    expect(page.locator(".toast")).to_contain_text("Saved as version 2")
    with dev.client() as client:
        saved = client.get("/workflows/in%20yaml").json()
    assert (saved["version"], saved["syntax"]) == (2, "yaml")
    assert "# the end" in saved["text"]
