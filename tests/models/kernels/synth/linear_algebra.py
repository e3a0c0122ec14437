"""Child of test_linear_algebra.py: modules of linear algebra on sizes nobody wrote them for.

Prints, by operator, how far results are from what defines them, the linter's words and the
recorded launches. Its own process, for Triton's interpreter is chosen when a process starts.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton

from models.kernels.candidate import HEADER_LINES, KernelCandidate, load_module
from models.kernels.execute.builder import STATE
from models.kernels.execute.call import run_call
from models.kernels.execute.launch import install
from models.kernels.execute.recorder import BlackBox, Recorder
from models.kernels.lint import Signature, lint_text
from models.kernels.profiles import find_profile
from models.kernels.samples.values import pack, unpack
from models.kernels.synth.calls import Call
from models.kernels.synth.module import Schedule, synthesize

logging.disable(logging.CRITICAL)
triton.knobs.runtime.interpret = True
install()
torch.manual_seed(11)
Tensors = list[torch.Tensor]
Check = Callable[[Tensors, Tensors], list[tuple[torch.Tensor, torch.Tensor]]]


def make(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def symmetric(*shape: int) -> torch.Tensor:
    x = make(*shape)
    return x + x.mT


def positive(*shape: int) -> torch.Tensor:
    x = make(*shape)
    return x @ x.mT + torch.eye(shape[-1])


def eye_of(x: torch.Tensor) -> torch.Tensor:
    return torch.eye(x.shape[-1], dtype=x.dtype).expand(*x.shape[:-2], -1, -1)


def of_svd(given: Tensors, found: Tensors) -> list[tuple[torch.Tensor, torch.Tensor]]:
    (a,), (u, s, vh) = given, found
    k = s.shape[-1]
    return [
        (u[..., :k] * s.unsqueeze(-2) @ vh[..., :k, :], a),
        (u.mT @ u, eye_of(u)),
        (vh @ vh.mT, eye_of(vh.mT)),
        (s, torch.linalg.svdvals(a)),
    ]


def of_eig(given: Tensors, found: Tensors) -> list[tuple[torch.Tensor, torch.Tensor]]:
    (a,), (values, vectors) = given, found
    own = torch.linalg.eigvals(a)

    def ordered(w: torch.Tensor) -> torch.Tensor:
        keys = w.real.round(decimals=6) * 1000 + w.imag
        return w.gather(-1, keys.argsort(-1))

    return [
        (torch.view_as_real(a.to(vectors.dtype) @ vectors),
         torch.view_as_real(vectors * values.unsqueeze(-2))),
        (torch.view_as_real(ordered(values)), torch.view_as_real(ordered(own))),
        (torch.linalg.vector_norm(vectors, dim=-2), torch.ones(values.shape, dtype=a.dtype)),
    ]  # fmt: skip


CASES: dict[str, tuple[str, Any, list[Tensors], list[Tensors], Check]] = {
    "svd": (
        "linalg_svd(Tensor A, bool full_matrices=True) -> (Tensor U, Tensor S, Tensor Vh)",
        torch.linalg.svd,
        [[make(3, 2)], [make(2, 3, 2)]],
        [
            [make(9, 5)],
            [make(5, 9)],
            [make(4, 3, 3)],
            [make(6, 1) @ make(1, 6)],
            [torch.zeros(4, 3)],
        ],
        of_svd,
    ),
    "eigh": (
        'linalg_eigh(Tensor self, str UPLO="L") -> (Tensor eigenvalues, Tensor eigenvectors)',
        torch.linalg.eigh,
        [[symmetric(3, 3)], [symmetric(2, 3, 3)]],
        [[symmetric(12, 12)], [symmetric(3, 6, 6)], [torch.eye(5)]],
        lambda given, found: [
            (given[0] @ found[1], found[1] * found[0].unsqueeze(-2)),
            (found[1].mT @ found[1], eye_of(given[0])),
            (found[0], torch.linalg.eigvalsh(given[0])),
        ],
    ),
    "eig": (
        "linalg_eig(Tensor self) -> (Tensor eigenvalues, Tensor eigenvectors)",
        torch.linalg.eig,
        [[make(3, 3)], [make(2, 3, 3)]],
        [
            [make(9, 9)],
            [make(3, 6, 6)],
            [torch.tensor([[0.0, 1.0], [-1.0, 0.0]])],
            [torch.eye(4)],
            [torch.eye(5) * torch.arange(5.0)],
        ],
        of_eig,
    ),
    "qr": (
        'linalg_qr(Tensor A, str mode="reduced") -> (Tensor Q, Tensor R)',
        torch.linalg.qr,
        [[make(3, 2)], [make(2, 3, 2)]],
        [[make(11, 7)], [make(7, 11)], [make(3, 5, 5)]],
        lambda given, found: [
            (found[0] @ found[1], given[0]),
            (found[0].mT @ found[0], eye_of(found[0])),
            (found[1].tril(-1), torch.zeros_like(found[1])),
        ],
    ),
    "lu": (
        "linalg_lu(Tensor A, *, bool pivot=True) -> (Tensor P, Tensor L, Tensor U)",
        torch.linalg.lu,
        [[make(3, 2)], [make(2, 3, 2)]],
        [[make(9, 6)], [make(6, 9)], [make(3, 5, 5)], [torch.zeros(3, 3)]],
        lambda given, found: [
            (found[0] @ found[1] @ found[2], given[0]),
            (found[1].triu(1), torch.zeros_like(found[1])),
            (found[1].tril().diagonal(dim1=-2, dim2=-1),
             torch.ones(found[1].diagonal(dim1=-2, dim2=-1).shape, dtype=given[0].dtype)),
            *zip(found, torch.linalg.lu(given[0]), strict=True),
        ],
    ),
    "solve": (
        "linalg_solve(Tensor A, Tensor B, *, bool left=True) -> Tensor",
        torch.linalg.solve,
        [[positive(3, 3), make(3, 2)], [positive(2, 3, 3), make(3, 2)], [positive(3, 3), make(3)]],
        [[positive(9, 9), make(9, 20)], [positive(4, 5, 5), make(5, 3)], [positive(7, 7), make(7)]],
        lambda given, found: [(given[0] @ found[0], given[1].expand_as(found[0]))],
    ),
    "slogdet": (
        "linalg_slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)",
        torch.linalg.slogdet,
        [[make(3, 3)], [make(2, 3, 3)]],
        [[make(9, 9)], [make(5, 4, 4)], [torch.zeros(3, 3)]],
        lambda given, found: list(zip(found, torch.linalg.slogdet(given[0]), strict=True)),
    ),
    "cholesky": (
        "linalg_cholesky_ex(Tensor self, *, bool upper=False, bool check_errors=False) -> "
        "(Tensor L, Tensor info)",
        torch.linalg.cholesky_ex,
        [[positive(3, 3)], [positive(2, 3, 3)]],
        [[positive(9, 9)], [positive(4, 5, 5)]],
        lambda given, found: [(found[0] @ found[0].mT, given[0]),
                              (found[1].to(given[0].dtype), torch.zeros(given[0].shape[:-2]))],
    ),
    "ldl": (
        "linalg_ldl_factor(Tensor self, *, bool hermitian=False) -> (Tensor LD, Tensor pivots)",
        torch.linalg.ldl_factor,
        [[symmetric(3, 3)], [symmetric(2, 3, 3)]],
        [[symmetric(9, 9)], [symmetric(4, 6, 6)], [symmetric(6, 6).fill_diagonal_(0.0)]],
        lambda given, found: [
            (torch.linalg.ldl_solve(found[0].double(), found[1], eye_of(given[0].double()))
             @ given[0].double(), eye_of(given[0].double())),
            (found[1].double(), torch.linalg.ldl_factor(given[0])[1].double()),
        ],
    ),
    "matrix_exp": (
        "matrix_exp(Tensor self) -> Tensor",
        torch.linalg.matrix_exp,
        [[make(3, 3)]],
        [[make(8, 8)], [torch.zeros(4, 4)]],
        lambda given, found: [(found[0].double(), torch.linalg.matrix_exp(given[0].double()))],
    ),
    "pinv": (
        "linalg_pinv(Tensor self, *, float? atol=None, float? rtol=None, bool hermitian=False) "
        "-> Tensor",
        torch.linalg.pinv,
        [[make(3, 2)], [make(2, 3)]],
        [[make(9, 4)], [make(4, 9)], [make(6, 2) @ make(2, 6)]],
        lambda given, found: [(given[0] @ found[0] @ given[0], given[0]),
                              (found[0] @ given[0] @ found[0], found[0])],
    ),
    "lstsq": (
        "linalg_lstsq(Tensor self, Tensor b, float? rcond=None, *, str? driver=None) -> "
        "(Tensor solution, Tensor residuals, Tensor rank, Tensor singular_values)",
        torch.linalg.lstsq,
        [[make(4, 3), make(4, 2)], [make(3, 4), make(3, 2)]],
        [[make(9, 5), make(9, 4)], [make(5, 9), make(5, 4)]],
        lambda given, found: [(given[0].mT @ (given[0] @ found[0] - given[1]),
                               torch.zeros(given[0].shape[1], given[1].shape[1])),
                              (found[0], torch.linalg.pinv(given[0]) @ given[1])],
    ),
}  # fmt: skip


def gap(found: torch.Tensor, due: torch.Tensor) -> float:
    """Return the largest difference in units of the sum of elements due, at least 1."""
    found, due = found.double(), due.double()
    if found.shape != due.shape:
        return float("inf")
    if not due.numel():
        return 0.0
    same = found == due
    scale = due[due.abs() < float("inf")].abs().sum().clamp(1.0, 1e6)
    far = torch.where(same, torch.zeros_like(due), (found - due).abs() / scale)
    return float(far.nan_to_num(nan=float("inf")).max())


def examine(name: str, folder: Path, block: int) -> dict[str, Any]:
    schema, function, shown, unseen, check = CASES[name]
    signature = Signature.parse(schema)
    calls = [Call(function, tuple(given), {}) for given in shown]
    source, made = synthesize(signature, calls, Schedule(block=block))
    report = lint_text(source, signature, find_profile("interpreter"), size_reads=True)
    candidate = KernelCandidate.of(name, source)
    file = str(folder / f"generated_{candidate.sha[:24]}.py")
    recorder = Recorder(BlackBox(), file, HEADER_LINES)
    STATE.recorder, STATE.align_bytes = recorder, 1
    module = load_module(candidate, folder)
    gaps, failed = [], []
    for given in [*shown, *unseen]:
        tree, data = pack((tuple(given), {}))
        request = {"tree": tree, "place": [0, len(data)], "form": "functional"}
        outcome, out = run_call(module, request, bytes(data), recorder)
        if outcome["status"] != "ran":
            failed.append(str(outcome)[:400])
            continue
        result = unpack(outcome["tree"], out)
        found = [result] if isinstance(result, torch.Tensor) else list(result)
        gaps.append(max(gap(one, due) for one, due in check(given, found)))
    return {
        "source": source,
        "signature": schema,
        "refused": made.refused,
        "lint": report.text() if not report.passed else "",
        "failed": failed,
        "gaps": gaps,
        "rules": made.rules,
        "launches": [one.model_dump(mode="json") for one in recorder.launches.values()],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        found = {
            name: examine(name, Path(made_in), int(sys.argv[1])) for name in (sys.argv[2:] or CASES)
        }
    print(json.dumps(found))
