"""`import orchestrator`: the public names are there, and cost nothing until they are used."""

import subprocess
import sys
from importlib import metadata

import pytest

import orchestrator
from orchestrator import errors, sdk


def test_every_public_name_can_be_had() -> None:
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name) is not None
    assert set(orchestrator.__all__) <= set(dir(orchestrator))


def test_public_names_are_the_very_objects() -> None:
    assert orchestrator.BaseNode is sdk.BaseNode
    assert orchestrator.Route is sdk.Route
    assert orchestrator.RetryLater is errors.RetryLater


def test_the_version_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert orchestrator.__version__ == metadata.version("agentic-orchestrator")

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.delitem(vars(orchestrator), "__version__")
    monkeypatch.setattr(metadata, "version", not_installed)
    assert orchestrator.__version__ == "0+unknown"
    monkeypatch.delitem(vars(orchestrator), "__version__")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = orchestrator.Nonsense  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType] -- that is the test


def test_the_bare_import_loads_no_library() -> None:
    code = (
        "import sys, orchestrator; print([m for m in ('pydantic', 'msgspec', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
