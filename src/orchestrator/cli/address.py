"""The address of a server that is about to start: a free port, or one of ours that has the same store already."""

import socket
from typing import Any, NamedTuple, cast

from orchestrator.api.server import PORTS_TRIED, AddressInUse, bind
from orchestrator.cli.client import Client
from orchestrator.config import Settings
from orchestrator.errors import OrchestratorError

PROBE_SECONDS = 1.5


class Taken(NamedTuple):
    """What `take` found: sockets to serve on, or the address where our server runs already; never both."""

    sockets: list[socket.socket]
    running: str | None
    occupied: tuple[int, ...]
    """Ports that somebody else has."""


def take(settings: Settings) -> Taken:
    """The settings' port or the next free one; or, met on the way there, a server of ours on the same store.

    Raises:
        UnsafeBind: the host is not loopback and there is no key.
        AddressInUse: no port can be had.
    """
    last = settings.port if settings.port == 0 else min(settings.port + PORTS_TRIED - 1, 65535)
    occupied: list[int] = []
    for port in range(settings.port, last + 1):
        try:
            return Taken(bind(settings.model_copy(update={"port": port})), None, tuple(occupied))
        except AddressInUse:
            url = url_at(settings.host, port)
            if same_store(url, settings):
                return Taken([], url, tuple(occupied))
            occupied.append(port)
            if port == last:
                raise
    raise AddressInUse(settings.host, settings.port, "there is no such port")


def url_at(host: str, port: int) -> str:
    """The address of a server on this machine that listens on `host`."""
    bare = host.strip("[]")
    if bare in ("0.0.0.0", "::"):
        bare = "127.0.0.1"
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


def same_store(url: str, settings: Settings) -> bool:
    """Whether a server of ours answers there that keeps its runs where the settings say."""
    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    try:
        system = Client(url, key=key, timeout_seconds=PROBE_SECONDS).get("/system")
    except OrchestratorError:
        return False  # nobody, somebody else's server, or one that doesn't know our key
    from orchestrator.bootstrap import store_name

    return server_keeps(system, store=store_name(settings.store), namespace=settings.namespace)


def server_keeps(system: Any, *, store: str, namespace: str) -> bool:
    """Whether what a server says of itself names this store and namespace."""
    if not isinstance(system, dict):
        return False
    said = cast("dict[str, Any]", system)
    return (said.get("store"), said.get("namespace")) == (store, namespace)
