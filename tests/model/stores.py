"""A machine that gives one random life to a store and to the memory oracle, and compares what they say.

Commands are steered by the oracle's state: mostly they are right (the expected seq, leases that are owned), and often
enough wrong (stale leases, old seqs, repeats), so that every branch of the contract is reached. Epochs differ between
stores, so a lease is a pair; everything else must be equal, to the microsecond.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestrator.stores.contract import (
    Acquired,
    Blob,
    Commit,
    CommitAnswer,
    Enqueue,
    FeedItem,
    Granted,
    Lease,
    Leftover,
    Limit,
    LoadedRun,
    RunFilter,
    RunIndex,
    Store,
    TaskKind,
)
from orchestrator.stores.memory import MemoryStore

RUNS = ["r1", "r2", "r3", "r4"]
PATHS = ["a", "b", "c", "d@2"]
WORKERS = ["w1", "w2", "w3"]
QUEUES = ["default", "gpu"]
SECOND = 1_000_000


class Held(msgspec.Struct, frozen=True):
    """A lease as both stores know it."""

    run_id: str
    path: str
    worker: str
    oracle: int
    store: int


class StoreComparison(RuleBasedStateMachine):
    """Random commands to both; a subclass makes the store."""

    reached: ClassVar[Counter[str]] = Counter()
    """How often each outcome was reached, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1_700_000_000 * SECOND
        self.oracle: Store = MemoryStore(now_us=lambda: self.now)
        self.store: Store = self.make_store()
        self.leases: list[Held] = []
        self.sent: list[tuple[list[Commit], list[Commit]]] = []
        self.commits = 0
        self.rows = 0
        self.cursors = ("", "")
        self.feeds: tuple[list[FeedItem], list[FeedItem]] = ([], [])
        self.done("open", self.both(lambda store: store.open()))

    def make_store(self) -> Store:
        """A new, empty store on the clock `self.now`."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close both."""
        self.both(lambda store: store.close())
        self.runner.close()

    def both(self, call: Callable[[Store], Awaitable[Any]]) -> tuple[Any, Any]:
        """The oracle's answer and the store's."""

        async def ask() -> tuple[Any, Any]:
            return await call(self.oracle), await call(self.store)

        return self.runner.run(ask())

    def done(self, what: str, answers: tuple[Any, Any]) -> Any:
        """Count what was reached; both must say the same."""
        oracle, store = answers
        assert store == oracle, what
        type(self).reached[what] += 1
        self.now += 10_000
        return oracle

    # --- commits ------------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Two workers, and the feeds from the start."""
        for worker in WORKERS[:2]:
            self.done("heartbeat", self.both(lambda store, worker=worker: beat(store, worker, 60 * SECOND)))
        oracle, store = self.both(lambda store: store.read_feed(cursor=None, limit=1))
        self.cursors = (oracle[1], store[1])
        fields: dict[str, Any] = {
            "expected": 0,
            "events": [b"first"],
            "worker": "w1",
            "index": index("running"),
        }
        batch: list[tuple[Commit, Commit]] = []
        for run_id in RUNS[:3]:
            rows = [
                Enqueue(path="a", leased=True, delay_us=self.moment()),
                Enqueue(path="b", delay_us=self.moment()),
                Enqueue(path="c", delay_us=SECOND + self.moment()),
            ]
            batch.append(self.pair(run_id, [], {**fields, "enqueue": rows}))
        self.send(batch)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """A batch of anything."""
        count = data.draw(st.integers(1, 3))
        self.send([self.draw_commit(data) for _ in range(count)])

    @rule(data=st.data())
    def chain(self, data: st.DataObject) -> None:
        """What an engine mostly does: finish what it holds, and go on or end. Sometimes it is behind."""
        batch: list[tuple[Commit, Commit]] = []
        live = [held for held in self.leases if self.is_live(held)]
        candidates = [*live, *live, *self.leases[-4:]]
        if not candidates:
            return
        drawn = data.draw(
            st.lists(st.sampled_from(candidates), min_size=1, max_size=4, unique_by=lambda held: held.run_id)
        )
        for held in drawn:
            ends = data.draw(st.integers(0, 3)) == 0
            fields: dict[str, Any] = {
                "worker": held.worker,
                "expected": max(
                    1, self.seq(held.run_id) + data.draw(st.sampled_from([0, 0, 0, 0, -1, -2, 1]))
                ),
                "events": [b"done", b"next"],
                "enqueue": () if ends else [self.next_step(data)],
                "index": index("succeeded", live=False) if ends else None,
            }
            batch.append(self.pair(held.run_id, [(held, True)], fields))
        self.send(batch)

    def next_step(self, data: st.DataObject) -> Enqueue:
        """The next row of a chain; an expired worker's comes free, hence the delay."""
        return Enqueue(path=data.draw(st.sampled_from(PATHS)), leased=True, delay_us=self.moment())

    def draw_commit(self, data: st.DataObject) -> tuple[Commit, Commit]:
        """One commit, as each store should get it."""
        run_id = data.draw(st.sampled_from(RUNS))
        seq = self.seq(run_id)
        events = data.draw(st.lists(st.sampled_from([b"e", b"\n", b"x\ny", b""]), max_size=3))
        expected: int | None = data.draw(
            st.sampled_from([seq, seq, seq, seq + 1, max(seq - 1, 0), seq + len(events)])
        )
        fields: dict[str, Any] = {}
        if expected == 0:
            events = events or [b"first"]
            fields["index"] = index(data.draw(st.sampled_from(["running", "waiting"])))
        elif data.draw(st.integers(0, 4)) == 0:
            expected, events = None, []
        if expected != 0 and data.draw(st.integers(0, 3)) == 0:
            fields["index"] = index(data.draw(st.sampled_from(["running", "failed"])), error="why")
        stands_on = data.draw(
            st.lists(
                st.tuples(st.sampled_from(self.leases), st.booleans()),
                max_size=2,
                unique_by=lambda pair: pair[0],
            )
            if self.leases
            else st.just([])
        )
        stands_on = [(held, finish) for held, finish in stands_on if held.run_id == run_id]
        rare = st.integers(0, 5).map(lambda number: number == 0)
        fields |= {
            "expected": expected,
            "events": events,
            "worker": data.draw(st.sampled_from(["", *WORKERS])),
            "withdraw": data.draw(st.lists(st.sampled_from(PATHS), max_size=1)) if data.draw(rare) else (),
            "hold": data.draw(st.sampled_from([True, False, False])) if data.draw(rare) else None,
            "enqueue": [self.draw_enqueue(data) for _ in range(data.draw(st.integers(0, 2)))],
            "blobs": [Blob(blob_id=data.draw(st.sampled_from("xy")), codec="c", data=b"b")]
            if data.draw(rare)
            else (),
            "snapshot": b"snapshot" if data.draw(rare) else None,
            "summary": b"summary" if data.draw(rare) else None,
            "turn": data.draw(st.sampled_from(["", "", "", "", "t1", "t2"])),
        }
        return self.pair(run_id, stands_on, fields)

    def draw_enqueue(self, data: st.DataObject) -> Enqueue:
        """A queue row."""
        return Enqueue(
            path=data.draw(st.sampled_from(PATHS)),
            kind=data.draw(st.sampled_from(TaskKind)),
            queue=data.draw(st.sampled_from(QUEUES)),
            priority=data.draw(st.sampled_from([0, 0, 5, -5])),
            delay_us=self.moment() + data.draw(st.sampled_from([0, 0, SECOND, 50 * SECOND])),
            leased=data.draw(st.booleans()),
            payload=data.draw(st.sampled_from([b"", b"\x00\xff"])),
        )

    def moment(self) -> int:
        """A delay too short to matter. No two rows fall due together, as their order would be the store's choice."""
        self.rows += 1
        return self.rows % 9_000

    def pair(
        self, run_id: str, stands_on: Sequence[tuple[Held, bool]], fields: dict[str, Any]
    ) -> tuple[Commit, Commit]:
        """The same commit with each store's epochs."""
        self.commits += 1
        oracle = [Lease(path=held.path, epoch=held.oracle, finish=finish) for held, finish in stands_on]
        store = [Lease(path=held.path, epoch=held.store, finish=finish) for held, finish in stands_on]
        name = f"c{self.commits}"
        return (
            Commit(commit_id=name, run_id=run_id, stands_on=oracle, **fields),
            Commit(commit_id=name, run_id=run_id, stands_on=store, **fields),
        )

    def send(self, batch: list[tuple[Commit, Commit]]) -> None:
        """Commit to both, and compare the answers."""
        one, two = [pair[0] for pair in batch], [pair[1] for pair in batch]
        self.sent = [*self.sent[-15:], (one, two)]
        self.transmit(one, two)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The answer to a batch was lost, so it is sent again."""
        if self.sent:
            one, two = data.draw(st.sampled_from(self.sent))
            type(self).reached["repeat"] += 1
            self.transmit(one, two)

    def transmit(self, one: list[Commit], two: list[Commit]) -> None:
        """Send each store its own form of the batch."""

        async def ask() -> tuple[list[CommitAnswer], list[CommitAnswer]]:
            return await self.oracle.commit(one), await self.store.commit(two)

        oracle, store = self.runner.run(ask())
        for commit, left, right in zip(one, oracle, store, strict=True):
            granted = self.pairs(left.leases, right.leases, commit.worker)
            self.leases += [held for held in granted if held not in self.leases]
            if granted:
                type(self).reached["granted"] += 1
            self.done(f"commit {left.outcome}", (plain(left), plain(right)))

    def pairs(self, oracle: Sequence[Granted], store: Sequence[Granted], worker: str) -> list[Held]:
        """Leases as both know them."""
        assert [(one.run_id, one.path) for one in store] == [(one.run_id, one.path) for one in oracle]
        return [
            Held(left.run_id, left.path, worker, left.epoch, right.epoch)
            for left, right in zip(oracle, store, strict=True)
        ]

    # --- the queue ----------------------------------------------------------------------------------------------------

    @rule(
        worker=st.sampled_from(["w1", "w1", "w2", "w3"]),
        queues=st.lists(st.sampled_from(QUEUES), min_size=1, max_size=2),
        limit=st.integers(1, 4),
    )
    def claim(self, worker: str, queues: list[str], limit: int) -> None:
        """Take what is due, in the same order."""
        oracle, store = self.both(lambda store: store.claim(worker, queues=queues, limit=limit))
        for left, right in zip(oracle.claims, store.claims, strict=True):
            self.leases.append(Held(left.run_id, left.path, worker, left.epoch, right.epoch))
            assert not [
                held for held in self.leases[:-1] if same_path(held, left) and held.store >= right.epoch
            ]
        assert (store.next_due_us, store.now_us) == (oracle.next_due_us, oracle.now_us)
        bare = [
            [msgspec.structs.replace(claim, epoch=0) for claim in answer.claims] for answer in (oracle, store)
        ]
        self.done("claimed" if bare[0] else "claimed nothing", (bare[0], bare[1]))

    @rule(data=st.data(), delay_us=st.sampled_from([0, 0, SECOND]), note=st.sampled_from(["", "why"]))
    def release(self, data: st.DataObject, delay_us: int, note: str) -> None:
        """Give one lease back, perhaps a stale one."""
        live = [held for held in self.leases if self.is_live(held)]
        if not self.leases:
            return
        held = data.draw(st.sampled_from([*live, *self.leases[-3:]]))
        worker = data.draw(st.sampled_from([held.worker, held.worker, "w2"]))
        for store, epoch in ((self.oracle, held.oracle), (self.store, held.store)):
            lease = Granted(run_id=held.run_id, path=held.path, epoch=epoch)
            self.runner.run(store.release(worker, [lease], delay_us=delay_us, note=note))
        self.done("released", (None, None))

    @rule(data=st.data(), most=st.integers(1, 2), kind=st.sampled_from(["x", "x", "y", "rate"]))
    def acquire(self, data: st.DataObject, most: int, kind: str) -> None:
        """Ask for a slot, mostly under a lease that lives; some ask for two at once."""
        live = [held for held in self.leases if self.is_live(held)]
        if not self.leases:
            return
        held = data.draw(st.sampled_from([*live, *live, *self.leases[-2:]]))
        limits = [Limit(account="x", name="x", concurrency=most)]
        if kind == "y":
            limits.append(Limit(account="y", name="y", concurrency=1))
        elif kind == "rate":
            limits = [Limit(account="rate", name="rate", rate=most, per_us=20 * SECOND)]
        answers: list[Acquired] = []
        for store, epoch in ((self.oracle, held.oracle), (self.store, held.store)):
            lease = Granted(run_id=held.run_id, path=held.path, epoch=epoch)
            answers.append(self.runner.run(store.acquire(held.worker, lease, limits)))
        self.done(f"acquire {answers[0]}", (answers[0], answers[1]))

    @rule(lease_us=st.sampled_from([SECOND, 60 * SECOND, 60 * SECOND]))
    def heartbeat(self, lease_us: int) -> None:
        """Everybody registers or goes on."""
        for worker in WORKERS[:2]:
            self.done("heartbeat", self.both(lambda store, worker=worker: beat(store, worker, lease_us)))

    @rule(data=st.data())
    def disturb(self, data: st.DataObject) -> None:
        """Time passes, workers come and go, processes restart."""
        match data.draw(
            st.sampled_from(
                [
                    "wait",
                    "wait",
                    "expire",
                    "expire",
                    "forget",
                    "come",
                    "hold",
                    "hold",
                    "reopen",
                    "cache",
                    "rewrite",
                ]
            )
        ):
            case "wait":
                self.now += data.draw(st.sampled_from([1, SECOND // 2, 2 * SECOND, 100 * SECOND]))
            case "expire":
                self.now += data.draw(st.sampled_from([0, 2 * SECOND, 100 * SECOND]))
                names = self.done("expire", self.both(lambda store: store.expire_workers()))
                type(self).reached["expired"] += len(names)
            case "forget":
                worker, lost = data.draw(st.sampled_from(WORKERS)), data.draw(st.booleans())
                self.done("forgotten", self.both(lambda store: store.forget_worker(worker, lost=lost)))
            case "hold":
                run_id, hold = data.draw(st.sampled_from(RUNS)), data.draw(st.booleans())
                self.send([self.pair(run_id, [], {"expected": None, "hold": hold})])
            case "cache":
                self.cache(data)
            case "rewrite":
                self.rewrite(data)
            case "come":
                self.done("heartbeat", self.both(lambda store: beat(store, "w3", SECOND)))
            case _:
                self.done("closed", self.both(lambda store: store.close()))
                self.done("reopened", self.both(lambda store: store.open()))

    def cache(self, data: st.DataObject) -> None:
        """Keep an output, or take it away; now and then sweep."""
        key, value = data.draw(st.sampled_from("kl")), data.draw(st.binary(max_size=9))
        ttl_us = data.draw(st.sampled_from([0, SECOND, 60 * SECOND]))
        put = self.both(lambda store: store.put_cached(key, value, ttl_us=ttl_us))
        self.done("cached", put)
        if not ttl_us:
            self.done("swept", self.both(lambda store: store.expire_cached(limit=1)))

    def rewrite(self, data: st.DataObject) -> None:
        """Erase some events of a run, or of another version of it."""
        run_id = data.draw(st.sampled_from(RUNS))
        seq = self.seq(run_id)
        after = data.draw(st.integers(0, seq))
        events = [b"erased\n"[: data.draw(st.integers(3, 7))]] * data.draw(st.integers(0, seq - after))
        expected = seq + data.draw(st.sampled_from([0, 0, 0, 1]))
        rest = None
        if data.draw(st.integers(0, 2)) == 0:
            rest = Leftover(
                snapshot=data.draw(st.sampled_from([None, b"s"])), summary=b"e", index=index("failed")
            )
        answers = self.both(
            lambda store: store.rewrite(run_id, expected=expected, after=after, events=events, rest=rest)
        )
        if self.done("rewritten", answers):
            self.told_anew(run_id, after, events)

    def told_anew(self, run_id: str, after: int, events: Sequence[bytes]) -> None:
        """What the feeds gave before was right then; from now on they would give the new bytes."""
        for feed in self.feeds:
            places = [place for place, item in enumerate(feed) if item.run_id == run_id]
            for place, event in zip(places[after:], events, strict=False):
                feed[place] = msgspec.structs.replace(feed[place], event=event)

    # --- what must agree after every command --------------------------------------------------------------------------

    @invariant()
    def both_show_the_same(self) -> None:
        """Runs, queue, workers, lists."""

        async def look(store: Store) -> list[Any]:
            shown: list[Any] = []
            for run_id in RUNS:
                rows = await store.queue_rows(run_id)
                shown.append([msgspec.structs.replace(row, epoch=0) for row in rows])
                shown.append(bare_run(await store.load(run_id)))
                shown.append(await store.get_run(run_id))
                shown.append(await store.load_blob(run_id, "x"))
            shown.append([await store.get_cached(key) for key in "kl"])
            shown.append(await store.workers())
            shown.append(await store.accounts())
            shown.append(await store.queue_depth())
            shown.append(await store.changed(dict.fromkeys(RUNS, 2)))
            for where in (
                RunFilter(),
                RunFilter(statuses=["running"]),
                RunFilter(live=False),
                RunFilter(text="WHY"),
            ):
                shown.append([row.run_id for row in (await store.list_runs(where, limit=9)).items])
            return shown

        oracle, store = self.both(look)
        for left, right in zip(oracle, store, strict=True):
            assert right == left

    @invariant()
    def feeds_show_every_event_once(self) -> None:
        """Each run's events, in order, over many small slices."""
        for place, store in enumerate((self.oracle, self.store)):
            cursor = self.cursors[place]
            if not cursor:
                return
            while True:
                items, cursor = self.runner.run(store.read_feed(cursor=cursor, limit=3))
                self.feeds[place].extend(items)
                if not items:
                    break
            self.cursors = (cursor, self.cursors[1]) if place == 0 else (self.cursors[0], cursor)
            for run_id in RUNS:
                events = [item.event for item in self.feeds[place] if item.run_id == run_id]
                assert events == self.runner.run(store.read_journal(run_id, limit=9_999))

    def seq(self, run_id: str) -> int:
        """Where the oracle has the run."""
        run = self.runner.run(self.oracle.get_run(run_id))
        return run.seq if run else 0

    def is_live(self, held: Held) -> bool:
        """Whether the oracle still knows the lease."""
        rows = self.runner.run(self.oracle.queue_rows(held.run_id))
        return any(row.path == held.path and row.epoch == held.oracle and row.worker for row in rows)


def index(status: str, *, live: bool = True, error: str = "") -> RunIndex:
    """An index row."""
    return RunIndex(
        workflow="flow", version=1, status=status, live=live, error=error, created_us=1, labels={"a": "b"}
    )


async def beat(store: Store, worker: str, lease_us: int) -> tuple[int, list[tuple[str, str]]]:
    """A heartbeat's answer without epochs."""
    answer = await store.heartbeat(worker, lease_us=lease_us, info=worker.encode())
    return answer.now_us, sorted((lease.run_id, lease.path) for lease in answer.owned)


def plain(answer: CommitAnswer) -> Any:
    """An answer without epochs."""
    paths = [(lease.run_id, lease.path) for lease in answer.leases]
    return answer.outcome, answer.seq, paths, list(answer.lost), answer.now_us


def bare_run(run: LoadedRun | None) -> Any:
    """A loaded run whose sequences compare by their items."""
    return None if run is None else msgspec.structs.replace(run, events=tuple(run.events))


def same_path(held: Held, claim: Any) -> bool:
    """Whether both are of one path of one run."""
    return held.run_id == claim.run_id and held.path == claim.path
