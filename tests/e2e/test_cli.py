"""The command line as a person uses it: real processes, real signals, real exit codes."""

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.programs import Terminal, ended, eventually, free_port, read, start_run

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
SIGNAL = (
    '{"name": "Asks", "start_at": "ask", "nodes": {"ask": {"class": "Wait", "params": {"signal": "go"}}}}'
)
STORE = "sqlite:///.orchestrator/store.db"

NODES = """\
import asyncio
import os
import re
import time

from orchestrator import Effect, node


def note(word):
    with open("ledger.txt", "a") as ledger:
        ledger.write(word + "\\n")
        ledger.flush()
        os.fsync(ledger.fileno())


@node
async def slow(name: str, seconds: float = 0.5) -> str:
    note(name + " began")
    await asyncio.sleep(seconds)
    note(name + " ended")
    return name


@node(effect=Effect.IRREVERSIBLE)
async def launch(seconds: float = 60) -> str:
    note("launch began")
    await asyncio.sleep(seconds)
    return "launched"


@node
def blocks() -> str:
    note("blocks began")
    time.sleep(60)
    return "never"


@node
def flaky() -> str:
    if not os.path.exists("mended"):
        raise ValueError("not mended yet")
    return "mended"
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    (tmp_path / "onboarding.json").write_text(ONBOARDING)
    (tmp_path / "signal.json").write_text(SIGNAL)
    (tmp_path / "nodes.py").write_text(NODES)
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that ended and that nobody has waited for counts as gone.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


# --- run ------------------------------------------------------------------------------------------------------------


def test_run_takes_the_premium_path_and_tells_each_step_and_decision_in_words(terminal: Terminal) -> None:
    code, out, err = terminal.run("run", "onboarding.json")
    assert code == 0
    output = json.loads(out)
    assert (output["to"], output["user_type"]) == ("ada@example.com", "premium")
    assert 'step_route_user chose step_escalate, because user.type is "premium" (rule; allowed: ' in err
    for step in ("step_start", "step_get_user", "step_escalate", "step_send_email", "step_end"):
        assert f"{step} completed in" in err
    assert "step_standard_process completed" not in err
    assert "Succeeded after" in err
    assert "\x1b" not in err, "no colours where it isn't a terminal"


def test_run_takes_the_standard_path_and_answers_with_the_run_as_json(terminal: Terminal) -> None:
    run = terminal.json(
        "run", "onboarding.json", "--input", '{"user_type": "standard"}', "--label", "team=growth"
    )
    assert (run["status"], run["output"]["to"]) == ("succeeded", "sam@example.com")
    assert (run["input"], run["labels"]) == ({"user_type": "standard"}, {"team": "growth"})
    assert run["tasks"]["completed"] == 6


def test_input_comes_from_a_file_and_the_document_from_stdin(terminal: Terminal) -> None:
    (terminal.folder / "input.json").write_text('{"user_type": "standard"}')
    run = terminal.json("run", "onboarding.json", "-q", "--input", "@input.json")
    assert run["output"]["user_type"] == "standard"
    code, _, err = terminal.run("run", "-")
    assert code == 1, "an empty document has faults"
    assert "the workflow can't be taken" in err


def test_a_run_that_fails_ends_with_1_and_names_the_place(terminal: Terminal) -> None:
    code, out, err = terminal.run("run", "onboarding.json", "--input", '{"user_type": "gold"}', "--json")
    assert code == 1
    run = json.loads(out)
    assert (run["status"], run["error"]["path"]) == ("failed", "step_get_user")
    assert "user_type is 'gold'" in err


def test_ctrl_c_cancels_the_run_and_says_so(terminal: Terminal) -> None:
    program = terminal.begin("run", "signal.json")
    program.until("ask waits for signal `go`")
    program.interrupt()
    assert program.wait() == 3
    assert "Ctrl-C: the run is being cancelled" in program.err
    assert "Cancelled after" in program.err
    assert "Traceback" not in program.err


def test_ctrl_c_ends_a_run_whose_node_blocks_its_thread(terminal: Terminal) -> None:
    (terminal.folder / "b.json").write_text(
        '{"name": "B", "start_at": "b", "nodes": {"b": {"class": "blocks"}}}'
    )
    program = terminal.begin("run", "b.json", "--nodes", "nodes.py")
    eventually(lambda: (terminal.folder / "ledger.txt").exists(), "the node's begin")
    program.interrupt(signal.SIGTERM)
    assert program.wait() == 3
    assert "SIGTERM: the run is being cancelled" in program.err


def test_a_kept_run_is_found_in_its_store_without_a_server(terminal: Terminal) -> None:
    code, _, err = terminal.run("run", "onboarding.json", "--keep")
    assert code == 0, err
    page = terminal.json("runs", "list", "--store", STORE)
    assert [run["workflow"] for run in page["items"]] == ["Agentic User Onboarding"]
    assert page["next"] is None
    run_id = page["items"][0]["id"]
    shown = terminal.json("runs", "show", run_id, "--store", STORE)
    assert shown["run"]["status"] == "succeeded"
    assert [task["path"] for task in shown["tasks"]][-1] == "step_end"
    assert shown["explain"]["wakers"] == []
    code, out, _ = terminal.run("runs", "tail", run_id, "--store", STORE)
    assert code == 0
    assert "step_route_user chose step_escalate" in out
    assert out.rstrip().endswith("the run succeeded")
    assert terminal.run("runs", "cancel", run_id, "--store", STORE)[0] == 5


def test_without_keep_nothing_of_the_run_stays(terminal: Terminal) -> None:
    assert terminal.run("run", "onboarding.json", "-q")[0] == 0
    assert not (terminal.folder / ".orchestrator" / "store.db").exists()


# --- exit codes and errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, "orchestrator 0."),
        (["frobnicate"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["run", "onboarding.json", "--input", "{x"], 2, "--input: not JSON"),
        (["run", "onboarding.json", "--label", "team"], 2, "write it as key=value"),
        (["run", "none.json"], 4, "there is no file none.json"),
        (["run", "onboarding.json", "--nodes", "none.py"], 2, "none.py"),
        (["run", "onboarding.json", "--store", "mongodb://localhost"], 2, "names no store"),
        (["run", "onboarding.json", "--store", "redis://127.0.0.1:1"], 6, "can't be reached"),
        (["run", "onboarding.json", "--store", "sqlite:////proc/none/store.db"], 6, "/proc/none"),
        (["validate", "signal.json"], 0, "signal.json: good (1 nodes)"),
        (["validate", "nodes.py"], 1, "nodes.py: 1 fault"),
        (["nodes", "Wayt"], 4, "no node class 'Wayt'"),
        (["runs", "list", "--server", "http://127.0.0.1:9"], 7, "orchestrator dev"),
        (["runs", "list", "--store", "sqlite:///none.db"], 6, "there is no store at sqlite:///none.db"),
        (["runs", "list", "--server", "http://x", "--store", STORE], 2, "give one of them"),
        (["dev", "--host", "0.0.0.0"], 78, "ORCHESTRATOR_API_KEY"),
        (["serve", "--host", "0.0.0.0"], 78, "ORCHESTRATOR_API_KEY"),
        (["dev", "--config", "none.toml"], 78, "there is no settings file none.toml"),
        (["worker", "--log-level", "loud"], 78, "log_level"),
    ],
)
def test_how_it_ends_and_what_it_says(terminal: Terminal, arguments: list[str], code: int, said: str) -> None:
    ended_with, out, err = terminal.run(*arguments)
    assert ended_with == code, out + err
    assert said in out + err
    assert "Traceback" not in err


def test_errors_as_json_carry_code_and_exit(terminal: Terminal) -> None:
    code, out, err = terminal.run("runs", "list", "--server", "http://127.0.0.1:9", "--json")
    assert (code, out) == (7, "")
    error = json.loads(err)["error"]
    assert (error["code"], error["exit"]) == ("unreachable", 7)
    assert "orchestrator dev" in error["cure"]


def test_validate_lists_every_fault_with_its_place_and_the_nearest_right_thing(terminal: Terminal) -> None:
    (terminal.folder / "bad.json").write_text(
        '{"name": "x", "start_at": "a", "nodes": '
        '{"a": {"class": "StrtNode", "next_node": "bb"}, "b": {"class": "End"}}}'
    )
    code, out, _ = terminal.run("validate", "bad.json", "onboarding.json")
    assert code == 1
    assert "/nodes/a/class: no node class `StrtNode`; did you mean `StartNode`?" in out
    assert "/nodes/a/next_node: no node `bb`; did you mean `b`?" in out
    assert "onboarding.json: good (7 nodes)" in out
    code, out, _ = terminal.run("validate", "bad.json", "--json")
    report = json.loads(out)
    assert (code, report["valid"], report["files"][0]["file"]) == (1, False, "bad.json")
    assert {"/nodes/a/class", "/nodes/a/next_node"} <= {f["pointer"] for f in report["files"][0]["faults"]}


def test_a_document_may_be_yaml_and_its_faults_name_lines(terminal: Terminal) -> None:
    text = "name: y\nstart_at: a\nnodes:\n  a:\n    class: Set\n    params: {values: {on: yes}}\n"
    (terminal.folder / "good.yaml").write_text(text)
    (terminal.folder / "bad.yml").write_text(text.replace("Set", "Sett"))
    code, out, _ = terminal.run("validate", "good.yaml", "bad.yml")
    assert code == 1
    assert "good.yaml: good (1 nodes)" in out
    assert "/nodes/a/class (line 5, column 5): no node class `Sett`" in out
    assert terminal.json("run", "good.yaml", "--quiet")["output"] == {"on": "yes"}


def test_an_export_of_n8n_becomes_a_document_and_what_is_not_mapped_is_listed(terminal: Terminal) -> None:
    nodes: list[dict[str, Any]] = [
        {"name": "Begin", "type": "n8n-nodes-base.manualTrigger", "typeVersion": 1, "parameters": {}},
        {"name": "Pass", "type": "n8n-nodes-base.noOp", "typeVersion": 1, "parameters": {}},
    ]
    ways = {"Begin": {"main": [[{"node": "Pass", "type": "main", "index": 0}]]}}
    (terminal.folder / "good.json").write_text(json.dumps({"name": "g", "nodes": nodes, "connections": ways}))
    code, _, said = terminal.run("import", "good.json", "--output", "made.json")
    assert (code, "it can be saved as it is" in said) == (0, True)
    assert terminal.json("run", "made.json", "--quiet", "--input", "[1]")["output"] == [1]
    nodes[1]["type"] = "n8n-nodes-base.httpRequest"
    (terminal.folder / "bad.json").write_text(json.dumps({"name": "b", "nodes": nodes, "connections": ways}))
    code, out, said = terminal.run("import", "bad.json")
    assert code == 1
    assert json.loads(out)["nodes"]["Pass"]["class"] == "n8n.httpRequest"
    assert "no class: Pass (`Pass`): there is no class for `httpRequest`" in said
    code, out, _ = terminal.run("import", "bad.json", "--json")
    report = json.loads(out)
    assert (code, report["valid"], report["findings"][0]["kind"]) == (1, False, "class")


def test_nodes_lists_the_library_and_what_was_named(terminal: Terminal) -> None:
    names = [one["name"] for one in terminal.json("nodes", "--nodes", "nodes.py")["items"]]
    assert {"StartNode", "RouteUserByTypeNode", "slow"} <= set(names)
    assert terminal.json("nodes", "Wait")["name"] == "WaitNode"


# --- dev ------------------------------------------------------------------------------------------------------------


def test_dev_shows_the_examples_runs_them_and_is_named_when_started_again(terminal: Terminal) -> None:
    port = free_port()
    dev = terminal.begin("dev", "--port", str(port))
    url = dev.address()
    assert url == f"http://127.0.0.1:{port}"
    names = [one["name"] for one in read(url, "/workflows")["items"]]
    assert "Agentic User Onboarding" in names

    run_id = start_run(url, "Agentic User Onboarding", {"user_type": "standard"})
    assert ended(url, run_id)["output"]["user_type"] == "standard"
    dev.until("step_route_user chose step_standard_process, because")

    code, out, _ = terminal.run("dev", "--port", str(port))
    assert code == 0
    assert f"It runs already, with this store: {url}" in out
    assert terminal.json("dev", "--port", str(port))["already_running"] is True

    dev.interrupt()
    assert dev.wait() == 0
    assert "Traceback" not in dev.err
    with pytest.raises(ProcessLookupError):
        os.killpg(dev.process.pid, 0)


def test_dev_takes_the_next_free_port_and_says_so(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = int(stranger.getsockname()[1])
        dev = terminal.begin("dev", "--port", str(port), "--no-examples")
        url = dev.address()
    # One port or, where another program has the next one too, several.
    assert re.search(rf"port {port} is taken|ports {port} to \d+ are taken", dev.err), dev.err
    assert int(url.rpartition(":")[2]) > port
    assert read(url, "/workflows")["items"] == []


def test_killed_in_the_middle_dev_goes_on_where_it_was(terminal: Terminal) -> None:
    chain = {
        f"s{n}": {"class": "slow", "params": {"name": f"s{n}"}, "next_node": f"s{n + 1}"} for n in range(4)
    }
    document = {"name": "Chain", "start_at": "s0", "nodes": {**chain, "s4": {"class": "End"}}}
    ledger = terminal.folder / "ledger.txt"
    port = str(free_port())
    dev = terminal.begin("dev", "--port", port, "--nodes", "nodes.py")
    url = dev.address()
    run_id = _save_and_start(url, document)
    eventually(lambda: ledger.exists() and "s1 began" in ledger.read_text(), "the second step's begin")
    dev.process.kill()
    dev.wait()
    assert "s2" not in ledger.read_text()

    again = terminal.begin("dev", "--port", port, "--nodes", "nodes.py")
    assert again.address() == url
    assert ended(url, run_id)["status"] == "succeeded"
    events = read(url, f"/runs/{run_id}/journal?limit=1000")["items"]
    completed = [event["path"] for event in events if event["kind"] == "task_completed"]
    assert completed == ["s0", "s1", "s2", "s3", "s4"]
    told = ledger.read_text().splitlines()
    assert told.count("s0 began") == 1, "what was recorded is not done again"
    assert told.count("s1 ended") == 1


def test_a_second_ctrl_c_ends_dev_at_once(terminal: Terminal) -> None:
    dev = terminal.begin("dev", "--port", "0", "--nodes", "nodes.py")
    url = dev.address()
    run_id = _save_and_start(
        url,
        {
            "name": "Long",
            "start_at": "s",
            "nodes": {"s": {"class": "slow", "params": {"name": "s", "seconds": 50}}},
        },
    )
    eventually(lambda: (terminal.folder / "ledger.txt").exists(), "the task's begin")
    dev.interrupt()
    dev.until("a second Ctrl-C ends at once")
    assert dev.process.poll() is None, "it waits for what runs"
    dev.interrupt()
    assert dev.process.wait(timeout=5) == 0
    shown = terminal.json("runs", "show", run_id, "--store", STORE)
    assert shown["run"]["status"] in ("running", "queued"), "nothing is lost"


def test_a_changed_node_file_is_loaded_again(terminal: Terminal) -> None:
    source = terminal.folder / "mine.py"
    text = "from orchestrator import node\n\n\n@node\ndef greet() -> str:\n    return 'hello'\n"
    source.write_text(text)
    dev = terminal.begin("dev", "--port", "0", "--nodes", "mine.py")
    url = dev.address()
    document = {"name": "Greets", "start_at": "g", "nodes": {"g": {"class": "greet"}}}
    assert ended(url, _save_and_start(url, document))["output"] == "hello"
    source.write_text(text.replace("hello", "good evening"))
    dev.until("reloaded greet")
    assert ended(url, start_run(url, "Greets"))["output"] == "good evening"


def _save_and_start(url: str, document: object) -> str:
    answer = httpx2.post(f"{url}/api/v1/workflows", json=document)
    assert answer.status_code == 201, answer.text
    return start_run(url, answer.json()["name"])


# --- runs, on a server ----------------------------------------------------------------------------------------------


def test_runs_are_paused_signalled_forked_retried_and_resolved_on_a_server(terminal: Terminal) -> None:
    dev = terminal.begin("dev", "--port", "0", "--nodes", "nodes.py", "--log-format", "json")
    url = dev.address()

    def runs(*arguments: str) -> Any:
        return terminal.json("runs", *arguments, "--server", url)

    asks = _save_and_start(url, json.loads(SIGNAL))
    tail = terminal.begin("runs", "tail", asks, "--server", url)
    tail.until("ask waits for signal `go`")
    code, out, _ = terminal.run("runs", "list", "--status", "waiting", ORCHESTRATOR_SERVER=url)
    assert code == 0
    assert asks in out
    assert "signal `go`" in out
    paused = runs("pause", asks, "--reason", "tea")
    assert paused["status"] == "paused"
    resumed = runs("resume", asks)
    assert resumed["status"] == "waiting"
    taken = runs("signal", asks, "go", "--payload", '{"answer": 42}', "--key", "k1")
    assert (taken["run"], taken["name"]) == (asks, "go")
    assert ended(url, asks)["output"] == {"answer": 42}
    assert tail.wait() == 0
    assert "paused by" in tail.out
    assert tail.out.rstrip().endswith("the run succeeded")
    assert terminal.run("runs", "signal", asks, "go", "--server", url)[0] == 5
    assert terminal.run("runs", "show", "run_none", "--server", url)[0] == 4

    fork = runs("fork", asks, "--seq", "2", "--input", '{"again": true}')
    assert (fork["forked_from"], fork["input"]) == ({"run": asks, "seq": 2}, {"again": True})
    runs("cancel", fork["id"], "--reason", "enough")
    assert ended(url, fork["id"])["status"] == "cancelled"

    flaky = _save_and_start(
        url, {"name": "F", "start_at": "f", "nodes": {"f": {"class": "flaky", "retry": {"max_attempts": 1}}}}
    )
    assert ended(url, flaky)["status"] == "failed"
    (terminal.folder / "mended").touch()
    runs("retry", flaky)
    assert eventually(lambda: read(url, f"/runs/{flaky}")["output"], "the retry") == "mended"
    lines = [json.loads(line) for line in dev.err.splitlines()]
    assert any(line["run"] == flaky and "retries the run" in line["event"] for line in lines if "run" in line)


def test_a_task_in_doubt_is_resolved_from_the_command_line(terminal: Terminal) -> None:
    port = str(free_port())
    dev = terminal.begin("dev", "--port", port, "--nodes", "nodes.py")
    url = dev.address()
    run_id = _save_and_start(url, {"name": "R", "start_at": "r", "nodes": {"r": {"class": "launch"}}})
    eventually(lambda: (terminal.folder / "ledger.txt").exists(), "the launch")
    dev.process.kill()
    dev.wait()
    terminal.begin("dev", "--port", port, "--nodes", "nodes.py").address()
    eventually(lambda: read(url, f"/runs/{run_id}")["tasks"]["in_doubt"] == 1, "the doubt")
    assert terminal.run("runs", "resolve", run_id, "r", "perhaps", "--server", url)[0] == 2
    resolved = terminal.json("runs", "resolve", run_id, "r", "done", "--output", '"it flew"', "--server", url)
    assert resolved["id"] == run_id
    assert ended(url, run_id)["output"] == "it flew"
    assert (terminal.folder / "ledger.txt").read_text() == "launch began\n", "never a second time"


# --- serve and worker -----------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in found.read_text().split()] if found.exists() else []


def test_serve_starts_a_dead_worker_again_and_a_killed_serve_leaves_none(terminal: Terminal) -> None:
    serve = terminal.begin("serve", "--port", str(free_port()), "--nodes", "nodes.py")
    url = serve.address()
    serve.until("takes tasks from")
    (first,) = children(serve.process.pid)
    run_id = _save_and_start(
        url,
        {
            "name": "Two",
            "start_at": "a",
            "nodes": {
                "a": {"class": "slow", "params": {"name": "a", "seconds": 1}, "next_node": "b"},
                "b": {"class": "slow", "params": {"name": "b", "seconds": 0}},
            },
        },
    )
    ledger = terminal.folder / "ledger.txt"
    eventually(lambda: ledger.exists() and "a began" in ledger.read_text(), "the first step's begin")
    os.kill(first, signal.SIGKILL)
    assert ended(url, run_id)["status"] == "succeeded"
    serve.until("worker 1 was killed by signal 9")
    assert "it is started again in 0.5 s" in serve.err
    (second,) = children(serve.process.pid)
    assert second != first

    serve.process.kill()
    eventually(lambda: not alive(second), "the worker's end")


def test_serve_ends_its_workers_in_order(terminal: Terminal) -> None:
    serve = terminal.begin("serve", "--port", "0", "--workers", "2")
    serve.address()
    eventually(lambda: serve.err.count("takes tasks from") == 2, "both workers")
    workers = children(serve.process.pid)
    assert len(workers) == 2
    serve.interrupt(signal.SIGTERM)
    assert serve.wait() == 0
    assert not any(alive(pid) for pid in workers)
    assert serve.err.count("the worker has ended; nothing was lost") == 2
    assert "Traceback" not in serve.err


def test_serve_takes_the_port_that_it_was_given_or_none(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        code, _, err = terminal.run("serve", "--port", str(stranger.getsockname()[1]))
    assert code == 1
    assert "somebody listens there already" in err
    assert "--port" in err


def test_a_worker_of_its_own_does_the_work_of_a_server_without_one(terminal: Terminal) -> None:
    serve = terminal.begin("serve", "--port", "0", "--workers", "0")
    url = serve.address()
    run_id = _save_and_start(url, json.loads(ONBOARDING))
    worker = terminal.begin("worker", "--store", STORE, "--json")
    told = json.loads(eventually(lambda: worker.out, "the worker's name"))
    assert set(told) == {"worker", "pid", "store", "queues"}
    assert ended(url, run_id)["status"] == "succeeded"
    worker.interrupt(signal.SIGTERM)
    assert worker.wait() == 0
