import pytest
import torch
from torch import nn

from models.kernels.device.capture import as_functional, capture_model
from models.kernels.device.workloads import WORKLOADS, Workload, find_workload
from models.kernels.device.writes import variants_of, writes_of
from models.kernels.samples.build import build_record


class Line(nn.Module):
    """One weight: what a step asks for can be worked out by hand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0, 3.0]]))

    def forward(self, x, y):
        return (x @ self.weight.t() - y).pow(2).sum()


def line(make_optimizer):
    batch = (torch.tensor([[1.0, 4.0], [5.0, 2.0]]), torch.tensor([[1.0], [0.0]]))
    return Workload("line", Line, lambda generator: batch, make_optimizer)


@pytest.fixture(scope="module")
def plain():
    return capture_model(line(lambda p: torch.optim.SGD(p, lr=0.5, foreach=False)))


def test_a_step_asks_for_forward_backward_and_update(plain):
    assert plain.counts == {
        "aten.mm.default": 2,  # x w, and the gradient of w
        "aten.sub.Tensor": 1,
        "aten.pow.Tensor_Scalar": 2,  # the square, and in its gradient 2 r^1
        "aten.sum.dim_IntList": 1,  # what `sum` comes apart into on a device
        "aten.fill_.Scalar": 1,  # the first gradient is of ones
        "aten.mul.Tensor": 2,  # by 2, and by the gradient that comes in
        "aten.add_.Tensor": 1,  # the update
    }


def test_what_writes_is_recorded_as_the_functional_overload_behind_it(plain):
    assert "aten.add.Tensor" in plain.overloads
    assert not any(name.split(".")[1].endswith("_") for name in plain.overloads)
    (update,) = plain.of("aten.add.Tensor")
    assert update.kwargs == {"alpha": -0.5}


def test_arguments_are_kept_as_they_were_before_the_step_changed_them(plain):
    update = plain.of("aten.add.Tensor")[0]
    assert torch.equal(update.args[0], torch.tensor([[2.0, 3.0]]))
    # d/dw sum (x w - y)^2 = 2 (x w - y) x, with x w - y = (13, 16).
    assert torch.equal(update.args[1], 2 * torch.tensor([[13.0 + 80.0, 52.0 + 32.0]]))


class Filled(nn.Module):
    """Fills with numbers that programs tell apart."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self):
        for value in (float("-inf"), 0.0, 2.5, 3.5):
            torch.full((), value)
        torch.scalar_tensor(float("inf"))
        return self.weight.sum()


def test_numbers_that_need_a_program_of_their_own_are_all_kept():
    workload = Workload("filled", Filled, lambda generator: (),
                        lambda p: torch.optim.SGD(p, lr=0.5, foreach=False))  # fmt: skip
    values = [one.args[1] for one in capture_model(workload, steps=1).of("aten.fill.Scalar")]
    # 1.0 is the first gradient; 2.5 stands for numbers that any program takes.
    assert sorted(values) == [float("-inf"), 0.0, 1.0, 2.5, float("inf")]


def test_a_call_with_views_survives_a_sample_file(plain):
    (product, *_) = plain.of("aten.mm.default")
    args, kwargs = build_record(product.record())
    assert args == ()
    assert torch.equal(kwargs["self"], product.args[0])
    assert kwargs["mat2"].stride() == product.args[1].stride() == (1, 2)


def test_an_optimizers_count_of_steps_is_no_call_of_the_device():
    capture = capture_model(line(lambda p: torch.optim.Adam(p, lr=0.5, foreach=False)), steps=1)
    assert "aten.add_.Tensor" in capture.counts  # denominator + eps
    assert all(one.args[0].dim() == 2 for one in capture.of("aten.add.Tensor"))


@pytest.mark.parametrize(("name", "functional", "targets", "first"), [
    ("aten.add_.Tensor", "aten.add.Tensor", ("self",), 0),
    ("aten.sum.IntList_out", "aten.sum.dim_IntList", ("out",), 0),
    ("aten.where.self_out", "aten.where.self", ("out",), 0),
    ("aten.native_batch_norm.default", "aten._native_batch_norm_legit_functional.default",
     ("running_mean", "running_var"), 3),
])  # fmt: skip
def test_a_form_that_writes_has_a_functional_one(name, functional, targets, first):
    found = writes_of(name)
    assert (found.functional, found.targets, found.first) == (functional, targets, first)
    assert name in variants_of(functional)


def test_a_functional_overload_writes_nothing():
    assert writes_of("aten.mm.default") is None
    assert as_functional("aten.add_.Tensor", (1, 2), {"alpha": 3}) == (
        "aten.add.Tensor", (1, 2), {"alpha": 3},
    )  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
def test_equal_seeds_give_equal_models_and_batches(name):
    workload = find_workload(name)
    first, again, other = (workload.model(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    batches = [workload.batch(3, step) for step in (0, 0, 1)]
    assert all(torch.equal(*pair) for pair in zip(batches[0], batches[1], strict=True))
    assert any(not torch.equal(*pair) for pair in zip(batches[0], batches[2], strict=True))
