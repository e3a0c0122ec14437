"""Block sizes: what compilers take too long for is cut into smaller programs."""

import re

import torch

from models.kernels import Signature
from models.kernels.synth.calls import Call
from models.kernels.synth.expression import Kernel
from models.kernels.synth.module import synthesize
from models.kernels.synth.schedule import Schedule, block_functions, elements_argument


def sizes(text: str, name: str) -> set[str]:
    """Return the exponents that calls of a function of block sizes are bound by."""
    wanted = {"_block": r"_block\([^,()]+, (\d+)\)", "_rows": r"_rows\([^,()]+, [^,()]+, (\d+)\)"}
    return set(re.findall(wanted[name], text))


def test_elements_of_a_program_fall_with_the_operations_of_its_kernel():
    whole = Schedule()
    assert elements_argument(whole, 0) == ""
    assert elements_argument(whole, 8) == ""
    assert elements_argument(whole, 9) == ", 16"
    assert elements_argument(whole, 64) == ", 14"
    assert elements_argument(whole, 10_000) == ", 11"
    assert elements_argument(Schedule(block=4096), 64) == ""


def test_operations_on_rows_or_columns_alone_are_not_those_of_every_element():
    kernel = Kernel(rank=2)
    row, col = kernel.let("row // 3", "int64").text, kernel.let("col % 5", "int64").text
    assert kernel.operations() == 0
    both = kernel.let(f"{row} + {col}", "int64").text
    assert kernel.operations() == 1
    kernel.let(f"{both} // 7", "int64")
    assert kernel.operations() == 1 + 8
    flat = Kernel()
    flat.let("at // 3", "int64")
    assert flat.operations() == 8


def test_a_block_is_never_larger_than_asked_nor_than_what_there_is():
    scope = {"triton": __import__("triton")}
    exec("\n\n".join(block_functions(Schedule(block=1024, columns=256)).values()), scope)
    assert [scope["_block"](n) for n in (0, 3, 5000)] == [1, 4, 1024]
    assert scope["_block"](5000, 6) == 64
    assert scope["_rows"](5000, 256) == 4
    assert scope["_rows"](5000, 256, 9) == 2
    assert scope["_rows"](5000, 256, 6) == 1


def test_kernels_that_do_more_per_element_get_smaller_blocks():
    signature = Signature.parse("neg(Tensor self) -> Tensor")
    deep, _ = synthesize(
        signature, [Call(torch.neg, (torch.ones(3, 4, 5, 6),), {})], only_calls=True
    )
    flat, _ = synthesize(signature, [Call(torch.neg, (torch.ones(7),), {})], only_calls=True)
    assert "_block(" in flat
    assert sizes(deep, "_block") == {"14"}
    assert sizes(flat, "_block") == set()


def test_a_transposed_convolution_divides_rows_and_columns_apart():
    signature = Signature.parse("conv(Tensor input, Tensor weight, int[] stride) -> Tensor")
    arguments = (torch.ones(2, 4, 9, 9), torch.ones(4, 3, 3, 3), [2, 2])

    def conv(input, weight, stride):
        return torch.nn.functional.conv_transpose2d(input, weight, None, stride)

    text, _ = synthesize(signature, [Call(conv, arguments, {})], only_calls=True)
    divided = [line for line in text.splitlines() if re.search(r" (//|%) ", line) and " v" in line]
    assert divided
    assert sizes(text, "_rows") == {"14"}
