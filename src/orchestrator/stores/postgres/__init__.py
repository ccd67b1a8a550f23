"""Runs in PostgreSQL (14 and newer): a store that many machines share.

* `store` is the contract; `commits`, `queue`, `keeping`, `reads`, `feeds` and `workflows` put its calls into words
  of the server. What must be one atomic step is one function in the database (`migrations/*.sql`): one round trip, one
  transaction of milliseconds, and no process of ours holds a lock while it thinks.
* `connections` is a small pool whose connections each know what to do when the server doesn't answer; `failures` says
  for every error of the driver what the caller may do now.
* `packing` lays out arrays as the server reads them: a batch of a hundred commits is a few dozen of them.
* `wakes` tells other processes, at most some times a second and never within a commit; slow polling is the truth.

Durability is the server's: what `synchronous_commit` and `fsync` say there holds here, and weaker settings are named
when the store is opened.
"""

from orchestrator.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
