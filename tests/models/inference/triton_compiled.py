"""Compiles the Triton kernels for graphics processors that need not be there.

`python -m tests.models.inference.triton_compiled` prints one JSON object; Triton's interpreter
must be off in its process.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models.inference.attention.gpu import kernels
from models.inference.attention.triton import FILED_ROWS, MERGED_VALUES, STAGES, tiling_for
from tests.models.inference.engine_cases import tiny

TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
TABLES = ("row_table", "entries", "row_list", "merges")
NUMBERS = {"layer": "i32", "n_rows": "i32", "n_listed": "i32", "n_merges": "i32"}
FLOATS = {"eps": "fp32", "scale": "fp32"}
FLOAT_TENSORS = ("cos", "sin", "part_out", "part_lse")

# Kernel, compute capability, type, values of a head.
ASKED = [
    ("attend_parts", 80, "bf16", 64),
    ("attend_parts", 80, "fp16", 64),
    ("attend_parts", 90, "bf16", 128),
    ("attend_parts", 90, "fp16", 64),
    ("attend_parts", 90, "bf16", 256),  # needs the most shared memory
    ("file_rows", 80, "bf16", 128),
    ("file_rows", 90, "fp16", 64),
    ("merge_parts", 80, "bf16", 128),
    ("merge_parts", 90, "fp16", 64),
]


def compiled(name: str, capability: int, kind: str, dim: int) -> dict[str, Any]:
    """Compile one kernel as `TritonStep` would launch it for 12 query and 4 KV heads."""
    kernel = getattr(kernels, name)
    config = tiny(n_heads=12, n_kv_heads=4, head_dim=dim)
    tiling = tiling_for(config, TYPES[kind], n_processors=108, is_deterministic=False)
    constants = {
        "HEADS": 12,
        "KV_HEADS": 4,
        "REPEAT": 3,
        "DIM": dim,
        "IS_NORMED": True,
        "NARROW": tiling.narrow,
        "WIDE": tiling.wide,
        "KEYS": tiling.keys,
        "ROWS": FILED_ROWS,
        "PAIRS": MERGED_VALUES // dim,
    }
    types, aligned, chosen = {}, {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            types[argument] = "constexpr"
            chosen[argument] = constants[argument]
        elif argument in NUMBERS or argument in FLOATS:
            types[argument] = {**NUMBERS, **FLOATS}[argument]
        elif argument in TABLES:
            types[argument] = "*i64"
        else:
            types[argument] = "*fp32" if argument in FLOAT_TENSORS else f"*{kind}"
            aligned[place,] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=types, constexprs=chosen, attrs=aligned)
    options = {"num_warps": tiling.warps, "num_stages": STAGES} if "attend" in name else {}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assembly = made.asm["ptx"]
    return {
        "is_elf": made.asm["cubin"][:4] == b"\x7fELF",
        "target": re.findall(r"\.target (sm_\d+)", assembly)[0],
        "shared_bytes": made.metadata.shared,
        "tensor_core_products": len(re.findall(r"\bmma\.sync|\bwgmma\.mma", assembly)),
        "async_copies": len(re.findall(r"cp\.async\.c[ag]\.shared\.global[^;]*0x10, ", assembly)),
    }


if __name__ == "__main__":
    json.dump({" ".join(map(str, asked)): compiled(*asked) for asked in ASKED}, sys.stdout)
