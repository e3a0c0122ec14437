"""The end of a wrapper: classes of errors by what is wrong with a call."""

from dataclasses import dataclass

import pytest
import torch

from models.kernels import Signature
from models.kernels.synth.program import Synthesis
from models.kernels.synth.refusals import refusal_text
from models.kernels.synth.wrapper import parameters_text


@dataclass
class Served:
    """What a program says of the calls that it serves."""

    key: tuple
    spread: str = ""


def refuse(schema: str, *args, ranks=(2,), **kwargs):
    signature = Signature.parse(schema)
    first = signature.parameters[0].name
    served = [Served(((first, "tensor", "float32", "n" * rank),)) for rank in ranks]
    text = refusal_text(Synthesis(signature, served))
    scope = {"torch": torch}
    exec(f"def wrapper({parameters_text(signature)}):\n{text}", scope)
    with pytest.raises((IndexError, ValueError, NotImplementedError)) as caught:
        scope["wrapper"](*args, **kwargs)
    return type(caught.value), str(caught.value)


SUM = "op(Tensor self, int[1]? dim=None, bool keepdim=False) -> Tensor"


@pytest.mark.parametrize("dim", [2, -3, [0, 2], (1, -3)])
def test_a_dimension_that_is_not_there_is_an_index_error(dim):
    kind, said = refuse(SUM, torch.ones(2, 3), dim)
    assert kind is IndexError
    assert "expected to be in range of [-2, 1], but got" in said


@pytest.mark.parametrize("dim", [1, -2, None, (0, 1)])
def test_what_no_program_serves_is_not_called_a_wrong_dimension(dim):
    assert refuse(SUM, torch.ones(2, 3), dim)[0] is NotImplementedError


def test_a_single_number_has_one_dimension_where_the_operator_takes_single_numbers():
    assert refuse(SUM, torch.tensor(1.0), 0, ranks=(0, 1))[0] is NotImplementedError
    assert refuse(SUM, torch.tensor(1.0), 1, ranks=(0, 1))[0] is IndexError
    assert refuse(SUM, torch.tensor(1.0), 0, ranks=(1, 2))[0] is IndexError


def test_source_and_destination_are_dimensions_too():
    schema = "movedim(Tensor self, int[] source, int[] destination) -> Tensor(a)"
    assert refuse(schema, torch.ones(2, 3), (0,), (5,))[0] is IndexError
    assert refuse(schema, torch.ones(2, 3), -3, 0)[0] is IndexError


def test_an_unknown_reduction_and_a_wrong_window_are_value_errors():
    loss = "loss(Any input, Any target, Any reduction='mean') -> Any"
    x = torch.ones(2)
    assert refuse(loss, x, x, "abc") == (ValueError, "abc is not a valid value for reduction")
    assert refuse(loss, x, x, "sum")[0] is NotImplementedError
    window = "hann(Any M, *, Any sym=True, Any dtype=None, Any layout=None) -> Any"
    assert refuse(window, -1)[0] is ValueError
    assert refuse(window, 3, dtype=torch.int64)[0] is ValueError
    assert refuse(window, 3, layout=torch.sparse_coo)[0] is ValueError
    assert refuse(window, 3, dtype=torch.float64)[0] is NotImplementedError
