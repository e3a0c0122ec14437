"""Lines of kernels for single primitives."""

from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.scalar import apply


def line(dtype: str, number: str) -> str:
    kernel = Kernel()
    apply(kernel, "mul", [Var("v", dtype), Var(number, "int64", is_scalar=True)], dtype)
    return kernel.lines[-1].strip()


def test_a_negative_number_beside_bytes_is_the_byte_that_it_wraps_to():
    # Triton refuses it; 253 is -3 modulo 256.
    assert line("uint8", "(-3)").endswith("v * 253")
    assert line("uint8", "3").endswith("v * 3")
    assert line("int8", "(-3)").endswith("v * (-3)")
