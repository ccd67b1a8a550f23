"""Server-sent events: no gap, no repeat, and nobody waits for a slow client.

A stream is read from the store behind a position, never pushed from the engine, so a client that doesn't read holds up
only its own stream: when its connection takes nothing for a while it is closed, and the client comes back with the last
id that it saw. Events that are ready together travel together.

FastAPI has a stream of its own. This one adds what it lacks: an end when the server stops, a limit to how long one send
may take, and errors before the first byte as ordinary problems.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.answers import encode
from orchestrator.api.problems import Refusal
from orchestrator.engine.views.feeds import FeedItem

log = logging.getLogger("orchestrator.api")

RETRY_MS = 1000
SEND_SECONDS_MAX = 20.0
FRAMES_WAITING_MAX = 64
STREAMS_MAX = 1_000
HEARTBEAT = b": still here\n\n"


def last_event_id(header: str | None, query: str | None) -> str | None:
    """Where to go on: what the browser says it saw last wins over the address it once opened."""
    found = header if header is not None and header != "" else query
    if found is not None and (len(found) > 2000 or not found.isprintable()):
        raise Refusal("Last-Event-ID isn't one of this stream", status=422, code="invalid_request")
    return found


def seq_of(position: str | None) -> int:
    """The position in one run's stream: the seq of the last event seen."""
    if position is None:
        return 0
    if not (position.isascii() and position.isdecimal()) or len(position) > 16:
        raise Refusal(
            "the position in a run's events is the seq of the last one seen, a whole number",
            status=422,
            code="invalid_request",
        )
    return int(position)


def frame(item: FeedItem) -> bytes:
    """One event on the wire."""
    return format_sse_event(data_str=encode(item.data).decode(), event=item.event, id=item.id)


class Streams:
    """How many streams are open. The next one over the limit is refused before it begins."""

    def __init__(self, *, maximum: int = STREAMS_MAX) -> None:
        self.open = 0
        self._maximum = maximum

    def check(self) -> None:
        """Refuse another stream if there are too many.

        Raises:
            Refusal: 503.
        """
        if self.open >= self._maximum:
            raise Refusal(
                f"{self.open:,} event streams are open; the limit is {self._maximum:,}",
                status=503,
                code="too_many_streams",
                headers={"Retry-After": "5"},
            )


class EventStream(Response):
    """A response that goes on until the items end, the client leaves or stops reading, or `closing` is set."""

    media_type = "text/event-stream"

    def __init__(
        self,
        items: AsyncGenerator[FeedItem],
        *,
        streams: Streams,
        closing: asyncio.Event,
        heartbeat_seconds: float,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._items = items
        self._streams = streams
        self._closing = closing
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        frames: asyncio.Queue[bytes | None] = asyncio.Queue(FRAMES_WAITING_MAX)
        writer = asyncio.create_task(self._write(frames, send))
        gone = asyncio.create_task(_until_gone(receive))
        closing = asyncio.create_task(self._closing.wait())
        tasks = (writer, gone, closing, asyncio.create_task(self._read(frames)))
        self._streams.open += 1
        try:
            await asyncio.wait((writer, gone, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.open -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not writer.cancelled() and writer.exception() is not None:
            log.info("a client took nothing of its event stream for %g s and was let go", SEND_SECONDS_MAX)
        elif gone.cancelled():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, frames: asyncio.Queue[bytes | None]) -> None:
        try:
            await self._pump(frames)
        except Exception as error:  # noqa: BLE001  (the answer has begun: all that is left is to end it, and say so)
            log.warning(
                "an event stream ended early, its client resumes: %s: %s", type(error).__name__, error
            )
        await frames.put(None)

    async def _pump(self, frames: asyncio.Queue[bytes | None]) -> None:
        async with aclosing(self._items) as items:
            async for item in items:
                await frames.put(frame(item))

    async def _write(self, frames: asyncio.Queue[bytes | None], send: Send) -> None:
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    first = await frames.get()
            except TimeoutError:
                first = HEARTBEAT
            ready = [first]
            while not frames.empty():
                ready.append(frames.get_nowait())
            body = b"".join(part for part in ready if part is not None)
            if body:
                await _send(send, body)
            if None in ready:
                return


async def _send(send: Send, body: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS_MAX):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
