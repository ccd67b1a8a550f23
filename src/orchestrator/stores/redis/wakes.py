"""Wake-ups: at once within this process, by PUBLISH to the others. Hints only; polling is the truth.

Nothing is published inside a commit. What gathers while one message is on its way goes with the next; a process that
nobody else listens to publishes nothing until somebody says hello.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from orchestrator.errors import StoreError
from orchestrator.stores.contract import Notice, QueueWake, RunAdvanced, Wake
from orchestrator.stores.redis.link import Link

WAITING_MAX = 10_000
"""More than this isn't kept while the server doesn't answer: they are hints."""
AGAIN_SECONDS = (0.1, 2.0)

log: Any = structlog.get_logger("orchestrator.store.redis")


class _Hello(msgspec.Struct, frozen=True, tag="hello", array_like=True):
    """Somebody came, and listens."""


class _Queues(msgspec.Struct, frozen=True, tag="queues", array_like=True):
    queues: list[str]


class _Advanced(msgspec.Struct, frozen=True, tag="advanced", array_like=True):
    run_id: str
    workflow: str
    seq: int


class _Note(msgspec.Struct, frozen=True, tag="note", array_like=True):
    run_id: str
    workflow: str
    data: bytes


_Message = _Hello | _Queues | _Advanced | _Note
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, list[_Message]]).decode


class Wakes:
    """Between `start` and `stop` it listens and tells."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name = secrets.token_hex(8)
        self._callbacks: dict[int, Callable[[Wake], None]] = {}
        self._last_callback = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Message] = []
        self._telling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._alone = False

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        """Call back for every wake-up; the result ends it."""
        self._last_callback += 1
        number = self._last_callback
        self._callbacks[number] = callback

        def end() -> None:
            self._callbacks.pop(number, None)

        return end

    async def start(self) -> None:
        """Listen, and wait until the server has heard that we do."""
        self._loop = asyncio.get_running_loop()
        listens = asyncio.Event()
        self._listening = asyncio.create_task(self._listen_on(listens), name="redis wake-ups")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(listens.wait(), 2.0)

    async def stop(self) -> None:
        """Say what waits, as well as can be, and end."""
        self._loop = None
        tasks = [task for task in (self._telling, self._listening) if task is not None]
        if self._telling is not None:
            await asyncio.wait({self._telling}, timeout=0.5)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._telling = self._listening = None
        self._waiting.clear()

    # --- telling ------------------------------------------------------------------------------------------------------

    def tell(self, wakes: list[Wake]) -> None:
        """On the loop: tell everybody."""
        loop = self._loop
        if loop is None or not wakes:
            return
        if self._callbacks:
            loop.call_soon(self._deliver, wakes)
        if not self._alone:
            self._publish([_message(wake) for wake in wakes])

    def notify(self, notice: Notice) -> None:
        """From any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                wakes: list[Wake] = [notice]
                loop.call_soon_threadsafe(self.tell, wakes)

    def _deliver(self, wakes: list[Wake]) -> None:
        for wake in wakes:
            for callback in list(self._callbacks.values()):
                callback(wake)

    def _publish(self, messages: list[_Message]) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting += messages
        if self._telling is None and self._loop is not None:
            self._telling = self._loop.create_task(self._tell_on(), name="redis publish")

    async def _tell_on(self) -> None:
        try:
            while self._waiting:
                messages, self._waiting = self._waiting, []
                channel = f"{self._link.base}wakes"
                with contextlib.suppress(StoreError):  # they are hints: the others look by themselves
                    heard = await self._link.command_anywhere(
                        "PUBLISH", channel, _encode((self._name, messages))
                    )
                    # A node of a cluster counts its own listeners only.
                    self._alone = not self._link.clustered and heard <= 1
        finally:
            self._telling = None

    # --- listening ----------------------------------------------------------------------------------------------------

    async def _listen_on(self, listens: asyncio.Event) -> None:
        pause = AGAIN_SECONDS[0]
        while True:
            client: Any = None
            try:
                client = self._link.subscriber()
                heard = client.pubsub()
                await heard.subscribe(f"{self._link.base}wakes")
                self._alone = False
                self._publish([_Hello()])
                while True:
                    message = await heard.get_message(timeout=None)
                    if message is None:
                        continue
                    pause = AGAIN_SECONDS[0]
                    if message["type"] == "subscribe":
                        listens.set()
                    elif message["type"] == "message":
                        self._hear(message["data"])
            except (RedisError, OSError, StoreError) as error:
                log.debug("not listening to the store's wake-ups for a moment", error=str(error))
            finally:
                if client is not None:
                    with contextlib.suppress(RedisError, OSError):
                        await client.aclose()
            await asyncio.sleep(pause)
            pause = min(pause * 2, AGAIN_SECONDS[1])

    def _hear(self, data: bytes) -> None:
        try:
            sender, messages = _decode(data)
        except msgspec.MsgspecError:
            return  # of another release
        if sender == self._name:
            return
        self._alone = False
        wakes: list[Wake] = []
        for message in messages:
            match message:
                case _Hello():
                    continue
                case _Queues(queues):
                    wakes.append(QueueWake(queues=queues))
                case _Advanced(run_id, workflow, seq):
                    wakes.append(RunAdvanced(run_id=run_id, workflow=workflow, seq=seq))
                case _Note(run_id, workflow, data):
                    wakes.append(Notice(run_id=run_id, workflow=workflow, data=data))
        self._deliver(wakes)


def _message(wake: Wake) -> _Message:
    match wake:
        case QueueWake(queues=queues):
            return _Queues(list(queues))
        case RunAdvanced(run_id=run_id, workflow=workflow, seq=seq):
            return _Advanced(run_id, workflow, seq)
        case Notice(run_id=run_id, workflow=workflow, data=data):
            return _Note(run_id, workflow, data)
