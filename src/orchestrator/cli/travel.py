"""`orchestrator runs fork`: another run from any point of this one, planned first."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orchestrator.cli import console
from orchestrator.cli.app import Json
from orchestrator.cli.console import expected_errors, say, say_json
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
