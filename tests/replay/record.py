"""Makes the golden journals of a release: `python -m tests.replay.record 0.2.0`.

Journals are added and never edited: what stands in `journals/` was written by the release that it is named for, or on
its way to it. So this writes the scenarios that have no journal there, and leaves the others as they are.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from orchestrator.kernel import commands as c
from orchestrator.kernel.handover import predecessor_of, signals_handed_over
from orchestrator.kernel.state import encode_state
from orchestrator.kernel.values import CachedFrom, Handover, ItemChunk, Parent, Usage
from tests.unit.kernel.world import (
    SECOND,
    World,
    child,
    definition_of,
    error,
    payload,
    plan_of,
    run_of,
    signal,
    started,
    timer,
)

JOURNALS = Path(__file__).parent / "journals"


def onboarding() -> World:
    """A decision, both plain outputs and a sink."""
    run = started(
        definition_of(
            {
                "step_start": {"next_node": "step_route_user"},
                "step_route_user": {"class": "Choose", "routes": ["step_escalate", "step_standard_process"]},
                "step_escalate": {"next_node": "step_send_email"},
                "step_standard_process": {"next_node": "step_send_email"},
                "step_send_email": {"next_node": "step_end"},
                "step_end": {},
            }
        ),
        input={"user_type": "premium", "name": "Zoë"},
        labels={"team": "growth"},
    )
    run.complete("step_start")
    run.complete("step_route_user", {"type": "premium"}, route=["step_escalate"])
    run.complete("step_escalate")
    run.complete("step_send_email")
    run.complete("step_end", {"sent": True})
    return run


def cached() -> World:
    """An output that is kept, and one that is taken from another run."""
    run = started(definition_of({"a": {"next_node": "b"}, "b": {}}))
    run.do(c.CompleteTask(path="a", output=payload(1), cache_key="ab" * 32))
    source = CachedFrom(run="other", path="b@2", at="2026-01-01T00:00:00.000000Z")
    run.do(c.CompleteTask(path="b", output=payload(2), cached=source))
    return run


def data_erased() -> World:
    """A failed run whose data is erased."""
    run = started(definition_of({"a": {"retry": {"max_attempts": 1}}}), input={"name": "Zoë"})
    run.do(c.FailTask(path="a", error=error("Oops")))
    run.do(c.EraseRun(by="operator", reason="asked to"))
    return run


def loop_with_joins() -> World:
    """Two rounds of a parallel loop, variables, a skipped node, an output that is asked for."""
    run = started(
        definition_of(
            {
                "head": {"next_node": ["x", "y"], "params": {"n": "{{ vars.n }}"}},
                "x": {"next_node": "join"},
                "y": {"next_node": "join", "params": {"seen": "{{ nodes.join | default(0) }}"}},
                "join": {"next_node": {"again": "head", "done": "end"}},
                "end": {},
            },
            output="{{ vars.n }}",
        ),
        variables={"n": payload(0)},
    )
    for visit, way in (("", "again"), ("@2", "done")):
        run.complete(f"head{visit}", variables={"n": payload(visit)})
        run.skip(f"y{visit}")
        run.complete(f"x{visit}")
        run.complete(f"join{visit}", route=[way])
    run.complete("end")
    return run


def failed_and_retried() -> World:
    """Tries, RetryLater, a handled error, a failure that stops a neighbour, a retry, the end."""
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "h"]},
            "a": {"retry": {"max_attempts": 2}},
            "b": {},
            "h": {"on_error": {"Known": "mend"}},
            "mend": {},
        }
    )
    run.complete("fork")
    run.fail("h", "Known")
    run.fail("a", retryable=True)
    run.fail("b", retryable=True, later_us=SECOND)
    run.do(c.RecordStep(path="a", step="s", name="s", args_sha256="ab", result=payload("kept")))
    run.fail("a", retryable=True)
    run.do(c.Deadline(timer="grace"), after_us=20 * SECOND)
    run.do(c.RetryRun(by="ann", reason="mended"))
    for path in list(run.open):
        run.complete(path)
    return run


def waits() -> World:
    """Timer, signal, signal's timeout and child; a pause in between; a child that ends while its task runs."""
    run = run_of({"a": {"next_node": "b"}, "b": {}})
    run.signal("early", {"n": 1})
    run.suspend(
        "a", timer(run.now_us + SECOND), signal("late", due_us=run.now_us + 9 * SECOND), child("run_c")
    )
    run.do(c.FireTimer(path="a"), after_us=SECOND)
    run.finish_child("run_c", output="child's")
    run.suspend("a", signal("late"), child("run_c"))
    run.suspend("a", signal("late"))
    run.do(c.PauseRun(by="ann", reason="lunch"))
    run.do(c.ResumeRun(by="ann"))
    run.do(c.FireTimer(path="a"), after_us=10 * SECOND)
    run.complete("a")
    run.suspend("b", signal("early"), child("run_d"))
    run.suspend("b", child("run_d"))
    run.finish_child("run_d", failed=error("ChildError"))
    run.complete("b")
    return run


def doubts() -> World:
    """Irreversible tasks and steps: begun, in doubt, resolved in every way; the last one stops the run."""
    nodes = {f"p{i}": {"class": "Pay"} for i in range(4)}
    run = run_of({"fork": {"next_node": list(nodes)}, **nodes})
    run.complete("fork")
    for path, action in zip(nodes, ("done", "retry", "skip", "fail"), strict=True):
        run.do(c.StartTask(path=path, worker="w1"))
        run.do(c.StartStep(path=path, step="charge", name="charge", args_sha256="cd"))
        run.do(c.DoubtTask(path=path, reason="its worker is gone"))
        run.do(c.ResolveTask(path=path, action=action, output=payload("by hand"), by="ann", message="looked"))
    run.do(c.Deadline(timer="grace"), after_us=20 * SECOND)
    return run


def doubts_decided() -> World:
    """Doubts that `on_doubt` resolves, after a late result or before one; the last one asks."""
    policies = {"p0": "retry", "p1": "skip", "p2": "fail", "p3": "ask"}
    nodes: dict[str, dict[str, object]] = {
        path: {"class": "Pay", "on_doubt": policy, "retry": {"max_attempts": 2}, "on_error": "mend"}
        for path, policy in policies.items()
    }
    run = run_of({"fork": {"next_node": list(nodes)}, **nodes, "mend": {}})
    run.complete("fork")
    for path in nodes:
        run.do(c.StartTask(path=path, worker="w1"))
        run.do(c.NoteLate(path=path, attempt=1, result=payload(f"late from {path}"), worker="w1"))
        run.do(c.DoubtTask(path=path, reason="its worker is gone"))
    run.do(c.StartStep(path="p0", step="charge", name="charge"), after_us=5 * SECOND)
    run.do(c.DoubtTask(path="p0", reason="its worker is gone"))
    run.do(c.NoteLate(path="p0", attempt=2, result=payload("late"), step="charge", worker="w2"))
    run.do(c.ResolveTask(path="p0", action="done", output=payload("late"), by="ann"))
    run.do(c.ResolveTask(path="p3", action="done", output=payload("by hand"), by="ann"))
    for path in list(run.open):
        run.complete(path)
    return run


def cancelled_child() -> World:
    """A run that another waits for, cancelled while it works and waits."""
    parent = Parent(run="run_0", path="task", step="child")
    run = started(definition_of({"f": {"next_node": ["a", "b"]}, "a": {}, "b": {}}), parent=parent, depth=1)
    run.complete("f")
    run.suspend("a", child("run_grandchild"))
    run.do(c.CancelRun(by="parent", reason="the run that waited for it ended"))
    run.do(c.AbandonTask(path="b"))
    return run


def budget_spent() -> World:
    """A loop that its budget ends."""
    run = run_of({"a": {"next_node": {"again": "a", "done": "b"}}, "b": {}}, budget={"tasks": 2})
    run.complete("a", route=["again"])
    run.complete("a@2", route=["again"])
    return run


def budget_raised() -> World:
    """Calls that reserve and settle, one whose answer is lost, a pause at the cap that a raise lifts."""
    run = run_of({"a": {"next_node": "b"}, "b": {}}, budget={"tokens": 20, "cost_usd": 0.5})
    ask = Usage(tokens=10, cost_usd=0.125)
    run.do(c.ReserveBudget(path="a", step="one", usage=ask))
    run.do(c.RecordStep(path="a", step="one", name="one", result=payload("said"), usage=Usage(tokens=4)))
    run.do(c.ReserveBudget(path="a", step="two", usage=ask))
    run.fail("a", retryable=True)
    run.now_us += 5 * SECOND
    run.do(c.ReserveBudget(path="a", step="two", usage=ask))
    run.do(c.RaiseBudget(limits={"tokens": 40, "cost_usd": 0.75}, reason="a longer text"))
    run.do(c.ReserveBudget(path="a", step="two", usage=ask))
    run.do(c.RecordStep(path="a", step="two", name="two", result=payload("said again")))
    run.complete("a")
    run.complete("b")
    return run


def stopped() -> World:
    """A Stop node ends the run as succeeded while a neighbour works."""
    run = run_of({"f": {"next_node": ["a", "b"]}, "a": {}, "b": {}})
    run.complete("f")
    run.do(c.CompleteTask(path="a", output=payload("enough"), stop=c.StopRequest()))
    run.complete("b")
    return run


def fork_of_waits() -> World:
    """A fork of `waits` in its middle, with another variable and an unread signal of the parent."""
    parent = waits()
    cut = next(event.group for event in parent.events if event.kind == "run_paused") - 1
    fork = parent.fork(seq=cut, variables={"x": payload("patched")}, input=payload("other"))
    fork.complete("a")
    fork.suspend("b", signal("early"))
    fork.complete("b")
    return fork


def fork_with_patches() -> World:
    """A fork of `onboarding` before its decision, which goes the other way; beside it another output and a variable."""
    parent = onboarding()
    decided = next(event for event in parent.events if event.kind == "decision_made")
    route = c.RouteChoice(targets=("step_standard_process",), by="person", reason="the other way")
    fork = parent.fork(
        seq=decided.group - 1,
        patches={
            "step_start": c.TaskPatch(output=payload("another start")),
            "step_route_user": c.TaskPatch(
                output=payload({"type": "standard"}), route=route, variables={"seen": payload(True)}
            ),
        },
        by="ann",
    )
    for path in ("step_standard_process", "step_send_email", "step_end"):
        fork.complete(path)
    return fork


def compensated() -> World:
    """A failure, then compensation: of a visit, of one whose outcome is unknown; tried again, failed, in doubt."""
    run = run_of(
        {
            "hotel": {"next_node": ["flight", "car"], "compensate": "cancel_hotel"},
            "flight": {"compensate": "cancel_flight"},
            "car": {},
            "cancel_hotel": {"class": "Pay"},
            "cancel_flight": {"retry": {"max_attempts": 2}},
        }
    )
    run.complete("hotel", {"room": 7})
    run.fail("car")
    run.do(c.AbandonTask(path="flight"))
    run.fail("cancel_flight", retryable=True)
    run.fail("cancel_flight")
    run.do(c.StartTask(path="cancel_hotel", worker="w1"))
    run.do(c.DoubtTask(path="cancel_hotel", reason="its worker is gone"))
    run.do(c.ResolveTask(path="cancel_hotel", action="done", output=payload("by hand"), by="ann"))
    return run


def rounds() -> World:
    """A join on the first arrival in a loop: late, held and surplus arrivals; then one that withdraws the rest."""
    run = run_of(
        {
            "head": {"next_node": ["a", "b"]},
            "a": {"next_node": ["j", "aside"]},
            "b": {"next_node": "j"},
            "aside": {"next_node": "meet"},
            "j": {"join": "any", "next_node": {"again": "head", "done": "last"}},
            "meet": {"join": "each"},
            "last": {"next_node": ["x", "y", "z"]},
            "x": {"next_node": "k", "cancels": ["z"]},
            "y": {"next_node": "k"},
            "z": {"next_node": "end"},
            "k": {"join": {"count": 1, "rest": "cancel"}, "next_node": "end"},
            "end": {},
        }
    )
    run.complete("head")
    run.complete("b")
    run.complete("j", route=["again"])
    run.complete("head@2")
    run.complete("b@2")
    run.complete("a@2")
    run.complete("a")
    run.complete("j@2", route=["done"])
    run.complete("last")
    run.complete("x")
    for path in list(run.open):
        run.complete(path)
    for path in list(run.open):
        run.complete(path)
    return run


def held_back() -> World:
    """Branches that go on beside a failure, a quorum that isn't reached, a retry that takes all of it up."""
    run = run_of(
        {
            "fork": {"next_node": ["a", "b", "d"]},
            "a": {"next_node": ["all", "two"]},
            "b": {"next_node": ["all", "two"]},
            "all": {"next_node": "end"},
            "two": {"join": 2},
            "d": {"next_node": "end"},
            "end": {},
        },
        on_failure="finish_branches",
    )
    run.complete("fork")
    run.fail("b")
    run.complete("d")
    run.complete("a")
    run.do(c.RetryRun(by="ann", reason="mended"))
    for path in ("b", "all", "two@2", "end"):
        run.complete(path)
    return run


def handed_over() -> World:
    """A run that goes on as another, which can't be started at first, with a signal that nobody took."""
    run = run_of({"f": {"next_node": ["a", "b"]}, "a": {}, "b": {}})
    run.complete("f")
    run.signal("news", {"n": 1})
    run.do(
        c.CompleteTask(
            path="a", output=payload(None), handover=Handover(run="run_2", input=payload({"page": 2}))
        )
    )
    run.do(c.AbandonTask(path="b"))
    run.do(c.FinishHandover(run="run_2", error=error("not_found")))
    run.do(c.RetryRun(by="ann"))
    run.do(c.FinishHandover(run="run_2"))
    return run


def successor() -> World:
    """The run that goes on for `handed_over`."""
    before = handed_over().state
    run = started(
        definition_of({"a": {"next_node": "b"}, "b": {}}),
        input={"page": 2},
        continues=predecessor_of(before),
        signals=signals_handed_over(before),
    )
    run.suspend("a", signal("news"))
    run.complete("a")
    run.complete("b")
    return run


def items() -> World:
    """A `for_each` in windows: an error collected, an item skipped, enough of them; one that fails and is retried."""
    each = {"for_each": "{{ input }}", "max_parallel": 2}
    run = run_of(
        {
            "some": {**each, "on_item_error": "collect", "complete_when": 2, "next_node": "all"},
            "all": {**each, "class": "Pay", "next_node": "none"},
            "none": {**each, "next_node": "end"},
            "end": {"params": {"seen": "{{ nodes.some }}"}},
        }
    )
    three = ItemChunk(payload=payload([1, 2, 3]), count=3)
    run.do(c.StartItems(path="some", chunks=(three, three), timing=run.timing()))
    run.complete("some[0]")
    run.fail("some[1]")
    run.suspend("some[2]", timer(run.now_us + SECOND))
    run.complete("some[3]")
    run.do(c.StartItems(path="all", chunks=(three,)))
    run.do(c.StartTask(path="all[0]", worker="w1"))
    run.do(c.DoubtTask(path="all[0]", reason="its worker is gone"))
    run.do(c.ResolveTask(path="all[0]", action="skip", by="ann"))
    run.fail("all[1]")
    run.do(c.AbandonTask(path="all[2]"))
    run.do(c.RetryRun(by="ann", reason="mended"))
    for path in ("all[1]", "all[2]"):
        run.complete(path)
    run.do(c.StartItems(path="none"))
    run.complete("end")
    return run


def plans() -> World:
    """Plans: a diamond with a plan in it, retried; one whose failure is handled; one that is taken back."""
    run = run_of(
        {
            "start": {"next_node": ["plan", "beside"]},
            "plan": {"next_node": "join"},
            "beside": {"next_node": "join"},
            "join": {"params": {"seen": "{{ nodes.plan }}"}, "next_node": "again"},
            "again": {"on_error": "mend"},
            "mend": {"next_node": "last"},
            "last": {"next_node": "end"},
            "end": {},
        }
    )
    run.complete("start")
    diamond = plan_of(
        {
            "a": {"next_node": ["b", "c"]},
            "b": {"next_node": "d"},
            "c": {"next_node": "d"},
            "d": {"params": {"seen": "{{ nodes.beside | default(nodes.a) }}"}},
        }
    )
    run.lay("plan", diamond, reason="two at once")
    run.complete("plan/a")
    run.lay("plan/c", plan_of({"x": {"next_node": ["y", "z"]}, "y": {}, "z": {}}))
    run.complete("beside")
    run.complete("plan/c/x")
    run.fail("plan/c/y")
    run.do(c.AbandonTask(path="plan/b"))
    run.do(c.AbandonTask(path="plan/c/z"))
    run.do(c.RetryRun(by="ann", reason="mended"))
    for path in ("plan/c/y", "plan/c/z", "plan/b", "plan/c", "plan/d", "join"):
        run.complete(path)
    run.lay("again", plan_of({"e": {"next_node": ["f", "g"]}, "f": {}, "g": {}}, output="{{ nodes.f }}"))
    run.complete("again/e")
    run.suspend("again/g", signal("go"))
    run.fail("again/f")
    run.complete("mend")
    run.lay("last", plan_of({"h": {"compensate": "undo"}, "undo": {"params": {"seen": "{{ nodes.h }}"}}}))
    run.complete("last/h")
    run.fail("end")
    run.complete("last/undo")
    return run


SCENARIOS: tuple[Callable[[], World], ...] = (
    onboarding,
    loop_with_joins,
    failed_and_retried,
    waits,
    doubts,
    doubts_decided,
    cancelled_child,
    budget_spent,
    budget_raised,
    stopped,
    fork_of_waits,
    fork_with_patches,
    compensated,
    rounds,
    held_back,
    handed_over,
    successor,
    items,
    data_erased,
    cached,
    plans,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the golden journals of a release.")
    parser.add_argument("release")
    folder = JOURNALS / parser.parse_args().release
    folder.mkdir(parents=True, exist_ok=True)
    for scenario in SCENARIOS:
        if (folder / f"{scenario.__name__}.jsonl").exists():
            continue
        run = scenario()
        (folder / f"{scenario.__name__}.jsonl").write_bytes(b"".join(line + b"\n" for line in run.journal))
        (folder / f"{scenario.__name__}.state.json").write_bytes(encode_state(run.state) + b"\n")


if __name__ == "__main__":
    main()
