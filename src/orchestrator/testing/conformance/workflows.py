"""Saved workflows: versions, the same meaning again, deletion."""

import pytest

from orchestrator.errors import Conflict, UsageError
from orchestrator.stores.contract import WorkflowVersion
from orchestrator.testing.conformance.harness import TICK, Harness, index_of


async def save(
    harness: Harness, meaning: str, *, name: str = "flow", text: bytes = b"text", namespace: str = "default"
) -> tuple[WorkflowVersion, bool]:
    """Save a version whose record says its meaning."""
    return await harness.store.save_version(
        name, meaning=meaning, text=text, record=b"record " + meaning.encode(), namespace=namespace
    )


@pytest.mark.asyncio
class WorkflowTests:
    """Immutable versions under a name."""

    async def test_versions_are_numbered_from_1(self, harness: Harness) -> None:
        saved = [await save(harness, meaning) for meaning in ("a", "b", "c")]
        assert [(version.version, new) for version, new in saved] == [(1, True), (2, True), (3, True)]
        listed = await harness.store.list_versions("flow")
        assert [version.version for version in listed] == [3, 2, 1]
        assert listed[0] == saved[2][0]

    async def test_a_version_keeps_what_was_saved(self, harness: Harness) -> None:
        before = await harness.store.now_us()
        saved, _ = await harness.store.save_version(
            "flöw ☃", meaning="m", text=b'{"\x00": 1}\xff', record=b"\x00r", namespace="space"
        )
        assert (saved.namespace, saved.name, saved.version, saved.meaning) == ("space", "flöw ☃", 1, "m")
        assert (saved.text, saved.record) == (b'{"\x00": 1}\xff', b"\x00r")
        assert before <= saved.created_us == saved.saved_us <= await harness.store.now_us()
        assert await harness.store.get_version("flöw ☃", namespace="space") == saved

    async def test_the_same_meaning_is_the_same_version_with_the_new_text(self, harness: Harness) -> None:
        first, _ = await save(harness, "a", text=b"first")
        await harness.advance(TICK)
        again, new = await harness.store.save_version("flow", meaning="a", text=b"again", record=b"other")
        assert (again.version, new, again.text) == (1, False, b"again")
        assert again.record == b"record a"
        assert again.created_us == first.created_us < again.saved_us
        assert await harness.store.get_version("flow", 1) == again

    async def test_an_old_meaning_becomes_current_again(self, harness: Harness) -> None:
        await save(harness, "a")
        await save(harness, "b")
        again, new = await save(harness, "a", text=b"back")
        assert (again.version, new) == (1, False)
        current = await harness.store.get_version("flow")
        assert current is not None
        assert current.version == 1
        (row,) = (await harness.store.list_workflows()).items
        assert (row.current, row.versions, row.record) == (1, 2, b"record a")
        later, new = await save(harness, "c")
        assert (later.version, new) == (3, True)

    async def test_a_version_is_found_by_number(self, harness: Harness) -> None:
        await save(harness, "a")
        await save(harness, "b")
        one = await harness.store.get_version("flow", 1)
        assert one is not None
        assert one.meaning == "a"
        assert await harness.store.get_version("flow", 3) is None
        assert await harness.store.get_version("flow", 0) is None

    async def test_an_unknown_workflow_has_nothing(self, harness: Harness) -> None:
        assert await harness.store.get_version("nobody") is None
        assert await harness.store.list_versions("nobody") == []
        assert await harness.store.delete_workflow("nobody") is False

    async def test_a_deleted_workflow_is_hidden_but_kept_for_its_runs(self, harness: Harness) -> None:
        saved, _ = await save(harness, "a")
        assert await harness.store.delete_workflow("flow") is True
        assert await harness.store.get_version("flow") is None
        assert await harness.store.get_version("flow", 1) is None
        assert await harness.store.list_versions("flow") == []
        assert list((await harness.store.list_workflows()).items) == []
        assert await harness.store.get_version("flow", 1, deleted=True) == saved
        assert await harness.store.delete_workflow("flow") is False

    async def test_saving_brings_a_deleted_workflow_back_with_its_numbers(self, harness: Harness) -> None:
        await save(harness, "a")
        await harness.store.delete_workflow("flow")
        saved, new = await save(harness, "b")
        assert (saved.version, new) == (2, True)
        assert [version.version for version in await harness.store.list_versions("flow")] == [2, 1]

    async def test_a_workflow_with_live_runs_is_not_deleted(self, harness: Harness) -> None:
        await save(harness, "a")
        await harness.commit("run", index=index_of(workflow="flow", live=True))
        with pytest.raises(Conflict) as caught:
            await harness.store.delete_workflow("flow")
        assert caught.value.reason == "workflow_has_live_runs"
        assert await harness.store.get_version("flow") is not None
        await harness.commit("run", expected=1, events=[b"2"], index=index_of(status="failed", live=False))
        assert await harness.store.delete_workflow("flow") is True

    async def test_live_runs_of_others_do_not_keep_a_workflow(self, harness: Harness) -> None:
        await save(harness, "a")
        await harness.commit("one", index=index_of(workflow="other"))
        await harness.commit("two", index=index_of(workflow="flow"), namespace="elsewhere")
        assert await harness.store.delete_workflow("flow") is True

    async def test_workflows_are_listed_by_name_in_pages(self, harness: Harness) -> None:
        names = ["b", "a", "C", "ä", "z%", "_x"]
        for name in names:
            await save(harness, "m", name=name)
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await harness.store.list_workflows(limit=2, cursor=cursor)
            found += [row.name for row in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == sorted(names)

    async def test_workflows_are_found_by_a_part_of_the_name_without_case(self, harness: Harness) -> None:
        for name in ("Agentic Onboarding", "agent", "mail 100%"):
            await save(harness, "m", name=name)
        for text, expected in [("AGENT", ["Agentic Onboarding", "agent"]), ("%", ["mail 100%"]), ("x", [])]:
            page = await harness.store.list_workflows(text=text)
            assert [row.name for row in page.items] == expected

    async def test_namespaces_have_workflows_of_their_own(self, harness: Harness) -> None:
        one, _ = await save(harness, "a", namespace="one")
        two, new = await save(harness, "a", namespace="two", text=b"two")
        assert (one.version, two.version, new) == (1, 1, True)
        assert await harness.store.get_version("flow") is None
        assert [row.namespace for row in (await harness.store.list_workflows(namespace="one")).items] == [
            "one"
        ]
        await harness.store.delete_workflow("flow", namespace="one")
        assert await harness.store.get_version("flow", namespace="two") == two

    async def test_a_foreign_workflow_cursor_is_refused(self, harness: Harness) -> None:
        with pytest.raises(UsageError):
            await harness.store.list_workflows(cursor="WzEsMl0")
