"""What the engine can be told, with the defaults and limits of DESIGN section 12. Seconds and bytes, as named."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.stores.contract import NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of one engine; a worker's are here too, since they must agree within a process."""

    namespace: str = NAMESPACE
    queues: tuple[str, ...] = ("default",)
    concurrency: int = 100
    cpu_processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    lease_seconds: float = 15.0
    heartbeat_seconds: float = 5.0
    blocked_after_seconds: float = 10.0
    slow_poll_seconds: float = 1.0
    reconcile_seconds: float = 30.0
    cancel_grace_seconds: float = 10.0
    drain_seconds: float = 10.0
    snapshot_every: int = 500
    inline_payload_bytes_max: int = 64 * 1024
    payload_bytes_max: int = 16 * 1024 * 1024
    nesting_max: int = 32
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
