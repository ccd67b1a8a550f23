"""Every Python example of docs/authoring-nodes.md is a module that loads, and its nodes do what the page says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sdk import Arrival, Effect, Registry, default_registry
from tests.unit.sdk.fake_context import FakeContext

PAGE = Path(__file__).parents[3] / "docs" / "authoring-nodes.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Registry]:
    """The nodes of all examples together."""
    modules, path = set(sys.modules), list(sys.path)
    default_registry.cache_clear()
    registry = Registry()
    for number, block in enumerate(BLOCKS):
        file = tmp_path / f"example_{number}.py"
        file.write_text(block, encoding="utf-8")
        registry.load_module(file)
    yield registry
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path
    default_registry.cache_clear()


async def run(page: Registry, name: str, params: dict[str, Any], **given: Any) -> Any:
    found = page.get(name)
    result = found().execute(found.parse_params(params), FakeContext(**given))
    return found.dump_output(await result if found.is_async else result)


def test_the_page_has_examples_and_all_of_them_load(page: Registry) -> None:
    assert len(BLOCKS) >= 8
    assert set(page.declarations()) == {
        *(
            "AnswerNode",
            "CheapestNode",
            "ConvertNode",
            "GreetNode",
            "NextMonthNode",
            "OrderNode",
            "RequestNode",
            "ResearchNode",
            "TriageNode",
            "WelcomeNode",
        ),
        *("count_words", "shout", "CountPrimesNode"),
    }
    assert "shout" in default_registry()


async def test_the_examples_do_what_the_page_says(page: Registry) -> None:
    assert await run(page, "Convert", {"amount": 10, "rate": 1.5}) == {"amount": 15.0}
    assert await run(page, "count_words", {"text": "to be or not", "at_least": 3}) == 1
    assert await run(page, "shout", {"text": "hey"}) == "HEY"
    offers = [Arrival("a", {"price": 3}), Arrival("b", {"price": 2})]
    assert await run(page, "Cheapest", {}, arrivals=offers) == {"price": 2}
    assert await run(page, "CountPrimes", {"below": 12}) == 5
    assert (await run(page, "Triage", {}, previous={"priority": 8})).targets == ("ask_person",)
    plan = await run(page, "Research", {}, previous={"sources": ["a", "b"]})
    assert set(plan.nodes) == {"begin", "fetch_0", "fetch_1", "sum_up"}
    assert page.get("Request").effect_for(page.get("Request").parse_params({})) is Effect.READ


async def test_the_durable_example_takes_both_its_ways(page: Registry) -> None:
    params = {"item": "lamp", "amount": 5}
    done = await run(page, "Order", params, signals={"go": [None]}, children={"Ship Parcel": "ok"})
    assert done == {
        "reservation": "reservation of lamp under run_1/node/reserve",
        "receipt": "receipt over 5",
        "charged": True,
    }
    assert (await run(page, "Order", params))["charged"] is False


async def test_the_example_of_branches_gathers_them(page: Registry) -> None:
    assert await run(page, "Welcome", {}, signals={"go": ["yes"]}) == {
        "text": "letter for the profile of ada of ada",
        "word": "yes",
        "sent_at": "2026-01-01T00:00:00+00:00",
    }


async def test_the_pages_own_test_passes(page: Registry) -> None:
    module: Any = sys.modules[page.get("Greet").__module__]
    await module.test_it_greets_by_name()


def test_the_error_that_the_page_quotes_is_the_real_one(tmp_path: Path) -> None:
    quoted = re.search(r"^```text\n(node class .*?)\n```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert quoted is not None
    file = tmp_path / "my_nodes.py"
    file.write_text(
        "from orchestrator import BaseNode\nclass PayNode(BaseNode):\n    routes = 'paid'\n"
        "    def execute(self, params, ctx): return None\n"
    )
    with pytest.raises(Exception, match="routes") as caught:
        Registry().load_module(file)
    said = re.sub(r"orchestrator_file_(\w+)_[0-9a-f]{8}", r"\1", str(caught.value))
    assert quoted[1] in said
