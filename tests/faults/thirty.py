"""A run of thirty nodes with everything in it that waits, and the driver that kills its server in the middle.

Everything the driver asks of the server it repeats until it is answered, with an idempotency key, as a careful client
does. A task in doubt it resolves as a careful person does: with a look into the ledger.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.faults.processes import TERMINAL, Server, journal, save, wait_until

NAME = "thirty"
CHILD: dict[str, Any] = {
    "name": "thirty-child",
    "start_at": "work",
    "nodes": {
        "work": {"class": "LedgerNode", "params": {"value": "{{ input.n * 2 }}"}, "next_node": "end"},
        "end": {"class": "EndNode"},
    },
}


def _node(node_class: str, following: Any = None, **params: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"class": node_class}
    if params:
        node["params"] = params
    if following is not None:
        node["next_node"] = following
    return node


RETRY = {"max_attempts": 4, "initial": "60ms", "multiplier": 2, "jitter": 0.2}

DOCUMENT: dict[str, Any] = {
    "name": NAME,
    "vars": {"round": 0},
    "start_at": "start",
    "output": {
        "sum": "{{ nodes.sum }}",
        "paid": "{{ nodes.pay.value }}",
        "steps": "{{ nodes.steps.value }}",
        "paid_in_step": "{{ nodes.pay_in_step.value }}",
        "signal": "{{ nodes.signal }}",
        "rounds": "{{ nodes.round }}",
        "child": "{{ nodes.child.value }}",
        "last": "{{ nodes.last }}",
    },
    "nodes": {
        "start": _node("StartNode", "first"),
        "first": _node("LedgerNode", "count", value="{{ input.n }}"),
        "count": _node(
            "SetNode", ["sleep_a", "plain_b", "pay", "child"], values={"n": "{{ previous.value + 1 }}"}
        ),
        # Timers, steps, retries.
        "sleep_a": _node("WaitNode", "steps", **{"for": "150ms"}),
        "steps": _node("StepsNode", "flaky", seconds=0.08),
        "flaky": {**_node("FlakyNode", "pure_a", fails=2, value="{{ nodes.count.n }}"), "retry": RETRY},
        "pure_a": _node("SetNode", "pure_b", values={"a": "{{ previous.value * 10 }}"}),
        "pure_b": _node("SetNode", "join", values={"a": "{{ previous.a + 1 }}"}),
        # A thread, a signal, a choice.
        "plain_b": _node("ThreadNode", "signal", value="b"),
        "signal": _node("WaitNode", "heard", signal="go"),
        "heard": _node("LedgerNode", "which", value="{{ previous.word }}"),
        "which": _node("IfNode", {"true": "yes", "false": "no"}, condition="{{ previous.value == 'now' }}"),
        "yes": _node("LedgerNode", "join", value="yes"),
        "no": _node("LedgerNode", "join", value="no"),
        # What must not happen twice, and a loop of three rounds with a timer.
        "pay": _node("PayNode", "round", seconds=0.05, value="{{ nodes.count.n * 3 }}"),
        "round": _node(
            "SetNode",
            "again",
            values={"round": "{{ vars.round + 1 }}"},
            variables={"round": "{{ vars.round + 1 }}"},
        ),
        "again": _node("IfNode", {"true": "breathe", "false": "later"}, condition="{{ previous.round < 3 }}"),
        "breathe": _node("WaitNode", "in_round", **{"for": "50ms"}),
        "in_round": _node("LedgerNode", "round", value="{{ vars.round }}"),
        "later": {**_node("FlakyNode", "join", fails=2, later=True, value="later"), "retry": RETRY},
        # Another run.
        "child": _node(
            "SubWorkflowNode", "after_child", workflow="thirty-child", input={"n": "{{ previous.n }}"}
        ),
        "after_child": _node("ThreadNode", "join", value="{{ previous.value }}"),
        # Together again.
        "join": _node(
            "SetNode",
            "nap",
            values={"keys": "{{ previous | length }}", "total": "{{ nodes.pure_b.a + nodes.pay.value }}"},
        ),
        "nap": _node("WaitNode", "pay_in_step", **{"for": "80ms"}),
        "pay_in_step": _node("PayInStepNode", "failing", seconds=0.09),
        "failing": {
            **_node("FlakyNode", "never", fails=9, seconds=0.01),
            "retry": {**RETRY, "max_attempts": 2, "initial": "30ms"},
            "on_error": "mended",
        },
        "never": _node("EndNode"),
        "mended": _node("LedgerNode", "sum", value="{{ previous.error.type }}"),
        "sum": _node(
            "SetNode", "last", values={"total": "{{ nodes.join.total }}", "keys": "{{ nodes.join.keys }}"}
        ),
        "last": _node("EndNode"),
    },
}
assert len(DOCUMENT["nodes"]) == 30

OUTPUT: dict[str, Any] = {
    "sum": {"total": 105, "keys": 4},
    "paid": 24,
    "steps": ["first", "second"],
    "paid_in_step": ["reserve", "pay", "ship"],
    "signal": {"word": "now"},
    "rounds": {"round": 3},
    "child": 16,
    "last": {"total": 105, "keys": 4},
}
"""What comes of `{"n": 7}` and the signal `{"word": "now"}`, whatever happens on the way."""

PATHS_ONCE = {
    *(set(DOCUMENT["nodes"]) - {"no", "never", "failing"}),
    *("round@2", "round@3", "again@2", "again@3", "breathe@2", "in_round@2"),
}
"""The tasks that must be recorded as completed, each once."""


@dataclass
class Story:
    """What became of one run."""

    seed: int
    kills: int = 0
    doubts: int = 0
    killed_after: float = 0.0
    restart_seconds: float = 0.0
    gap_seconds: float | None = None
    waited_only: bool = False
    run: dict[str, Any] = field(default_factory=dict[str, Any])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Driver:
    """Drives one run to its end while `kill` happens at a moment of the seed's choice."""

    def __init__(
        self,
        server: Server,
        seed: int,
        *,
        kill: Callable[[], None] | None,
        restart: Callable[[], float],
        within_seconds: float,
        server_stays: bool = False,
    ) -> None:
        self.server = server
        self.story = Story(seed)
        self._random = random.Random(seed)
        self._kill = kill
        self._restart = restart
        self._client = server.client()
        self._killed_at = 0.0
        self._ready_at = 0.0
        self._key = f"seed-{seed}"
        self._within = within_seconds
        self._stays = server_stays
        self._killer: threading.Thread | None = None

    def tell(self) -> Story:
        """Start the run, see it through, and tell of it."""
        story, draw = self.story, self._random
        # A quarter of the kills falls into the moment of the start itself.
        story.killed_after = draw.uniform(0, 0.04 if draw.random() < 0.25 else self._within)
        signal_after = draw.uniform(0, self._within)
        if self._kill is not None:
            self._killer = threading.Thread(target=self._kill_later, name="killer")
            self._killer.start()
        began = time.monotonic()
        run = self._ask("POST", f"/workflows/{NAME}/runs", {"input": {"n": 7}}, key=self._key).json()["id"]
        signalled = False
        deadline = time.monotonic() + 40
        while True:
            if not signalled and time.monotonic() - began >= signal_after:
                self._ask(
                    "POST", f"/runs/{run}/signals/go", {"payload": {"word": "now"}}, key=f"{self._key}-go"
                )
                signalled = True
            found = self._ask("GET", f"/runs/{run}").json()
            if found["status"] in TERMINAL:
                break
            if found["tasks"]["in_doubt"]:
                self._resolve(run)
            assert time.monotonic() < deadline, (
                f"seed {story.seed}: the run hangs: {found}\n{self.server.log[-6000:]}"
            )
            time.sleep(0.03)
        if self._killer is not None:
            self._killer.join()
            if story.kills and not self._ready_at:  # it died after the last word
                self._ready_at = self._restart()
        story.run = self._ask("GET", f"/runs/{run}").json()
        story.events = journal(self._client, run)
        if story.kills:
            self._measure(run)
        self._client.close()
        return story

    def _kill_later(self) -> None:
        assert self._kill is not None
        time.sleep(self.story.killed_after)
        self._killed_at = time.time()
        if self._stays:
            self._ready_at = self._killed_at
        self._kill()
        self.story.kills += 1

    def _ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> httpx2.Response:
        """An answer, whatever it takes: repeated as it is while the server is away."""
        headers = {"Idempotency-Key": key} if key else {}
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            try:
                answer = self._client.request(method, path, json=body, headers=headers)
            except httpx2.TransportError:
                self._bring_back()
                continue
            if answer.status_code == 503:
                time.sleep(0.05)
                continue
            assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
            return answer
        raise AssertionError(f"no answer to {method} {path}\n{self.server.log[-6000:]}")

    def _bring_back(self) -> None:
        if self._killer is None:
            raise AssertionError(f"the server is gone, and nobody killed it:\n{self.server.log[-6000:]}")
        self._killer.join()
        if not self._ready_at:
            self._ready_at = self._restart()

    def _resolve(self, run: str) -> None:
        """In doubt: look into the ledger; if it was paid, say so, else try again."""
        for task in self._ask("GET", f"/runs/{run}/tasks").json()["items"]:
            if task["status"] != "in_doubt":
                continue
            self.story.doubts += 1
            paid = [
                line
                for line in ledger(self.server)
                if line["run"] == run and line["path"] == task["path"] and line["kind"] == "irreversible"
            ]
            body: dict[str, Any] = {"action": "retry", "message": "nothing happened"}
            if paid:
                # Of a step in doubt the output is the step's, and the task goes on behind it.
                output = "pay" if task["path"] == "pay_in_step" else {"path": task["path"], "value": 24}
                body = {"action": "done", "output": output, "message": "the ledger has it"}
            try:
                answer = self._client.post(f"/runs/{run}/tasks/{task['path']}/resolve", json=body)
            except httpx2.TransportError:
                self._bring_back()
                continue
            # A repeat of what was done before the kill finds the task resolved.
            assert answer.status_code in (200, 409, 503), answer.text

    def _measure(self, run: str) -> None:
        """From readiness (or from when something was due, if that was later) to the first new event."""
        story = self.story
        new = [event for event in story.events if seconds_of(event["at"]) > self._killed_at]
        old = [event for event in story.events if seconds_of(event["at"]) <= self._killed_at]
        story.restart_seconds = self._ready_at - self._killed_at
        if not new or not old:
            return
        state = self._ask("GET", f"/runs/{run}/state?seq={old[-1]['seq']}").json()
        due = due_at(state)
        if due is None:
            story.waited_only = True
            return
        story.gap_seconds = seconds_of(new[0]["at"]) - max(due, self._ready_at)


def due_at(state: dict[str, Any]) -> float | None:
    """When the engine has something to do by itself: 0 for at once, None if only others can move the run."""
    moments: list[float] = []
    for task in state["open"]:
        if task["status"] == "ready":
            moments.append(seconds_of(task["not_before"]) if task["not_before"] else 0.0)
        for wait in task["waits"]:
            if wait["at"] is not None:
                moments.append(seconds_of(wait["at"]))
    return min(moments, default=None)


def seconds_of(at: str) -> float:
    """A time of the API as seconds since the epoch."""
    from datetime import datetime

    return datetime.fromisoformat(at).timestamp()


def ledger(server: Server) -> list[dict[str, Any]]:
    """What was done to the world."""
    if not server.ledger.exists():
        return []
    return [json.loads(line) for line in server.ledger.read_text().splitlines()]


def prepare(server: Server) -> None:
    """Save the workflows."""
    with server.client() as client:
        save(client, CHILD)
        save(client, DOCUMENT)


def check(story: Story, server: Server, *, executions_max: int) -> None:
    """It ended as it would have, each task recorded once, the world changed as was promised."""
    why = f"seed {story.seed}, killed after {story.killed_after:.3f} s"
    events, run = story.events, story.run
    assert run["status"] == "succeeded", f"{why}: {run['error']}"
    assert run["output"] == OUTPUT, why
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), why
    assert [event["kind"] for event in events if event["kind"].startswith("run_")][-1] == "run_succeeded", why
    assert events[-1]["kind"] == "run_succeeded", f"{why}: something follows the end"
    completed = Counter(e["path"] for e in events if e["kind"] == "task_completed")
    done = Counter(e["path"] for e in events if e["kind"] == "task_resolved" and e["action"] == "done")
    assert completed == Counter(PATHS_ONCE), (
        f"{why}: {completed - Counter(PATHS_ONCE)} {PATHS_ONCE - set(completed)}"
    )
    assert set(done) <= {"pay", "pay_in_step"}, why
    assert Counter(e["path"] for e in events if e["kind"] == "task_scheduled").most_common(1)[0][1] == 1, why
    assert sum(e["kind"] == "signal_received" for e in events) == 1, why
    steps = Counter((e["path"], e["step"]) for e in events if e["kind"] == "step_recorded")
    assert all(count == 1 for count in steps.values()), f"{why}: {steps}"
    check_ledger(story, server, executions_max=executions_max)


def check_ledger(story: Story, server: Server, *, executions_max: int) -> None:
    why = f"seed {story.seed}, killed after {story.killed_after:.3f} s"
    keys: dict[tuple[str, str, str], list[str]] = {}
    for line in ledger(server):
        if line["run"] == story.run["id"]:
            keys.setdefault((line["kind"], line["path"], line["step"]), []).append(line["key"])
    for (kind, path, step), used in keys.items():
        assert len(set(used)) == 1, f"{why}: {path} {step} used several idempotency keys: {used}"
        most = 1 if kind == "irreversible" else executions_max
        assert len(used) <= most, f"{why}: {kind} {path} {step} happened {len(used)} times"
    happened = {(path, step) for _, path, step in keys}
    loops = [("in_round", ""), ("in_round@2", "")]
    plain = ["first", "plain_b", "heard", "yes", "pay", "later", "flaky", "after_child", "mended"]
    for wanted in [*((path, "") for path in plain), *loops, ("steps", "first"), ("steps", "second")]:
        assert wanted in happened, f"{why}: {wanted} never happened"
    assert ("pay_in_step", "pay") in happened, f"{why}: it was never paid"
    assert not {path for path, _ in happened} & {"no", "never", "failing"}, why


def wait_for_leases_to_end(server: Server) -> None:
    """Nothing is owned any more: no lease outlives its run."""
    with server.client() as client:
        wait_until(
            lambda: (
                not client.get("/runs", params={"status": ["running", "waiting", "queued"]}).json()["items"]
            ),
            "no run is live",
        )
