"""A run keeps to the effect that its version was saved with, also when the class has become less careful since."""

from typing import Any

import pytest

from orchestrator.sdk import Effect
from tests.unit.engine.lab import Lab, in_lab


@pytest.mark.parametrize(
    ("saved", "now", "journalled_first"),
    [
        (Effect.IRREVERSIBLE, Effect.WRITE, True),
        (Effect.IRREVERSIBLE, Effect.PURE, True),
        (Effect.IRREVERSIBLE, Effect.IRREVERSIBLE, True),
        (Effect.WRITE, Effect.IRREVERSIBLE, True),
        (Effect.WRITE, Effect.READ, False),
    ],
)
def test_the_more_careful_of_version_and_class_holds(
    saved: Effect, now: Effect, journalled_first: bool
) -> None:
    async def test(lab: Lab) -> None:
        async def pay(params: Any, ctx: Any) -> str:
            return "paid"

        lab.node("Pay", pay, effect=saved)
        await lab.save("w", {"a": {"class": "Pay"}})
        lab.registry.get("Pay").effect = now
        state = await lab.end(await lab.start("w"))
        kinds = [event.kind for event in await lab.journal(state.run_id)]
        assert ("task_started" in kinds) is journalled_first

    in_lab(test)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_effect_that_is_computed_from_the_params_still_counts(method: str) -> None:
    async def test(lab: Lab) -> None:
        async def request(params: Any, ctx: Any) -> str:
            return method

        def effect_for(cls: Any, params: Any) -> Effect:
            return Effect.READ if method == "GET" else Effect.IRREVERSIBLE

        lab.node("Request", request, effect=Effect.IRREVERSIBLE, effect_for=classmethod(effect_for))
        state = await lab.run({"a": {"class": "Request"}})
        kinds = [event.kind for event in await lab.journal(state.run_id)]
        assert ("task_started" in kinds) is (method == "POST")

    in_lab(test)
