"""Who may call: names, origins, connections, keys and sessions."""

import re
import time
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from orchestrator.api import security
from orchestrator.api.application import create_app
from orchestrator.config import Settings, UnsafeBind
from tests.unit.api.conftest import Connect
from tests.unit.api.fake import FakeService

KEY = "k" * 43
RUNS = "/api/v1/runs"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "localhost",
        "localhost:5173",
        "LOCALHOST:1",
        "[::1]:8000",
        "127.9.9.9",
        "a.localhost:80",
    ],
)
async def test_this_machine_s_own_names_are_answered(host: str, client: httpx2.AsyncClient) -> None:
    assert (await client.get(RUNS, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "192.168.1.7:8000",
        "0.0.0.0",
        "0x7f000001",
        "2130706433",
        "",
        "[::ffff:10.0.0.1]",
        "[localhost]",
    ],
)
@pytest.mark.parametrize("path", [RUNS, "/healthz", "/", "/api/v1/session"])
async def test_another_name_is_refused_whatever_is_asked(
    host: str, path: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    answer = await client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")
    assert service.calls == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "file://",
        "http://evil.example:8000",
        "chrome-extension://abc",
        "http://127.0.0.1@evil.example",
        "http://[",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_another_page_may_not_call(
    origin: str, method: str, client: httpx2.AsyncClient, service: FakeService
) -> None:
    headers = {"Origin": origin, "Content-Type": "application/json", "Access-Control-Request-Method": "POST"}
    answer = await client.request(method, f"{RUNS}/r1", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert service.calls == []


async def test_our_own_page_may_call(client: httpx2.AsyncClient) -> None:
    for origin in ("http://127.0.0.1:8000", "http://localhost:5173"):
        answer = await client.post(f"{RUNS}/r1/pause", json={}, headers={"Origin": origin})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_a_codespace_s_forwarded_address_is_ours(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODESPACE_NAME", "fuzzy-Potato-123")
    monkeypatch.setenv("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
    client = connect()
    ours = "fuzzy-potato-123-8001.app.github.dev"
    answer = await client.get(RUNS, headers={"Host": ours, "Origin": f"https://{ours}"})
    assert answer.status_code == 200
    answer = await client.get(RUNS, headers={"Host": "localhost:8001", "Origin": f"https://{ours}"})
    assert answer.status_code == 200
    for other in ("other-8001.app.github.dev", "fuzzy-potato-123-8001.app.github.dev.evil.example"):
        assert (await client.get(RUNS, headers={"Host": other})).status_code == 403


async def test_other_people_s_pages_may_be_allowed_by_name(connect: Connect) -> None:
    client = connect(cors_origins="https://ops.example, http://tools.example:8080")
    asked = {"Origin": "https://ops.example", "Access-Control-Request-Method": "POST"}
    preflight = await client.options(RUNS, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://ops.example"
    assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers
    answer = await client.get(RUNS, headers={"Origin": "https://ops.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://ops.example"
    assert answer.headers["vary"] == "Origin"
    assert (await client.get(RUNS, headers={"Origin": "https://ops.example:444"})).status_code == 403


@pytest.mark.parametrize("path", [RUNS, "/", "/healthz", "/api/v1/nothing", "/favicon.ico"])
async def test_every_answer_carries_the_strict_headers(path: str, client: httpx2.AsyncClient) -> None:
    headers = (await client.get(path)).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["script-src"] == "'self'"
    assert policy["object-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    assert policy["default-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


# --- without a key --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", ""])
@pytest.mark.parametrize("key", [None, "", "   "])
def test_the_network_is_refused_without_a_key(host: str, key: str | None) -> None:
    settings = Settings.model_construct(host=host, api_key=None)
    with pytest.raises(UnsafeBind, match="ORCHESTRATOR_API_KEY"):
        create_app(None, settings)
    if host:
        with pytest.raises(UnsafeBind):
            create_app(None, Settings(host=host, api_key=None if key is None else SecretStr(key)))


async def test_without_a_key_a_network_connection_is_refused_however_the_server_was_started(
    connect: Connect, service: FakeService
) -> None:
    client = connect(base_url="http://10.0.0.5:8000")
    answer = await client.get(RUNS, headers={"Host": "localhost:8000"})
    assert (answer.status_code, answer.json()["code"]) == (403, "network_needs_key")
    assert service.calls == []


# --- with a key -----------------------------------------------------------------------------------------------


def operations() -> list[tuple[str, str]]:
    """Every operation under the API, with its parameters filled in."""
    paths: dict[str, dict[str, Any]] = create_app(None, Settings()).openapi()["paths"]
    found = [(method, re.sub(r"\{\w+\}", "1", path)) for path, methods in paths.items() for method in methods]
    return [
        (method.upper(), path) for method, path in found if path.startswith("/api/") and "session" not in path
    ]


@pytest.mark.parametrize(("method", "path"), operations())
async def test_no_operation_can_be_called_without_the_key(
    method: str, path: str, connect: Connect, service: FakeService
) -> None:
    client = connect(api_key=KEY)
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"X-API-Key": KEY + "k"},
        {"Cookie": f"{security.COOKIE}=x"},
        {"Cookie": f"{security.COOKIE}=99999999999.n."},
    ):
        answer = await client.request(method, path, headers={**headers, "Content-Type": "application/json"})
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == "Bearer"
    assert service.calls == []


async def test_the_key_is_taken_in_both_headers(connect: Connect) -> None:
    client = connect(api_key=KEY)
    for headers in (
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"X-API-Key": KEY},
    ):
        assert (await client.get(RUNS, headers=headers)).status_code == 200


async def test_health_needs_no_key_and_tells_no_more_for_it(connect: Connect) -> None:
    client = connect(api_key=KEY)
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503


async def test_a_page_trades_the_key_for_a_cookie_that_scripts_cannot_read(connect: Connect) -> None:
    client = connect(api_key=KEY)
    assert (await client.get("/api/v1/session")).json() == {"required": True, "authenticated": False}
    answer = await client.post("/api/v1/session", json={"key": KEY})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/api" in cookie
    assert KEY not in cookie
    client.cookies.update(answer.cookies)
    assert (await client.get(RUNS)).status_code == 200
    assert (await client.get("/api/v1/session")).json() == {"required": True, "authenticated": True}
    # The server may restart in between: another process knows the session by the same key, and not by another one.
    again, changed = connect(api_key=KEY), connect(api_key=KEY[:-1] + "x")
    for other, status in ((again, 200), (changed, 401)):
        other.cookies.update(answer.cookies)
        assert (await other.get(RUNS)).status_code == status
    await client.delete("/api/v1/session")
    assert (await client.get(RUNS)).status_code == 401


async def test_a_wrong_key_opens_no_session_and_guessing_ends_soon(connect: Connect) -> None:
    client = connect(api_key=KEY)
    statuses = [
        (await client.post("/api/v1/session", json={"key": f"guess {n}"})).status_code for n in range(25)
    ]
    assert statuses == [401] * 20 + [429] * 5
    answer = await client.post("/api/v1/session", json={"key": KEY})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_guessing_by_others_does_not_end_a_session(connect: Connect) -> None:
    client = connect(api_key=KEY, wrong_keys_max=1)
    client.cookies.update((await client.post("/api/v1/session", json={"key": KEY})).cookies)
    for status in (401, 429):
        assert (await client.get(RUNS, headers={"X-API-Key": "guess"})).status_code == status
    assert (await client.get(RUNS)).status_code == 200


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = security.Keyring(Settings(api_key=SecretStr(KEY)))
    token = keyring.open_session()
    assert keyring.knows_session(token)
    head, _, signature = token.rpartition(".")
    longer = head.replace(head.partition(".")[0], "99999999999")
    assert not keyring.knows_session(f"{longer}.{signature}")
    later = time.time() + security.SESSION_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not keyring.knows_session(token)


@pytest.mark.parametrize("key", [None, SecretStr(""), SecretStr("  ")])
def test_nothing_matches_where_there_is_no_key(key: SecretStr | None) -> None:
    keyring = security.Keyring(Settings(api_key=key))
    assert not keyring.required
    assert not keyring.matches("")
    assert not keyring.matches("  ")
    assert not keyring.knows_session(keyring.open_session())


async def test_a_server_on_the_network_answers_to_addresses_but_not_to_strange_names(
    connect: Connect,
) -> None:
    client = connect(
        base_url="http://10.0.0.5:8000", host="0.0.0.0", api_key=KEY, allowed_hosts="flow.example"
    )
    shown = {"X-API-Key": KEY}
    for host, status in (("10.0.0.5:8000", 200), ("flow.example", 200), ("evil.example", 403)):
        assert (await client.get(RUNS, headers={**shown, "Host": host})).status_code == status


def test_the_key_stands_in_no_text_of_the_settings() -> None:
    settings = Settings(api_key=SecretStr(KEY))
    assert KEY not in repr(settings)
    assert KEY not in settings.model_dump_json()
