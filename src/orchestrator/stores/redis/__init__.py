"""Runs in Redis: one server, or a cluster, shared by any number of machines. The single source of truth when chosen.

* `store` is the contract. Each operation is one server-side function (`lua/`, put together by `scripts`), and what can
  go together goes in one round trip (`link`, which also knows what to do when a server restarts or another takes over).
* A run lives in one of a fixed number of partitions, named by its id (`keys`); a function touches one partition, or
  on a single server all of them. `commits`, `queue`, `accounts`, `reads`, `lists`, `feeds` and `workflows` are what the
  contract asks for; `wakes` are hints by publish and subscribe.
* `checks` says what the server would keep of what it acknowledges; `faults` turns the driver's errors into ours.
"""

from orchestrator.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
