"""`dev`, `serve` and `worker`: the processes that stay."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable
from typing import Any

import structlog

from orchestrator.bootstrap import running, store_name, tell_durability
from orchestrator.cli import console, log
from orchestrator.cli.exits import Exit, Refused
from orchestrator.cli.processes import Interrupts, end_with_parent, run_loop, with_absolute_store
from orchestrator.config import Settings
from orchestrator.engine.service.facade import Service
from orchestrator.stores.contract import Durability, Keeps

_log: Any = structlog.get_logger("orchestrator.cli")


def version() -> str:
    """Of the installed package."""
    from importlib import metadata

    try:
        return metadata.version("agentic-orchestrator")
    except metadata.PackageNotFoundError:
        return "0"


def demand_durability(durability: Durability) -> None:
    """What `serve` and `worker` are trusted with must not be gone with the store's next restart.

    Raises:
        Refused: it would be.
    """
    if durability.keeps is Keeps.NOTHING_SURE and durability.cure:
        commands = "".join(f"\n    {command}" for command in durability.cure)
        raise Refused(
            f"{durability.words}. It is cured by{commands}",
            exit=Exit.STORE,
            code="store_not_durable",
            cure="run these commands (or set it in the store's own configuration), then start again; "
            "`orchestrator dev` works without, for trying out",
        )
    tell_durability(durability)


@contextlib.asynccontextmanager
async def telling(
    settings: Settings,
    *,
    worker: bool,
    interrupts: Interrupts,
    judge: Callable[[Durability], None] = tell_durability,
) -> AsyncGenerator[Service]:
    """`bootstrap.running`, which also tells in the log what its worker is at."""
    async with running(settings, worker=worker, at_once=interrupts.at_once, judge=judge) as service:
        starts = log.Starts(service.engine)
        try:
            yield service
        finally:
            if worker and not interrupts.at_once.is_set():
                _log.info("ending: what runs may finish; a second Ctrl-C ends at once")
            starts.close()


# --- dev ------------------------------------------------------------------------------------------------------------


def dev(settings: Settings, *, examples: bool, as_json: bool) -> None:
    """API, page and worker in one process, until Ctrl-C.

    Raises:
        UnsafeBind, AddressInUse, ConfigError: it can't listen, or the settings are wrong.
        StoreError: the store can't be used.
    """
    from orchestrator.cli.address import take

    settings = with_absolute_store(settings)
    log.configure(settings)
    taken = take(settings)
    if taken.running is not None:
        _tell_address(settings, taken.running, as_json=as_json, already_running=True)
        return
    try:
        if taken.occupied:
            console.tell(f"  {_ports(taken.occupied)} taken by another program; the next free port is used")
        run_loop(_dev(settings, taken.sockets, examples=examples, as_json=as_json))
    finally:
        for listener in taken.sockets:
            listener.close()


def _ports(occupied: tuple[int, ...]) -> str:
    if len(occupied) == 1:
        return f"port {occupied[0]} is"
    return f"ports {occupied[0]} to {occupied[-1]} are"


async def _dev(settings: Settings, sockets: list[socket.socket], *, examples: bool, as_json: bool) -> None:
    from orchestrator.cli.examples import load_into_empty

    interrupts = Interrupts()
    interrupts.install()
    async with telling(settings, worker=True, interrupts=interrupts) as service:
        saved = await load_into_empty(service) if examples else []
        await serve_http(
            service,
            settings,
            sockets,
            interrupts=interrupts,
            ready=lambda url: _tell_address(settings, url, as_json=as_json, saved=saved),
        )


async def serve_http(
    service: Service,
    settings: Settings,
    sockets: list[socket.socket],
    *,
    interrupts: Interrupts,
    ready: Callable[[str], None],
) -> None:
    """Answer requests until `interrupts` says stop; `ready` gets the address once they are answered."""
    from orchestrator.api.application import create_app
    from orchestrator.api.server import serve, url_of

    url = url_of(sockets)

    def started() -> None:
        interrupts.install(chained=True)
        ready(url)

    await serve(create_app(service, settings), settings, sockets, stop=interrupts.stop, on_started=started)


def _tell_address(
    settings: Settings,
    url: str,
    *,
    as_json: bool,
    already_running: bool = False,
    saved: list[str] | None = None,
    workers: int | None = None,
) -> None:
    from orchestrator.api.static import FOLDER

    page = (FOLDER / "index.html").is_file()
    if as_json:
        told = {
            "url": url,
            "api": f"{url}/api/v1",
            "store": store_name(settings.store),
            "page": page,
            "already_running": already_running,
            "pid": None if already_running else os.getpid(),
            "examples": saved or [],
        }
        console.say_json({**told, **({} if workers is None else {"workers": workers})}, lines=True)
        return
    if already_running:
        console.say(f"\n  It runs already, with this store: {url}\n")
        return
    console.say(f"\n  Agentic Orchestrator {version()}\n")
    console.say(
        f"  open    {url}" + ("" if page else "   (the page isn't built: `make ui`; the API answers)")
    )
    console.say(f"  API     {url}/api/v1")
    console.say(f"  store   {store_name(settings.store)}")
    if saved:
        console.say(f"  saved   {len(saved)} example workflows, since the store was empty")
    if workers is not None:
        console.say(f"  workers {workers}, serving {', '.join(settings.queues)}")
    console.say("\n  Ctrl-C ends it; runs are kept and go on at the next start.\n")


# --- worker ---------------------------------------------------------------------------------------------------------


def worker(settings: Settings, *, as_json: bool, until_stdin_closes: bool) -> None:
    """Take tasks from the store and run them, until Ctrl-C.

    Raises:
        UsageError, StoreError: the store or a module of node classes can't be used.
    """
    settings = with_absolute_store(settings)
    log.configure(settings)
    run_loop(_worker(settings, as_json=as_json, until_stdin_closes=until_stdin_closes))


def _say_nothing(_: Durability) -> None:
    """`serve`, which started this process, has judged."""


async def _worker(settings: Settings, *, as_json: bool, until_stdin_closes: bool) -> None:
    interrupts = Interrupts()
    interrupts.install()
    if until_stdin_closes:
        end_with_parent(interrupts)
    judge: Callable[[Durability], None] = _say_nothing if until_stdin_closes else demand_durability
    async with telling(settings, worker=True, interrupts=interrupts, judge=judge) as service:
        name = service.engine.worker_name
        if as_json:
            told = {
                "worker": name,
                "pid": os.getpid(),
                "store": store_name(settings.store),
                "queues": list(settings.queues),
            }
            console.say_json(told, lines=True)
        else:
            served = ", ".join(settings.queues)
            _log.info(f"worker {name} takes tasks from {store_name(settings.store)} (queues: {served})")
        await interrupts.stop.wait()
    _log.info("the worker has ended; nothing was lost")


# --- serve ----------------------------------------------------------------------------------------------------------


def serve(settings: Settings, *, workers: int, as_json: bool) -> None:
    """The API here, `workers` workers in processes of their own, until Ctrl-C.

    Raises:
        UnsafeBind, AddressInUse, ConfigError: it can't listen, or the settings are wrong.
        UsageError, StoreError: the store or a module of node classes can't be used.
    """
    from orchestrator.api.server import AddressInUse, bind

    settings = with_absolute_store(settings)
    log.configure(settings)
    try:
        sockets = bind(settings)
    except AddressInUse as error:
        cure = "end it, or choose another port with --port; 0 takes any free one"
        raise Refused(str(error), exit=Exit.FAILED, code=error.code, cure=cure) from None
    try:
        run_loop(_serve(settings, sockets, workers=workers, as_json=as_json))
    finally:
        for listener in sockets:
            listener.close()


async def _serve(settings: Settings, sockets: list[socket.socket], *, workers: int, as_json: bool) -> None:
    from orchestrator.cli.supervisor import Supervisor

    interrupts = Interrupts()
    interrupts.install()
    supervisor = Supervisor(settings, count=workers)
    async with telling(settings, worker=False, interrupts=interrupts, judge=demand_durability) as service:
        supervisor.start()
        hurry = asyncio.create_task(_hurry(interrupts, supervisor))
        try:
            await serve_http(
                service,
                settings,
                sockets,
                interrupts=interrupts,
                ready=lambda url: _tell_address(settings, url, as_json=as_json, workers=workers),
            )
        finally:
            await supervisor.stop()
            hurry.cancel()


async def _hurry(interrupts: Interrupts, supervisor: Any) -> None:
    await interrupts.at_once.wait()
    supervisor.hurry()
