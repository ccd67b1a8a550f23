import pytest

from orchestrator.engine.runs.ids import new_run_id, run_id_of_key
from orchestrator.engine.service.inputs import check_input, check_labels, request_hash
from orchestrator.errors import InvalidInput, LimitExceeded
from orchestrator.model.document import is_id
from tests.unit.engine.runs import START_US


def test_run_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_run_id(START_US + n * 1_000) for n in range(1_000)]
    assert ids == sorted(ids)
    assert len({new_run_id(START_US) for _ in range(1_000)}) == 1_000
    assert all(is_id(run_id) and run_id == run_id.lower() and len(run_id) == 24 for run_id in ids)


def test_the_id_of_a_key_depends_on_all_of_it_and_on_nothing_else() -> None:
    first = run_id_of_key("default", "flow", "k", generation=0)
    assert first == run_id_of_key("default", "flow", "k", generation=0)
    others = {
        run_id_of_key("other", "flow", "k", generation=0),
        run_id_of_key("default", "flow2", "k", generation=0),
        run_id_of_key("default", "flow", "k2", generation=0),
        run_id_of_key("default", "flow", "k", generation=1),
    }
    assert len(others | {first}) == 5


def test_a_request_is_the_same_whatever_the_order_of_its_labels() -> None:
    one = request_hash(workflow="w", version=None, input={"a": 1}, labels={"x": "1", "y": "2"})
    assert one == request_hash(workflow="w", version=None, input={"a": 1}, labels={"y": "2", "x": "1"})
    assert one != request_hash(workflow="w", version=1, input={"a": 1}, labels={"x": "1", "y": "2"})
    assert one != request_hash(workflow="w", version=None, input={"a": 2}, labels={"x": "1", "y": "2"})


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, "\0", "\ud800", 2**70])
def test_an_input_that_cannot_be_kept_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_input(value, None)
    assert all(fault.pointer.startswith("/input") for fault in caught.value.faults)


def test_every_fault_of_an_input_is_named_up_to_a_hundred() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_input({"items": ["x"] * 500}, {"properties": {"items": {"items": {"type": "integer"}}}})
    assert len(caught.value.faults) == 100
    assert caught.value.faults[7].pointer == "/input/items/7"
    check_input({"items": [1, 2]}, {"properties": {"items": {"items": {"type": "integer"}}}})


def test_labels_have_their_limits() -> None:
    check_labels({f"l{n}": "x" * 1_000 for n in range(32)})
    with pytest.raises(LimitExceeded):
        check_labels({f"l{n}": "" for n in range(33)})
    for wrong in ({"": "x"}, {"k" * 201: "x"}, {"k": "x" * 1_001}, {"k": "\ud800"}):
        with pytest.raises(InvalidInput):
            check_labels(wrong)
