"""Flow: where a run begins, ends, branches, waits, stops, and hands work to another workflow."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from orchestrator.sdk import (
    ANY,
    BaseNode,
    Context,
    Duration,
    Effect,
    PermanentFailure,
    PositiveDuration,
    Route,
    Stop,
)

_SHOWN_CHARACTERS = 80


class StartNode(BaseNode):
    """Begin the run: the output is the run's input, an empty map if it has none."""

    effect = Effect.PURE
    family = "flow"
    icon = "play"

    async def execute(self, params: BaseModel, ctx: Context) -> Any:
        return {} if ctx.input is None else ctx.input


class EndNode(BaseNode):
    """End this path of the run and pass on what led here. Other paths go on."""

    effect = Effect.PURE
    family = "flow"
    icon = "end"

    async def execute(self, params: BaseModel, ctx: Context) -> Any:
        return ctx.previous


class IfNode(BaseNode):
    """Take the way `true` or the way `false`.

    `next_node` is a map with these two labels. What led here is passed on. The condition is false if it is false,
    null, zero, or an empty text, list or map. A text other than "true" and "false" is refused: most likely it is an
    expression with something around it.
    """

    effect = Effect.PURE
    family = "flow"
    icon = "split"
    routes = ("true", "false")

    class Params(BaseModel):
        condition: Any = Field(description="One whole expression, such as `{{ input.amount > 100 }}`.")

    async def execute(self, params: Params, ctx: Context) -> Route:
        answer = "true" if _truth(params.condition, "condition") else "false"
        condition = _source(ctx.params_written.get("condition"))
        return Route(answer, output=ctx.previous, reason=f"{condition or 'condition'} is {answer}", by="rule")


class SwitchCase(BaseModel):
    """One case of a Switch that has a condition of its own."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, description="The label, or node id, that this case takes.")
    when: Any = Field(description="One whole expression; the first case for which it is true is taken.")


class SwitchNode(BaseNode):
    """Take one of several ways: the first case that fits; with `every`, each that fits.

    `cases` is a map from name to the value to compare with, or a list of `{name, when}`. The case's name is a label
    of `next_node` (or a node id, where that is no map). If no case fits, the label `*` is taken. What led here is
    passed on.
    """

    effect = Effect.PURE
    family = "flow"
    icon = "route"
    routes = ANY

    class Params(BaseModel):
        value: Any = Field(
            None, description="What the cases are compared with; of no use to cases with `when`."
        )
        cases: (
            Annotated[dict[str, Any], Field(min_length=1)] | Annotated[list[SwitchCase], Field(min_length=1)]
        ) = Field(description="`{name: value}`, or a list of `{name, when}`; the first that fits is taken.")
        every: bool = Field(False, description="Take every case that fits, side by side.")

    async def execute(self, params: Params, ctx: Context) -> Route | Any:
        names, reason = _fitting_cases(
            params.value, params.cases, ctx.params_written, most=None if params.every else 1
        )
        if names:
            return Route(*names, output=ctx.previous, reason=reason, by="rule")
        if ANY in ctx.allowed_routes:
            return Route(ANY, output=ctx.previous, reason=reason, by="rule")
        ctx.log(f"{reason}, and there is no `*` for the rest", level="warning")
        return ctx.previous


class WaitNode(BaseNode):
    """Wait for a time, until a time, or for a signal. While it waits it holds no worker.

    Exactly one of `for`, `until` and `signal` is given. A signal's payload is the output; otherwise what led here is
    passed on. A signal that doesn't come within `timeout` fails the node with the error type `signal_timeout`, which
    `on_error` can lead on.
    """

    effect = Effect.READ
    family = "flow"
    icon = "clock"

    class Params(BaseModel):
        model_config = ConfigDict(
            json_schema_extra={
                "oneOf": [{"required": ["for"]}, {"required": ["until"]}, {"required": ["signal"]}],
                "dependentRequired": {"timeout": ["signal"], "fresh": ["signal"]},
            }
        )

        for_: Duration | None = Field(
            None, alias="for", description='How long: seconds, "30s", "5m", "2h", "1d".'
        )
        until: AwareDatetime | None = Field(
            None, description="Until when: a time with its zone, as in RFC 3339."
        )
        signal: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
            None, description="The name of the signal to wait for."
        )
        timeout: PositiveDuration | None = Field(None, description="How long to wait for the signal at most.")

        fresh: bool = Field(
            False,
            description="Pass over signals that came before: only one that comes while it waits counts.",
        )

        @model_validator(mode="after")
        def _exactly_one(self) -> Self:
            given = [
                w
                for w, v in (("for", self.for_), ("until", self.until), ("signal", self.signal))
                if v is not None
            ]
            if len(given) != 1:
                raise ValueError(f"give exactly one of `for`, `until` and `signal`, not {_listed(given)}")
            if self.timeout is not None and self.signal is None:
                raise ValueError(
                    "`timeout` belongs to `signal`; a wait `for` or `until` a time ends by itself"
                )
            if self.fresh and self.signal is None:
                raise ValueError("`fresh` belongs to `signal`")
            return self

    async def execute(self, params: Params, ctx: Context) -> Any:
        if params.signal is not None:
            return await ctx.wait_for_signal(params.signal, timeout=params.timeout, fresh=params.fresh)
        if params.until is not None:
            until: datetime = params.until
            await ctx.sleep_until(until)
        elif params.for_ is not None:
            await ctx.sleep(params.for_)
        return ctx.previous


class StopNode(BaseNode):
    """End the whole run now, as succeeded or as failed. Other paths are asked to end."""

    effect = Effect.PURE
    family = "flow"
    icon = "flag"

    class Params(BaseModel):
        succeed: bool = Field(True, description="Whether the run ends as succeeded.")
        message: str | None = Field(
            None, description="Why, in a person's words; the error of a run that fails."
        )
        output: Any = Field(None, description="The run's output; left out: what led here.")

    async def execute(self, params: Params, ctx: Context) -> Stop:
        output = params.output if "output" in params.model_fields_set else ctx.previous
        return Stop(succeed=params.succeed, message=params.message, output=output)


class SubWorkflowNode(BaseNode):
    """Run another workflow and wait for its end; its output is this node's.

    If the child fails or is cancelled, the node fails with the error type `child_failed`.
    """

    effect = Effect.WRITE
    family = "flow"
    icon = "flow"
    title = "Sub-workflow"

    class Params(BaseModel):
        workflow: str = Field(min_length=1, max_length=200, description="The workflow's name.")
        input: Any = Field(None, description="The child's input; left out: what led here.")
        version: int | None = Field(
            None, ge=1, description="Its version; left out: the latest when the child starts."
        )

    async def execute(self, params: Params, ctx: Context) -> Any:
        given = params.input if "input" in params.model_fields_set else ctx.previous
        return await ctx.run_workflow(params.workflow, given, version=params.version)


_TRUTH_TEXTS: Mapping[str, bool] = {"true": True, "false": False, "": False}


def _truth(value: Any, place: str) -> bool:
    """Whether a condition holds.

    Raises:
        PermanentFailure: it is a text that says neither true nor false.
    """
    if not isinstance(value, str):
        return bool(value)
    known = _TRUTH_TEXTS.get(value.strip().lower())
    if known is None:
        raise PermanentFailure(
            f"{place} is the text {_shown(value)}, neither true nor false; write one whole expression, such as "
            "{{ input.amount > 100 }}, with nothing around it, or compare the text: {{ input.name != '' }}"
        )
    return known


def _fitting_cases(
    value: Any,
    cases: Mapping[str, Any] | list[SwitchCase],
    written: Mapping[str, Any],
    *,
    most: int | None,
) -> tuple[list[str], str]:
    """The names of the first `most` cases that fit, each once, and the reason."""
    fitting: dict[str, str] = {}
    if isinstance(cases, list):
        sources = written.get("cases")
        for place, case in enumerate(cases):
            if len(fitting) == most:
                break
            if _truth(case.when, f"`when` of the case {case.name!r}"):
                source = _source(_item(_item(sources, place), "when"))
                fitting.setdefault(
                    case.name, f"{source} is true" if source else f"the case {case.name!r} is true"
                )
        if fitting:
            return list(fitting), " and ".join(fitting.values())
        return [], f"none of the cases {_listed([c.name for c in cases])} is true"
    what = _source(written.get("value")) or "value"
    names = [name for name, wanted in cases.items() if _same(value, wanted)][:most]
    if names:
        return names, f"{what} is {_shown(value)}"
    return [], f"{what} is {_shown(value)}, which is none of the cases {_listed(list(cases))}"


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: `true` is not 1, all the way down."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def _item(value: Any, key: int | str) -> Any:
    """What a map or list of the document holds there, None if it is something else (an expression, say)."""
    try:
        return value[key]
    except (TypeError, KeyError, IndexError):
        return None


def _source(written: Any) -> str | None:
    """The expression of a param that is one whole expression; None of any other."""
    if not isinstance(written, str):
        return None
    text = written.strip()
    inner = text[2:-2].strip()
    if not (text.startswith("{{") and text.endswith("}}")) or "{{" in inner or "}}" in inner:
        return None
    shown = " ".join(inner.split())
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…"


def _shown(value: Any) -> str:
    """A value in one short line of JSON, for reasons and messages."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return (
        ", ".join(quoted[:-1]) + (" and " if len(quoted) > 1 else "") + quoted[-1]
        if quoted
        else "none of them"
    )
