"""The whole server as one ASGI application, for `uvicorn orchestrator.api:app [--reload]`."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncGenerator, Generator
from types import FrameType
from typing import Any

from fastapi import FastAPI

from orchestrator.api.application import create_app
from orchestrator.bootstrap import configure_logging, running
from orchestrator.config import Settings


def standalone_app() -> FastAPI:
    """An application whose lifespan opens the store and runs the engine with a worker.

    Raises:
        ConfigError, UnsafeBind: the settings can't be used.
    """
    settings = Settings.load()
    configure_logging(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with running(settings, worker=True) as service:
            app.state.service = service
            with _told_of_the_end(app.state.closing):
                yield

    return create_app(None, settings, lifespan=lifespan)


@contextlib.contextmanager
def _told_of_the_end(closing: asyncio.Event) -> Generator[None]:
    """Set the event when the server is asked to stop, then let the server's own handler do its part.

    A server ends its lifespan only after the last connection has closed; a stream that waits for the lifespan would
    hold up a reload for good.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(closing.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        # Only where the server handles the signal itself: the default handlers must go on ending the process.
        if callable(handler) and handler is not signal.default_int_handler:
            before[number] = handler
            signal.signal(number, stop)
    try:
        yield
    finally:
        closing.set()
        for number, handler in before.items():
            signal.signal(number, handler)
