"""The pytest plug-in: the fixture `workflow_lab`, and the stories of a test's runs in its report when it fails.

Installed with the package (entry point `pytest11`). It imports nothing of the engine until a test asks for the fixture.
A test that does is `async def` and runs on the lab's virtual loop, whichever other plug-in for async tests there is.
"""

import inspect
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from orchestrator.testing.lab import Lab

FIXTURE = "workflow_lab"
_LAB = pytest.StashKey["Lab"]()


@pytest.fixture(scope="session")
def workflow_lab_settings() -> Mapping[str, Any]:
    """Settings of the lab, such as `{"secrets": {"TOKEN": "x"}}`. Override this fixture to change them."""
    return {}


@pytest.fixture
def workflow_lab(
    request: pytest.FixtureRequest,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    workflow_lab_settings: Mapping[str, Any],
) -> "Generator[Lab]":
    """A whole engine in memory on a virtual clock: `orchestrator.testing.Lab`. For `async def` tests."""
    from orchestrator.sdk.outbox import FOLDER_VARIABLE
    from orchestrator.testing.clock import VirtualLoop, close_virtual
    from orchestrator.testing.lab import Lab

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "outbox"))
    loop = VirtualLoop()
    try:
        lab = Lab(loop, **workflow_lab_settings)
        request.node.stash[_LAB] = lab
        loop.run_until_complete(lab.__aenter__())
        yield lab
        loop.run_until_complete(lab.__aexit__(None, None, None))
    finally:
        close_virtual(loop)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test that uses the lab on the lab's loop."""
    lab = pyfuncitem.stash.get(_LAB, None)
    if lab is None:
        return None
    test = _coroutine_function(pyfuncitem.obj)
    if test is None:
        pytest.fail(f"a test that uses `{FIXTURE}` is `async def`", pytrace=False)
    wanted = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]  (as pytest's own call does)
    lab.loop.run_until_complete(test(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


def _coroutine_function(test: Callable[..., Any]) -> Callable[..., Any] | None:
    """The test as it was written: a plug-in for async tests may have wrapped it to run on its own loop."""
    found: Any = test
    while found is not None and not inspect.iscoroutinefunction(found):
        found = getattr(found, "__wrapped__", None)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the runs of a test that failed did."""
    report = yield
    lab = item.stash.get(_LAB, None)
    if lab is not None and call.when == "call" and report.failed:
        for run in lab.runs:
            report.sections.append((f"workflow run {run.id}: {run.workflow}, {run.status}", run.story))
    return report
