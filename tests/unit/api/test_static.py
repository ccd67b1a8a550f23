"""The page: its files, its own addresses, and that it never answers for the API."""

from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from orchestrator.api import static
from orchestrator.api.application import create_app
from orchestrator.config import Settings
from tests.unit.api.fake import FakeService

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "static" / "assets").mkdir(parents=True)
    (tmp_path / "static" / "index.html").write_text("<!doctype html><title>the page</title>")
    (tmp_path / "static" / "assets" / "index-abc123.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("hunter2")
    return tmp_path / "static"


def build(folder: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService) -> FastAPI:
    monkeypatch.setattr(static, "FOLDER", folder)
    return create_app(service, Settings())  # pyright: ignore[reportArgumentType]  (the fake)


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1")


async def test_the_page_has_all_addresses_that_are_not_the_api_s(
    folder: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService
) -> None:
    async with client_of(build(folder, monkeypatch, service)) as client:
        for path in ("/", "/runs/r1", "/workflows/Agentic%20User%20Onboarding"):
            answer = await client.get(path, headers=BROWSER)
            assert answer.status_code == 200, path
            assert "the page" in answer.text
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["content-security-policy"]
        script = await client.get("/assets/index-abc123.js")
        assert script.headers["cache-control"].endswith("immutable")
        assert "javascript" in script.headers["content-type"]
        assert (await client.get("/assets/gone.js", headers={"Accept": "*/*"})).status_code == 404
        for path in ("/api/v1/nothing", "/api/v1/runs/r1/nothing", "/api/"):
            answer = await client.get(path, headers=BROWSER)
            assert answer.status_code == 404, path
            assert answer.json()["code"] == "not_found"
        assert (await client.get("/api/v1/runs/r1/pause", headers=BROWSER)).status_code == 405
        assert (await client.get("/api/v1/runs/r1", headers=BROWSER)).json()["id"] == "r1"


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/%00"]
)
async def test_nothing_beside_the_page_is_served(
    path: str, folder: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService
) -> None:
    async with client_of(build(folder, monkeypatch, service)) as client:
        answer = await client.get(path)
        assert "hunter2" not in answer.text
        assert answer.status_code == 404


async def test_without_a_built_page_the_address_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService
) -> None:
    async with client_of(build(tmp_path, monkeypatch, service)) as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "build_ui.py" in answer.text
        assert (await client.get("/api/v1/runs")).status_code == 200
