"""What Route and Stop accept, and what they say to the rest."""

import dataclasses
from typing import Any

import pytest

from orchestrator.sdk import Route, Stop, UsageError


def test_a_route_holds_what_it_was_given() -> None:
    route = Route(
        "a", "b", output={"x": 1}, reason="because", confidence=1, by="model", model="m-1", cost_usd=0.01
    )
    assert route.targets == ("a", "b")
    assert (route.output, route.reason, route.confidence, route.by) == ({"x": 1}, "because", 1.0, "model")
    assert (route.model, route.cost_usd) == ("m-1", 0.01)
    assert not route.ends


def test_a_route_can_end_its_path() -> None:
    route = Route.end(output=1, reason="done")
    assert route.ends
    assert (route.targets, route.output, route.reason, route.by) == ((), 1, "done", "function")


def test_a_route_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Route("a").reason = "other"  # pyright: ignore[reportAttributeAccessIssue] -- that is the test


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ((), "Route.end()"),
        (("",), "not empty"),
        ((None,), "not empty"),
        ((["a", "b"],), "one by one"),
        (("a", "a"), "twice"),
    ],
)
def test_targets_that_name_nothing_are_refused(targets: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace(")", r"\)")):
        Route(*targets)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan"), True, "0.5"])
def test_confidence_is_a_number_from_0_to_1(confidence: Any) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        Route("a", confidence=confidence)


@pytest.mark.parametrize("confidence", [0, 0.5, 1])
def test_the_ends_of_confidence_are_allowed(confidence: float) -> None:
    assert Route("a", confidence=confidence).confidence == confidence


def test_who_decided_is_one_of_four() -> None:
    with pytest.raises(UsageError, match="'rule', 'function', 'model', 'person'"):
        Route("a", by="oracle")  # pyright: ignore[reportArgumentType] -- that is the test


@pytest.mark.parametrize("reason", [5, "x" * 10_001])
def test_a_reason_is_a_text_of_bounded_length(reason: Any) -> None:
    with pytest.raises(UsageError, match="reason"):
        Route("a", reason=reason)


def test_a_stop_succeeds_unless_told_otherwise() -> None:
    assert Stop() == Stop(succeed=True, message=None, output=None)


@pytest.mark.parametrize(
    ("given", "said"), [({"succeed": "no"}, "True or False"), ({"message": 3}, "a text")]
)
def test_a_stop_checks_its_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Stop(**given)
