"""The whole engine on a virtual clock, with faults drawn from a seed: 1,000 worlds here, new ones in `make fuzz`.

A seed that fails is repeated by `tests.simulation.world.simulate(seed)`, which lives through the same world again.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from orchestrator.kernel.events import KINDS
from tests.simulation.world import Outcome, simulate

WORLDS = int(os.environ.get("ORCHESTRATOR_SIMULATIONS", "1000"))
CHUNKS = 20
RARE = {"late_result_noted", "run_retried", "budget_raised", "data_erased"}
"""Kinds that fifty worlds may come to lack by chance; they have tests of their own in tests/unit."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def _add(total: Outcome, one: Outcome) -> None:
    total.kinds += one.kinds
    total.ends += one.ends
    total.faults = dict(Counter(total.faults) + Counter(one.faults))
    total.kills += one.kills
    total.freezes += one.freezes


@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_world_comes_to_a_right_end(chunk: int, first_seed: int) -> None:
    total = Outcome()
    per_chunk = WORLDS // CHUNKS
    for seed in range(first_seed + chunk * per_chunk, first_seed + (chunk + 1) * per_chunk):
        try:
            _add(total, simulate(seed))
        except BaseException as broken:
            broken.add_note(f"tests.simulation.world.simulate({seed})")
            raise
    assert set(total.ends) == {"succeeded", "failed", "cancelled"}
    if per_chunk >= 50:
        never = {kind.__struct_config__.tag for kind in KINDS} - set(total.kinds) - RARE
        assert not never, f"no world of this chunk had {never}"
        assert total.kills > 0
        assert total.freezes > 0
        assert {"commit: error before", "commit: error after", "commit: stall"} <= set(total.faults)


@pytest.mark.parametrize("seed", [3, 24, 161, 295])
def test_a_seed_gives_the_same_journals_byte_for_byte(seed: int) -> None:
    assert simulate(seed).digest == simulate(seed).digest
