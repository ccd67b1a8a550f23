"""Who may call: the gate in front of every request, the key, and the session of the page.

The gate looks at every request, whatever its route, and refuses
* a `Host` that isn't this server's (a web page must not reach a local server under a name of its own),
* an `Origin` that isn't this server's or on the list (another page must not drive it),
* without a key: a connection that didn't come over loopback, however the server was started.
It also puts the same headers on every answer.

The key is asked for by a dependency of the router that all of `/api/v1` hangs under, so that a route can't forget it.
The page can't keep a key safely, so it trades it for a cookie that scripts can't read. The cookie holds an expiry and
an HMAC under the key: it outlives a restart, and ends when the key changes.
"""

import hashlib
import hmac
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.bodies import is_json, is_yaml
from orchestrator.api.problems import Refusal, from_refusal
from orchestrator.config import Settings, is_loopback

COOKIE = "orchestrator_session"
SESSION_SECONDS = 12 * 3600
FAILURES_SECONDS = 60.0
ADDRESSES_MAX = 10_000

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_CORS_ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key"
_CORS_EXPOSED_HEADERS = "Retry-After"


class Hosts:
    """The names that this server answers to."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
        self._names = {_bare(name) for name in settings.allowed_hosts}
        self._any_literal = False
        bare = _bare(settings.host)
        if bare in ("", "0.0.0.0", "::"):
            # Listening everywhere, which needs a key. A name can be rebound by an attacker, an address can't.
            self._any_literal = True
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        else:
            self._names.add(bare)
        self._forwarded: re.Pattern[str] | None = None
        codespace = environment.get("CODESPACE_NAME")
        domain = environment.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN")
        if codespace and domain:
            self._forwarded = re.compile(
                rf"{re.escape(codespace.lower())}-\d{{1,5}}\.{re.escape(domain.lower())}"
            )

    def knows(self, host: str) -> bool:
        """Whether `name` or `name:port`, as in a Host header, is ours."""
        bare = _bare(host)
        if not bare:
            return False
        if bare in self._names or is_loopback(bare):
            return True
        if self._forwarded is not None and self._forwarded.fullmatch(bare):
            return True
        return self._any_literal and _is_literal(bare)


def _bare(host: str) -> str:
    """The name without port and brackets; "" for what can't be a host."""
    text = host.strip().lower()
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\\?#\s]+))(?::\d{1,5})?", text)
    if found is not None:
        return (found.group(1) or found.group(2)).rstrip(".")
    return text if _is_literal(text) else ""


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Gate:
    """ASGI middleware: Host, Origin, connection, CORS, content type of changes, and the headers of every answer."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts(settings)
        self._origins = frozenset(settings.cors_origins)
        self._open = settings.api_key is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        foreign = self._foreign_origin(headers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    answer.setdefault("Cache-Control", "no-store")
                if self._origins:
                    answer.add_vary_header("Origin")
                if foreign is not None:
                    answer["Access-Control-Allow-Origin"] = foreign
                    answer["Access-Control-Expose-Headers"] = _CORS_EXPOSED_HEADERS
                    answer["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        refusal = self._refusal(scope, headers, foreign)
        if refusal is not None:
            await from_refusal(refusal)(scope, receive, send_with_headers)
        elif (
            scope["method"] == "OPTIONS"
            and foreign is not None
            and "access-control-request-method" in headers
        ):
            await self._preflight()(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _foreign_origin(self, headers: Headers) -> str | None:
        origin = headers.get("origin", "").lower()
        return origin if origin in self._origins else None

    def _refusal(self, scope: Scope, headers: Headers, foreign: str | None) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.knows(hosts[0]):
            named = hosts[0][:200] if hosts else ""
            return Refusal(
                f"this server doesn't answer to the name {named!r}; ORCHESTRATOR_ALLOWED_HOSTS may add it",
                status=403,
                code="host_not_allowed",
            )
        origins = headers.getlist("origin")
        if origins and foreign is None and not (len(origins) == 1 and self._own_origin(origins[0])):
            return Refusal(
                f"pages of {origins[0][:200]!r} may not call this server; ORCHESTRATOR_CORS_ORIGINS may allow them",
                status=403,
                code="origin_not_allowed",
            )
        if self._open and not _came_over_loopback(scope):
            return Refusal(
                "without a key this server answers over loopback only; set ORCHESTRATOR_API_KEY",
                status=403,
                code="network_needs_key",
            )
        changes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if changes and scope["method"] != "DELETE" and not _is_taken(scope, headers.get("content-type", "")):
            return Refusal(
                "changes are sent as JSON: set `Content-Type: application/json` (a workflow may be YAML: "
                "`application/yaml`; a run file is `application/gzip`)",
                status=415,
                code="unsupported_media_type",
                headers={"Accept": "application/json"},
            )
        if changes and headers.get("content-encoding", "identity").lower() != "identity":
            return Refusal("compressed bodies aren't taken", status=415, code="unsupported_encoding")
        return None

    def _own_origin(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and self._hosts.knows(parts.netloc)

    def _preflight(self) -> Response:
        headers = {
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": _CORS_ALLOWED_HEADERS,
            "Access-Control-Max-Age": "600",
        }
        return Response(status_code=204, headers=headers)


def _came_over_loopback(scope: Scope) -> bool:
    """By the server's own end of the connection: no header can change it."""
    server = scope.get("server")
    if server is None or server[1] is None:
        return True  # a local socket
    return is_loopback(str(server[0]))


def _is_taken(scope: Scope, content_type: str) -> bool:
    """Whether a change may be sent as this. No type that a web page may send without asking first is among them."""
    if is_json(content_type):
        return True
    path = str(scope["path"]).rstrip("/")
    if path.endswith("/api/v1/runs/import"):
        return content_type.strip().lower() == "application/gzip"
    return is_yaml(content_type) and path.endswith(("/api/v1/workflows", "/api/v1/workflows/validate"))


class Failures:
    """Wrong keys by address: after `maximum` within a minute, that address has to wait, also with the right key.

    Otherwise guessing would go on as fast as before. Sessions of pages are not touched by it.
    """

    def __init__(self, *, maximum: int) -> None:
        self._maximum = maximum
        self._seen: dict[str, list[float]] = {}

    def waits(self, address: str) -> int:
        """Whole seconds that the address has to wait; 0: none."""
        recent = [at for at in self._seen.get(address, ()) if at > time.monotonic() - FAILURES_SECONDS]
        if len(recent) < self._maximum:
            return 0
        return max(1, round(recent[-self._maximum] + FAILURES_SECONDS - time.monotonic()))

    def add(self, address: str) -> None:
        """Note a failure."""
        if len(self._seen) >= ADDRESSES_MAX:
            self._seen.clear()
        recent = self._seen.setdefault(address, [])
        recent.append(time.monotonic())
        del recent[: -self._maximum]

    def clear(self, address: str) -> None:
        """Forget the failures of an address that has shown the key."""
        self._seen.pop(address, None)


class Keyring:
    """The server's key, what counts as having shown it, and the sessions made from it."""

    def __init__(self, settings: Settings) -> None:
        key = settings.api_key.get_secret_value().strip() if settings.api_key is not None else ""
        self._digest = hashlib.sha256(key.encode()).digest() if key else None
        self._signing = hmac.digest(key.encode(), b"orchestrator session", "sha256") if key else b""
        self._failures = Failures(maximum=settings.wrong_keys_max)

    @property
    def required(self) -> bool:
        """Whether this server asks for a key."""
        return self._digest is not None

    def matches(self, key: str) -> bool:
        """Whether this is the key, in constant time. Nothing matches where there is no key, and "" never does."""
        if self._digest is None or not key:
            return False
        return hmac.compare_digest(
            hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest(), self._digest
        )

    def open_session(self) -> str:
        """A token for the cookie."""
        head = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return f"{head}.{self._sign(head)}"

    def knows_session(self, token: str) -> bool:
        """Whether the token was made here, under this key, and not too long ago."""
        head, dot, signature = token.rpartition(".")
        if not dot or self._digest is None or not token.isascii():
            return False
        if not hmac.compare_digest(signature, self._sign(head)):
            return False
        expiry = head.partition(".")[0]
        return expiry.isdecimal() and int(expiry) > time.time()

    def _sign(self, head: str) -> str:
        return hmac.new(self._signing, head.encode(), "sha256").hexdigest()

    def check(self, key: str, *, address: str) -> None:
        """Accept the key, or refuse.

        Raises:
            Refusal: 401 if it is wrong, 429 if this address has guessed too often.
        """
        wait = self._failures.waits(address)
        if wait:
            raise Refusal(
                f"too many wrong keys; wait {wait} s",
                status=429,
                code="too_many_attempts",
                headers={"Retry-After": str(wait)},
            )
        if not self.matches(key):
            self._failures.add(address)
            raise _unauthorized("this is not the key of this server", "wrong_key")
        self._failures.clear(address)

    def has_access(self, shown: Iterable[str], session: str, *, address: str) -> None:
        """Let the request pass, or refuse it. A key that is shown must be right, also beside a good session.

        Raises:
            Refusal: 401 or 429.
        """
        if not self.required:
            return
        keys = [key for key in shown if key]
        for key in keys:
            self.check(key, address=address)
        if not keys and not self.knows_session(session):
            raise _unauthorized(
                "this server needs its key: `Authorization: Bearer <key>`, or `POST /api/v1/session` for a page",
                "key_needed",
            )


def _unauthorized(detail: str, code: str) -> Refusal:
    return Refusal(detail, status=401, code=code, headers={"WWW-Authenticate": "Bearer"})


_bearer = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="ORCHESTRATOR_API_KEY of the server."
)
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="apiKey", description="The same, bare."
)
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="session", description="From POST /api/v1/session."
)


def bearer_key(request: Request) -> str:
    """What `Authorization: Bearer` shows, or ""."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def access(
    request: Request,
    _bearer: object = Security(_bearer),
    _header: object = Security(_header),
    _cookie: object = Security(_cookie),
) -> None:
    """The dependency that everything under `/api/v1` hangs on. The parameters are there for OpenAPI."""
    keyring: Keyring = request.app.state.keyring
    shown = (bearer_key(request), request.headers.get("x-api-key", ""))
    keyring.has_access(shown, request.cookies.get(COOKIE, ""), address=address_of(request))


def address_of(request: Request) -> str:
    """Where the request came from, for counting only."""
    return request.client.host if request.client is not None else "local"
