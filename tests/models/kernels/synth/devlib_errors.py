"""Child of test_devlib*.py: runs device functions in the interpreter; prints results as JSON.

With the argument `single` those for devices without double precision, on float32.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import torch

from models.kernels.candidate import KernelCandidate, load_module
from models.kernels.synth.devlib import device_functions

TEMPLATE = """

@triton.jit
def kernel(o, p, q, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(p + at, mask=mask, other=0.5)
    y = tl.load(q + at, mask=mask, other=0.5)
    tl.store(o + at, {call}, mask=mask)


def wrapper(x, y):
    out = torch.empty_like(x)
    kernel[(1,)](out, x, y, x.numel(), BLOCK=triton.next_power_of_2(x.numel()))
    return out
"""


def main() -> None:
    asked = json.loads(sys.stdin.read())
    single = sys.argv[1:] == ["single"]
    dtype = torch.float32 if single else torch.float64
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (first, second) in asked.items():
            call = f"{name}(x)" if second is None else f"{name}(x, y)"
            source = "\n\n\n".join(device_functions([name], single)) + TEMPLATE.format(call=call)
            module = load_module(KernelCandidate.of("devlib", source), Path(folder))
            x = torch.tensor(first, dtype=dtype)
            y = x if second is None else torch.tensor(second, dtype=dtype)
            found[name] = module.wrapper(x, y).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
