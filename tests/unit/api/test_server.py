"""The server: where it listens, and that it ends with streams open."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import pytest

from orchestrator.api import server
from orchestrator.api.application import create_app
from orchestrator.config import Settings, UnsafeBind
from orchestrator.engine.views.feeds import FeedItem
from orchestrator.errors import UsageError
from orchestrator.sdk.registry import Registry
from tests.unit.api.fake import FakeService


def test_a_port_that_is_taken_is_said_and_the_next_one_found() -> None:
    first = server.bind(Settings(port=0))
    port = first[0].getsockname()[1]
    try:
        with pytest.raises(server.AddressInUse, match=f"127.0.0.1:{port}"):
            server.bind(Settings(port=port))
        second = server.bind(Settings(port=port), next_free=True)
        try:
            assert port < second[0].getsockname()[1] <= port + server.PORTS_TRIED
            assert server.url_of(second).startswith("http://127.0.0.1:")
        finally:
            second[0].close()
    finally:
        first[0].close()


def test_the_network_is_not_bound_without_a_key() -> None:
    with pytest.raises(UnsafeBind):
        server.bind(Settings(host="0.0.0.0", port=0))


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(server.AddressInUse, match=r"192\.0\.2\.1"):
        server.bind(Settings.model_validate({"host": "192.0.2.1", "api_key": "k", "port": 0}), next_free=True)


class Forever(FakeService):
    """A service whose feed never ends."""

    async def follow_run(self, run_id: str, *, after: int) -> AsyncGenerator[FeedItem, None]:
        yield FeedItem(event="journal", id=str(after + 1), data={"seq": after + 1})
        await asyncio.Event().wait()


async def test_a_stopping_server_ends_its_streams_at_once_and_frees_the_port() -> None:
    settings = Settings(port=0, shutdown_seconds=30)
    app = create_app(Forever(), settings)  # pyright: ignore[reportArgumentType]  (the fake)
    sockets = server.bind(settings)
    url, port = server.url_of(sockets), sockets[0].getsockname()[1]
    stop, started = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(server.serve(app, settings, sockets, stop=stop, on_started=started.set))
    await started.wait()
    async with (
        httpx2.AsyncClient(base_url=url) as client,
        client.stream("GET", "/api/v1/runs/r1/events") as answer,
    ):
        lines = answer.aiter_lines()
        async for line in lines:
            if line == "id: 1":
                break
        stop.set()
        rest = [line async for line in lines]
    assert all(not line.startswith("data") for line in rest)
    async with asyncio.timeout(5):
        await serving
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_a_whole_server_starts_answers_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(port=0, store="memory://")
    sockets = server.bind(settings)
    url = server.url_of(sockets)
    stop, started = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        server.run(settings, sockets, registry=Registry(), stop=stop, on_started=lambda _: started.set())
    )
    await started.wait()
    async with httpx2.AsyncClient(base_url=url) as client:
        assert (await client.get("/readyz")).json()["ready"]
    stop.set()
    async with asyncio.timeout(10):
        await running
    assert sockets[0].fileno() == -1


async def test_a_server_that_cannot_start_gives_its_port_back() -> None:
    settings = Settings(port=0, store="nowhere://localhost")
    sockets = server.bind(settings)
    with pytest.raises(UsageError, match="names no store"):
        await server.run(settings, sockets)
    assert sockets[0].fileno() == -1
