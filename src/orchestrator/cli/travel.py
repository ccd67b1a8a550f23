"""`orchestrator runs fork | export | import`: another run from any point of this one, and runs as files."""

import contextlib
import itertools
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from orchestrator.cli import console
from orchestrator.cli.app import Json
from orchestrator.cli.console import expected_errors, say, say_json
from orchestrator.cli.exits import Exit, Refused
from orchestrator.cli.runs import RunId, Server, Store, connected, runs, say_run

FORK_EXAMPLE = (
    "\b\nExample:  orchestrator runs fork run_1m7q0 --route step_route_user=step_standard_process --plan"
)


@runs.command(epilog=FORK_EXAMPLE)
def fork(
    run_id: RunId,
    seq: Annotated[
        int | None,
        typer.Option(
            "--seq",
            min=1,
            help="The last event that both share: the end of a group. With --output or --route it may be left out.",
        ),
    ] = None,
    given: Annotated[str | None, typer.Option("--input", metavar="JSON|@FILE", help="Another input.")] = None,
    var: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=JSON", help="Another value of a variable.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="PATH=JSON", help="Another output of a task; may be repeated."),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(
            "--route",
            metavar="PATH=TARGET[,TARGET]",
            help="Send a task another way: to nodes or labels; nothing ends its path. May be repeated.",
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Another version of the workflow.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why another way; it is kept in the journal.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be reused, run again, repeated; start nothing.")
    ] = False,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Start a new run that shares this one's history up to an event, and goes on differently.

    Results up to there are reused; what was open there, and what follows, runs again. --plan says beforehand which
    effects on the world that repeats.
    """
    with expected_errors(as_json=as_json):
        changes: dict[str, Any] = {}
        if given is not None:
            changes["input"] = console.read_json(given, option="--input")
        if var:
            changes["vars"] = _values(var, option="--var")
        if output:
            changes["outputs"] = _values(output, option="--output")
        if route:
            ways = console.pairs(route, option="--route")
            changes["decisions"] = {path: [t for t in to.split(",") if t] for path, to in ways.items()}
        if version is not None:
            changes["version"] = version
        if reason is not None:
            changes["reason"] = reason
        with connected(server, store) as at:
            answer = at.fork(run_id, seq=seq, patch=changes, plan=plan)
        if not plan:
            say_run(answer, f"continues {run_id} from event {answer['forked_from']['seq']}", as_json=as_json)
        elif as_json:
            say_json(answer)
        else:
            _say_plan(answer)


def _values(given: list[str], *, option: str) -> dict[str, Any]:
    pairs = console.pairs(given, option=option)
    return {name: console.read_json(text, option=f"{option} {name}") for name, text in pairs.items()}


def _say_plan(plan: Mapping[str, Any]) -> None:
    moved = " (before the decision that is changed)" if plan["moved"] else ""
    lines = [
        f"a fork of {plan['run']} at event {plan['seq']}{moved}, version {plan['version']}",
        f"  {plan['sentence']}",
    ]
    for title, name in (("reused", "reused"), ("starts", "starts"), ("then again", "later")):
        lines += [_row(title, one) for one in plan[name]["items"]]
    lines += [f"  {'perhaps':12} {one['node']} ({one['effect']})" for one in plan["new"]["items"]]
    for one in plan["repeats"]["items"]:
        steps = ", ".join(f"{step['name']} ({step['effect']})" for step in one["steps"])
        lines.append(f"  {'repeats':12} {one['path']} ({one['effect']})" + (f": {steps}" if steps else ""))
    for one in plan["children"]["items"]:
        lines.append(f"  {'child again':12} {one['workflow']} for {one['path']}, as {one['run']} was")
    lines.append("nothing was started; leave --plan out to start it")
    for line in lines:
        say(console.clean(line))


def _row(title: str, one: Mapping[str, Any]) -> str:
    kept = f", keeps {', '.join(one['steps_kept'])}" if one["steps_kept"] else ""
    return f"  {title:12} {one['path']} ({one['effect']}{kept})"


# --- runs as files ------------------------------------------------------------------------------------------------


@runs.command(epilog="\b\nExample:  orchestrator runs export run_1m7q0 -o onboarding.run.jsonl.gz")
def export(
    run_id: RunId,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to [RUN.run.jsonl.gz]; - is standard output."
        ),
    ] = None,
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Write a run into one file: its version, its journal, its values. Secrets that the server knows are hidden.

    It opens elsewhere with `runs import`, to be looked at and forked.
    """
    with expected_errors(as_json=as_json):
        path = output or Path(f"{run_id}.run.jsonl.gz")
        size = 0
        with connected(server, store) as at:
            pieces = at.export(run_id)
            first = next(pieces)  # before a file is made
            with _opened(path) as file:
                for piece in itertools.chain([first], pieces):
                    file.write(piece)
                    size += len(piece)
        if str(path) == "-":
            return
        if as_json:
            say_json({"run": run_id, "file": str(path), "bytes": size})
        else:
            say(console.clean(f"{run_id} is in {path} ({size:,} bytes)"))


@contextlib.contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    """The file to write; it takes its name only once it is whole."""
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}", exit=Exit.FAILED, code="file") from None
    finally:
        part.unlink(missing_ok=True)


@runs.command("import", epilog="\b\nExample:  orchestrator runs import onboarding.run.jsonl.gz")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `runs export` wrote.", show_default=False)
    ],
    server: Server = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Read a run from a file, to be looked at and forked; it never goes on by itself.

    The same file again is the same run. Nothing in the file is run, fetched or installed.
    """
    with expected_errors(as_json=as_json):
        try:
            opened = file.open("rb")
        except OSError as error:
            raise Refused(f"{file} can't be read: {error.strerror}", exit=Exit.USAGE, code="file") from None
        with opened, connected(server, store) as at:
            answer = at.import_(opened)
        if as_json:
            say_json(answer)
            return
        run = answer["run"]
        known = "" if answer["created"] else ", where it had been before"
        say(console.clean(f"{run['imported']['run']} is here as {run['id']}{known}"))
        say(
            console.clean(
                f"  {run['workflow']} (version {run['version']}), {run['status']}, {run['seq']:,} events"
            )
        )
        for one in answer["runs"][:-1]:
            say(console.clean(f"  its parent {one['was']} is here as {one['id']}"))
