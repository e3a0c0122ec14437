"""Structure keys: which calls a program serves."""

from models.kernels.synth.structure import conditions, serves

KEY = (("self", "tensor", "float32", "nn"), ("dim", "is", "int", "1"))
ACCEPTS = {("self", 0): frozenset({0})}


def asked(classes: str, dtype: str = "float32", dim: str = "1") -> tuple[tuple[str, ...], ...]:
    return (("self", "tensor", dtype, classes), ("dim", "is", "int", dim))


def test_a_program_serves_smaller_sizes_only_where_it_was_found_right():
    assert serves(KEY, ACCEPTS, asked("nn"))
    assert serves(KEY, ACCEPTS, asked("0n"))
    assert not serves(KEY, ACCEPTS, asked("1n"))
    assert not serves(KEY, ACCEPTS, asked("n0"))


def test_types_ranks_and_options_are_never_relaxed():
    assert not serves(KEY, ACCEPTS, asked("nn", dtype="float16"))
    assert not serves(KEY, ACCEPTS, asked("nnn"))
    assert not serves(KEY, ACCEPTS, asked("nn", dim="0"))
    assert not serves(
        (("self", "tensor", "float32", "1"),), {}, (("self", "tensor", "float32", "n"),)
    )


def test_the_wrapper_tests_only_the_sizes_that_a_program_lacks():
    tests = list(conditions(KEY, frozenset(), ACCEPTS))
    assert "self.shape[0] != 1" in tests
    assert "self.shape[1] > 1" in tests
    both = {("self", place): frozenset({0, 1}) for place in (0, 1)}
    assert not any("shape" in test for test in conditions(KEY, frozenset(), both))
