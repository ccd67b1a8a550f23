"""Data: nodes that make values out of values."""

from typing import Any, TypeGuard

from pydantic import BaseModel, Field

from orchestrator.sdk import BaseNode, Context, Effect, PermanentFailure


class SetNode(BaseNode):
    """Make an output from values and expressions, and set variables of the run.

    With `keep_previous` the values are laid over the map that led here. Without `values` what led here is passed on.
    """

    effect = Effect.PURE
    family = "data"
    icon = "code"
    title = "Set fields"

    class Params(BaseModel):
        values: dict[str, Any] | None = Field(
            None, description="The fields of the output; may hold expressions."
        )
        variables: dict[str, Any] = Field(
            default_factory=dict[str, Any],
            description="New values of the run's variables; may hold expressions.",
        )
        keep_previous: bool = Field(False, description="Whether the fields of what led here are kept.")

    async def execute(self, params: Params, ctx: Context) -> Any:
        if params.variables:
            ctx.set_variables(**params.variables)
        if params.values is None:
            return ctx.previous
        if not params.keep_previous:
            return params.values
        previous: object = {} if ctx.previous is None else ctx.previous
        if not _is_map(previous):
            raise PermanentFailure(
                f"`keep_previous` needs a map to keep, but what led here is a {_kind(previous)}; "
                "leave `keep_previous` out, or name what to keep in `values`, as in `{{ previous }}`"
            )
        return {**previous, **params.values}


def _is_map(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


_KINDS: dict[type, str] = {list: "list", str: "text", bool: "yes or no", int: "number", float: "number"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)
