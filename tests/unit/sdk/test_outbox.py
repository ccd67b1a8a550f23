"""The local outbox: one message per key, whole or not at all, listed newest first."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.sdk import Outbox, OutboxMessage, UsageError


def message(number: int = 1, *, run: str = "run_1") -> OutboxMessage:
    return OutboxMessage(
        to="a@example.com", subject=f"No. {number}", body="Hello", run=run, path="mail", node="mail"
    )


def fill(outbox: Outbox, count: int, *, run: str = "run_1") -> None:
    """Messages a second apart, by the clock that the list goes by."""
    before = len(list(outbox.folder.glob("*.json"))) if outbox.folder.exists() else 0
    for number in range(count):
        known = set(outbox.folder.glob("*")) if outbox.folder.exists() else set[Path]()
        outbox.deliver(message(number, run=run), idempotency_key=f"{run}/{number}")
        (new,) = set(outbox.folder.glob("*")) - known
        os.utime(new, ns=(0, (before + number) * 1_000_000_000))


def test_a_delivered_message_is_complete_and_can_be_read_by_people(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "deep" / "outbox")
    sent = outbox.deliver(message(), idempotency_key="k")
    assert (sent.idempotency_key, sent.channel, sent.to) == ("k", "email", "a@example.com")
    assert sent.id.startswith("msg_")
    assert sent.at.endswith("Z")
    (file,) = outbox.folder.iterdir()
    assert set(json.loads(file.read_text())) == {
        *("id", "run", "path", "node", "channel", "to", "subject", "body", "at", "idempotency_key")
    }
    assert outbox.list().items == (sent,)


def test_the_same_key_again_adds_nothing_and_keeps_the_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    first = outbox.deliver(message(1), idempotency_key="k")
    assert outbox.deliver(message(2), idempotency_key="k") == first
    assert len(outbox.list().items) == 1
    outbox.deliver(message(1), idempotency_key="other")
    assert len(outbox.list().items) == 2


def test_the_same_key_in_another_run_is_another_message(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.deliver(message(run="a"), idempotency_key="k")
    outbox.deliver(message(run="b"), idempotency_key="k")
    assert len(outbox.list().items) == 2


def test_an_empty_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ctx\.idempotency_key"):
        Outbox(tmp_path).deliver(message(), idempotency_key="")


def test_pages_are_newest_first_without_gap_or_repeat(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    fill(outbox, 7)
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = outbox.list(limit=3, cursor=cursor)
        seen += [m.subject for m in page.items]
        cursor, pages = page.next, pages + 1
    assert seen == [f"No. {n}" for n in reversed(range(7))]
    assert pages == 3


def test_a_new_message_does_not_shift_the_pages_behind_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    fill(outbox, 4)
    first = outbox.list(limit=2)
    outbox.deliver(message(99), idempotency_key="new")
    assert [m.subject for m in outbox.list(limit=2, cursor=first.next).items] == ["No. 1", "No. 0"]


def test_one_runs_messages_can_be_asked_for(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    fill(outbox, 2, run="a")
    fill(outbox, 3, run="b")
    assert [m.run for m in outbox.list(run="a").items] == ["a", "a"]
    assert len(outbox.list(run="b").items) == 3
    assert outbox.list(run="c").items == ()


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "none").list().items == ()


def test_a_file_that_is_no_message_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path)
    sent = outbox.deliver(message(), idempotency_key="k")
    (tmp_path / "torn.json").write_text('{"id": ')
    (tmp_path / "half.json.abc.tmp").write_text("{")
    assert outbox.list().items == (sent,)
    assert "torn.json" in caplog.text
    assert "half" not in caplog.text


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.sdk.outbox.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Outbox(tmp_path).deliver(message(), idempotency_key="k")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 1001])
def test_the_limit_is_bounded(tmp_path: Path, limit: int) -> None:
    with pytest.raises(UsageError, match="limit"):
        Outbox(tmp_path).list(limit=limit)


@pytest.mark.parametrize("cursor", ["", "x", "12", "-1.a", "9" * 30 + ".a"])
def test_a_made_up_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        Outbox(tmp_path).list(cursor=cursor)


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_OUTBOX", str(tmp_path / "box"))
    assert Outbox.from_environment().folder == tmp_path / "box"
    monkeypatch.delenv("ORCHESTRATOR_OUTBOX")
    assert Outbox.from_environment().folder == Path(".orchestrator/outbox")
