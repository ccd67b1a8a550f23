"""The heartbeat: a thread of its own that keeps the worker's registration alive, whatever the event loop does.

It stops when the loop has not answered for `blocked_after`: a worker that can't react must not keep its leases. The
code that blocks is named, and interrupted where that is possible (see `watchdog`).
"""

import threading
from collections.abc import Callable
from typing import Any

import structlog

from orchestrator.errors import StoreError
from orchestrator.stores.contract import HeartbeatAnswer, Store

log: Any = structlog.get_logger("orchestrator.heartbeat")

Heard = Callable[[HeartbeatAnswer, int], None]


class Heartbeat:
    """Beats every `interval_seconds` until stopped. `heard` is called on this thread, with the answer and the
    monotonic time (microseconds) at which the beat was sent."""

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        lease_us: int,
        interval_seconds: float,
        info: Callable[[], bytes],
        loop_answers: Callable[[], bool],
        monotonic_us: Callable[[], int],
        heard: Heard,
    ) -> None:
        self._store = store
        self._worker = worker
        self._lease_us = lease_us
        self._interval = interval_seconds
        self._info = info
        self._loop_answers = loop_answers
        self._monotonic_us = monotonic_us
        self._heard = heard
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name=f"heartbeat {worker}", daemon=True)
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a beat that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            if not self._loop_answers():
                continue
            sent = self._monotonic_us()
            try:
                answer = self._store.heartbeat_blocking(
                    self._worker, lease_us=self._lease_us, info=self._info()
                )
            except StoreError as error:
                if self.trouble is None:
                    log.warning(
                        "the heartbeat doesn't reach the store", worker=self._worker, error=str(error)
                    )
                self.trouble = str(error)
            except Exception as error:  # the edge of the store: a bug there must not end the heartbeat
                self.trouble = repr(error)
                log.exception("the heartbeat failed in an unexpected way")
            else:
                self.trouble = None
                self._heard(answer, sent)
