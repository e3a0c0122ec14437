"""Which whole numbers of a kernel are known not to be negative."""

from models.kernels.synth.expression import Kernel
from models.kernels.synth.layout import split_number


def test_what_element_numbers_are_split_into_counts_and_what_else_is_divided_does_not():
    kernel = Kernel()
    split = split_number(kernel, "at", [6, 5, 4], str)
    assert all(map(kernel.is_place, split))
    assert kernel.line_of(split[0], "2", "3").text != split[0]
    assert kernel.is_place(kernel.let(f"{split[1]} + {split[2]}", "int64").text)
    assert not kernel.is_place(kernel.let(f"{split[0]} + a9", "int64").text)
    assert not kernel.is_place(kernel.let(f"{split[0]} // a9", "int64").text)
    assert not kernel.is_place(kernel.let(f"{split[0]} - 1", "int64").text)
    assert not kernel.is_place(kernel.line_of("at", "1", "(-1)").text)
    assert kernel.line_of("at", "1", "0").text == "at"
