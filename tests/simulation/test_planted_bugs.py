"""Each planted bug is found within 1,000 seeds (RELIABILITY: simulation)."""

import pytest

from tests.simulation.planted import PLANTS, Plant
from tests.simulation.world import simulate

SEEDS_MAX = 1_000


@pytest.mark.timeout(900)
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, first_seed: int) -> None:
    plant(monkeypatch)
    for seed in range(first_seed, first_seed + SEEDS_MAX):
        try:
            simulate(seed)
        except AssertionError:
            return  # an invariant saw it; any other error is a fault of the plant itself, and fails this test
    raise AssertionError(f"{plant.__doc__} None of {SEEDS_MAX:,} worlds showed it.")
