"""Running the application under uvicorn: binding, and an end that lets nobody wait. Prints nothing; the CLI does."""

import asyncio
import contextlib
import errno
import functools
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from orchestrator.api.application import create_app
from orchestrator.api.protocol import BoundedProtocol
from orchestrator.bootstrap import running
from orchestrator.config import Settings, UnsafeBind, is_loopback
from orchestrator.engine.service.facade import Service
from orchestrator.errors import UsageError
from orchestrator.sdk.registry import Registry

PORTS_TRIED = 100
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2048


class AddressInUse(UsageError):
    """Somebody listens there already (or the address can't be had for another reason, which the message says)."""

    code = "address_in_use"

    def __init__(self, host: str, port: int, why: str) -> None:
        self.host, self.port = host, port
        super().__init__(f"can't listen on {host}:{port}: {why}")


def bind(settings: Settings, *, next_free: bool = False) -> list[socket.socket]:
    """Take the address of the settings. With `next_free` the ports after it are tried too, 100 in all.

    The sockets belong to the caller until `serve` gets them.

    Raises:
        UnsafeBind: the host is not loopback and there is no key.
        AddressInUse: neither the port nor one of the next ones can be had.
    """
    settings.check_bind()
    last: AddressInUse | None = None
    for port in _ports(settings.port, next_free=next_free):
        try:
            listener = _listen(settings.host, port)
        except OSError as error:
            why = "somebody listens there already" if error.errno == errno.EADDRINUSE else str(error)
            last = AddressInUse(settings.host, port, why)
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                break
        else:
            # A name may lead anywhere: what counts is where we listen now.
            if settings.api_key is None and not is_loopback(str(listener.getsockname()[0])):
                listener.close()
                raise UnsafeBind(settings.host)
            return [listener]
    assert last is not None
    raise last


def _ports(first: int, *, next_free: bool) -> range:
    tried = PORTS_TRIED if next_free and first != 0 else 1
    return range(first, min(first + tried, 65536))


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listening at once takes the port for good: two servers that start together don't get the same one.
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(sockets: Sequence[socket.socket]) -> str:
    """The address that a person opens."""
    host, port = sockets[0].getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server, whose streams end when it does, and which leaves the process to its caller."""

    def __init__(
        self, config: uvicorn.Config, *, closing: asyncio.Event, on_started: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self._closing = closing
        self._on_started = on_started

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, and take only a second SIGINT as "now".
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_started is not None:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


async def serve(
    app: FastAPI,
    settings: Settings,
    sockets: Sequence[socket.socket],
    *,
    stop: asyncio.Event | None = None,
    on_started: Callable[[], None] | None = None,
) -> None:
    """Answer requests until a signal (SIGINT, SIGTERM) or `stop`; open requests get `shutdown_seconds` to end.

    A second signal ends at once (`app.state.hurry` is true then). The sockets are closed when this returns. Signals are
    taken only in the main thread.
    `on_started` is called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
    )
    server = _Server(config, closing=app.state.closing, on_started=on_started)

    async def stopped(asked: asyncio.Event) -> None:
        await asked.wait()
        server.should_exit = True

    app.state.hurry = False
    watcher = asyncio.create_task(stopped(stop if stop is not None else asyncio.Event()))
    try:
        await server.serve(sockets=list(sockets))
    finally:
        app.state.hurry = server.force_exit
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        for listener in sockets:
            listener.close()


async def run(
    settings: Settings,
    sockets: Sequence[socket.socket],
    *,
    worker: bool = True,
    registry: Registry | None = None,
    stop: asyncio.Event | None = None,
    on_started: Callable[[Service], None] | None = None,
) -> None:
    """A whole server: the engine over its store, with a worker if one is wanted, answering on the sockets.

    The first signal ends it: streams and requests first, then the worker finishes what it runs. A second one, at any
    moment of that, makes it give everything back at once; nothing is lost.

    Raises:
        UsageError, StoreUnavailable, StoreIncompatible: as `bootstrap.running`; the sockets are closed.
    """
    at_once = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _signals_set(at_once, loop), contextlib.ExitStack() as listening:
        for listener in sockets:
            listening.callback(listener.close)
        async with running(settings, worker=worker, registry=registry, at_once=at_once) as service:
            app = create_app(service, settings)
            told = None if on_started is None else functools.partial(on_started, service)
            await serve(app, settings, sockets, stop=stop, on_started=told)
            # The loop heard of the first signal as well, beside uvicorn: that one was no call to hurry.
            if not app.state.hurry:
                at_once.clear()


@contextlib.contextmanager
def _signals_set(event: asyncio.Event, loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """SIGINT and SIGTERM set the event, also where somebody else (as `serve` does) acts on them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in SIGNALS:
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
