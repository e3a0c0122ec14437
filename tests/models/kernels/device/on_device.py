"""What a test asks of the device, in a process of its own: prints facts as JSON.

Runs as `python on_device.py FOLDER CACHE` with TRITON_INTERPRET=1.
"""

import json
import sys
from pathlib import Path

import torch

from models.kernels.candidate import KernelCandidate
from models.kernels.device.capture import CapturedCall
from models.kernels.device.refine import write_kernel
from models.kernels.device.register import Device
from models.kernels.synth.schedule import Schedule

CHEAT = """\
def wrapper(self):
    return self + self
"""
"""Asks another module for the work: on a device that operator exists."""
READER = """\
@triton.jit
def kernel(x, y, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(x + at, tl.load(x + at, mask=at < n), mask=at < n)


def wrapper(self):
    result = torch.empty(self.shape, dtype=self.dtype, device=self.device)
    kernel[(1,)](self, result, self.numel(), BLOCK=triton.next_power_of_2(self.numel()))
    return result
"""
"""Writes to its argument, which a functional operator may not."""


def matrix(*shape):
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape) / 7 - 1


def written(overload, *calls):
    captured = [CapturedCall(overload, args, kwargs) for args, kwargs in calls]
    return write_kernel(overload, captured, Schedule())[0]


def modules():
    a, b = matrix(3, 4), matrix(3, 4)
    return {
        "aten.add.Tensor": written(
            "aten.add.Tensor", ((a, b), {}), ((a, b), {"alpha": 2}), ((a, b[0]), {}),
            ((a, 1.5), {}),
        ),
        "aten.mm.default": written("aten.mm.default", ((a, matrix(4, 5)), {})),
        "aten.copy.default": written("aten.copy.default", ((a, b.double()), {})),
        "aten.exp.default": KernelCandidate.of("aten.exp.default", CHEAT),
        "aten.neg.default": KernelCandidate.of("aten.neg.default", READER),
    }  # fmt: skip


def refused(run):
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def grown(at):
    empty = torch.empty(0, device=at)
    return torch.add(matrix(3, 4).to(at), matrix(3, 4).to(at), out=empty)


def main(folder, cache):
    device = Device(modules(), folder, cache)
    at = device.torch_device
    a, b = matrix(3, 4).to(at), matrix(3, 4).to(at)
    facts = {"device": str(a.device), "has_come_back": torch.equal(a.cpu(), matrix(3, 4))}
    facts["transposed"] = torch.equal(a.t().cpu(), matrix(3, 4).t())
    facts["strides"] = [
        list(a.t().stride()),
        list(a[1:, ::2].stride()),
        a[1:, ::2].storage_offset(),
    ]
    facts["contiguous"] = torch.equal(a.t().contiguous().cpu(), matrix(3, 4).t())
    facts["sum"] = torch.equal((a + b).cpu(), matrix(3, 4) + matrix(3, 4))
    facts["product"] = torch.allclose((a @ matrix(4, 5).to(at)).cpu(), matrix(3, 4) @ matrix(4, 5))
    inplace = matrix(3, 4).to(at)
    inplace.t()[:, 1:].add_(b.t()[:, 1:])
    expected = matrix(3, 4)
    expected.t()[:, 1:].add_(matrix(3, 4).t()[:, 1:])
    facts["inplace_of_a_view"] = torch.equal(inplace.cpu(), expected)
    facts["grown_out"] = torch.equal(grown(at).cpu(), matrix(3, 4) * 2)
    facts["narrowed"] = torch.equal(a.copy_(matrix(3, 4).double().to(at)).cpu(), matrix(3, 4))
    facts["item"] = a[2, 1].item()
    leaf = matrix(3, 4).to(at).requires_grad_()
    (leaf + leaf).backward(b)
    facts["gradient"] = torch.equal(leaf.grad.cpu(), matrix(3, 4) * 2)
    facts["missing"] = refused(lambda: torch.cos(a))
    facts["missing_inplace"] = refused(lambda: a.mul_(2))
    whole = matrix(3, 4).long().to(at)
    facts["no_program"] = refused(lambda: whole + whole)
    facts["cheat"] = refused(lambda: torch.exp(a))
    facts["writes_its_input"] = refused(lambda: torch.neg(a))
    facts["calls"] = dict(device.runtime.calls)
    facts["registered"] = sorted(device.registered)
    print(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
