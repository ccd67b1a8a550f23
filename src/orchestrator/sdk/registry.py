"""The registry: which node classes there are, by name.

Classes enter by decorator or call (`register`), by module (`load_module`), or by the entry points of installed packages
(`load_entry_points`); the built-in ones take the last way too. A module that is loaded gives all the node classes that
it defines, and those that its `__all__` names.
"""

import difflib
import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

from orchestrator.errors import NotFound, UsageError
from orchestrator.model.declarations import ClassDeclaration, class_spellings
from orchestrator.sdk import modules
from orchestrator.sdk.functions import node as node_of
from orchestrator.sdk.node import BaseNode

ENTRY_POINT_GROUP = "orchestrator.nodes"

_log = logging.getLogger(__name__)
_NodeClass = TypeVar("_NodeClass", bound=type[BaseNode])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProblem:
    """A source of node classes that could not be loaded: an entry point or module, and why. The rest was loaded."""

    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What reloading a file did: names of classes. With `error`, nothing changed and the old classes stay."""

    path: Path
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.path} was not reloaded, its old classes stay: {self.error}"
        parts = [("reloaded", self.changed), ("added", self.added), ("removed", self.removed)]
        said = "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names)
        return f"{self.path}: {said or 'no node classes in it'}"


class Registry:
    """Node classes by name. Reading is safe from any thread while another registers or reloads."""

    def __init__(self) -> None:
        self._classes: dict[str, type[BaseNode]] = {}  # replaced as a whole, never changed in place
        self._lock = threading.Lock()

    # --- entering -------------------------------------------------------------------------------------------------

    @overload
    def register(self, target: _NodeClass, /) -> _NodeClass: ...

    @overload
    def register(self, target: Callable[..., Any], /) -> type[BaseNode]: ...

    def register(self, target: Any, /) -> Any:
        """Enter a node class; of a plain function one is made first (see `node`). Works as a decorator.

        The same class again is nothing new; a class of the same module and name (reloaded code) takes the old one's
        place.

        Raises:
            UsageError: another class has the name already, or the target can't be a node class.
        """
        made = target if isinstance(target, type) else node_of(target)
        self._enter([made])
        return made

    def load_module(self, source: str | Path, /) -> tuple[str, ...]:
        """Import a module and enter its node classes; returns their names.

        `source` is a dotted name (`company.nodes`; looked for in the working directory too) or the path of a `.py`
        file, whose folder is then looked in by its own imports.

        Raises:
            UsageError: it can't be found or imported, has no node class, or a name is taken; nothing was entered.
        """
        before = self._classes
        try:
            found = _classes_in(modules.import_source(source))
            if not found:
                raise UsageError(
                    f"{source}: there is no node class in it; define a `class X(BaseNode)`, or a function with `@node`"
                )
            self._enter(found)
        except UsageError:
            self._restore(before)
            raise
        return tuple(cls.class_name() for cls in found)

    def load_entry_points(self, *, group: str = ENTRY_POINT_GROUP) -> tuple[LoadProblem, ...]:
        """Enter what installed packages offer; returns those that could not be loaded, which stop nobody else.

        An entry point names a module, a node class, or a function that is called with this registry. Our own come
        first, so that no stranger takes a built-in's name.
        """
        problems: list[LoadProblem] = []
        for point in sorted(
            entry_points(group=group), key=lambda p: (not p.value.startswith("orchestrator."), p.name)
        ):
            before = self._classes
            try:
                self._load_entry_point(point)
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- a stranger's code may do anything at import
                self._restore(before)
                where = f" of {point.dist.name}" if point.dist is not None else ""
                problem = LoadProblem(
                    source=f"entry point {point.name!r}{where} ({point.value})", message=modules.say(error)
                )
                _log.warning("node classes were not loaded: %s", problem)
                problems.append(problem)
        return tuple(problems)

    def reload(self, path: str | Path, /) -> Reload:
        """Run a changed file again and put its classes in the place of the old ones.

        For development: tasks that run go on with the old class, the next attempt gets the new one. If the file can't
        be imported now, or its classes can't be entered, everything stays as it was and `error` says why. A file that
        no class came from is no fault: nothing happens.
        """
        file = Path(path).resolve()
        before = self._classes
        old = {n: c for n, c in before.items() if modules.file_of(c.__module__) == file}
        fresh: list[type[BaseNode]] = []
        for name in dict.fromkeys(cls.__module__ for cls in old.values()):
            try:
                module = modules.run_again(name, file)
                found = _classes_in(module)
                self._enter(found, instead_of=[c for c in old.values() if c.__module__ == name])
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- a file that is being edited may do anything
                self._restore(before)
                return Reload(path=file, error=modules.say(error))
            modules.put_in_place(module)
            fresh.extend(found)
        changed = [cls.class_name() for cls in fresh]
        return Reload(
            path=file,
            changed=tuple(n for n in changed if n in old),
            added=tuple(n for n in changed if n not in old),
            removed=tuple(n for n in old if n not in changed),
        )

    # --- looking up -----------------------------------------------------------------------------------------------

    def get(self, name: str, /) -> type[BaseNode]:
        """The class of this name, written with or without the ending `Node`; the exact name wins.

        Raises:
            NotFound: there is none; the nearest name is suggested.
        """
        found = self.find(name)
        if found is None:
            raise NotFound("node class", name, suggestion=_nearest(name, self._classes))
        return found

    def find(self, name: str, /) -> type[BaseNode] | None:
        """As `get`; None if there is none."""
        classes = self._classes
        found = classes.get(name)
        if found is None:
            for spelling in class_spellings(name):
                found = found or classes.get(spelling)
        return found

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def __len__(self) -> int:
        return len(self._classes)

    def classes(self) -> dict[str, type[BaseNode]]:
        """Every class by its own name, in the order they came."""
        return dict(self._classes)

    def declarations(self) -> dict[str, ClassDeclaration]:
        """What every class says about itself, by its own name, in the order they came.

        Raises:
            UsageError: no schema can be made for one of them.
        """
        return {name: cls.declaration() for name, cls in self._classes.items()}

    def source_files(self) -> frozenset[Path]:
        """The files that the classes come from: what `reload` takes, and `dev` watches."""
        files = (modules.file_of(name) for name in {cls.__module__ for cls in self._classes.values()})
        return frozenset(file for file in files if file is not None)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _load_entry_point(self, point: EntryPoint) -> None:
        loaded: object = point.load()
        if inspect.isfunction(loaded):
            loaded(self)
        elif isinstance(loaded, ModuleType):
            found = _classes_in(loaded)
            if not found:
                raise UsageError("the module has no node class")
            self._enter(found)
        elif isinstance(loaded, type) and issubclass(loaded, BaseNode):
            self._enter([loaded])
        else:
            raise UsageError(f"{loaded!r} is no module, node class or function that takes the registry")

    def _restore(self, classes: dict[str, type[BaseNode]]) -> None:
        """Undo what a module that failed had entered by itself, with `@register`."""
        with self._lock:
            self._classes = classes

    def _enter(self, classes: Iterable[type], *, instead_of: Sequence[type[BaseNode]] = ()) -> None:
        """All of them or none. The declarations are made here, so that a class without a schema never gets in."""
        with self._lock:
            new = dict(self._classes)
            entered: set[str] = set()
            for cls in classes:
                if not issubclass(cls, BaseNode):
                    raise UsageError(f"{cls.__qualname__} is no node class; derive it from BaseNode")
                name = cls.declaration().name
                known = new.get(name)
                if known is not None and not (
                    known in instead_of or known is cls or _same_origin(known, cls)
                ):
                    raise UsageError(
                        f"the node class name {name!r} is taken by {_origin(known)}; "
                        f"give {_origin(cls)} another one, as in `name = {name + '2'!r}`"
                    )
                new[name] = cls
                entered.add(name)
            for cls in instead_of:
                if cls.class_name() not in entered:
                    new.pop(cls.class_name(), None)
            self._classes = new


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _same_origin(one: type, other: type) -> bool:
    """Whether one is the other run again. Classes made inside functions say nothing about where they come from."""
    return _origin(one) == _origin(other) and "<locals>" not in one.__qualname__


def _classes_in(module: ModuleType) -> list[type[BaseNode]]:
    """The node classes that a module defines, and those that its `__all__` names, in their order there."""
    exported: Sequence[str] = getattr(module, "__all__", ())
    listed = set(exported)
    found: dict[type[BaseNode], None] = {}
    for name, value in vars(module).items():
        if not isinstance(value, type) or not issubclass(value, BaseNode) or value.is_abstract:
            continue
        if name in listed or (value.__module__ == module.__name__ and not name.startswith("_")):
            found[value] = None
    return list(found)


def _nearest(name: str, classes: Iterable[str]) -> str | None:
    """The known name most like this one, case and the ending `Node` aside."""
    plain = {known.removesuffix("Node").lower(): known for known in classes}
    close = difflib.get_close_matches(name.removesuffix("Node").lower(), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


@cache
def default_registry() -> Registry:
    """The registry of this process, which `@register` enters into. Empty until somebody loads something."""
    return Registry()


@overload
def register(target: _NodeClass, /) -> _NodeClass: ...


@overload
def register(target: Callable[..., Any], /) -> type[BaseNode]: ...


def register(target: Any, /) -> Any:
    """Enter a node class, or a function, into the default registry; see `Registry.register`.

    Raises:
        UsageError: another class has the name already, or the target can't be a node class.
    """
    return default_registry().register(target)


__all__ = ["ENTRY_POINT_GROUP", "LoadProblem", "Registry", "Reload", "default_registry", "register"]
