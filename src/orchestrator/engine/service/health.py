"""Whether work gets on, and who does it. Part of the `Service`."""

import asyncio
from importlib import metadata
from typing import Any

import msgspec

from orchestrator.engine.engine import Engine
from orchestrator.engine.views.runs import View
from orchestrator.errors import StoreError
from orchestrator.kernel.values import rfc3339

DISTRIBUTION = "agentic-orchestrator"
STORE_ANSWERS_SECONDS = 2.0
CLAIMS_MISSED_MAX = 3


async def ready(engine: Engine) -> View:
    """Progress, not presence: the store answers, and a worker has asked it for work not long ago."""
    try:
        async with asyncio.timeout(STORE_ANSWERS_SECONDS):
            now_us = await engine.store.now_us()
            alive = sum(one.expires_us > now_us for one in await engine.store.workers())
    except (StoreError, TimeoutError) as error:
        why = str(error) or f"no answer within {STORE_ANSWERS_SECONDS:g} s"
        return {"ready": False, "checks": {"store": {"ok": False, "why": why}}}
    worker = _progress(engine, now_us, alive=alive)
    return {"ready": worker["ok"], "checks": {"store": {"ok": True}, "worker": worker}}


def _progress(engine: Engine, now_us: int, *, alive: int) -> View:
    """Of a worker in this process its own progress; else whether any worker on the store lives."""
    worker = engine.worker
    if worker is None:
        return {"ok": alive > 0, "alive": alive, **({} if alive else {"why": "no worker is alive"})}
    patience = CLAIMS_MISSED_MAX * engine.config.slow_poll_seconds + engine.config.lease_seconds
    silent_us = now_us - worker.last_claim_us
    trouble = worker.heartbeat.trouble
    why: str | None = None
    if trouble is not None:
        why = f"the heartbeat fails: {trouble}"
    elif worker.free > 0 and silent_us > patience * 1_000_000:
        why = f"the worker has claimed nothing for {silent_us / 1_000_000:.0f} s"
    if why is not None:
        return {"ok": False, "alive": alive, "why": why}
    return {"ok": True, "alive": alive, "last_claim_at": rfc3339(worker.last_claim_us)}


async def system(engine: Engine, *, dev: bool, started_us: int) -> View:
    """The server itself: version, store, workers, and how many tasks wait in each queue."""
    workers = await engine.store.workers()
    return {
        "version": metadata.version(DISTRIBUTION),
        "store": engine.store.url,
        "namespace": engine.config.namespace,
        "workers": [
            {
                "worker": one.worker,
                "seen_at": rfc3339(one.seen_us),
                "expires_at": rfc3339(one.expires_us),
                "leases": one.leases,
                "info": _info(one.info),
            }
            for one in workers
        ],
        "queues": await engine.store.queue_depth(),
        "dev": dev,
        "started_at": rfc3339(started_us),
    }


def _info(raw: bytes) -> Any:
    """What a worker says of itself; None where that isn't JSON."""
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        return None
