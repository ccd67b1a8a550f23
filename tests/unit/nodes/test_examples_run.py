"""The example workflows on the real engine and the memory store: every way through them, and how it ends."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.sdk import Outbox
from orchestrator.testing import Lab, LabRun

FOLDER = Path(__file__).parents[3] / "examples"
ONBOARDING, APPROVAL, PARALLEL, LOOP, ORDER, SHIPPING = (
    FOLDER / f"{name}.json" for name in ("onboarding", "approval", "parallel", "loop", "order", "shipping")
)


def decisions(run: LabRun) -> list[tuple[str, ...]]:
    return [(decision.path, *decision.chosen) for decision in run.decisions]


@pytest.mark.parametrize(
    ("given", "user_type", "step", "to"),
    [
        (None, "premium", "step_escalate", "ada@example.com"),
        ({"user_type": "standard"}, "standard", "step_standard_process", "sam@example.com"),
    ],
)
async def test_onboarding_takes_both_paths_and_sends_one_mail(
    workflow_lab: Lab, given: Any, user_type: str, step: str, to: str
) -> None:
    run = await workflow_lab.run(ONBOARDING, input=given)
    run.assert_succeeded().assert_decided("step_route_user", step)
    assert [decision.reason for decision in run.decisions] == [f'user.type is "{user_type}"']
    assert (run.output["to"], run.output["user_type"]) == (to, user_type)
    (mail,) = Outbox.from_environment().list(run=run.id).items
    assert (mail.id, mail.to, mail.path) == (run.output["message_id"], to, "step_send_email")


async def test_onboarding_of_an_unknown_type_fails_with_the_known_ones_and_sends_nothing(
    workflow_lab: Lab,
) -> None:
    run = await workflow_lab.run(ONBOARDING, input={"user_type": "gold"})
    run.assert_failed(
        "permanent_failure", message='user_type is \'gold\'; known are "premium" and "standard"'
    )
    assert [failure.final for failure in run.failures] == [True]
    assert Outbox.from_environment().list().items == ()


async def test_a_small_expense_needs_nobody(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(APPROVAL, input={"employee": "Sam", "amount": 5})
    run.assert_succeeded({"approve": {"approved": True, "employee": "Sam", "amount": 5}})
    assert decisions(run) == [("needs_approval", "false")]
    assert run.decisions[0].reason == "input.amount > 100 is false"


@pytest.mark.parametrize(
    ("answer", "label", "output"),
    [
        ({"approved": True}, "yes", {"approve": {"approved": True, "employee": "Sam", "amount": 500}}),
        (
            {"approved": False, "comment": "too much"},
            "no",
            {"reject": {"approved": False, "employee": "Sam", "comment": "too much"}},
        ),
        (
            {"approved": "hm"},
            "*",
            {"reject": {"approved": False, "employee": "Sam", "comment": "no comment"}},
        ),
    ],
)
async def test_a_large_expense_waits_for_the_managers_signal(
    workflow_lab: Lab, answer: Any, label: str, output: Any
) -> None:
    run = await workflow_lab.start(APPROVAL, input={"employee": "Sam", "amount": 500})
    run.assert_waiting("decision")
    await run.signal("decision", answer)
    run.assert_succeeded(output)
    assert decisions(run) == [("needs_approval", "true"), ("judge", label)]


async def test_three_branches_meet_in_the_briefing(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(PARALLEL)
    assert run.output["text"].startswith("Weather: sunny, 21 degrees. 2 meetings. News: Nothing happened")
    assert run.output["meetings"] == ["09:00 planning", "14:00 review"]


async def test_the_loop_ends_when_somebody_is_at_home(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(LOOP, input={"at_home_on": 3, "attempts": 5})
    run.assert_succeeded({"attempt": 3, "opened": True})
    assert decisions(run) == [("what_now", "*"), ("what_now@2", "*"), ("what_now@3", "delivered")]


async def test_the_loop_gives_up_after_the_last_attempt(workflow_lab: Lab) -> None:
    run = await workflow_lab.run(LOOP, input={"at_home_on": 9, "attempts": 2})
    run.assert_failed("stopped", message="nobody at home in 2 attempts")


async def test_an_order_waits_for_its_shipment(workflow_lab: Lab) -> None:
    await workflow_lab.save(SHIPPING)
    run = await workflow_lab.run(ORDER, input={"order": "A-1", "address": "here"})
    run.assert_succeeded({"confirm": {"message": "Order A-1 is on its way: TRK-A-1"}})
