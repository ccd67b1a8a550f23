"""How classes enter the registry, by which names they are found, and what happens when their code changes."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from orchestrator import nodes
from orchestrator.errors import NotFound
from orchestrator.sdk import BaseNode, Context, Registry, UsageError, default_registry, register
from orchestrator.sdk import registry as registry_module

GREET = '''
from orchestrator.sdk import BaseNode, Context, node


class GreetNode(BaseNode):
    """Say {word}."""

    async def execute(self, params, ctx: Context):
        return "{word}"


@node
def shout(text: str) -> str:
    return text.upper()
'''


class EchoNode(BaseNode):
    """Pass it on."""

    async def execute(self, params: Any, ctx: Context) -> Any:
        return ctx.previous


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    default_registry.cache_clear()
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path
    default_registry.cache_clear()


@pytest.fixture
def registry() -> Registry:
    return Registry()


async def said(registry: Registry, name: str) -> object:
    return await registry.get(name)().execute(None, None)  # pyright: ignore[reportArgumentType] -- it needs no context


def test_a_class_is_found_with_and_without_its_ending(registry: Registry) -> None:
    assert registry.register(EchoNode) is EchoNode
    assert registry.get("EchoNode") is EchoNode
    assert registry.get("Echo") is EchoNode
    assert "Echo" in registry
    assert "Ech" not in registry


def test_the_exact_name_wins(registry: Registry) -> None:
    @registry.register
    class Echo(BaseNode):
        def execute(self, params: Any, ctx: Context) -> Any:
            return None

    registry.register(EchoNode)
    assert registry.get("Echo") is Echo
    assert registry.get("EchoNode") is EchoNode


def test_an_unknown_name_gets_the_nearest_one(registry: Registry) -> None:
    registry.register(EchoNode)
    with pytest.raises(NotFound, match="did you mean 'EchoNode'") as caught:
        registry.get("ehcoNode")
    assert caught.value.suggestion == "EchoNode"
    with pytest.raises(NotFound) as caught:
        registry.get("Zzz")
    assert caught.value.suggestion is None


def test_a_plain_function_becomes_a_node(registry: Registry) -> None:
    @registry.register
    def shout(text: str) -> str:
        return text.upper()

    assert registry.get("shout") is shout
    assert registry.declarations()["shout"].params_schema is not None


def test_the_same_class_again_is_nothing_new_but_another_is_refused(registry: Registry) -> None:
    registry.register(EchoNode)
    registry.register(EchoNode)
    other = type("EchoNode", (EchoNode,), {"__module__": "elsewhere"})
    with pytest.raises(UsageError, match="'EchoNode' is taken by") as caught:
        registry.register(other)
    assert "elsewhere.EchoNode" in str(caught.value)
    assert registry.get("Echo") is EchoNode
    assert len(registry) == 1


def test_two_classes_made_inside_functions_do_not_replace_one_another(registry: Registry) -> None:
    def make() -> type[BaseNode]:
        class LocalNode(BaseNode):
            def execute(self, params: Any, ctx: Context) -> Any:
                return None

        return LocalNode

    registry.register(make())
    with pytest.raises(UsageError, match="taken"):
        registry.register(make())


def test_an_abstract_class_and_a_stranger_are_refused(registry: Registry) -> None:
    class Base(BaseNode, abstract=True):
        pass

    with pytest.raises(UsageError, match="abstract"):
        registry.register(Base)
    with pytest.raises(UsageError, match="derive it from BaseNode"):
        registry.register(dict)
    assert len(registry) == 0


def test_the_decorator_enters_into_the_default_registry() -> None:
    register(EchoNode)
    assert default_registry().get("Echo") is EchoNode


async def test_a_file_gives_its_classes_and_functions(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "my-nodes.py"
    file.write_text(GREET.format(word="hello"))
    assert registry.load_module(file) == ("GreetNode", "shout")
    assert registry.load_module(str(file)) == ("GreetNode", "shout")
    assert await said(registry, "Greet") == "hello"


def test_a_file_finds_its_neighbours(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "words_of_mine.py").write_text("WORD = 'hi'\n")
    file = tmp_path / "mine.py"
    file.write_text("from words_of_mine import WORD\n" + GREET.format(word="hello"))
    assert "GreetNode" in registry.load_module(file)


def test_a_module_is_found_from_the_working_directory(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "company_nodes.py").write_text(GREET.format(word="hello"))
    monkeypatch.chdir(tmp_path)
    assert registry.load_module("company_nodes") == ("GreetNode", "shout")


@pytest.mark.parametrize(
    ("content", "said_of_it"),
    [
        ("1 +", "SyntaxError"),
        ("import no_such_module_here", "no_such_module_here"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "no node class"),
        ("from orchestrator.sdk import BaseNode\nclass XNode(BaseNode): pass", "no `execute`"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    registry: Registry, tmp_path: Path, content: str, said_of_it: str
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(content)
    with pytest.raises(UsageError, match=said_of_it) as caught:
        registry.load_module(file)
    assert "broken.py" in str(caught.value)
    assert len(registry) == 0


@pytest.mark.parametrize("source", ["no/such/file.py", "no_such_module_here", "not a name"])
def test_a_source_that_is_not_there_is_refused(registry: Registry, source: str) -> None:
    with pytest.raises(UsageError):
        registry.load_module(source)


def test_what_a_failing_file_had_entered_is_undone(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text(
        "from orchestrator.sdk import register\n@register\ndef first(x: int) -> int: return x\nraise ValueError('half')"
    )
    with pytest.raises(UsageError, match="half"):
        default_registry().load_module(file)
    assert "first" not in default_registry()


async def test_a_changed_file_takes_the_place_of_the_old_one(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "greet.py"
    file.write_text(GREET.format(word="hello"))
    registry.load_module(file)
    old = registry.get("Greet")
    file.write_text(
        GREET.format(word="howdy").replace("def shout", "def cry")
    )  # the same length, the same second
    done = registry.reload(file)
    assert (done.changed, done.added, done.removed, done.error) == (
        ("GreetNode",),
        ("cry",),
        ("shout",),
        None,
    )
    assert str(done) == f"{file}: reloaded GreetNode; added cry; removed shout"
    assert await said(registry, "Greet") == "howdy"
    assert registry.get("Greet") is not old
    assert registry.declarations()["GreetNode"].summary == "Say howdy."
    assert "shout" not in registry


@pytest.mark.parametrize("content", ["def (", "raise RuntimeError('not now')", "import sys; sys.exit(1)"])
async def test_a_file_that_does_not_import_leaves_the_old_classes(
    registry: Registry, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "greet.py"
    file.write_text(GREET.format(word="hello"))
    registry.load_module(file)
    file.write_text(content)
    done = registry.reload(file)
    assert done.error is not None
    assert "its old classes stay" in str(done)
    assert await said(registry, "Greet") == "hello"
    file.write_text(GREET.format(word="again"))
    assert registry.reload(file).error is None
    assert await said(registry, "Greet") == "again"


def test_a_file_without_classes_is_no_business_of_reload(registry: Registry, tmp_path: Path) -> None:
    done = registry.reload(tmp_path / "other.py")
    assert (done.changed, done.added, done.removed, done.error) == ((), (), (), None)


def test_a_class_cannot_move_in_on_another_files_name(registry: Registry, tmp_path: Path) -> None:
    registry.register(EchoNode)
    file = tmp_path / "greet.py"
    file.write_text(GREET.format(word="hello"))
    registry.load_module(file)
    file.write_text(GREET.format(word="hello").replace("GreetNode", "EchoNode"))
    done = registry.reload(file)
    assert done.error is not None
    assert "taken" in done.error
    assert registry.get("Echo") is EchoNode
    assert "Greet" in registry


def test_entry_points_that_break_are_named_and_stop_nobody(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good_plugin.py").write_text(GREET.format(word="hello"))
    (tmp_path / "bad_plugin.py").write_text("raise RuntimeError('my licence ran out')")
    (tmp_path / "thief_plugin.py").write_text(GREET.format(word="mine").replace("GreetNode", "StartNode"))
    (tmp_path / "callable_plugin.py").write_text(
        "def enter(registry):\n    def late(x: int) -> int:\n        return x\n    registry.register(late)\n"
    )
    sys.path.insert(0, str(tmp_path))
    group = registry_module.ENTRY_POINT_GROUP
    points = [
        EntryPoint("a", "bad_plugin", group),
        EntryPoint("b", "thief_plugin", group),
        EntryPoint("c", "good_plugin", group),
        EntryPoint("d", "callable_plugin:enter", group),
        EntryPoint("e", "good_plugin:GREETING", group),
        EntryPoint("z", "orchestrator.nodes", group),
    ]

    def installed(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(registry_module, "entry_points", installed)
    problems = registry.load_entry_points()
    assert [p.source for p in problems] == [
        "entry point 'a' (bad_plugin)",
        "entry point 'b' (thief_plugin)",
        "entry point 'e' (good_plugin:GREETING)",
    ]
    assert "my licence ran out" in problems[0].message
    assert "taken by orchestrator.nodes.flow.StartNode" in problems[1].message
    assert "bad_plugin" in caplog.text
    assert registry.get("Start") is nodes.StartNode
    assert {"GreetNode", "shout", "late"} <= set(registry.classes())


def test_our_own_nodes_enter_by_the_installed_entry_point(registry: Registry) -> None:
    assert registry.load_entry_points() == ()
    assert set(nodes.__all__) <= set(registry.classes())


def test_reading_is_a_snapshot(registry: Registry) -> None:
    seen = registry.classes()
    registry.register(EchoNode)
    assert seen == {}
    assert isinstance(registry.get("Echo"), type)


async def test_a_changed_file_of_a_package_is_new_in_the_package_too(
    registry: Registry, tmp_path: Path
) -> None:
    package = tmp_path / "company_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from company_package.greet import GreetNode\n__all__ = ['GreetNode']\n"
    )
    file = package / "greet.py"
    file.write_text(GREET.format(word="hello"))
    sys.path.insert(0, str(tmp_path))
    assert registry.load_module("company_package") == ("GreetNode",)
    file.write_text(GREET.format(word="howdy"))
    done = registry.reload(file)
    assert (done.changed, done.added) == (("GreetNode",), ("shout",))
    assert registry.source_files() == {file}
    assert await said(registry, "Greet") == "howdy"
    module: Any = sys.modules["company_package"]
    assert module.GreetNode is registry.get("Greet")
    assert module.greet is sys.modules["company_package.greet"]
