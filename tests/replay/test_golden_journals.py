"""Journals that earlier releases wrote fold to the states that those releases had. Files are added, never edited."""

from pathlib import Path

import pytest

from orchestrator.kernel.apply import fold
from orchestrator.kernel.events import KINDS, RunStarted, decode, decode_all, encode
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.state import RunState, decode_state, encode_state
from orchestrator.kernel.status import RunStatus
from tests.replay.record import JOURNALS, SCENARIOS

GOLDEN = sorted(JOURNALS.glob("*/*.jsonl"))
PARENTS = {"fork_of_waits": "waits", "fork_with_patches": "onboarding"}
"""The journal that a fork's prefix stands in."""

goldens = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def replay(path: Path) -> RunState:
    events = decode_all(lines_of(path))
    state = RunState()
    first = events[0]
    assert isinstance(first, RunStarted)
    if first.forked_from is not None:
        prefix = decode_all(lines_of(path.with_stem(PARENTS[path.stem])))[: first.forked_from.seq]
        state = fold(state, prefix)
        state.seq = 0
    return fold(state, events)


@goldens
def test_a_golden_journal_folds_to_the_state_that_it_had(path: Path) -> None:
    expected = path.with_suffix(".state.json").read_bytes().strip()
    assert encode_state(replay(path)) == encode_state(decode_state(expected))


@goldens
def test_every_line_of_a_golden_journal_is_written_as_it_is_read(path: Path) -> None:
    for line in lines_of(path):
        assert encode(decode(line)) == line


@pytest.mark.parametrize(
    "path",
    [path for path in GOLDEN if path.stem not in PARENTS],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_a_golden_journal_goes_on_from_a_snapshot_at_every_event(path: Path) -> None:
    lines = lines_of(path)
    end = encode_state(replay(path))
    for cut in range(1, len(lines)):
        snapshot = encode_state(fold(RunState(), decode_all(lines[:cut])))
        assert encode_state(fold(decode_state(snapshot), decode_all(lines[cut:]))) == end


def test_the_golden_journals_hold_every_kind_of_event_and_every_end() -> None:
    kinds = {type(decode(line)) for path in GOLDEN for line in lines_of(path)}
    assert set(KINDS) - kinds == set()
    ends = {replay(path).status for path in GOLDEN}
    assert ends >= {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}
    assert not any(wakers_of(replay(path)) for path in GOLDEN if not replay(path).status.live)


def test_the_scenarios_still_write_journals_that_the_newest_goldens_resemble() -> None:
    """The recorder itself works: each scenario still ends as its newest golden journal does."""
    for scenario in SCENARIOS:
        golden = max((path for path in GOLDEN if path.stem == scenario.__name__), key=lambda p: p.parent.name)
        assert scenario().state.status is replay(golden).status, scenario.__name__
