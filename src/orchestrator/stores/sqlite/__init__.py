"""Runs in one SQLite file: the store of one machine, with nothing to install.

* `store` is the contract; it hands writes to one thread and reads to others.
* `writer` makes one transaction with one sync of everything that waits: `commits` (every rule), `fast` (the common
  shapes, a hundred in one call into SQLite), `queue` (claims, leases, workers), `workflows`.
* `readers` and `reads` look at the last committed state on connections of their own.
* `processes` knows which other processes have the file open, by locks that the kernel frees, and wakes them.
* `migrations` are numbered files with checksums; a file that this release doesn't understand is left alone.

Durability: write-ahead log, `synchronous = FULL`; an answer is given after the sync of its group.
"""

from orchestrator.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
