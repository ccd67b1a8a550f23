"""The data nodes."""

from typing import Any

import pytest

from orchestrator.nodes import SetNode
from orchestrator.sdk import PermanentFailure
from tests.unit.sdk.fake_context import FakeContext


async def run(params: dict[str, Any], previous: Any = None) -> tuple[Any, dict[str, Any]]:
    ctx = FakeContext(previous=previous)
    return await SetNode().execute(SetNode.parse_params(params), ctx), ctx.set


async def test_set_makes_the_output_of_its_values() -> None:
    assert await run({"values": {"a": 1, "b": [2]}}, {"old": 0}) == ({"a": 1, "b": [2]}, {})


async def test_set_lays_its_values_over_what_led_here() -> None:
    assert await run({"values": {"a": 1}, "keep_previous": True}, {"a": 0, "b": 2}) == ({"a": 1, "b": 2}, {})
    assert await run({"values": {"a": 1}, "keep_previous": True}, None) == ({"a": 1}, {})


async def test_set_changes_nothing_in_place() -> None:
    previous = {"a": 0}
    await run({"values": {"a": 1}, "keep_previous": True}, previous)
    assert previous == {"a": 0}


async def test_set_without_values_sets_variables_and_passes_on() -> None:
    assert await run({"variables": {"n": 3, "self": 4}}, 7) == (7, {"n": 3, "self": 4})


@pytest.mark.parametrize(
    ("previous", "kind"), [([1], "list"), ("x", "text"), (3, "number"), (True, "yes or no")]
)
async def test_set_cannot_keep_what_is_no_map(previous: Any, kind: str) -> None:
    with pytest.raises(PermanentFailure, match=f"is a {kind}"):
        await run({"values": {}, "keep_previous": True}, previous)
