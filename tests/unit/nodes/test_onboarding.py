"""The onboarding family: both paths, three ways to choose them, one mail however often it is sent."""

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.nodes import onboarding
from orchestrator.nodes.onboarding import (
    EscalateToPremiumSupportNode,
    GetUserDataNode,
    ProcessStandardUserNode,
    RouteUserByTypeNode,
    SendWelcomeEmailNode,
)
from orchestrator.sdk import Arrival, BaseNode, Effect, InvalidParams, Outbox, PermanentFailure, Registry
from tests.unit.sdk.fake_context import FakeContext

STEPS = ("step_escalate", "step_standard_process")


@pytest.fixture(autouse=True)
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(onboarding, "WORK_SECONDS", 0)
    monkeypatch.setenv("ORCHESTRATOR_OUTBOX", str(tmp_path / "outbox"))
    return Outbox.from_environment()


async def run(node: type[BaseNode], params: dict[str, Any] | None = None, **given: Any) -> Any:
    """The node's output as the next one gets it, or its Route."""
    output = await node().execute(node.parse_params(params or {}), FakeContext(**given))
    return node.dump_output(output)


def led_by(node: str, output: Any) -> dict[str, Any]:
    return {"previous": output, "arrivals": [Arrival(node, output)]}


async def test_the_user_is_premium_by_default() -> None:
    output = await run(GetUserDataNode, input=None)
    assert output["user"]["type"] == "premium"
    assert output == await run(GetUserDataNode, input={})


@pytest.mark.parametrize(
    ("params", "given"),
    [
        ({}, {"user_type": "standard"}),
        ({"user_type": "standard"}, None),
        ({"user_type": "premium"}, {"user_type": "standard"}),
    ],
)
async def test_the_user_is_standard_by_input_or_params(params: dict[str, Any], given: Any) -> None:
    assert (await run(GetUserDataNode, params, input=given))["user"]["type"] == "standard"


async def test_editing_the_file_takes_the_other_path(tmp_path: Path) -> None:
    marked = 'DEFAULT_USER_TYPE: UserType = "premium"'
    source = inspect.getsource(onboarding)
    assert source.count(marked) == 1
    file = tmp_path / "onboarding.py"
    file.write_text(source)
    registry = Registry()
    before = set(sys.modules)
    try:
        registry.load_module(file)
        file.write_text(source.replace(marked, marked.replace("premium", "standard")))
        assert registry.reload(file).error is None
        assert (await run(registry.get("GetUserData"), input={}))["user"]["type"] == "standard"
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]
        sys.path.remove(str(tmp_path))


async def test_name_and_mail_can_be_given() -> None:
    params = {"name": "Grace", "email": "grace@example.org"}
    user = (await run(GetUserDataNode, params, input={"name": "Alan"}))["user"]
    assert (user["name"], user["email"]) == ("Alan", "grace@example.org")


async def test_an_unknown_type_is_said_with_the_known_ones() -> None:
    with pytest.raises(PermanentFailure, match='\'gold\'; known are "premium" and "standard"'):
        await run(GetUserDataNode, input={"user_type": "gold"})
    with pytest.raises(InvalidParams, match="'premium' or 'standard'"):
        GetUserDataNode.parse_params({"user_type": "gold"})
    with pytest.raises(PermanentFailure, match="`name`"):
        await run(GetUserDataNode, input={"name": 5})


@pytest.mark.parametrize(
    ("user_type", "allowed", "target"),
    [
        ("premium", STEPS, "step_escalate"),
        ("standard", STEPS, "step_standard_process"),
        ("premium", ("premium", "standard"), "premium"),
        ("standard", ("premium", "*"), "standard"),
    ],
)
async def test_the_router_chooses_by_type_with_its_reason(
    user_type: str, allowed: tuple[str, ...], target: str
) -> None:
    user = await run(GetUserDataNode, input={"user_type": user_type})
    route = await run(RouteUserByTypeNode, allowed_routes=allowed, **led_by("step_get_user", user))
    assert (route.targets, route.reason, route.by) == ((target,), f'user.type is "{user_type}"', "rule")
    assert route.output == user


async def test_the_premium_path_ends_in_one_mail(outbox: Outbox) -> None:
    user = await run(GetUserDataNode, input={})
    done = await run(EscalateToPremiumSupportNode, **led_by("step_route_user", user))
    assert done["support_ticket"].startswith("PS-")
    again = await run(EscalateToPremiumSupportNode, **led_by("step_route_user", user), attempt=2)
    assert again == done
    join: dict[str, Any] = {"previous": {"step_escalate": done}, "arrivals": [Arrival("step_escalate", done)]}
    sent = [
        await run(SendWelcomeEmailNode, attempt=n, path="mail", node_id="mail", run_id="r7", **join)
        for n in (1, 2)
    ]
    (message,) = outbox.list(run="r7").items
    assert (
        sent[0]
        == sent[1]
        == {
            "to": "ada@example.com",
            "subject": "Welcome, Ada Lovelace!",
            "message_id": message.id,
            "user_type": "premium",
        }
    )
    assert done["support_ticket"] in message.body
    assert (message.path, message.node, message.idempotency_key) == ("mail", "mail", "run_1/node")


async def test_the_standard_path_ends_in_a_mail_with_the_checklist(outbox: Outbox) -> None:
    user = await run(GetUserDataNode, input={"user_type": "standard"})
    done = await run(ProcessStandardUserNode, **led_by("step_route_user", user))
    await run(SendWelcomeEmailNode, **led_by("step_standard_process", done))
    (message,) = outbox.list().items
    assert all(f"- {item}" in message.body for item in done["checklist"])
    assert message.to == "sam@example.com"


async def test_a_joins_map_that_was_passed_on_still_has_its_user() -> None:
    user = await run(GetUserDataNode, input={})
    passed = {"step_a": {"x": 1}, "step_b": user}
    assert (await run(ProcessStandardUserNode, **led_by("step_wait", passed)))["user"] == user["user"]


@pytest.mark.parametrize("node", [RouteUserByTypeNode, EscalateToPremiumSupportNode, SendWelcomeEmailNode])
async def test_without_a_user_it_says_what_has_to_come_before(node: type[BaseNode]) -> None:
    with pytest.raises(PermanentFailure, match=r"`step_x`.*a GetUserDataNode has to come before"):
        await run(node, **led_by("step_x", {"user": "Ada"}))


def test_the_family_declares_what_it_does() -> None:
    effects = {
        GetUserDataNode: Effect.READ,
        RouteUserByTypeNode: Effect.PURE,
        EscalateToPremiumSupportNode: Effect.WRITE,
        ProcessStandardUserNode: Effect.WRITE,
        SendWelcomeEmailNode: Effect.WRITE,
    }
    for node, effect in effects.items():
        made = node.declaration()
        assert (made.effect, made.family) == (effect, "onboarding")
        assert node.parse_params({}) is not None
    assert RouteUserByTypeNode.declaration().routes == STEPS
