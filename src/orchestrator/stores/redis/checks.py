"""What a server would keep of what it acknowledges, said in words before anything is trusted to it."""

from typing import Any, cast

import msgspec
from redis.exceptions import RedisError

from orchestrator.errors import StoreIncompatible
from orchestrator.stores.contract import Durability, Keeps
from orchestrator.stores.redis.link import facts_of

OLDEST = (7, 0)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a server's state and configuration."""

    address: str
    version: tuple[int, ...]
    clustered: bool
    replica: bool
    append_only: bool
    sync: str
    policy: str
    snapshots: bool


async def look(client: Any, url: str) -> Server:
    """Ask a server about itself. Where `CONFIG` may not be asked, `INFO` has to do."""
    raw: Any = await client.execute_command("INFO", "everything")
    # The driver takes INFO apart by itself.
    parsed = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    facts = {name: str(value) for name, value in parsed.items()} or facts_of(cast(bytes, raw))
    config = {
        "appendfsync": await _config(client, "appendfsync"),
        "maxmemory-policy": await _config(client, "maxmemory-policy"),
        "save": await _config(client, "save"),
    }
    text = facts.get("redis_version", "0")
    return Server(
        address=url,
        version=tuple(int(part) for part in text.split(".") if part.isdecimal()),
        clustered=facts.get("cluster_enabled") == "1",
        replica=facts.get("role") == "slave",
        append_only=facts.get("aof_enabled") == "1",
        sync=config["appendfsync"] or "everysec",
        policy=config["maxmemory-policy"] or facts.get("maxmemory_policy", "noeviction"),
        snapshots=bool(config["save"]),
    )


async def _config(client: Any, name: str) -> str | None:
    try:
        answer: Any = await client.execute_command("CONFIG", "GET", name)
    except RedisError:
        return None  # a hosted server may not let itself be asked
    parts = [*cast("dict[Any, Any]", answer).values()] if isinstance(answer, dict) else answer[1:]
    value: Any = parts[0] if parts else None
    return value.decode() if isinstance(value, bytes) else value


def refuse_unfit(server: Server) -> None:
    """Refuse what can't be worked with.

    Raises:
        StoreIncompatible: too old, or set up so that it throws data away when its memory is full.
    """
    if server.version < OLDEST:
        version = ".".join(map(str, server.version))
        raise StoreIncompatible(
            f"{server.address} is Redis {version}; this release needs Redis 7.0 or newer, or Valkey"
        )
    if server.policy != "noeviction":
        raise StoreIncompatible(
            f"{server.address} has the eviction policy {server.policy!r}: when its memory is full it would throw "
            "runs away. Cure: redis-cli CONFIG SET maxmemory-policy noeviction; redis-cli CONFIG REWRITE"
        )


def durability(servers: list[Server]) -> Durability:
    """What could be lost: that of the weakest server."""
    return max((_of_one(server) for server in servers), key=lambda one: list(Keeps).index(one.keeps))


def _of_one(server: Server) -> Durability:
    cli = f"redis-cli -u {server.address}"
    if not server.append_only:
        since = "since its last snapshot" if server.snapshots else "that was ever kept there"
        return Durability(
            keeps=Keeps.NOTHING_SURE,
            words=f"{server.address} has `appendonly no`: if it ends or is killed, everything {since} is lost, runs "
            "that this orchestrator has called finished among it",
            cure=(f"{cli} CONFIG SET appendonly yes", f"{cli} CONFIG REWRITE"),
        )
    match server.sync:
        case "always":
            return Durability(keeps=Keeps.EVERYTHING)
        case "no":
            window, what = "about half a minute", "`appendfsync no`"
        case _:
            window, what = "about a second", "`appendfsync everysec`"
    return Durability(
        keeps=Keeps.ALL_BUT_LAST,
        words=f"{server.address} has {what}: if its machine loses power, {window} of what was acknowledged may be lost "
        "(`appendfsync always` loses nothing)",
        cure=(f"{cli} CONFIG SET appendfsync always", f"{cli} CONFIG REWRITE"),
    )
