"""Importing the modules that node classes come from: by name, by file, and again when a file has changed."""

import hashlib
import importlib
import importlib.util
import linecache
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from orchestrator.errors import UsageError


class _FreshLoader(SourceFileLoader):
    """Reads the source, never the compiled file: that is judged by size and second, too coarse for an editor."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def import_source(source: str | Path) -> ModuleType:
    """Import a dotted name or a `.py` file. A file is imported once; to run it again is `run_again`.

    Raises:
        UsageError: it is neither, isn't there, or failed while it was imported.
    """
    if isinstance(source, str) and not source.endswith(".py") and "/" not in source and "\\" not in source:
        return _import_name(source)
    file = Path(source).resolve()
    if file.suffix != ".py" or not file.is_file():
        raise UsageError(
            f"{source}: no such Python file; give a `.py` file, or a dotted name such as `company.nodes`"
        )
    name = _module_name(file)
    if name in sys.modules:
        return sys.modules[name]
    _look_in(file.parent)
    try:
        module = run_again(name, file)
    except (Exception, SystemExit) as error:  # whatever the file does at import is said, with its place
        raise UsageError(f"{source} can't be imported: {say(error)}") from error
    sys.modules[name] = module
    return module


def _import_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{name!r} is no module's name; give one such as `company.nodes`, or the path of a `.py` file"
        )
    try:
        if name not in sys.modules and importlib.util.find_spec(name.partition(".")[0]) is None:
            _look_in(Path.cwd())
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module does at import is said, with its place
        raise UsageError(f"the module {name} can't be imported: {say(error)}") from error


def run_again(name: str, file: Path) -> ModuleType:
    """A new module made by running the file, under the name but not yet in its place (see `put_in_place`).

    While it runs, importing the name gives the new module, as at any first import.

    Raises:
        Exception: whatever the file raises; then everything is as it was.
    """
    loader = _FreshLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    if spec is None:
        raise ImportError(f"{file} can't be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache(str(file))
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    finally:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
    return module


def put_in_place(module: ModuleType) -> None:
    """Let the new module stand where the old one stood: in the import system, and in the packages above it.

    A package above that holds classes of the old module under their names holds the new ones after.
    """
    old = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    package, _, leaf = module.__name__.rpartition(".")
    while package:
        parent = sys.modules.get(package)
        if parent is not None:
            if getattr(parent, leaf, None) is old:
                setattr(parent, leaf, module)
            for name, value in list(vars(parent).items()):
                if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(module, name):
                    setattr(parent, name, getattr(module, name))
        package, _, leaf = package.rpartition(".")


def file_of(module_name: str) -> Path | None:
    """The source file of a module that is loaded; None for one that has none."""
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


def say(error: BaseException) -> str:
    """The error in one line, with the last place in the code that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    text = f"{type(error).__name__}: {error}"
    if last is None or isinstance(error, SyntaxError | UsageError):
        return text
    return f"{text} ({last.filename}, line {last.lineno})"


def _module_name(file: Path) -> str:
    """A name that no other file has, from which a person still knows the file."""
    digest = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem = "".join(c if c.isalnum() else "_" for c in file.stem)
    return f"orchestrator_file_{stem}_{digest}"


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
