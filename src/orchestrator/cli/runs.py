"""`orchestrator runs ...`: looking at runs and changing them, on a server or in a store."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orchestrator.cli import console
from orchestrator.cli.app import Json
from orchestrator.cli.console import expected_errors, say, say_json
from orchestrator.cli.exits import Exit, Refused

STATUSES = ("queued", "running", "waiting", "paused", "cancelling", "succeeded", "failed", "cancelled")
ACTIONS = ("done", "retry", "skip", "fail")

runs = typer.Typer(
    name="runs",
    help="Look at runs and change them, on a server or directly in a store.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="The server [ORCHESTRATOR_SERVER, else http://127.0.0.1:8000]; its key in ORCHESTRATOR_API_KEY.",
    ),
]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Instead of a server the store itself, sqlite:///path.db."),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it is kept in the journal.")]


def _usage(message: str) -> Refused:
    return Refused(message, exit=Exit.USAGE, code="usage")


def connected(server: str | None, store: str | None) -> Any:
    """The runs that a command is about, for a `with`."""
    from orchestrator.cli.backends import connect

    return connect(server=server, store=store)


@runs.command("list", epilog="\b\nExample:  orchestrator runs list --status failed --limit 5")
def list_(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help=f"Only these: {', '.join(STATUSES)}; may be repeated."),
    ] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only runs of this workflow.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only runs with this label.")
    ] = None,
    text: Annotated[
        str, typer.Option("--text", help="Only runs with this in id, workflow, labels or error.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where the last page ended.")] = None,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    with expected_errors(as_json=as_json):
        unknown = [one for one in status or () if one not in STATUSES]
        if unknown:
            raise _usage(f"--status {unknown[0]}: a run is {', '.join(STATUSES)}")
        labels = console.pairs(label or [], option="--label")
        query = {
            "status": status or None,
            "workflow": workflow,
            "label": [f"{key}:{value}" for key, value in labels.items()],
            "text": text or None,
            "limit": limit,
            "cursor": cursor,
        }
        with connected(server, store) as at:
            page = at.list(query=query)
        if as_json:
            say_json(page)
            return
        for run in page["items"]:
            say(_line(run))
        if not page["items"]:
            console.tell("no runs")
        if page["next"] is not None:
            console.tell(f"more: --cursor {page['next']}")


def _line(run: Mapping[str, Any]) -> str:
    took = f"{run['duration_us'] / 1_000_000:.1f} s" if run["duration_us"] is not None else ""
    waits = _waits(run) or (run["error"]["message"] if run["error"] else "") or run["cancelled_for"] or ""
    created = run["created_at"][:19].replace("T", " ")
    return console.clean(
        f"{run['id']}  {run['status']:10}  {created}  {took:>8}  {run['workflow']}  {waits}"
    ).rstrip()


def _waits(run: Mapping[str, Any]) -> str:
    return str(run["waiting_for"]["sentence"]) if run["waiting_for"] else ""


@runs.command(epilog="\b\nExample:  orchestrator runs show run_1m7q0 --json")
def show(run_id: RunId, server: Server = None, store: Store = None, as_json: Json = False) -> None:
    """Show a run: how it stands, what it waits for, its tasks, its output."""
    with expected_errors(as_json=as_json):
        with connected(server, store) as at:
            run, tasks, explained = at.get(run_id), at.tasks(run_id), at.explain(run_id)
        if as_json:
            say_json({"run": run, "tasks": list(tasks), "explain": explained})
            return
        say(console.clean(f"{run['id']}  {run['workflow']} (version {run['version']})"))
        say(f"  {run['status']}: {console.clean(explained['sentence'])}")
        say(
            f"  created {run['created_at']}" + (f", ended {run['finished_at']}" if run["finished_at"] else "")
        )
        if run["labels"]:
            say(
                console.clean(
                    "  labels  " + ", ".join(f"{key}={value}" for key, value in run["labels"].items())
                )
            )
        say(f"  input   {_short(run['input'])}")
        width = max((len(task["path"]) for task in tasks), default=0)
        for task in tasks:
            say(console.clean(f"    {task['path']:{width}}  {task['status']:10}  {_about(task)}").rstrip())
            for failed in task["items"]["first_failures"] if task["items"] else ():
                say(console.clean(f"      {failed['path']}: {failed['error']['message']}"))
        if run["status"] == "succeeded":
            say(f"  output  {_short(run['output'])}")


def _about(task: Mapping[str, Any]) -> str:
    items = task["items"]
    if items:
        failed = f", {items['failed']:,} failed" if items["failed"] else ""
        return f"{items['completed'] + items['skipped']:,} of {items['count']:,} items done{failed}"
    if task["error"]:
        return f"{task['error']['type']}: {task['error']['message']}"
    if task["waiting_for"]:
        return str(task["waiting_for"]["sentence"])
    if task["decision"]:
        chosen = (
            " and ".join(dict.fromkeys(one["node"] for one in task["decision"]["chosen"]))
            or "the end of its path"
        )
        return f"chose {chosen}" + (
            f", because {task['decision']['reason']}" if task["decision"]["reason"] else ""
        )
    return f"{task['duration_us'] / 1000:.0f} ms" if task["duration_us"] is not None else ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return console.clean(text if len(text) <= 300 else text[:299] + "…")


@runs.command(epilog="\b\nExample:  orchestrator runs tail run_1m7q0 --after 12")
def tail(
    run_id: RunId,
    after: Annotated[int, typer.Option("--after", min=0, help="Begin behind the event with this seq.")] = 0,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow", help="Stay until the run is over, or say what there is and end."
        ),
    ] = True,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Follow a run in words, until it is over; with --json its events, one a line.

    A server that is started again in between is waited for; nothing is missed, nothing comes twice.
    """
    with expected_errors(as_json=as_json), connected(server, store) as at:
        if follow:
            for event, data in at.follow(run_id, after=after):
                if as_json:
                    say_json({"event": event, **data}, lines=True)
                else:
                    _say_told(event, data)
            return
        for view in at.journal(run_id, after=after):
            if as_json:
                say_json({"event": "journal", **view}, lines=True)
            else:
                _say_told("journal", view)


def _say_told(event: str, data: Mapping[str, Any]) -> None:
    from orchestrator.engine.views import story

    if event == "end":
        return
    level, text = story.tell_view(data) if event == "journal" else story.tell_notice(data)
    if level == "debug":
        return
    at = str(data.get("at") or "")[11:23]
    seq = f"{data['seq']:>5}" if "seq" in data else "     "
    loud = f"{level}: " if level in ("warning", "error") else ""
    say(console.clean(f"{at:12}  {seq}  {loud}{text}"))


def say_run(run: Mapping[str, Any], done: str, *, as_json: bool) -> None:
    """What became of the run that a command changed."""
    if as_json:
        say_json(run)
        return
    waits = _waits(run)
    say(console.clean(f"{run['id']} {done}; it is {run['status']}" + (f": {waits}" if waits else "")))


def _change(
    run_id: str,
    action: str,
    done: str,
    *,
    reason: str | None,
    server: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    with expected_errors(as_json=as_json):
        with connected(server, store) as at:
            run = at.change(run_id, action, reason=reason)
        say_run(run, done, as_json=as_json)


@runs.command(epilog="\b\nExample:  orchestrator runs pause run_1m7q0 --reason 'wait for the fix'")
def pause(
    run_id: RunId, reason: Reason = None, server: Server = None, store: Store = None, as_json: Json = False
) -> None:
    """Let nothing new start; what runs ends."""
    _change(run_id, "pause", "takes a pause", reason=reason, server=server, store=store, as_json=as_json)


@runs.command(epilog="\b\nExample:  orchestrator runs resume run_1m7q0")
def resume(
    run_id: RunId, reason: Reason = None, server: Server = None, store: Store = None, as_json: Json = False
) -> None:
    """Go on with a paused run."""
    _change(run_id, "resume", "goes on", reason=reason, server=server, store=store, as_json=as_json)


@runs.command("raise-budget", epilog="\b\nExample:  orchestrator runs raise-budget run_1m7q0 --tokens 200000")
def raise_budget(
    run_id: RunId,
    tasks: Annotated[int | None, typer.Option("--tasks", min=1, help="Tasks in all.")] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="TIME", help="Active time in all, such as 2h.")
    ] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Tokens in all.")] = None,
    cost_usd: Annotated[float | None, typer.Option("--cost-usd", help="US dollars in all.")] = None,
    reason: Reason = None,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Give a run more of what it may use; one that a spent budget paused goes on."""
    given = {"tasks": tasks, "duration": duration, "tokens": tokens, "cost_usd": cost_usd}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    with expected_errors(as_json=as_json):
        if not limits:
            raise Refused(
                "name the budget to raise: --tasks, --duration, --tokens or --cost-usd",
                exit=Exit.USAGE,
                code="usage",
            )
        with connected(server, store) as at:
            run = at.raise_budget(run_id, limits, reason=reason)
        say_run(run, "has its new budget", as_json=as_json)


@runs.command(epilog="\b\nExample:  orchestrator runs cancel run_1m7q0 --reason 'ordered twice'")
def cancel(
    run_id: RunId, reason: Reason = None, server: Server = None, store: Store = None, as_json: Json = False
) -> None:
    """End a run; what runs is told."""
    _change(run_id, "cancel", "was told to end", reason=reason, server=server, store=store, as_json=as_json)


@runs.command(epilog="\b\nExample:  orchestrator runs erase run_1m7q0 --yes --reason 'asked by the customer'")
def erase(
    run_id: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask whether it is meant.")] = False,
    reason: Reason = None,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Take everything that people gave and got out of a run that is over; hashes and sizes stay. For good."""
    if not yes:
        typer.confirm(f"The data of {run_id} can't be brought back. Erase it?", abort=True, err=True)
    _change(run_id, "erase", "has lost its data", reason=reason, server=server, store=store, as_json=as_json)


@runs.command(epilog="\b\nExample:  orchestrator runs retry run_1m7q0")
def retry(run_id: RunId, server: Server = None, store: Store = None, as_json: Json = False) -> None:
    """Take up a failed run where it failed."""
    _change(run_id, "retry", "is taken up again", reason=None, server=server, store=store, as_json=as_json)


@runs.command(
    epilog="""\b\nExample:  orchestrator runs signal run_1m7q0 decision --payload '{"approved": true}'"""
)
def signal(
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.", show_default=False)],
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON|@FILE", help="What it carries.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: the same one counts once.")
    ] = None,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Send a signal to a run, for whoever in it waits, or will wait, for it."""
    with expected_errors(as_json=as_json):
        value = console.read_json(payload, option="--payload") if payload is not None else None
        with connected(server, store) as at:
            taken = at.signal(run_id, name, value, key=key)
        if as_json:
            say_json(taken)
        else:
            say(console.clean(f"{run_id} has signal {name} (event {taken['seq']})"))


@runs.command(
    epilog="""\b\nExample:  orchestrator runs resolve run_1m7q0 charge done --output '{"paid": true}'"""
)
def resolve(
    run_id: RunId,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The task's path.", show_default=False)],
    action: Annotated[
        str, typer.Argument(metavar="|".join(ACTIONS), help="What became of it.", show_default=False)
    ],
    output: Annotated[
        str | None, typer.Option("--output", metavar="JSON|@FILE", help="With done: the task's output.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", help="Why; it is kept in the journal.")] = None,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Say what became of a task in doubt: it was done, is to be tried again, skipped, or counts as failed."""
    with expected_errors(as_json=as_json):
        if action not in ACTIONS:
            raise _usage(f"{action}: a task in doubt is resolved by {', '.join(ACTIONS)}")
        value = console.read_json(output, option="--output") if output is not None else None
        with connected(server, store) as at:
            run = at.resolve(run_id, path, action, output=value, message=message)
        say_run(run, f"has the word about {path}: {action}", as_json=as_json)
