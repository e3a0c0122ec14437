"""Cases of end_to_end.py whose size, order or number of results data or sizes decide."""

import torch
from torch.nn import functional

from models.kernels.synth.calls import Call

torch.manual_seed(7)
TIES = torch.randint(-4, 4, (6, 40)).float()
MASK = torch.tensor([[True, False, True], [False, False, True], [True, True, False]])
WITH_NAN = torch.tensor([[2.0, float("nan"), 2.0, -1.0], [float("inf"), 0.0, -0.0, float("nan")]])
WORDS = torch.tensor([[3, 1, 2], [3, 1, 2], [0, 5, 5], [3, 1, 1]])


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def picked(self: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return self[mask]


CASES: dict[str, tuple[str, list[Call]]] = {
    "pad round a circle": (
        "pad(Tensor input, int[] pad, str mode='constant', float? value=None) -> Tensor",
        [
            Call(functional.pad, (rand(2, 3, 5), (2, 3), "circular"), {}),
            Call(functional.pad, (rand(2, 3, 6), (-1, 2), "circular"), {}),
            Call(functional.pad, (rand(1, 2, 4, 5), (1, 2, 3, -1), "circular"), {}),
        ],
    ),
    "roll by open shifts": (
        "roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor",
        [Call(torch.roll, (rand(4, 5), (shift, -2), (0, 1)), {}) for shift in (2, 7, -3, 0)],
    ),
    "nonzero": (
        "nonzero(Tensor self) -> Tensor",
        [Call(torch.nonzero, (x,), {}) for x in (MASK, TIES, torch.zeros(2, 3), torch.ones(()))],
    ),
    "nonzero_static": (
        "nonzero_static(Tensor self, *, SymInt size, int fill_value=-1) -> Tensor",
        [Call(torch.nonzero_static, (MASK,), {"size": size}) for size in (3, 9)],
    ),
    "masked_select": (
        "masked_select(Tensor self, Tensor mask) -> Tensor",
        [
            Call(torch.masked_select, (rand(3, 3), MASK), {}),
            Call(torch.masked_select, (rand(4, 1, 3), MASK), {}),
        ],
    ),
    "index by a mask": (
        "index(Tensor self, Tensor mask) -> Tensor",
        [Call(picked, (rand(3, 3), MASK), {}), Call(picked, (rand(3, 5), MASK[0]), {})],
    ),
    "index_put by a mask": (
        "index_put(Tensor self, Tensor[] indices, Tensor values, bool accumulate=False) -> Tensor",
        [
            Call(torch.index_put, (rand(3, 3), (MASK,), torch.tensor(7.0)), {}),
            Call(torch.index_put, (rand(3, 3), (MASK,), rand(int(MASK.sum()))), {}),
        ],
    ),
    "masked_scatter": (
        "masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
        [Call(torch.masked_scatter, (rand(3, 3), MASK, rand(9)), {})],
    ),
    "repeat_interleave": (
        "repeat_interleave(Tensor self, Tensor repeats, int? dim=None) -> Tensor",
        [Call(torch.repeat_interleave, (rand(3, 2), torch.tensor([2, 0, 3]), 0), {})],
    ),
    "unique": (
        "unique(Tensor input, bool sorted=True, bool return_inverse=False, "
        "bool return_counts=False, int? dim=None) -> Any",
        [
            Call(torch.unique, (TIES,), {"return_inverse": True, "return_counts": True}),
            Call(torch.unique, (WORDS, True, True, True, 0), {}),
        ],
    ),
    "unique_consecutive": (
        "unique_consecutive(Tensor input, bool return_inverse=False, bool return_counts=False, "
        "int? dim=None) -> Any",
        [Call(torch.unique_consecutive, (torch.tensor([3, 3, 1, 1, 1, 3]), True, True), {})],
    ),
    "stable sort": (
        "sort(Tensor self, int dim=-1, bool descending=False, *, bool stable=False) "
        "-> (Tensor values, Tensor indices)",
        [
            Call(torch.sort, (x,), {"dim": dim, "descending": descending, "stable": True})
            for x in (TIES, WITH_NAN, TIES.long())
            for dim in (0, 1)
            for descending in (False, True)
        ],
    ),
    "mode": (
        "mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
        [
            Call(torch.mode, (torch.tensor([[1, 3, 3, 1], [2, 0, 2, 5]]), 1, k), {})
            for k in (False, True)
        ],
    ),
    "histc": (
        "histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor",
        [Call(torch.histc, (TIES,), {"bins": 5, "min": a, "max": b}) for a, b in ((-3, 3), (0, 0))],
    ),
    "histogram": (
        "histogram(Tensor self, int bins, *, Tensor? weight=None, bool density=False) -> Any",
        [
            Call(torch.histogram, (rand(50), 7), {"density": d, "weight": w})
            for d in (False, True)
            for w in (None, torch.rand(50))
        ]
        # Of nothing the edges are those of 0 to 1, which no smallest element tells.
        + [Call(torch.histogram, (rand(0, 5), 3), {})],
    ),
    "bincount": (
        "bincount(Tensor self, Tensor? weights=None, SymInt minlength=0) -> Tensor",
        [
            Call(torch.bincount, (torch.tensor([1, 4, 1]),), {"minlength": 2}),
            Call(torch.bincount, (torch.tensor([1, 4, 1]), rand(3)), {"minlength": 9}),
        ],
    ),
    "searchsorted": (
        "searchsorted(Tensor sorted_sequence, Tensor self, *, bool right=False) -> Tensor",
        [
            Call(torch.searchsorted, (TIES.sort().values, rand(6, 3).round()), {"right": r})
            for r in (False, True)
        ],
    ),
    "segment_reduce": (
        "segment_reduce(Tensor data, str reduce, *, Tensor? lengths=None, Scalar? initial=None) "
        "-> Tensor",
        [
            Call(
                torch.segment_reduce,
                (rand(7, 2), how),
                {"lengths": torch.tensor([2, 0, 5]), "initial": 1.0},
            )
            for how in ("sum", "mean", "max", "min", "prod")
        ],
    ),
    "put": (
        "put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
        [
            Call(torch.put, (rand(3, 4), torch.tensor([0, -1, 5, 5]), rand(4)), {"accumulate": a})
            for a in (False, True)
        ],
    ),
    "one_hot": (
        "one_hot(Tensor self, int num_classes=-1) -> Tensor",
        [
            Call(functional.one_hot, (torch.tensor([[0, 4], [2, 1]]),), {"num_classes": n})
            for n in (-1, 6)
        ],
    ),
    "allclose": (
        "allclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08) -> bool",
        [Call(torch.allclose, (TIES, TIES + gap), {}) for gap in (0.0, 0.25)],
    ),
    "take_along_dim": (
        "take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor",
        [Call(torch.take_along_dim, (rand(3, 5), torch.tensor([[4, 0]]), 1), {})],
    ),
    "combinations": (
        "combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor",
        [Call(torch.combinations, (rand(4), 3, replace), {}) for replace in (False, True)],
    ),
    "transpose": (
        "transpose(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
        [Call(torch.transpose, (rand(3, 4, 2), 0, 2), {})],
    ),
    "chunk": (
        "chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]",
        [Call(torch.chunk, (rand(5, 3), 2, 0), {})],
    ),
    "unsafe_chunk": (
        "unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]",
        [Call(torch.unsafe_chunk, (rand(5, 3), 2, 0), {})],
    ),
    "flatten": (
        "flatten(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)",
        [Call(torch.flatten, (rand(3, 4, 2), 1), {})],
    ),
    "squeeze": ("squeeze(Tensor(a) self) -> Tensor(a)", [Call(torch.squeeze, (rand(3, 4),), {})]),
    "logsumexp": (
        "logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor",
        [Call(torch.logsumexp, (rand(3, 4), 1), {})],
    ),
    "mul": ("mul(Tensor self, Tensor other) -> Tensor", [Call(torch.mul, (rand(3, 4),) * 2, {})]),
}
UNSEEN: dict[str, list[Call]] = {
    "nonzero": [Call(torch.nonzero, (rand(70, 130).round(),), {})],
    "masked_select": [Call(torch.masked_select, (rand(90, 40), rand(90, 40) > 0), {})],
    "index_put by a mask": [
        Call(torch.index_put, (rand(8, 6), (torch.eye(8, 6) > 0,), rand(1)), {})
    ],
    "unique": [
        Call(torch.unique, (rand(50, 70).round(),), {"return_inverse": True, "return_counts": True})
    ],
    "stable sort": [
        Call(torch.sort, (rand(3, 1000).round(),), {"dim": 1, "descending": False, "stable": True}),
        Call(torch.sort, (rand(300, 2).round(),), {"dim": 0, "descending": True, "stable": True}),
    ],
    "transpose": [Call(torch.transpose, (rand(4, 6, 5).transpose(0, 1)[:, ::2], 0, 2), {})],
    "chunk": [Call(torch.chunk, (rand(size, 3), 2, 0), {}) for size in (1, 2, 7, 100)],
    "unsafe_chunk": [Call(torch.unsafe_chunk, (rand(size, 3), 2, 0), {}) for size in (1, 9)],
    "flatten": [Call(torch.flatten, (rand(5, 3, 4).transpose(1, 2), 1), {})],
    "squeeze": [Call(torch.squeeze, (rand(*shape),), {}) for shape in ((0, 5), (1, 5), (5, 1))],
    "logsumexp": [Call(torch.logsumexp, (rand(*s), 1), {}) for s in ((1, 5), (5, 1), (0, 5))],
    "mul": [
        Call(torch.mul, (rand(*s), rand(*s)), {}) for s in ((0, 4), (1, 1), (1, 9), (2050,), ())
    ],
}
"""Sizes that no program was written from, those of 0 and 1 and other ranks among them."""
READS = frozenset(
    {
        "nonzero",
        "unique",
        "unique_consecutive",
        "masked_select",
        "repeat_interleave",
        "bincount",
        "one_hot",
        "allclose",
        "combinations",
        "index by a mask",
        "index_put by a mask",
    }
)
"""Operators whose wrapper reads a number that a kernel made."""
