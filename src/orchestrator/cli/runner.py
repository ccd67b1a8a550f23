"""`orchestrator run`: one run of one document in this process, told as it happens."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Generator, Mapping
from typing import Any

import msgspec

from orchestrator.bootstrap import running, store_name
from orchestrator.cli import console, log, quickly
from orchestrator.cli.exits import OF_RUN, Exit
from orchestrator.cli.processes import run_to_end
from orchestrator.cli.progress import Progress, Silent
from orchestrator.config import Settings
from orchestrator.engine.service.facade import Service
from orchestrator.engine.views.feeds import FeedItem
from orchestrator.errors import Conflict, DefinitionError
from orchestrator.model.reading import Syntax, read_source


def run(
    document: bytes,
    settings: Settings,
    *,
    syntax: Syntax,
    given: Any,
    labels: Mapping[str, str],
    priority: int,
    quiet: bool,
    as_json: bool,
) -> Exit:
    """Save the document, run it to its end, print what came of it.

    Raises:
        DefinitionError: the document has faults. InvalidInput: the input doesn't fit.
        UsageError, StoreError: a module of node classes or the store can't be used.
    """
    # At its level, warning: what the runs do is told by the progress.
    log.configure(settings)
    quickly.loaded()
    settings = settings.model_copy(update={"queues": queues_of(document, settings.queues, syntax=syntax)})
    work = _run(
        document,
        settings,
        syntax=syntax,
        given=given,
        labels=labels,
        priority=priority,
        quiet=quiet,
        as_json=as_json,
    )
    return run_to_end(work, asyncio.new_event_loop())


def queues_of(document: bytes, queues: tuple[str, ...], *, syntax: Syntax) -> tuple[str, ...]:
    """These queues and those of the document: nobody else is there to take its tasks."""
    try:
        written = read_source(document, syntax=syntax).document
        nodes = msgspec.convert(written, type=_Queued).nodes
    except (DefinitionError, msgspec.MsgspecError):
        return queues  # what is wrong with it is said when it is saved
    return tuple(dict.fromkeys([*queues, *(node.queue for node in nodes.values() if node.queue)]))


class _QueuedNode(msgspec.Struct):
    queue: str | None = None


class _Queued(msgspec.Struct):
    nodes: dict[str, _QueuedNode] = {}


async def _run(
    document: bytes,
    settings: Settings,
    *,
    syntax: Syntax,
    given: Any,
    labels: Mapping[str, str],
    priority: int,
    quiet: bool,
    as_json: bool,
) -> Exit:
    async with running(settings, worker=True) as service:
        saved = await service.save_workflow(document, syntax=syntax)
        started, _ = await service.start_run(
            saved["name"], input=given, labels=labels, version=saved["version"], priority=priority
        )
        run_id: str = started["id"]
        progress = Silent() if quiet else Progress(sys.stderr)
        for hint in console.fault_lines(saved["hints"], mark="hint: "):
            progress.line("info", hint)
        with _cancelling(service, run_id, progress) as interrupted, progress:
            following = asyncio.create_task(_follow(service, run_id, progress, settings))
            leaving = asyncio.create_task(interrupted.wait())
            await asyncio.wait((following, leaving), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not following.done():
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                progress.line("warning", f"left at once; {_whereabouts(settings, run_id)}")
                return Exit.INTERRUPTED
            await following
        view = await service.get_run(run_id)
        sentence = (await service.explain(run_id))["sentence"]
    return _print_end(view, sentence, settings, progress=progress, as_json=as_json)


async def _follow(service: Service, run_id: str, progress: Progress, settings: Settings) -> None:
    async for item in service.follow_run(run_id):
        _show(item, progress)
        if settings.store.startswith("memory:") and _waits_for_signal(item):
            progress.line(
                "warning",
                "nobody can send a signal to a run in memory: run it with --keep, and send it with `orchestrator runs "
                "signal RUN NAME --store URL`, or from the page of `orchestrator dev`",
            )


def _show(item: FeedItem, progress: Progress) -> None:
    match item.event:
        case "journal":
            progress.event(item.data)
        case "live":
            progress.notice(item.data)
        case _:
            pass


def _waits_for_signal(item: FeedItem) -> bool:
    return (
        item.event == "journal"
        and item.data["kind"] == "task_suspended"
        and any(wait.get("kind") == "signal" for wait in item.data.get("waits", ()))
    )


@contextlib.contextmanager
def _cancelling(service: Service, run_id: str, progress: Progress) -> Generator[asyncio.Event]:
    """Ctrl-C or SIGTERM cancels the run; the event is set at the second one."""
    loop = asyncio.get_running_loop()
    left = asyncio.Event()
    asked: list[asyncio.Task[None]] = []

    async def cancel(why: str) -> None:
        with contextlib.suppress(Conflict):  # it has ended meanwhile
            await service.cancel(run_id, reason=f"{why} at `orchestrator run`")

    def interrupt(number: int) -> None:
        if asked:
            left.set()
            return
        why = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        progress.line("warning", f"{why}: the run is being cancelled; again to leave at once")
        asked.append(asyncio.create_task(cancel(why)))

    def handle(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(interrupt, number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield left
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for task in asked:
            task.cancel()


def _whereabouts(settings: Settings, run_id: str) -> str:
    if settings.store.startswith("memory:"):
        return "the run was in memory and is gone"
    return f"the run {run_id} stays in {store_name(settings.store)}, and a worker there goes on with it"


def _print_end(
    view: Mapping[str, Any], sentence: str, settings: Settings, *, progress: Progress, as_json: bool
) -> Exit:
    level = {"succeeded": "success", "failed": "error"}.get(view["status"], "warning")
    progress.line(level, sentence)
    if not settings.store.startswith("memory:"):
        progress.line("debug", f"kept as {view['id']} in {store_name(settings.store)}")
    if as_json:
        console.say_json(view)
    elif view["status"] == "succeeded":
        console.say(console.shown(view["output"]))
    elif isinstance(progress, Silent):
        console.tell(console.clean(sentence))
    return OF_RUN.get(view["status"], Exit.FAILED)
