"""Event streams over reconnects and kills of the server: no gap, no repeat."""

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.processes import REALTIME, Server, journal, server, start, tell, until_over, wait_until
from tests.faults.thirty import prepare

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 20 if REALTIME else 5


@dataclass
class Follower:
    """A client that follows a stream as a browser does: it comes back with the last id that it saw."""

    server: Server
    path: str
    last: str = ""
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    connections: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    drops: random.Random | None = None

    def follow(self) -> None:
        with httpx2.Client(base_url=f"{self.server.url}/api/v1", timeout=3) as client:
            while not self.stop.is_set() and not self.ended.is_set():
                with contextlib.suppress(httpx2.TransportError):
                    self._connect(client)
                time.sleep(0.02)

    def _connect(self, client: httpx2.Client) -> None:
        headers = {"Last-Event-ID": self.last} if self.last else {}
        with client.stream("GET", self.path, headers=headers) as answer:
            if answer.status_code != 200:
                return
            self.connections += 1
            leave_after = self.drops.randrange(1, 40) if self.drops is not None else 10**9
            for kind, number, data in messages(answer.iter_lines()):
                if kind == "journal":
                    self.events.append(json.loads(data))
                    leave_after -= 1
                if number:
                    self.last = number
                if kind == "end":
                    self.ended.set()
                if leave_after <= 0 or kind == "end" or self.stop.is_set():
                    return


def messages(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """Event, id and data of each message; one that is cut off doesn't count."""
    kind = number = data = ""
    for line in lines:
        name, _, value = line.partition(": ")
        match name:
            case "event":
                kind = value
            case "id":
                number = value
            case "data":
                data = value
            case "":
                if kind:
                    yield kind, number, data
                kind = number = data = ""
            case _:
                pass


def test_streams_have_no_gap_and_no_repeat_over_kills_of_the_server(tmp_path: Path, first_seed: int) -> None:
    draw = random.Random(first_seed)
    with server(tmp_path) as found:
        prepare(found)
        # A stream of all runs begins now, and says at once from where on.
        many = Follower(found, "/events", drops=random.Random(first_seed + 1))
        threads = [threading.Thread(target=many.follow, daemon=True)]
        threads[0].start()
        wait_until(lambda: many.last, "the stream of all runs is open")
        with found.client() as client:
            runs = [start(client, "thirty", input={"n": 7}) for _ in range(3)]
        followers = [Follower(found, f"/runs/{run}/events") for run in runs]
        followers.append(Follower(found, f"/runs/{runs[0]}/events", drops=random.Random(first_seed)))
        for one in followers:
            threads.append(threading.Thread(target=one.follow, daemon=True))
            threads[-1].start()
        for number in range(KILLS):
            time.sleep(draw.uniform(0.05, 0.5))
            found.kill()
            time.sleep(draw.uniform(0, 0.1))
            found.start()
            if number == KILLS // 2:
                with found.client() as client:
                    for run in runs:
                        answer = client.post(f"/runs/{run}/signals/go", json={"payload": {"word": "now"}})
                        assert answer.status_code == 202, answer.text
        with found.client() as client:
            _settle_doubts(client, runs)
            for run in runs:
                assert until_over(client, run)["status"] == "succeeded"
            for one in followers:
                assert one.ended.wait(20), f"{one.path} never heard of the end"
            journals = {run: journal(client, run) for run in runs}
            total = sum(len(events) for events in journals.values())
            wait_until(
                lambda: sum(event["run"] in journals for event in many.events) >= total,
                "the stream of all runs has shown everything",
            )
        many.stop.set()
        for thread in threads:
            thread.join(timeout=10)
        for one in followers:
            run = one.path.split("/")[2]
            assert [e["seq"] for e in one.events] == list(range(1, len(journals[run]) + 1)), one.path
            assert one.events == journals[run], "a stream showed what the journal doesn't have"
        for run in runs:
            seen = [event["seq"] for event in many.events if event["run"] == run]
            assert seen == list(range(1, len(journals[run]) + 1)), f"the stream of all runs, run {run}"
    connections = sum(one.connections for one in (*followers, many))
    tell(f"{KILLS} kills, {connections} connections of 5 streams, {total} events each once, no gap")


def _settle_doubts(client: httpx2.Client, runs: list[str]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        states = [client.get(f"/runs/{run}").json() for run in runs]
        if all(state["status"] == "succeeded" for state in states):
            return
        for state in states:
            if state["tasks"]["in_doubt"]:
                for task in client.get(f"/runs/{state['id']}/tasks").json()["items"]:
                    if task["status"] == "in_doubt":
                        output: Any = "pay" if task["path"] == "pay_in_step" else {"path": "pay", "value": 24}
                        body = {"action": "done", "output": output}
                        client.post(f"/runs/{state['id']}/tasks/{task['path']}/resolve", json=body)
        time.sleep(0.05)
