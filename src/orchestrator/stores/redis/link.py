"""The connections to a server or a cluster, and the one way in which functions are called there.

A call names its slot; calls that go together are one round trip. On one server a call may touch all partitions, in a
cluster one (`groups`). Whoever connects first tells the server so (`arrive.lua`): before anything else goes over a new
connection it is known whether the server may have lost writes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import redis as blocking
from redis import asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry as BlockingRetry

from orchestrator.errors import CommitUnknown, StoreUnavailable
from orchestrator.stores.redis.faults import refused, translate
from orchestrator.stores.redis.keys import Place
from orchestrator.stores.redis.scripts import script

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""How long an answer may take: longer than any disk sync, shorter than a lease."""
CONNECTIONS_MAX = 64
TURN_SECONDS = 15.0
"""How long a call may wait for one of them to be free: a burst of calls is no outage."""
MOVES_FOLLOWED = 3

Arg = bytes | str | int
# The driver is typed in part only.
_REDIS: Any = driver.Redis
_CLUSTER: Any = driver.RedisCluster
_POOL: Any = driver.BlockingConnectionPool
_encode = msgspec.msgpack.encode


class Call(msgspec.Struct, frozen=True):
    """A function, the slot it is for, and what it gets."""

    script: str
    slot: str
    args: Sequence[Arg]


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself to a new connection."""

    replid: str
    process: str
    was_replica: bool
    replica: bool
    syncs: bool


class Link:
    """See the module. `now_us` replaces the server's clock, for tests."""

    def __init__(self, place: Place, *, now_us: Callable[[], int] | None) -> None:
        self._place = place
        self._now_us = now_us
        self._client: Any = None
        self._blocking: Any = None
        self.clustered = False
        self.partitions = 0
        self.store_id = ""
        self.syncs_always = False
        self.generation = 0
        """Counts the times that a server was found that may have lost writes."""
        self._incarnations: dict[int, str] = {}

    @property
    def url(self) -> str:
        """How the store was named, without credentials."""
        return self._place.shown

    @property
    def base(self) -> str:
        """What all keys begin with."""
        return f"{self._place.prefix}:"

    def key(self, slot: str, name: str) -> str:
        """A key of a slot."""
        return f"{self.base}{{{slot}}}:{name}"

    def groups(self) -> list[list[int]]:
        """The partitions that one call may touch together."""
        every = list(range(self.partitions))
        return [[p] for p in every] if self.clustered else [every]

    def incarnation(self, partition: int) -> str:
        """Changes when the partition's server may have lost writes."""
        return self._incarnations.get(partition, "")

    # --- life ---------------------------------------------------------------------------------------------------------

    def probe(self) -> Any:
        """A plain client, for looking at the server before anything else; the caller closes it."""
        return _REDIS.from_url(self._place.driver_url, **self._options(), retry=_never())

    def open(self) -> None:
        """Make the clients. Connections are made when they are needed."""
        if self.clustered:
            # Here a repeat follows a part of the cluster to where it went.
            client = _CLUSTER.from_url(
                self._place.driver_url, **self._options(), retry=Retry(ConstantBackoff(0.05), MOVES_FOLLOWED)
            )
            client.connection_kwargs["redis_connect_func"] = self._arrive
            for node in client.nodes_manager.startup_nodes.values():
                node.connection_kwargs["redis_connect_func"] = self._arrive
            self._client = client
            return
        pool = _POOL.from_url(
            self._place.driver_url,
            **self._options(),
            retry=_never(),
            redis_connect_func=self._arrive,
            max_connections=CONNECTIONS_MAX,
            timeout=TURN_SECONDS,
        )
        self._client = driver.Redis(connection_pool=pool)

    def _options(self) -> dict[str, Any]:
        return {
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "protocol": 2,
        }

    async def close(self) -> None:
        """Let go of all connections."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()
            if not self.clustered:
                with contextlib.suppress(RedisError, OSError):
                    await client.connection_pool.disconnect()
        blocked, self._blocking = self._blocking, None
        if blocked is not None:
            await asyncio.to_thread(blocked.close)

    def subscriber(self) -> Any:
        """A connection of its own for notifications."""
        client = self._open_client()
        if self.clustered:
            node = client.get_random_node()
            return driver.Redis(
                host=node.host,
                port=node.port,
                socket_connect_timeout=CONNECT_SECONDS,
                protocol=2,
                retry=_never(),
                **{
                    name: client.connection_kwargs.get(name)
                    for name in ("username", "password", "ssl")
                    if client.connection_kwargs.get(name)
                },
            )
        return _REDIS.from_url(
            self._place.driver_url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=None,
            protocol=2,
            retry=_never(),
        )

    def _open_client(self) -> Any:
        if self._client is None:
            raise StoreUnavailable(f"the store {self.url} isn't open; call open() first")
        return self._client

    # --- new connections ----------------------------------------------------------------------------------------------

    async def _arrive(self, connection: Any) -> None:
        """Before a new connection is used: tell the partitions which server this is."""
        await connection.on_connect()
        await connection.send_command("INFO", "everything")
        arrival = arrival_of(await connection.read_response(), syncs_always=self.syncs_always)
        if arrival.replica:
            if self.clustered:
                return  # it will point to its master
            raise ReadOnlyError(f"{self.url} is a replica of another server and takes no writes")
        if not self.partitions:
            return  # the store isn't known yet (see `arrive_again`)
        for group in self.groups():
            await connection.send_command(*self._eval(self._arrive_call(arrival, group)))
        for group in self.groups():
            try:
                found = await connection.read_response()
            except MovedError:
                continue  # another node's partition
            except ResponseError:
                if self.clustered:
                    continue
                raise
            self._heard(group, found)

    def _arrive_call(self, arrival: Arrival, group: list[int]) -> Call:
        flags = ["1" if flag else "0" for flag in (arrival.was_replica, arrival.syncs)]
        return Call("arrive", f"p{group[0]}", [arrival.replid, arrival.process, *flags, _encode(group)])

    def _heard(self, group: list[int], incarnations: Sequence[bytes]) -> None:
        for partition, raw in zip(group, incarnations, strict=True):
            incarnation = raw.decode()
            if self._incarnations.setdefault(partition, incarnation) != incarnation:
                self._incarnations[partition] = incarnation
                self.generation += 1

    async def ask_incarnations(self) -> None:
        """Read them again, after another process has noticed first."""
        every = range(self.partitions)
        found = await self.commands(
            [("HGET", self.key(f"p{partition}", "meta"), "inc") for partition in every]
        )
        for partition, raw in zip(every, found, strict=True):
            if raw is not None:
                self._heard([partition], [raw])

    async def arrive_again(self) -> None:
        """Connections that were made before the number of partitions was known have told nobody: make new ones.

        Raises:
            StoreUnavailable: a partition has no server.
        """
        client = self._open_client()
        if self.clustered:
            for node in client.get_nodes():
                await node.disconnect()
        else:
            await client.connection_pool.disconnect()
        await self.ask_incarnations()

    async def masters(self) -> list[tuple[Any, str]]:
        """The nodes of the cluster that hold data, with their addresses.

        Raises:
            StoreUnavailable: the cluster doesn't answer.
        """
        client = self._open_client()
        try:
            await client.initialize()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(str(translate(error, self.url))) from error
        return [(node, f"redis://{node.host}:{node.port}") for node in client.get_primaries()]

    async def command_anywhere(self, *words: Arg) -> Any:
        """A command that belongs to no slot.

        Raises:
            StoreUnavailable: it failed.
        """
        if not self.clustered:
            return await self.command(*words)
        masters = await self.masters()
        try:
            return await masters[0][0].execute_command(*words)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(str(translate(error, self.url))) from error

    async def rewrite_logs(self) -> None:
        """Let the servers write their append-only files anew, without what was deleted.

        One that is at it, or doesn't allow it, is left to do so in its own time.

        Raises:
            StoreUnavailable: one can't be reached.
        """
        if not self.clustered:
            await self.send([("BGREWRITEAOF",)])
            return
        for node, _ in await self.masters():
            try:
                await node.execute_command("BGREWRITEAOF")
            except ResponseError:
                continue
            except (RedisError, OSError, TimeoutError) as error:
                raise StoreUnavailable(str(translate(error, self.url))) from error

    # --- calls --------------------------------------------------------------------------------------------------------

    async def ask(self, call: Call) -> Any:
        """One call.

        Raises:
            StoreUnavailable: it failed; it may have happened.
        """
        return (await self.ask_all([call]))[0]

    async def ask_all(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls in one round trip.

        Raises:
            StoreUnavailable: one of them failed; any may have happened.
        """
        replies = await self.run(calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self.url) from reply
        return replies

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls in one round trip; the error of a single one is its answer.

        Raises:
            StoreUnavailable: nothing was sent. CommitUnknown: any of it may have happened.
        """
        commands = [self._evalsha(call) for call in calls]
        replies = await self.send(commands)
        missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = await self.send([self._eval(calls[place]) for place in missing])
            for place, reply in zip(missing, again, strict=True):
                replies[place] = reply
        return replies

    async def command(self, *words: Arg) -> Any:
        """One command of the server's own.

        Raises:
            StoreUnavailable: it failed.
        """
        return (await self.commands([words]))[0]

    async def commands(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Several commands in one round trip.

        Raises:
            StoreUnavailable: one of them failed.
        """
        replies = await self.send(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self.url) from reply
        return replies

    async def send(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """The answers to commands, errors of the server among them. See `run`."""
        client = self._open_client()
        if not commands:
            return []
        if self.clustered:
            return await self._send_to_cluster(client, commands)
        pool = client.connection_pool
        try:
            connection = await pool.get_connection()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(str(translate(error, self.url))) from error
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            replies = [await _reply(connection) for _ in commands]
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            raise CommitUnknown(f"{translate(error, self.url)}; it may have happened") from error
        finally:
            await pool.release(connection)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await pool.disconnect(inuse_connections=False)
        return replies

    async def _send_to_cluster(self, client: Any, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        try:
            await client.initialize()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(str(translate(error, self.url))) from error
        pipeline = client.pipeline()
        for words in commands:
            pipeline.execute_command(*words)
        try:
            return cast(list[Any], await pipeline.execute(raise_on_error=False))
        except (RedisError, OSError, TimeoutError) as error:
            if refused(error):
                raise StoreUnavailable(str(translate(error, self.url))) from error
            raise CommitUnknown(f"{translate(error, self.url)}; it may have happened") from error

    def _words(self, call: Call) -> tuple[Arg, ...]:
        now = "" if self._now_us is None else self._now_us()
        mode = "c" if self.clustered else "s"
        return (1, f"{self.base}{{{call.slot}}}", self.base, mode, now, *call.args)

    def _evalsha(self, call: Call) -> tuple[Arg, ...]:
        return ("EVALSHA", script(call.script).sha, *self._words(call))

    def _eval(self, call: Call) -> tuple[Arg, ...]:
        return ("EVAL", script(call.script).text, *self._words(call))

    # --- from other threads -------------------------------------------------------------------------------------------

    def run_blocking(self, calls: Sequence[Call]) -> list[Any]:
        """As `ask_all`, on the caller's thread and a connection of its own.

        Raises:
            StoreUnavailable: one of them failed.
        """
        self._open_client()
        if self._blocking is None:
            options = {**self._options(), "socket_timeout": ANSWER_SECONDS}
            never = BlockingRetry(NoBackoff(), 0)
            kind: Any = blocking.RedisCluster if self.clustered else blocking.Redis
            try:
                self._blocking = kind.from_url(self._place.driver_url, **options, retry=never)
            except (RedisError, OSError) as error:
                raise StoreUnavailable(str(translate(error, self.url))) from error
        try:
            replies = self._send_blocking([self._evalsha(call) for call in calls])
            missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if missing:
                again = self._send_blocking([self._eval(calls[place]) for place in missing])
                for place, reply in zip(missing, again, strict=True):
                    replies[place] = reply
        except (RedisError, OSError) as error:
            raise StoreUnavailable(str(translate(error, self.url))) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self.url) from reply
        return replies

    def _send_blocking(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        pipeline = self._blocking.pipeline() if self.clustered else self._blocking.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        return cast(list[Any], pipeline.execute(raise_on_error=False))


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _never() -> Retry:
    """No repeats by the driver: what may be repeated is for the caller to know."""
    return Retry(NoBackoff(), 0)


def arrival_of(info: bytes, *, syncs_always: bool) -> Arrival:
    """What `INFO` says of a server's past."""
    facts = facts_of(info)
    return Arrival(
        replid=facts.get("master_replid", ""),
        process=facts.get("run_id", ""),
        was_replica=bool(facts.get("master_replid2", "").strip("0")),
        replica=facts.get("role") == "slave",
        syncs=syncs_always and facts.get("aof_enabled") == "1",
    )


def facts_of(info: bytes) -> dict[str, str]:
    """The lines of `INFO` as a map."""
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}
