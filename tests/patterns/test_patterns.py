"""The control-flow patterns: each document of docs/patterns.md, run on the engine with a virtual clock.

What runs is the JSON of the page itself. Each test says what its pattern must do, and what it must not do.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Context
from orchestrator.testing import Lab

PAGE = Path(__file__).resolve().parents[2] / "docs" / "patterns.md"
SECTIONS: dict[int, str] = {
    int(number): text
    for number, text in re.findall(
        r"^## (\d+)\. [^\n]*\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S
    )
}


def pattern(number: int) -> dict[str, Any]:
    """The document of a pattern, as the page shows it."""
    found = re.search(r"^```json\n(.*?)^```$", SECTIONS[number], re.M | re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_has_each_pattern_once_and_a_test_for_each() -> None:
    numbers = [int(n) for n in re.findall(r"^## (\d+)\. ", PAGE.read_text("utf-8"), re.M)]
    assert numbers == sorted(set(numbers))
    tested = {int(n) for name in globals() for n in re.findall(r"^test_(\d+)_", name)}
    assert tested == set(numbers)


async def test_01_sequence(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(1))
    run.assert_waiting("a").assert_not_visited("b")
    await run.signal("a", 1)
    run.assert_succeeded({"after": 1})


async def test_02_parallel_split(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(2))
    run.assert_visited("slow", "fast")
    await run.signal("fast")
    assert run.path == ["split", "fast", "behind"]
    await run.signal("slow")
    run.assert_succeeded()


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_03_synchronization(workflow_lab: Lab, order: str) -> None:
    run = await workflow_lab.start(pattern(3))
    await run.signal(order[0])
    run.assert_not_visited("meet")
    await run.signal(order[1], "second")
    run.assert_visited(meet=1).assert_succeeded()


@pytest.mark.parametrize(("amount", "taken", "other"), [(500, "large", "small"), (5, "small", "large")])
async def test_04_exclusive_choice(workflow_lab: Lab, amount: int, taken: str, other: str) -> None:
    run = await workflow_lab.run(pattern(4), input={"amount": amount})
    run.assert_succeeded().assert_visited(taken).assert_not_visited(other)


@pytest.mark.parametrize(("amount", "size"), [(500, "large"), (5, "small")])
async def test_05_simple_merge(workflow_lab: Lab, amount: int, size: str) -> None:
    run = await workflow_lab.run(pattern(5), input={"amount": amount})
    run.assert_visited(merge=1).assert_succeeded({size: {"size": size}})


CALLS: list[tuple[dict[str, Any], list[str]]] = [
    ({"crime": True, "hurt": 0}, ["police"]),
    ({"crime": False, "hurt": 2}, ["ambulance"]),
    ({"crime": True, "hurt": 1}, ["police", "ambulance"]),
    ({"crime": False, "hurt": 0}, []),
]


@pytest.mark.parametrize(("call", "taken"), CALLS)
async def test_06_multi_choice(workflow_lab: Lab, call: dict[str, Any], taken: list[str]) -> None:
    run = await workflow_lab.run(pattern(6), input=call)
    run.assert_succeeded()
    assert set(run.visits) == {"call", *(taken or ["nobody"])}


@pytest.mark.parametrize(("call", "taken"), CALLS)
async def test_07_structured_synchronizing_merge(
    workflow_lab: Lab, call: dict[str, Any], taken: list[str]
) -> None:
    run = await workflow_lab.start(pattern(7), input=call)
    for way in taken:
        run.assert_not_visited("report")
        await run.signal(way, way)
    run.assert_succeeded().assert_visited(report=1)
    assert set(run.visits) == {"call", *taken, "report"}


async def test_08_multi_merge(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(8))
    await run.signal("b", "from b")
    run.assert_visited(note=1, sent=1)
    assert run.outputs["sent"] == {"from": "from b"}
    await run.signal("a", "from a")
    run.assert_visited(note=2, sent=2).assert_succeeded({"from": "from a"})


async def test_09_structured_discriminator(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(9))
    await run.signal("b")
    assert run.outputs["first"] == {"who": "b"}
    await run.signal("a")
    assert not run.over
    await run.signal("c")
    run.assert_visited(a=1, b=1, c=1, first=1).assert_succeeded({"who": "b"})


@pytest.mark.parametrize(
    ("is_new", "rounds", "drafts", "reviews"), [(True, 3, 3, 3), (False, 3, 3, 4), (False, 0, 0, 1)]
)
async def test_10_arbitrary_cycles(
    workflow_lab: Lab, is_new: bool, rounds: int, drafts: int, reviews: int
) -> None:
    run = await workflow_lab.run(pattern(10), input={"is_new": is_new, "rounds": rounds})
    run.assert_succeeded().assert_visited(draft=drafts, review=reviews, done=1)


async def test_11_implicit_termination(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(11))
    await run.signal("b", 2)
    assert not run.over
    await run.signal("a", 1)
    run.assert_succeeded({"a": 1, "b": 2})


async def test_12_multiple_instances_without_synchronization(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(12), input={"copies": 3})
    run.assert_visited(send=3, on=1)
    assert "send" not in run.path
    for _ in range(3):
        assert not run.over
        await run.signal("delivered")
    run.assert_visited(on=1).assert_succeeded()


async def test_13_multiple_instances_with_a_priori_design_time_knowledge(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(13))
    run.assert_visited(review=3)
    for who in ("ann", "bob", "eve"):
        run.assert_not_visited("decide")
        await run.signal("reviewed", who)
    run.assert_succeeded({"reviews": ["ann", "bob", "eve"]}).assert_visited(decide=1)


@pytest.mark.parametrize("reviewers", [[], ["ann", "bob"], list("abcdefg")])
async def test_14_multiple_instances_with_a_priori_run_time_knowledge(
    workflow_lab: Lab, reviewers: list[str]
) -> None:
    run = await workflow_lab.start(pattern(14), input={"reviewers": reviewers})
    run.assert_visited(review=len(reviewers))
    for who in reviewers:
        run.assert_not_visited("decide")
        await run.signal("reviewed", who)
    run.assert_succeeded({"reviews": reviewers}).assert_visited(decide=1)


async def test_15_multiple_instances_without_a_priori_run_time_knowledge(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(15))
    await run.signal("sample", {"last": False})
    await run.signal("tested", "one")
    run.assert_not_visited("report")
    await run.signal("sample", {"last": False})
    await run.signal("sample", {"last": False})
    run.assert_visited(test=3)
    await run.signal("sample", {"last": True})
    await run.signal("tested", "two")
    run.assert_not_visited("report")
    await run.signal("tested", "three")
    run.assert_visited(report=1).assert_succeeded({"results": ["one", "two", "three"]})


@pytest.mark.parametrize(
    ("what", "leads_to"), [("accept", "accepted"), ("refuse", "refused"), (None, "expired")]
)
async def test_16_deferred_choice(workflow_lab: Lab, what: str | None, leads_to: str) -> None:
    run = await workflow_lab.start(pattern(16))
    if what is None:
        await workflow_lab.advance("14d")
    else:
        await run.signal(what)
    run.assert_succeeded().assert_visited(leads_to)
    assert len([node for node in run.path if node.endswith("ed")]) == 1


@pytest.mark.parametrize("order", ["abc", "acb", "cab"])
async def test_17_interleaved_parallel_routing(workflow_lab: Lab, order: str) -> None:
    run = await workflow_lab.start(pattern(17))
    run.assert_not_visited("take_b")
    for place, what in enumerate(order, start=1):
        await run.signal(what)
        run.assert_visited(**{what: 1, "work": place})
        run.assert_not_visited(*order[place:])
        await run.signal("worked")
    run.assert_succeeded().assert_visited(a=1, b=1, c=1, done=1)


async def test_18_milestone(workflow_lab: Lab) -> None:
    in_time = await workflow_lab.start(pattern(18))
    await in_time.signal("change", "blue")
    await in_time.finish()
    in_time.assert_succeeded().assert_visited(changed=1, ship=1)

    too_late = await workflow_lab.start(pattern(18))
    await workflow_lab.advance("25h")
    too_late.assert_succeeded().assert_visited("ship").assert_not_visited("change", "changed")


async def test_19_cancel_task(workflow_lab: Lab) -> None:
    stopped = await workflow_lab.start(pattern(19))
    await stopped.signal("stop")
    stopped.assert_succeeded().assert_visited("stopped").assert_not_visited("work", "done")

    done = await workflow_lab.start(pattern(19))
    await done.signal("work")
    done.assert_succeeded().assert_visited("done").assert_not_visited("stop", "stopped")


async def test_20_cancel_case(workflow_lab: Lab) -> None:
    revoked = await workflow_lab.start(pattern(20))
    await revoked.signal("a")
    await revoked.signal("revoke")
    revoked.assert_failed("stopped", message="revoked").assert_not_visited("b", "decide")

    by_a_person = await workflow_lab.start(pattern(20))
    await by_a_person.cancel("enough")
    by_a_person.assert_cancelled().assert_not_visited("a", "b", "revoke")

    granted = await workflow_lab.start(pattern(20))
    await granted.signal("a")
    await granted.signal("b")
    granted.assert_succeeded({"granted": True})


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_21_structured_loop(workflow_lab: Lab, times: int) -> None:
    run = await workflow_lab.run(pattern(21), input={"times": times})
    run.assert_succeeded().assert_visited(body=times, again=max(times, 1), done=1)


async def test_22_recursion(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(pattern(22), input={"n": 5})
    run.assert_succeeded({"value": 120}).assert_visited(rest=1)
    assert len(await workflow_lab.child_runs(run)) == 1


async def test_23_transient_trigger(workflow_lab: Lab) -> None:
    too_early = await workflow_lab.start(pattern(23))
    await too_early.signal("alarm")
    await too_early.finish()
    too_early.assert_succeeded().assert_visited("quiet").assert_not_visited("act")

    in_time = await workflow_lab.start(pattern(23))
    await workflow_lab.advance("2h")
    await in_time.signal("alarm")
    in_time.assert_succeeded().assert_visited("act").assert_not_visited("quiet")


async def test_24_persistent_trigger(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(24))
    await run.signal("order", 1)
    run.assert_not_visited("first")
    await workflow_lab.advance("1h")
    assert run.outputs["first"] == 1
    await run.finish()
    run.assert_succeeded().assert_visited("only_one")


async def test_25_cancel_region(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(25))
    await run.signal("a")
    await run.signal("alarm")
    run.assert_visited("instead").assert_not_visited("b", "meet")
    assert not run.over
    await run.signal("outside", "still here")
    run.assert_succeeded()
    assert run.outputs["outside"] == "still here"


async def test_26_cancel_multiple_instance_activity(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(26))
    await run.signal("reviewed", "ann")
    await run.signal("withdraw")
    run.assert_succeeded().assert_visited("withdrawn", review=1).assert_not_visited("decide")

    whole = await workflow_lab.start(pattern(26))
    for who in ("ann", "bob", "eve"):
        await whole.signal("reviewed", who)
    whole.assert_succeeded({"all": ["ann", "bob", "eve"]}).assert_not_visited("withdrawn")


async def test_27_complete_multiple_instance_activity(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(27))
    await run.signal("reviewed", "ann")
    await run.signal("reviewed", "bob")
    run.assert_not_visited("decide")
    await run.signal("enough")
    run.assert_succeeded({"reviews": ["ann", "bob"]}).assert_visited(review=2, decide=1)

    whole = await workflow_lab.start(pattern(27))
    for who in ("ann", "bob", "eve"):
        await whole.signal("reviewed", who)
    whole.assert_succeeded({"reviews": ["ann", "bob", "eve"]}).assert_visited(decide=1)


async def test_28_blocking_discriminator(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(28))
    await run.signal("a")
    run.assert_visited(first=1, split=2)
    await run.signal("a")
    run.assert_visited(first=1)
    await run.signal("b")
    run.assert_visited(first=2, done=1)
    await run.signal("b")
    run.assert_succeeded().assert_visited(first=2, a=2, b=2, done=1)


async def test_29_cancelling_discriminator(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(29))
    await run.signal("b")
    await run.signal("c")
    run.assert_succeeded({"who": "c"}).assert_visited(first=1).assert_not_visited("a", "b2")


async def test_30_structured_partial_join(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(30))
    await run.signal("c")
    run.assert_not_visited("decide")
    await run.signal("a")
    assert run.outputs["decide"] == {"by": ["a", "c"]}
    assert not run.over
    await run.signal("b")
    run.assert_succeeded({"by": ["a", "c"]}).assert_visited(decide=1, b=1)


async def test_31_blocking_partial_join(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(31))
    await run.signal("a")
    await run.signal("b")
    run.assert_visited(decide=1, split=2)
    await run.signal("a")
    await run.signal("b")
    run.assert_visited(decide=1)
    await run.signal("c")
    run.assert_visited(decide=2, done=1)
    await run.signal("c")
    run.assert_succeeded().assert_visited(decide=2, c=2)


async def test_32_cancelling_partial_join(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(32))
    await run.signal("b")
    run.assert_not_visited("decide")
    await run.signal("a")
    run.assert_succeeded({"by": ["a", "b"]}).assert_not_visited("c")


async def test_33_generalised_and_join(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(33))
    await run.signal("box", "b1")
    await run.signal("box", "b2")
    run.assert_not_visited("load")
    await run.signal("truck", "t1")
    run.assert_visited(load=1, gone=1)
    assert run.outputs["load"] == {"loaded": {"box": "b1", "truck": "t1"}}
    await run.signal("truck", "t2")
    run.assert_succeeded().assert_visited(load=2, gone=2)
    assert run.outputs["load"] == {"loaded": {"box": "b2", "truck": "t2"}}


async def test_34_static_partial_join_for_multiple_instances(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(34))
    await run.signal("reviewed", 1)
    run.assert_not_visited("decide")
    await run.signal("reviewed", 2)
    assert run.outputs["decide"] == {"reviews": [1, 2]}
    await run.signal("reviewed", 3)
    run.assert_succeeded({"reviews": [1, 2]}).assert_visited(review=3, decide=1)


async def test_35_cancelling_partial_join_for_multiple_instances(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(35))
    await run.signal("reviewed", 1)
    await run.signal("reviewed", 2)
    run.assert_succeeded({"reviews": [1, 2]}).assert_visited(review=2, decide=1)


async def test_36_dynamic_partial_join_for_multiple_instances(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(36), input={"needed": 2})
    for _ in range(2):
        await run.signal("volunteer", {"last": False})
    await run.signal("reviewed", {"yes": 1})
    await run.signal("volunteer", {"last": False})
    await run.signal("volunteer", {"last": False})
    await run.signal("reviewed", {"yes": 0})
    run.assert_not_visited("decide")
    await run.signal("reviewed", {"yes": 1})
    run.assert_succeeded().assert_visited(decide=1, review=3)
    assert run.outputs["decide"] == {"yes": 2}


@pytest.mark.parametrize("both", [True, False])
async def test_37_local_synchronizing_merge(workflow_lab: Lab, both: bool) -> None:
    run = await workflow_lab.start(pattern(37), input={"both": both})
    await run.signal("a", 1)
    if both:
        run.assert_not_visited("meet", "also")
        await run.signal("b", 2)
        assert run.outputs["meet"] == {"a": 1, "b": 2}
    else:
        assert run.outputs["meet"] == {"a": 1}
        run.assert_not_visited("also")
        await run.signal("aside", 3)
        assert run.outputs["also"] == {"a": 1, "aside": 3}
    run.assert_succeeded().assert_visited(meet=1, also=1)


async def test_38_general_synchronizing_merge(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(38))
    await run.signal("a")
    for _ in range(3):
        await run.signal("review", "again")
        run.assert_not_visited("meet")
    await run.signal("review", "good")
    run.assert_succeeded().assert_visited(meet=1, review=4)

    dropped = await workflow_lab.start(pattern(38))
    await dropped.signal("review", "bad")
    await dropped.signal("a")
    dropped.assert_visited(meet=1)
    assert not dropped.over
    await dropped.signal("dropped")
    dropped.assert_succeeded().assert_visited(meet=1)


async def test_39_critical_section(workflow_lab: Lab) -> None:
    at_work: set[str] = set()
    together: set[frozenset[str]] = set()

    async def work(params: Any, ctx: Context) -> str:
        at_work.add(ctx.node_id)
        together.add(frozenset(at_work))
        await asyncio.sleep(60)
        at_work.discard(ctx.node_id)
        return ctx.node_id

    for node in ("count", "pay_in", "beside"):
        workflow_lab.stand_in(node=node, does=work)
    run = await workflow_lab.run(pattern(39))
    run.assert_succeeded().assert_visited(count=1, pay_in=1, beside=1, done=1)
    assert any(len(several) == 2 for several in together)
    assert not any({"count", "pay_in"} <= several for several in together)


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_40_interleaved_routing(workflow_lab: Lab, order: str) -> None:
    run = await workflow_lab.start(pattern(40))
    for place, what in enumerate(order, start=1):
        await run.signal(what)
        run.assert_visited(**{what: 1, "work": place})
        run.assert_not_visited(*order[place:])
        await run.signal("worked")
    run.assert_succeeded().assert_visited(a=1, b=1, done=1)


async def test_41_thread_merge(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(41))
    for _ in range(2):
        await run.signal("worked")
    run.assert_not_visited("merge")
    await run.signal("worked")
    run.assert_succeeded({"parts": 3}).assert_visited(work=3, merge=1, done=1)
    assert run.outputs["merge"] == {"parts": 3}


async def test_42_thread_split(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(pattern(42))
    run.assert_succeeded().assert_visited(split=1, work=3, behind=3)


async def test_43_explicit_termination(workflow_lab: Lab) -> None:
    run = await workflow_lab.start(pattern(43))
    await run.signal("a")
    run.assert_succeeded({"enough": True}).assert_not_visited("b", "behind")
