"""Calling a server: against a small real one, since sockets are what can go wrong here."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orchestrator.cli.address import server_keeps
from orchestrator.cli.backends import OfServer, Told
from orchestrator.cli.client import Answered, Client, Unreachable
from orchestrator.cli.exits import Exit, Refused, exit_of

STREAM = (
    b": still here\n\n"
    b'id: 1\nevent: journal\ndata: {"seq": 1}\n\n'
    b'event: live\ndata: {"kind":\ndata: "task_started"}\n\n'
)
REST = b'id: 2\nevent: journal\ndata: {"seq": 2}\n\nevent: end\ndata: {"status": "succeeded"}\n\n'


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and keeps what it was asked."""

    asked: list[tuple[str, str, dict[str, str], bytes]]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append((self.command, self.path, headers, body))

    def do_GET(self) -> None:
        self._take()
        match self.path.removeprefix("/api/v1").partition("?")[0]:
            case "/runs/r%2F1/events":
                seen = self.headers["Last-Event-ID"]
                self._answer(200, REST if seen == "1" else STREAM, "text/event-stream")
            case "/runs/locked":
                self._answer(
                    401, json.dumps({"code": "key_needed", "detail": "this server needs its key"}).encode()
                )
            case "/page":
                self._answer(200, b"<html>")
            case _:
                self._answer(502, b"<html>")

    def do_POST(self) -> None:
        self._take()
        errors = [{"pointer": "/input/a", "code": "x", "message": "no", "suggestion": None}]
        self._answer(422, json.dumps({"code": "invalid_input", "detail": "wrong", "errors": errors}).encode())


@pytest.fixture
def asked() -> list[tuple[str, str, dict[str, str], bytes]]:
    return []


@pytest.fixture
def server(asked: list[tuple[str, str, dict[str, str], bytes]]) -> Iterator[str]:
    handler = type("Bound", (Handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_a_stream_that_breaks_is_taken_up_where_it_broke(
    server: str, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.backends.RECONNECT_SECONDS", 0)
    told = list(OfServer(Client(server)).follow("r/1", after=0))
    assert told == [
        Told("journal", {"seq": 1}),
        Told("live", {"kind": "task_started"}),
        Told("journal", {"seq": 2}),
        Told("end", {"status": "succeeded"}),
    ]
    assert [headers["last-event-id"] for _, _, headers, _ in asked] == ["0", "1"]


def test_a_refusal_carries_the_servers_words_and_faults(server: str, asked: list[Any]) -> None:
    with pytest.raises(Answered, match="wrong") as refused:
        Client(server, key="k").post("/x", {"input": 1}, headers={"Idempotency-Key": "i"})
    assert refused.value.faults[0].pointer == "/input/a"
    assert exit_of(refused.value) is Exit.USAGE
    ((_, _, headers, body),) = asked
    assert headers["authorization"] == "Bearer k"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == "i"
    assert json.loads(body) == {"input": 1}


def test_a_missing_key_names_the_variable(server: str) -> None:
    with pytest.raises(Answered) as refused:
        OfServer(Client(server)).get("locked")
    assert exit_of(refused.value) is Exit.CONFIG
    assert "ORCHESTRATOR_API_KEY" in (refused.value.cure or "")


def test_what_is_no_server_of_ours_is_said_so(server: str) -> None:
    with pytest.raises(Unreachable, match="no server of ours"):
        Client(server).get("/page")
    with pytest.raises(Answered, match="502"):
        Client(server).get("/gateway")


def test_a_server_that_is_not_there_names_the_cure() -> None:
    with pytest.raises(Unreachable, match="nobody listens there") as refused:
        OfServer(Client("http://127.0.0.1:9")).list(query={})
    assert "orchestrator dev" in (refused.value.cure or "")
    with pytest.raises(Unreachable):
        next(iter(OfServer(Client("http://127.0.0.1:9")).follow("r", after=0)))


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="http://host:port"):
        Client("ftp://x")
    assert Client("localhost:9000").url == "http://localhost:9000"


def test_only_the_same_store_and_namespace_are_ours() -> None:
    ours = {"store": "sqlite:////a.db", "namespace": "default"}
    assert server_keeps(ours, store="sqlite:////a.db", namespace="default")
    assert not server_keeps(ours, store="sqlite:////b.db", namespace="default")
    assert not server_keeps(ours, store="sqlite:////a.db", namespace="other")
    assert not server_keeps("html", store="sqlite:////a.db", namespace="default")
