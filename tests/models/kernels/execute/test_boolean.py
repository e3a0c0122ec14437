import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import ROOT

# The rule of Triton's compilers, told by masks whose halves differ: numpy's own operators are the
# oracle. A process of its own, for the patch stays in the process it is made in.
PROGRAM = """
import json, sys
import numpy as np, torch, triton, triton.language as tl
from models.kernels.execute.boolean import install_boolean
if sys.argv[1] == "patched":
    install_boolean()

@triton.jit
def kernel(o, n, B: tl.constexpr, flag: tl.constexpr):
    i = tl.arange(0, B)
    small = i < 3
    even = i % 2 == 0
    tl.store(o + i, (small and even).to(tl.int32))
    tl.store(o + B + i, (small or even).to(tl.int32))
    tl.store(o + 2 * B + i, (small and even and i > 0 or i == 7).to(tl.int32))
    if flag and n > 5:
        tl.store(o + 3 * B + i, i)

out = torch.zeros(4, 8, dtype=torch.int32)
kernel[(1,)](out, 6, B=8, flag=True)
i = np.arange(8)
small, even = i < 3, i % 2 == 0
due = [small & even, small | even, small & even & (i > 0) | (i == 7), i]
print(json.dumps([bool((got.numpy() == want).all()) for got, want in zip(out, due)]))
"""


def agreement(which: str, folder: Path) -> object:
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(folder / "program.py"), which],
        capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_blocks_are_joined_by_element_and_numbers_by_pythons_rule(tmp_path: Path) -> None:
    assert agreement("patched", tmp_path) == [True, True, True, True]


@pytest.mark.slow
def test_the_interpreter_alone_gives_one_of_the_operands(tmp_path: Path) -> None:
    # Once this fails, Triton does it itself and boolean.py can go.
    assert agreement("as it is", tmp_path) == [False, False, False, True]
