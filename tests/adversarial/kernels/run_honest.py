"""Run the honest modules in Triton's interpreter and print which differ from torch.

A process of its own: interpreter mode is decided when Triton is imported.
"""

import json
import sys
import tempfile
import tomllib
from pathlib import Path

import torch

from models.kernels import KernelCandidate, load_module

HERE = Path(__file__).parent / "honest"
torch.manual_seed(5)


def floats(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def integers(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, high, shape)


X, ROWS = floats(37, 70), floats(5, 300)
CASES = {
    "add_float": ((X, X.flip(0)), {"alpha": 2}, lambda a, b, alpha: a + alpha * b),
    "add_broadcast_strided": ((X.t(), floats(37)), {}, torch.add),
    "exp_half_upcast": ((X.half(),), {}, torch.exp),
    "exp2_bf16_flag": ((X.double(),), {}, torch.exp2),
    "bitwise_and_int": ((integers(99, 300), integers(99, 300)), {}, torch.bitwise_and),
    "mul_scalar_or_tensor": ((X, 2.5), {}, torch.mul),
    "argmax_rows": ((X.round(), 0), {}, torch.argmax),
    "diag_copy": ((X, 3), {}, torch.diag),
    "diagonal_view": ((floats(3, 4, 5), 1, 0, 2), {}, torch.diagonal),
    "layer_norm_two_pass": (
        (ROWS, (300,), floats(300), None),
        {},
        torch.nn.functional.layer_norm,
    ),
    "matmul_dot": ((X, floats(70, 45)), {}, torch.mm),
    "matmul_int_sum": ((integers(9, 4, 70), integers(9, 70, 3)), {}, torch.mm),
    "cumsum_associative_scan": ((ROWS, 1), {}, torch.cumsum),
    "softmax_online": ((X, 1), {}, torch.softmax),
    "sort_in_block": ((X, -1, True), {}, lambda x, dim, down: x.sort(dim=dim, descending=down)),
    "gather_last_dim": ((X, 1, integers(70, 37, 9)), {}, torch.gather),
    "scatter_add_atomic": ((floats(20), 0, integers(20, 90), floats(90)), {}, torch.scatter_add),
    "max_pool1d_window": ((floats(2, 3, 31), 3, 2, 1), {}, torch.nn.functional.max_pool1d),
    "sum_two_kernels": ((floats(9000),), {}, torch.sum),
    "any_bool_or": ((integers(2, 1500).bool(),), {}, torch.any),
    "where_broadcast": ((X > 0, X, -X), {}, torch.where),
    "cat_loop": (([X, X[:3], X[:0]], 0), {}, torch.cat),
    "transpose_view": ((X, 0, -1), {}, torch.transpose),
    "clamp_optional": ((X, -0.5), {}, torch.clamp),
    "index_select_guarded": ((X, 0, integers(37, 11)), {}, torch.index_select),
    "lgamma_device_library": ((X.abs() * 9 + 0.2,), {}, torch.lgamma),
    "nonzero_size_read": ((integers(2, 1300),), {}, torch.nonzero),
    "log_softmax_self_consistent": ((X, 1), {}, torch.log_softmax),
    "add_in_place": ((X.clone(), X), {}, torch.add),
    "strided_copy_any_rank": ((floats(3, 4, 5, 6).permute(3, 0, 2, 1),), {}, torch.clone),
}


def main() -> None:
    entries = tomllib.loads((HERE / "manifest.toml").read_text())
    generated = {"softmax": torch.softmax, "log": torch.log}
    wrong = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (args, kwargs, reference) in CASES.items():
            entry = entries[name]
            candidate = KernelCandidate.of(
                name,
                (HERE / f"{name}.txt").read_text(),
                mode=entry.get("mode", "strict"),
                depends_on=tuple(entry.get("depends_on", ())),
            )
            expected = reference(*args, **kwargs)
            try:
                got = load_module(candidate, Path(folder), generated).wrapper(*args, **kwargs)
                for one, other in zip(_listed(got), _listed(expected), strict=True):
                    torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)
            except Exception as error:
                wrong[name] = f"{type(error).__name__}: {error}"[:300]
        dropout = KernelCandidate.of("dropout", (HERE / "dropout_philox.txt").read_text())
        out, kept = load_module(dropout, Path(folder)).wrapper(torch.ones(20_000), 0.3)
        share = kept.float().mean().item()
        # Five standard deviations of a mean of 20,000 draws are 0.0162.
        if abs(share - 0.7) > 0.0162 or not torch.equal(out, kept / 0.7):
            wrong["dropout_philox"] = f"kept {share}"
    json.dump({"ran": [*CASES, "dropout_philox"], "wrong": wrong}, sys.stdout)


def _listed(value: object) -> list:
    return list(value) if isinstance(value, tuple) else [value]


if __name__ == "__main__":
    main()
