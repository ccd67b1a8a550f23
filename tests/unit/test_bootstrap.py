"""Putting a process together: stores by URL, node classes, logging, and a whole running engine."""

import asyncio
import io
import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from orchestrator import bootstrap
from orchestrator.config import Settings
from orchestrator.errors import UsageError
from orchestrator.sdk.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
ONBOARDING = (ROOT / "examples" / "onboarding.json").read_bytes()
NODE = """
from pydantic import BaseModel
from orchestrator.sdk import BaseNode, Context

class GreetNode(BaseNode):
    class Params(BaseModel):
        name: str = "world"

    async def execute(self, params: Params, ctx: Context) -> str:
        return f"{greeting} {params.name}"
"""
GREET = {
    "name": "greet",
    "start_at": "a",
    "nodes": {"a": {"class": "GreetNode", "params": {"name": "{{ input }}"}}},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_OUTBOX", "")
    return tmp_path


@pytest.fixture
def log() -> Generator[io.StringIO]:
    """What is logged; the logging of before comes back after the test."""
    root, ours = logging.getLogger(), logging.getLogger("orchestrator")
    before = root.level, ours.level, list(root.handlers)
    yield io.StringIO()
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://me:hunter2@localhost?partitions=0", "1 to 128 partitions"),
        ("postgresql://me:hunter2@db/x?schema=a;b", "no name for our schema"),
        ("mysql://me:hunter2@db/x", "names no store"),
        ("store.db", "names no store"),
        ("", "names no store"),
        ("sqlite://", "sqlite"),
    ],
)
def test_a_store_that_cannot_be_had_is_refused_in_words(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        bootstrap.open_store(url)
    assert "hunter2" not in str(caught.value)


def test_naming_a_store_touches_nothing(place: Path) -> None:
    assert bootstrap.open_store("sqlite:///folder/store.db").url == "sqlite:///folder/store.db"
    assert bootstrap.open_store("memory://").url.startswith("memory:")
    assert bootstrap.open_store("redis://me:hunter2@db:1/2?partitions=4").url == "redis://db:1/2"
    assert list(place.iterdir()) == []


def test_modules_are_loaded_beside_the_built_in_classes(place: Path) -> None:
    (place / "mine.py").write_text(f'greeting = "hello"\n{NODE}')
    found = bootstrap.load_registry(Settings(nodes=(str(place / "mine.py"),)), registry=Registry())
    assert {"GreetNode", "StartNode", "RouteUserByTypeNode"} <= set(found.classes())
    assert (place / "mine.py").resolve() in bootstrap.node_files(found)
    with pytest.raises(UsageError, match=r"gone\.py"):
        bootstrap.load_registry(Settings(nodes=("gone.py",)), registry=Registry())


async def ended(service: bootstrap.Service, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        async for item in service.follow_run(run_id):
            if item.event == "end":
                return await service.get_run(run_id)
    raise AssertionError("the stream ended without an end")


@pytest.mark.parametrize("store", ["memory://", "sqlite:///store.db"])
async def test_a_running_engine_runs_the_onboarding(store: str, place: Path) -> None:
    settings = Settings(store=store, outbox=place / "mails", namespace="mine")
    async with bootstrap.running(settings, registry=Registry()) as service:
        await service.save_workflow(ONBOARDING)
        run, created = await service.start_run("Agentic User Onboarding", input={"user_type": "standard"})
        assert created
        assert (await ended(service, run["id"]))["status"] == "succeeded"
        assert (await service.ready())["ready"]
        assert len((await service.outbox())["items"]) == 1
    assert len(list((place / "mails").iterdir())) == 1


async def test_what_was_started_without_a_worker_is_done_by_the_next_one() -> None:
    settings = Settings(store="sqlite:///store.db")
    async with bootstrap.running(settings, worker=False, registry=Registry()) as service:
        await service.save_workflow(ONBOARDING)
        run, _ = await service.start_run("Agentic User Onboarding", idempotency_key="k")
        assert not (await service.ready())["ready"]
    async with bootstrap.running(settings, registry=Registry()) as service:
        assert (await ended(service, run["id"]))["status"] == "succeeded"


async def test_a_second_signal_ends_a_worker_that_is_busy_at_once(place: Path) -> None:
    (place / "slow.py").write_text(
        "import asyncio\nfrom orchestrator.sdk import node\n\n\n@node\nasync def slow() -> None:\n"
        "    await asyncio.Event().wait()\n"
    )
    settings = Settings(store="memory://", nodes=(str(place / "slow.py"),), shutdown_seconds=600)
    at_once = asyncio.Event()
    began = asyncio.get_running_loop().time()
    async with bootstrap.running(settings, registry=Registry(), at_once=at_once) as service:
        await service.save_workflow(
            json.dumps({"name": "w", "start_at": "a", "nodes": {"a": {"class": "slow"}}})
        )
        run, _ = await service.start_run("w")
        async with asyncio.timeout(10):
            async for item in service.follow_run(run["id"]):
                if item.event == "live" and item.data["kind"] == "task_started":
                    break
        at_once.set()
    assert asyncio.get_running_loop().time() - began < 30


async def test_in_development_a_saved_node_file_is_what_runs_next(place: Path) -> None:
    file = place / "mine.py"
    file.write_text(f'greeting = "hello"\n{NODE}')
    settings = Settings(store="memory://", nodes=(str(file),), dev=True)
    async with bootstrap.running(settings, registry=Registry()) as service:
        await service.save_workflow(json.dumps(GREET))

        async def greeting() -> Any:
            run, _ = await service.start_run("greet", input="Ada")
            return (await ended(service, run["id"]))["output"]

        assert await greeting() == "hello Ada"
        async with asyncio.timeout(20):
            while True:
                # Whether the watch has begun can't be seen from outside, so the file is saved until it is noticed.
                file.write_text(f'greeting = "good morning"\n{NODE}')
                await asyncio.sleep(0.3)
                if await greeting() == "good morning Ada":
                    break
        # A file that can't be read now leaves the classes as they are.
        file.write_text("this is no Python")
        await asyncio.sleep(0.5)
        assert await greeting() == "good morning Ada"


async def test_the_log_tells_each_decision_in_words_and_never_a_secret(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SECRET_TOKEN", "hunter2-and-more")
    settings = Settings(store="memory://", api_key=SecretStr("the-api-key"), log_format="json")
    bootstrap.configure_logging(settings, stream=log)
    async with bootstrap.running(settings, registry=Registry()) as service:
        await service.save_workflow(ONBOARDING)
        run, _ = await service.start_run("Agentic User Onboarding")
        await ended(service, run["id"])
    try:
        raise ValueError("the token is hunter2-and-more")
    except ValueError:
        logging.getLogger("orchestrator.elsewhere").exception("sent with the-api-key")
        structlog.get_logger("orchestrator.here").warning(
            "it was", token="hunter2-and-more", by=["hunter2-and-more"]
        )
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [line["event"] for line in lines if line.get("run") == run["id"]]
    assert any("step_escalate" in line and "step_route_user" in line for line in told)
    assert "hunter2" not in log.getvalue()
    assert "the-api-key" not in log.getvalue()
    assert "[secret TOKEN]" in lines[-1]["token"]
    assert "ValueError: the token is [secret TOKEN]" in lines[-2]["exception"]


def test_the_log_can_be_read_by_people_and_be_quiet(log: io.StringIO) -> None:
    bootstrap.configure_logging(Settings(log_level="warning"), stream=log)
    bootstrap.configure_logging(Settings(log_level="warning"), stream=log)
    structlog.get_logger("orchestrator.x").info("not this")
    structlog.get_logger("orchestrator.x").warning("but this", run="r1")
    logging.getLogger("somebody.else").info("nor this")
    (line,) = log.getvalue().splitlines()
    assert "but this" in line
    assert "r1" in line
