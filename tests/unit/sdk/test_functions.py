"""Functions as node classes."""

from collections.abc import Callable
from typing import Annotated, Any, cast

import pytest
from pydantic import BaseModel, Field

from orchestrator.sdk import BaseNode, Context, Effect, InvalidParams, Route, UsageError, node
from tests.unit.sdk.fake_context import FakeContext


class Invoice(BaseModel):
    number: str
    total: float


@node
async def fetch_invoice(number: str, ctx: Context, copies: int = 1) -> Invoice:
    """Fetch an invoice.

    It may take a while.

    Args:
        number: as printed,
            with its dash.
        copies (int): how many
    """
    ctx.log(f"fetching {number}")
    return Invoice(number=number, total=2.5 * copies)


@node(
    name="Sum",
    effect=Effect.PURE,
    routes=["big", "small"],
    version=2,
    title="Add up",
    family="math",
    icon="plus",
)
def add(values: Annotated[list[int], Field(min_length=1)]) -> Route:
    return Route("big" if sum(values) > 10 else "small")


async def test_an_async_function_runs_with_params_and_context() -> None:
    ctx = FakeContext()
    params = fetch_invoice.parse_params({"number": "A-1", "copies": 2})
    assert fetch_invoice.is_async
    output = await fetch_invoice().execute(params, ctx)
    assert fetch_invoice.dump_output(output) == {"number": "A-1", "total": 5.0}
    assert ctx.logged == [("info", "fetching A-1")]


def test_a_plain_function_stays_plain() -> None:
    assert not add.is_async
    assert add().execute(add.parse_params({"values": [5, 6]}), FakeContext()).targets == ("big",)
    with pytest.raises(InvalidParams, match="/values"):
        add.parse_params({"values": []})


def test_its_signature_and_docstring_become_the_declaration() -> None:
    made = fetch_invoice.declaration()
    assert (made.name, made.title, made.summary) == ("fetch_invoice", "Fetch invoice", "Fetch an invoice.")
    assert made.description == "It may take a while."
    assert made.params_schema is not None
    properties = made.params_schema["properties"]
    assert list(properties) == ["number", "copies"]
    assert properties["number"]["description"] == "as printed, with its dash."
    assert properties["copies"]["description"] == "how many"
    assert properties["copies"]["default"] == 1
    assert made.params_schema["required"] == ["number"]
    assert made.params_schema["additionalProperties"] is False
    assert made.output_schema is not None
    assert made.output_schema["title"] == "Invoice"


def test_the_decorators_words_are_the_classes() -> None:
    made = add.declaration()
    assert (made.name, made.effect, made.routes, made.class_version) == (
        "Sum",
        Effect.PURE,
        ("big", "small"),
        2,
    )
    assert (made.title, made.family, made.icon) == ("Add up", "math", "plus")


def test_the_function_itself_can_still_be_called() -> None:
    assert add.function([1]).targets == ("small",)


def test_names_that_pydantic_keeps_for_itself_still_work() -> None:
    @node
    def odd(copy: int, json: str = "x", _hidden: int = 0) -> list[Any]:
        return [copy, json, _hidden]

    assert odd.declaration().params_schema is not None
    assert list((odd.declaration().params_schema or {})["properties"]) == ["copy", "json", "_hidden"]
    assert odd().execute(odd.parse_params({"copy": 1, "_hidden": 3}), FakeContext()) == [1, "x", 3]


def test_a_function_without_annotations_takes_anything() -> None:
    def written(value, ctx):  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType]
        return [value, ctx.run_id]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]

    loose = node(cast("Callable[..., Any]", written))
    assert loose().execute(loose.parse_params({"value": {"a": [1]}}), FakeContext()) == [{"a": [1]}, "run_1"]


def test_a_mutable_default_is_not_shared() -> None:
    @node
    def collect(into: list[int] = []) -> list[int]:  # noqa: B006 -- that is the test
        into.append(1)
        return into

    for _ in range(2):
        assert collect().execute(collect.parse_params({}), FakeContext()) == [1]


def test_parameters_without_a_name_are_refused() -> None:
    def many(*values: int) -> int:
        return sum(values)

    def rest(**values: int) -> int:
        return sum(values.values())

    for function in (many, rest):
        with pytest.raises(UsageError, match="no name to give it by"):
            node(function)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UsageError, match="class X"):
        node(type("X", (BaseNode,), {"execute": lambda self, params, ctx: None}))  # pyright: ignore[reportUnknownLambdaType] -- that is the test


def test_a_generator_function_is_refused() -> None:
    def stream() -> Any:
        yield 1

    with pytest.raises(UsageError, match="generator"):
        node(stream)


def test_two_contexts_are_refused() -> None:
    def both(ctx: Any, other: Context) -> None:
        return None

    with pytest.raises(UsageError, match="both `ctx` and `other`"):
        node(both)
