"""Commits: versions, fences, repeats, batches, and that a refusal leaves nothing."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.stores.contract import COMMITS_REMEMBERED, Blob, Commit, Enqueue, Lease, Outcome
from orchestrator.testing.conformance.harness import Harness, index_of, lease_of


@pytest.mark.asyncio
class CommitTests:
    """One atomic change of one run."""

    async def test_a_commit_with_expected_0_creates_the_run(self, harness: Harness) -> None:
        answer = await harness.commit("run", events=[b"1", b"2"])
        assert (answer.outcome, answer.seq) == (Outcome.OK, 2)
        assert not answer.leases
        assert not answer.lost
        assert await harness.seq("run") == 2

    async def test_creating_twice_is_a_conflict(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"1"])
        answer = await harness.commit("run", events=[b"other"], index=index_of(workflow="other"))
        assert (answer.outcome, answer.seq) == (Outcome.CONFLICT, 1)
        run = await harness.store.get_run("run")
        assert run is not None
        assert run.index.workflow == "flow"
        assert await harness.store.read_journal("run") == [b"1"]

    async def test_events_are_appended_at_the_expected_version(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"1", b"2"])
        answer = await harness.commit("run", expected=2, events=[b"3"])
        assert (answer.outcome, answer.seq) == (Outcome.OK, 3)
        assert await harness.store.read_journal("run") == [b"1", b"2", b"3"]

    @pytest.mark.parametrize("expected", [1, 3, 1000])
    async def test_another_version_is_a_conflict_that_tells_the_seq(
        self, harness: Harness, expected: int
    ) -> None:
        await harness.commit("run", events=[b"1", b"2"])
        answer = await harness.commit("run", expected=expected, events=[b"x"])
        assert (answer.outcome, answer.seq) == (Outcome.CONFLICT, 2)
        assert await harness.store.read_journal("run") == [b"1", b"2"]

    async def test_a_run_that_does_not_exist_is_a_conflict_at_0(self, harness: Harness) -> None:
        for expected in (5, None):
            events = [b"x"] if expected else []
            answer = await harness.commit("nobody", expected=expected, events=events)
            assert (answer.outcome, answer.seq) == (Outcome.CONFLICT, 0)
        assert await harness.store.get_run("nobody") is None

    async def test_a_conflict_leaves_nothing(self, harness: Harness) -> None:
        await harness.commit("run", enqueue=[Enqueue(path="a")], summary=b"before")
        answer = await harness.commit(
            "run",
            expected=9,
            events=[b"x"],
            withdraw=["a"],
            enqueue=[Enqueue(path="b")],
            hold=True,
            blobs=[Blob(blob_id="b", codec="", data=b"x")],
            snapshot=b"x",
            summary=b"after",
            index=index_of(status="failed"),
        )
        assert answer.outcome is Outcome.CONFLICT
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert (loaded.held, loaded.snapshot, loaded.summary, loaded.index.status) == (
            False,
            None,
            b"before",
            "running",
        )
        assert set(await harness.rows()) == {"a"}
        assert await harness.store.load_blob("run", "b") is None

    async def test_a_fenced_commit_leaves_nothing_and_names_the_paths(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        answer = await harness.commit(
            "run",
            expected=1,
            events=[b"x"],
            stands_on=[lease_of(lease), Lease(path="gone", epoch=1), Lease(path="a", epoch=lease.epoch + 1)],
            enqueue=[Enqueue(path="b")],
            summary=b"after",
        )
        assert (answer.outcome, answer.seq, list(answer.lost)) == (Outcome.FENCED, 1, ["gone", "a"])
        assert await harness.store.read_journal("run") == [b"first"]
        rows = await harness.rows()
        assert set(rows) == {"a"}
        assert rows["a"].worker == "w1"

    async def test_a_lost_lease_counts_before_a_wrong_version(self, harness: Harness) -> None:
        await harness.commit("run")
        answer = await harness.commit("run", expected=7, events=[b"x"], stands_on=[Lease(path="a", epoch=1)])
        assert (answer.outcome, answer.seq) == (Outcome.FENCED, 1)

    async def test_a_commit_that_stands_on_a_lease_of_no_run_is_fenced(self, harness: Harness) -> None:
        answer = await harness.commit(
            "nobody", expected=3, events=[b"x"], stands_on=[Lease(path="a", epoch=1)]
        )
        assert (answer.outcome, answer.seq, list(answer.lost)) == (Outcome.FENCED, 0, ["a"])

    async def test_a_commit_without_version_changes_the_queue_only(self, harness: Harness) -> None:
        lease = await harness.started("run", path="message")
        answer = await harness.commit("run", expected=None, stands_on=[lease_of(lease)])
        assert (answer.outcome, answer.seq) == (Outcome.OK, 1)
        assert await harness.rows() == {}
        assert await harness.store.read_journal("run") == [b"first"]

    async def test_a_commit_without_events_still_checks_its_version(self, harness: Harness) -> None:
        await harness.commit("run", events=[b"1", b"2"])
        assert (await harness.commit("run", expected=1, summary=b"x")).outcome is Outcome.CONFLICT
        assert (await harness.commit("run", expected=2, summary=b"x")).outcome is Outcome.OK
        run = await harness.store.get_run("run")
        assert run is not None
        assert (run.seq, run.summary) == (2, b"x")

    async def test_a_repeated_commit_gets_the_first_answer_with_its_leases(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        change = harness.change(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True)],
        )
        first = await harness.send(change)
        again = await harness.send(change)
        assert first.outcome is Outcome.OK
        assert (again.outcome, again.seq, list(again.leases)) == (Outcome.OK, first.seq, list(first.leases))
        assert await harness.store.read_journal("run") == [b"first", b"2"]
        assert (await harness.rows())["b"].epoch == first.leases[0].epoch

    async def test_a_repeated_creation_gets_the_first_answer(self, harness: Harness) -> None:
        change = harness.change("run", enqueue=[Enqueue(path="a")])
        await harness.send(change)
        again = await harness.send(change)
        assert (again.outcome, again.seq) == (Outcome.OK, 1)
        assert await harness.store.read_journal("run") == [b"first"]

    async def test_a_repeat_tells_the_seq_of_then_not_of_now(self, harness: Harness) -> None:
        change = harness.change("run", events=[b"1"])
        await harness.send(change)
        await harness.commit("run", expected=1, events=[b"2", b"3"])
        assert (await harness.send(change)).seq == 1

    async def test_a_repeat_within_one_batch_gets_the_first_answer(self, harness: Harness) -> None:
        change = harness.change("run", events=[b"1"])
        answers = await harness.store.commit([change, change])
        assert [(answer.outcome, answer.seq) for answer in answers] == [(Outcome.OK, 1)] * 2
        assert await harness.store.read_journal("run") == [b"1"]

    async def test_commits_are_remembered_as_long_as_the_contract_says(self, harness: Harness) -> None:
        changes = [harness.change("run", events=[b"1"])]
        changes += [
            harness.change("run", expected=seq, events=[b"x"]) for seq in range(1, COMMITS_REMEMBERED)
        ]
        for change in changes:
            assert (await harness.send(change)).outcome is Outcome.OK
        assert [(await harness.send(change)).seq for change in changes] == list(
            range(1, COMMITS_REMEMBERED + 1)
        )

    async def test_a_later_repeat_is_a_conflict_and_never_applied_again(self, harness: Harness) -> None:
        change = harness.change("run", events=[b"1"])
        await harness.send(change)
        for seq in range(1, COMMITS_REMEMBERED + 3):
            await harness.commit("run", expected=seq, events=[b"x"])
        answer = await harness.send(change)
        assert (answer.outcome, answer.seq) == (Outcome.CONFLICT, COMMITS_REMEMBERED + 3)

    async def test_a_commit_without_events_is_remembered_too(self, harness: Harness) -> None:
        lease = await harness.started("run", path="message")
        change = harness.change("run", expected=None, stands_on=[lease_of(lease)])
        await harness.send(change)
        assert (await harness.send(change)).outcome is Outcome.OK

    async def test_a_refused_commit_may_be_repeated_and_is_judged_anew(self, harness: Harness) -> None:
        change = harness.change("run", expected=1, events=[b"2"])
        assert (await harness.send(change)).outcome is Outcome.CONFLICT
        await harness.commit("run", events=[b"1"])
        assert (await harness.send(change)).outcome is Outcome.OK

    async def test_the_same_commit_id_in_another_run_is_another_commit(self, harness: Harness) -> None:
        for run_id in ("one", "two"):
            answer = await harness.send(
                Commit(commit_id="same", run_id=run_id, expected=0, events=[b"1"], index=index_of())
            )
            assert answer.outcome is Outcome.OK
        assert await harness.seq("two") == 1

    async def test_a_batch_answers_in_order_and_a_refusal_leaves_the_others(self, harness: Harness) -> None:
        answers = await harness.store.commit(
            [
                harness.change("one"),
                harness.change("two", expected=4, events=[b"x"]),
                harness.change("three"),
                harness.change("four", expected=1, events=[b"x"], stands_on=[Lease(path="a", epoch=1)]),
                harness.change("five"),
            ]
        )
        assert [answer.outcome for answer in answers] == [
            Outcome.OK,
            Outcome.CONFLICT,
            Outcome.OK,
            Outcome.FENCED,
            Outcome.OK,
        ]
        assert [await harness.seq(run_id) for run_id in ("one", "two", "three", "four", "five")] == [
            1,
            0,
            1,
            0,
            1,
        ]

    async def test_commits_of_one_run_in_one_batch_apply_in_order(self, harness: Harness) -> None:
        await harness.register("w1")
        answers = await harness.store.commit(
            [
                harness.change("run", events=[b"1"]),
                harness.change("run", expected=1, events=[b"2"]),
                harness.change("run", expected=1, events=[b"late"]),
                harness.change("run", expected=2, events=[b"3"]),
            ]
        )
        assert [(answer.outcome, answer.seq) for answer in answers] == [
            (Outcome.OK, 1),
            (Outcome.OK, 2),
            (Outcome.CONFLICT, 2),
            (Outcome.OK, 3),
        ]
        assert await harness.store.read_journal("run") == [b"1", b"2", b"3"]

    async def test_a_batch_of_many_chains_hands_each_its_own_lease(self, harness: Harness) -> None:
        runs = [f"run{number}" for number in range(150)]
        leases = {run_id: await harness.started(run_id, path="a") for run_id in runs}
        stale = set(runs[::7])
        answers = await harness.store.commit(
            [
                harness.change(
                    run_id,
                    expected=1,
                    worker="w1",
                    events=[b"2", b"3"],
                    stands_on=[Lease(path="a", epoch=leases[run_id].epoch + (run_id in stale))],
                    enqueue=[Enqueue(path="b", leased=True, payload=run_id.encode())],
                )
                for run_id in runs
            ]
        )
        for run_id, answer in zip(runs, answers, strict=True):
            rows = await harness.rows(run_id)
            if run_id in stale:
                assert (answer.outcome, set(rows)) == (Outcome.FENCED, {"a"})
            else:
                assert (answer.outcome, answer.seq, set(rows)) == (Outcome.OK, 3, {"b"})
                assert [(given.run_id, given.path) for given in answer.leases] == [(run_id, "b")]
                assert rows["b"].epoch == answer.leases[0].epoch > leases[run_id].epoch

    async def test_an_empty_batch_has_no_answers(self, harness: Harness) -> None:
        assert await harness.store.commit([]) == []

    async def test_a_run_of_another_namespace_does_not_exist_for_a_commit(self, harness: Harness) -> None:
        await harness.commit("run", namespace="one")
        answer = await harness.commit("run", expected=1, namespace="two", events=[b"x"])
        assert (answer.outcome, answer.seq) == (Outcome.CONFLICT, 0)
        answer = await harness.commit("run", namespace="two")
        assert answer.outcome is Outcome.CONFLICT
        assert await harness.seq("run") == 1

    @pytest.mark.parametrize(
        "fields",
        [
            {"run_id": ""},
            {"commit_id": ""},
            {"namespace": ""},
            {"expected": -1},
            {"expected": None, "events": [b"x"]},
            {"expected": 0, "index": None},
            {"expected": 0, "events": []},
        ],
        ids=str,
    )
    async def test_a_commit_that_cannot_be_meant_is_refused_before_anything_happens(
        self, harness: Harness, fields: dict[str, object]
    ) -> None:
        base: dict[str, object] = {"commit_id": "bad", "run_id": "bad", "expected": 0, "events": [b"1"]}
        bad = Commit(**({"index": index_of()} | base | fields))  # pyright: ignore[reportArgumentType] - wrong on purpose
        with pytest.raises(UsageError):
            await harness.store.commit([harness.change("good"), bad])
        assert await harness.store.get_run("good") is None

    async def test_holding_and_withdrawing_act_without_events(self, harness: Harness) -> None:
        await harness.commit("run", enqueue=[Enqueue(path="a"), Enqueue(path="b")])
        answer = await harness.commit("run", expected=None, hold=True, withdraw=["a", "unknown"])
        assert answer.outcome is Outcome.OK
        rows = await harness.rows()
        assert set(rows) == {"b"}
        assert rows["b"].held

    async def test_withdrawing_ends_a_row_whoever_holds_it(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.commit("run", expected=1, events=[b"2"], withdraw=["a"])
        assert await harness.rows() == {}
        answer = await harness.commit("run", expected=2, events=[b"3"], stands_on=[lease_of(lease)])
        assert answer.outcome is Outcome.FENCED

    async def test_a_commit_may_stand_on_several_leases(self, harness: Harness) -> None:
        await harness.register("w1")
        answer = await harness.commit(
            "run", worker="w1", enqueue=[Enqueue(path=path, leased=True) for path in ("a", "b", "c")]
        )
        a, b, c = answer.leases
        done = await harness.commit(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(a), lease_of(b), lease_of(c, finish=False)],
            enqueue=[Enqueue(path="join", leased=True)],
        )
        assert done.outcome is Outcome.OK
        assert set(await harness.rows()) == {"c", "join"}

    async def test_the_answer_carries_the_clock_of_the_store(self, harness: Harness) -> None:
        before = await harness.store.now_us()
        answer = await harness.commit("run")
        assert before <= answer.now_us <= await harness.store.now_us()

    async def test_the_clock_does_not_run_backwards(self, harness: Harness) -> None:
        times = [await harness.store.now_us() for _ in range(20)]
        assert times == sorted(times)
