"""Calling a server: the API over HTTP with the standard library, which is there and starts fast."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlencode, urlsplit

from orchestrator.cli.exits import Exit, Refused, exit_of_status
from orchestrator.errors import Fault, OrchestratorError

DEFAULT_URL = "http://127.0.0.1:8000"
BASE = "/api/v1"
TIMEOUT_SECONDS = 30.0
UPLOAD_SECONDS = 600.0
_PIECE_BYTES = 256 * 1024
SILENCE_SECONDS_MAX = 60.0
"""A stream that says nothing for so long, not even that it lives, is lost."""


class Unreachable(Refused):
    """No server answers there."""

    def __init__(self, url: str, why: str) -> None:
        self.url = url
        super().__init__(
            f"no server answers at {url}: {why}",
            exit=Exit.UNREACHABLE,
            code="unreachable",
            cure="start one with `orchestrator dev`, name another with --server URL, or read the store itself with "
            "--store sqlite:///.orchestrator/store.db",
        )


class Answered(Refused):
    """The server said no; `faults` as far as it listed them."""

    def __init__(self, status: int, problem: Mapping[str, Any], reason: str) -> None:
        code = str(problem.get("code") or f"http_{status}")
        detail = str(
            problem.get("detail") or problem.get("title") or f"the server answered {status} {reason}"
        )
        self.status = status
        self.faults = tuple(
            Fault(
                pointer=str(one.get("pointer", "")),
                code=str(one.get("code", "")),
                message=str(one.get("message", "")),
                suggestion=one.get("suggestion"),
            )
            for one in problem.get("errors") or ()
        )
        cure = "set ORCHESTRATOR_API_KEY to the key of that server" if status == 401 else None
        super().__init__(detail, exit=exit_of_status(status, code), code=code, cure=cure)


def segment(text: str) -> str:
    """A name as one part of an address."""
    return quote(text, safe="")


class Client:
    """One server. Every call opens a connection of its own; nothing has to be closed."""

    def __init__(self, url: str, *, key: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"--server {url!r}: an address is http://host:port", exit=Exit.USAGE, code="usage")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._parts = parts
        self._timeout = timeout_seconds
        self._headers = {"Accept": "application/json", "User-Agent": "orchestrator-cli"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    @classmethod
    def from_environment(cls, url: str | None) -> "Client":
        """A client for `--server`, else `ORCHESTRATOR_SERVER`, else this machine; the key from the environment."""
        chosen = url or os.environ.get("ORCHESTRATOR_SERVER") or DEFAULT_URL
        return cls(chosen, key=os.environ.get("ORCHESTRATOR_API_KEY", "").strip() or None)

    def get(self, path: str, *, query: Mapping[str, Any] | None = None) -> Any:
        """Read a resource. Raises Unreachable, Answered."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Any:
        """Change something. Raises Unreachable, Answered."""
        return self._call("POST", path, body=json.dumps(body).encode(), headers=headers)

    def download(self, path: str) -> Iterator[bytes]:
        """What a resource answers, in pieces. Raises Unreachable, Answered."""
        connection, answer = self._send("GET", path)
        try:
            while piece := answer.read(_PIECE_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.url, _why(error)) from None
        finally:
            connection.close()

    def upload(self, path: str, file: BinaryIO, *, size: int, content_type: str) -> Any:
        """Send a file as it is. Raises Unreachable, Answered."""
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        connection, answer = self._send(
            "POST", path, body=file, headers=headers, timeout_seconds=UPLOAD_SECONDS
        )
        try:
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.url, _why(error)) from None
        finally:
            connection.close()
        return self._decode(raw)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        connection, answer = self._send(method, path, query=query, body=body, headers=headers)
        try:
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.url, _why(error)) from None
        finally:
            connection.close()
        return self._decode(raw) if raw else None

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        port = self._parts.port
        host = self._parts.hostname or ""
        connection = kind(host, port, timeout=timeout_seconds or self._timeout)
        given = {name: value for name, value in (query or {}).items() if value is not None and value != []}
        target = self._parts.path.rstrip("/") + BASE + path
        target += "?" + urlencode(given, doseq=True) if given else ""
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, target, body=body, headers=sent)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise self._refusal(answer)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(self.url, _why(error)) from None
        except OrchestratorError:
            connection.close()
            raise
        return connection, answer

    def _refusal(self, answer: http.client.HTTPResponse) -> Answered:
        raw = answer.read()
        try:
            found = json.loads(raw)
        except ValueError:
            found = None
        problem = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        return Answered(answer.status, problem, answer.reason)

    def _decode(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except ValueError:
            raise Unreachable(self.url, "what answers there is no server of ours (it sent no JSON)") from None

    def stream(self, path: str, *, after: str | None = None) -> Iterator[tuple[str, str | None, Any]]:
        """Server-sent events as (event, id, data) until the server ends the answer.

        Raises:
            Unreachable: there is no connection, or no more. Answered: the server says no.
        """
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        connection, answer = self._send("GET", path, headers=headers, timeout_seconds=SILENCE_SECONDS_MAX)
        try:
            yield from _events(answer)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.url, _why(error)) from None
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str | None, Any]]:
    kind, position, data = "message", None, list[str]()
    while raw := answer.readline():
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield kind, position, json.loads("\n".join(data))
            kind, position, data = "message", None, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "id":
                position = value
            case "data":
                data.append(value)
            case _:
                pass  # a comment, which says that the stream lives, or `retry`


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__} {error}".strip()
