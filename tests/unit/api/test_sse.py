"""Streams: what the client gets, from where, and that they end when they should."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from orchestrator.api import sse
from orchestrator.api.application import create_app
from orchestrator.config import Settings
from orchestrator.engine.views.feeds import FeedItem
from tests.unit.api.fake import FakeService

EVENTS = "/api/v1/runs/r1/events"


def parse(text: str) -> list[dict[str, str]]:
    """Events by the rules of the HTML standard, comments left out."""
    found: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append({name: value for name, _, value in lines})
    return found


async def test_events_notices_and_the_end_are_told_apart(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.feed = [
        FeedItem(
            event="journal", id="1", data={"seq": 1, "kind": "run_started", "text": "two\nlines \u2028"}
        ),
        FeedItem(event="live", id=None, data={"kind": "task_log"}),
        FeedItem(event="end", id=None, data={"status": "succeeded"}),
    ]
    answer = await client.get(EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert "content-security-policy" in answer.headers
    retry, *events = parse(answer.text)
    assert retry == {"retry": "1000"}
    assert [(e["event"], e.get("id"), json.loads(e["data"])) for e in events] == [
        (item.event, item.id, item.data) for item in service.feed
    ]
    assert service.feeds_closed == 1


@pytest.mark.parametrize(
    ("header", "query", "after"),
    [(None, None, 0), ("7", None, 7), (None, "5", 5), ("7", "5", 7), ("", "5", 5)],
)
async def test_a_client_goes_on_where_it_was(
    header: str | None, query: str | None, after: int, client: httpx2.AsyncClient, service: FakeService
) -> None:
    headers = {} if header is None else {"Last-Event-ID": header}
    params = {} if query is None else {"after": query}
    assert (await client.get(EVENTS, headers=headers, params=params)).status_code == 200
    assert service.calls[-1] == ("follow_run", {"run_id": "r1", "after": after})


@pytest.mark.parametrize("position", ["x", "-1", "1.5", "9" * 17, "\u0661"])
async def test_a_position_that_is_none_is_refused_before_the_stream(
    position: str, client: httpx2.AsyncClient
) -> None:
    answer = await client.get(EVENTS, params={"after": position})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_an_unknown_run_is_an_ordinary_404(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/v1/runs/r9/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class Connection:
    """The server's side of a connection: what was sent, a client that may stop reading or go away."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = asyncio.Event()
        self.something = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        self.sent.append(message)
        self.something.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    def ended(self) -> bool:
        return self.sent[-1].get("more_body") is False

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.something.clear()
            await self.something.wait()


class Source:
    """A feed that yields what the test puts in, and knows whether it was closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[FeedItem | Exception] = asyncio.Queue()
        self.taken = 0
        self.closed = False

    async def items(self) -> AsyncGenerator[FeedItem, None]:
        try:
            while True:
                item = await self.queue.get()
                self.taken += 1
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
async def open_stream(
    source: Source, connection: Connection
) -> AsyncIterator[Callable[..., tuple[asyncio.Task[None], asyncio.Event]]]:
    tasks: list[asyncio.Task[None]] = []

    def start(heartbeat_seconds: float = 60.0) -> tuple[asyncio.Task[None], asyncio.Event]:
        closing = asyncio.Event()
        streams = sse.Streams()
        stream = sse.EventStream(
            source.items(), streams=streams, closing=closing, heartbeat_seconds=heartbeat_seconds
        )
        scope: dict[str, Any] = {"type": "http"}
        tasks.append(asyncio.create_task(stream(scope, connection.receive, connection.send)))
        return tasks[-1], closing

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Open = Callable[..., tuple[asyncio.Task[None], asyncio.Event]]


async def test_a_silent_stream_says_that_it_lives(open_stream: Open, connection: Connection) -> None:
    open_stream(heartbeat_seconds=0.01)
    await connection.until(lambda: connection.text().count(": still here") >= 2)


async def test_a_stream_ends_cleanly_when_the_server_stops(
    open_stream: Open, connection: Connection, source: Source
) -> None:
    task, closing = open_stream()
    source.queue.put_nowait(FeedItem(event="journal", id="1", data={}))
    await connection.until(lambda: "id: 1" in connection.text())
    closing.set()
    await task
    assert connection.ended()
    assert source.closed


async def test_a_client_that_leaves_ends_the_feed(
    open_stream: Open, connection: Connection, source: Source
) -> None:
    task, _ = open_stream()
    await connection.until(lambda: bool(connection.sent))
    connection.gone.set()
    await task
    assert source.closed


async def test_a_client_that_does_not_read_holds_a_bounded_number_of_events_and_is_let_go(
    open_stream: Open, connection: Connection, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SEND_SECONDS_MAX", 0.05)
    for seq in range(10 * sse.FRAMES_WAITING_MAX):
        source.queue.put_nowait(FeedItem(event="journal", id=str(seq), data={}))
    task, _ = open_stream()
    await connection.until(lambda: bool(connection.sent))
    connection.reads.clear()
    await task
    assert source.closed
    assert source.taken <= 3 * sse.FRAMES_WAITING_MAX
    assert not connection.ended()


async def test_a_feed_that_fails_ends_the_stream_after_what_came_before(
    open_stream: Open, connection: Connection, source: Source
) -> None:
    source.queue.put_nowait(FeedItem(event="journal", id="1", data={}))
    source.queue.put_nowait(RuntimeError("the store went away"))
    task, _ = open_stream()
    await task
    assert "id: 1" in connection.text()
    assert "went away" not in connection.text()
    assert connection.ended()


async def test_streams_need_the_key_as_everything_does(service: FakeService) -> None:
    app = create_app(service, Settings.model_validate({"api_key": "k"}))  # pyright: ignore[reportArgumentType]
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get(EVENTS)).status_code == 401
        answer = await client.post("/api/v1/session", json={"key": "k"})
        client.cookies.update(answer.cookies)
        assert (await client.get(EVENTS)).status_code == 200


async def test_there_are_never_more_streams_than_the_limit(service: FakeService) -> None:
    app = create_app(service, Settings())  # pyright: ignore[reportArgumentType]  (the fake)
    app.state.streams = sse.Streams(maximum=1)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        # One that has ended leaves its place to the next.
        for _ in range(3):
            assert (await client.get(EVENTS)).status_code == 200
        app.state.streams.open = 1
        answer = await client.get(EVENTS)
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
