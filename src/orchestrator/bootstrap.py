"""Putting a process together: the store that the settings name, the node classes, the engine, a worker.

This is the one place that names a concrete store. Drivers are imported only when they are chosen.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from orchestrator.config import PREFIX, Secrets, Settings, unknown_variables
from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.redaction import Redactor
from orchestrator.engine.sealing import KeyRing, check_readable, sealed
from orchestrator.engine.service.facade import Service
from orchestrator.engine.views.story import tell
from orchestrator.errors import UsageError
from orchestrator.kernel.events import Event
from orchestrator.kernel.state import RunState
from orchestrator.sdk.modules import file_of
from orchestrator.sdk.outbox import Outbox
from orchestrator.sdk.registry import Registry, default_registry
from orchestrator.stores.contract import Durability, Keeps, Store

LOG_HANDLER = "orchestrator"
RUN_LOG = "orchestrator.run"

SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python's lock while another waits. The writer of an embedded store gives the lock up at
every statement; with the default of 5 ms a busy event loop makes it wait that long each time."""

log: Any = structlog.get_logger("orchestrator.bootstrap")
told: Any = structlog.get_logger(RUN_LOG)


def open_store(url: str) -> Store:
    """The store that a URL names, not yet opened: whoever gets it calls `open` and `close`.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, `redis://host:port/database` (also `rediss://`, `unix://`; a
    cluster is recognised), `postgresql://user@host:port/database`, or `memory://` (for tests: kept nowhere, seen by
    nobody else).

    Raises:
        UsageError: the URL names no store of this release.
    """
    scheme, colon, _ = url.partition(":")
    match scheme.lower() if colon else "":
        case "sqlite":
            from orchestrator.stores.sqlite import SqliteStore

            return SqliteStore(url)
        case "memory":
            from orchestrator.stores.memory import MemoryStore

            return MemoryStore()
        case "redis" | "rediss" | "unix":
            try:
                from orchestrator.stores.redis import RedisStore
            except ModuleNotFoundError as error:
                raise UsageError(
                    f"the store {_without_password(url)} needs the package {error.name!r}: "
                    "pip install 'agentic-orchestrator[redis]'"
                ) from None
            return RedisStore(url)
        case "postgresql" | "postgres":
            try:
                from orchestrator.stores.postgres import PostgresStore
            except ImportError as error:
                raise UsageError(
                    f"the store {_without_password(url)} needs PostgreSQL's driver ({error}): "
                    "pip install 'agentic-orchestrator[postgres]'"
                ) from None
            return PostgresStore(url)
        case _:
            raise UsageError(f"{_without_password(url)!r} names no store; one is sqlite:///path/to/file.db")


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"…@{tail}" if at and head else url


def store_name(url: str) -> str:
    """The store's name as it may be shown: without credentials, and as `/system` says it."""
    return open_store(url).url


def tell_durability(durability: Durability) -> None:
    """Say in the log what could be lost, if anything: in one line."""
    if not durability.words:
        return
    (log.warning if durability.keeps is Keeps.NOTHING_SURE else log.info)(durability.words)


def load_registry(settings: Settings, *, registry: Registry | None = None) -> Registry:
    """The node classes of installed packages (ours among them) and of the modules that the settings name.

    A package that can't be loaded is logged and stops nobody; a module that was asked for must load.

    Raises:
        UsageError: a module of `settings.nodes` can't be loaded.
    """
    found = registry if registry is not None else default_registry()
    found.load_entry_points()
    if "StartNode" not in found:
        # A source tree that isn't installed has no entry points.
        found.load_module("orchestrator.nodes")
    for source in settings.nodes:
        found.load_module(source)
    return found


def engine_config(settings: Settings) -> EngineConfig:
    """The engine's part of the settings, with the secrets of the environment."""
    return EngineConfig(
        namespace=settings.namespace,
        queues=settings.queues,
        concurrency=settings.concurrency,
        cpu_processes=settings.cpu_processes,
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
        blocked_after_seconds=settings.blocked_after_seconds,
        slow_poll_seconds=settings.slow_poll_seconds,
        cancel_grace_seconds=settings.cancel_grace_seconds,
        drain_seconds=settings.shutdown_seconds,
        snapshot_every=settings.snapshot_every,
        inline_payload_bytes_max=settings.inline_bytes_max,
        payload_bytes_max=settings.payload_bytes_max,
        secrets=Secrets(),
    )


def configure_logging(
    settings: Settings, *, stream: TextIO | None = None, text: Processor | None = None
) -> None:
    """Let this process log as the settings say, to `stream` (stderr), secrets replaced in every line and traceback.

    `text` renders the lines of the format for people; structlog's own renderer does if it is None.

    What uses the standard library's logging comes out the same way; other packages are heard from warnings on. May be
    called again: the last call counts.
    """
    secrets = Secrets()
    redactor = Redactor({**secrets, **_own_key(settings)})

    def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in event.items():
            if isinstance(value, str):
                event[name] = redactor.redact(value)
            elif not name.startswith("_") and value is not None and not isinstance(value, bool | int | float):
                event[name] = redactor.redact(str(value))
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    target = stream if stream is not None else sys.stderr
    render: Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "text":
        render = text or structlog.dev.ConsoleRenderer(
            colors=target.isatty(), pad_event_to=0, sort_keys=False
        )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.set_name(LOG_HANDLER)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared, processors=[ProcessorFormatter.remove_processors_meta, render]
        )
    )
    root = logging.getLogger()
    for old in [one for one in root.handlers if one.name == LOG_HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("orchestrator").setLevel(settings.log_level.upper())


def _own_key(settings: Settings) -> dict[str, str]:
    own = {"API_KEY": settings.api_key, "ENCRYPTION_KEY": settings.encryption_key}
    return {name: key.get_secret_value() for name, key in own.items() if key is not None}


def _tell(state: RunState, events: Sequence[Event]) -> None:
    """Each event in words, for the log."""
    for event in events:
        line = tell(event)
        getattr(told, line.level)(line.text, run=state.run_id, workflow=state.workflow)


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    worker: bool = True,
    registry: Registry | None = None,
    at_once: asyncio.Event | None = None,
    judge: Callable[[Durability], None] = tell_durability,
) -> AsyncGenerator[Service]:
    """A running engine over the opened store, with a worker if one is wanted; all of it ends with the block.

    At the end the worker gets `shutdown_seconds` to finish what it runs; setting `at_once` (a second Ctrl-C) makes it
    give everything back immediately. Nothing is lost either way. `judge` hears what the store could lose before
    anything is trusted to it, and may refuse by raising.

    Raises:
        UsageError: the store's URL or a module of node classes can't be used.
        StoreUnavailable, StoreIncompatible: the store can't be opened.
    """
    for name in unknown_variables():
        log.warning("this variable is no setting and means nothing", variable=name)
    _share_outbox(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    known = load_registry(settings, registry=registry)
    store = open_store(settings.store)
    if settings.encryption_key is not None:
        store = sealed(store, KeyRing.parse(settings.encryption_key.get_secret_value()))
    await store.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await check_readable(store, settings.namespace)
        judge(store.durability())
        engine = Engine(store, known, config=engine_config(settings))
        if logging.getLogger(RUN_LOG).isEnabledFor(logging.INFO):
            engine.observers.append(_tell)
        await engine.open()
        stack.push_async_callback(engine.close)
        if worker:
            working = Worker(engine)
            await working.start()
            stack.push_async_callback(_stop, working, at_once or asyncio.Event())
        if settings.dev:
            watching = asyncio.create_task(_reload_changed(known), name="reload node files")
            stack.push_async_callback(_end, watching)
        service = Service(engine, outbox=Outbox(settings.outbox), dev=settings.dev)
        service.start()
        stack.callback(service.close)
        yield service


async def _stop(worker: Worker, at_once: asyncio.Event) -> None:
    draining = asyncio.create_task(worker.stop())
    hurry = asyncio.create_task(at_once.wait())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if draining.done():
        await draining
        return
    await _end(draining)
    await worker.stop(at_once=True)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _share_outbox(settings: Settings) -> None:
    """Nodes find the outbox by the environment, wherever they run; the settings may have it from a flag or the file."""
    os.environ[f"{PREFIX}OUTBOX"] = str(settings.outbox)


def node_files(registry: Registry) -> set[Path]:
    """The source files that node classes came from."""
    found = {file_of(cls.__module__) for cls in registry.classes().values()}
    return {file for file in found if file is not None}


async def _reload_changed(registry: Registry) -> None:
    """Load node files again when they are saved; the next attempt of a task runs the new code."""
    from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]  (typed with an old anyio)

    while True:
        files = node_files(registry)
        folders = {file.parent for file in files}
        async for changes in awatch(*folders, recursive=False, watch_filter=None, step=50):
            for file in files & {Path(name) for _, name in changes}:
                done = registry.reload(file)
                (log.info if done.error is None else log.warning)(str(done))
            if node_files(registry) != files:
                break
