import pytest

from models.kernels.harness import Harness


@pytest.mark.parametrize("op_id", ["sort", "cummin"])
def test_each_tensor_of_a_named_result_has_its_tolerance(op_id: str, harness: Harness) -> None:
    samples = harness.prepare(op_id, dtypes=["float32"], most_per_dtype=1).samples
    # Values and indices, in a subclass of tuple that torch makes.
    assert [len(sample["tolerances"]) for sample in samples] == [2]
    assert [len(sample["aliases"]) for sample in samples] == [2]
