"""An application around the fake service, and a client that comes over loopback."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from orchestrator.api.application import create_app
from orchestrator.config import Settings
from tests.unit.api.fake import FakeService

Connect = Callable[..., httpx2.AsyncClient]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
async def connect(service: FakeService) -> AsyncIterator[Connect]:
    """Make a client of an application with these settings."""
    clients: list[httpx2.AsyncClient] = []

    def connect(*, base_url: str = "http://127.0.0.1:8000", **settings: Any) -> httpx2.AsyncClient:
        app = create_app(service, Settings(**settings))  # pyright: ignore[reportArgumentType]  (the fake)
        transport = httpx2.ASGITransport(app=app)
        client = httpx2.AsyncClient(transport=transport, base_url=base_url)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(connect: Connect) -> httpx2.AsyncClient:
    """A client of a server with default settings."""
    return connect()
