"""Cases of end_to_end.py for layers of networks: pools, images, norms, distances, attention."""

import torch
from torch.nn import functional

from models.kernels.synth.calls import Call

torch.manual_seed(11)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def with_nan() -> torch.Tensor:
    x = rand(2, 3, 9)
    x[0, 1, 2], x[0, 1, 3], x[1, 2, :] = float("nan"), float("nan"), float("-inf")
    return x


_POOL = "int[2] kernel_size, int[2] stride=None, int[2] padding=0, int[2] dilation=1"
_GRID = rand(2, 3, 4, 5, 3) * 0.9
_BUFFERS = "Tensor? running_mean, Tensor? running_var, Tensor? weight=None, Tensor? bias=None"
SIGNS = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0, -1.0])
CASES: dict[str, tuple[str, list[Call]]] = {
    "max_pool2d": (
        f"max_pool2d(Tensor input, {_POOL}, bool ceil_mode=False, bool return_indices=False) "
        "-> Tensor",
        [
            Call(functional.max_pool2d, (rand(2, 3, 9, 8), 3), {"return_indices": True}),
            Call(functional.max_pool2d, (rand(2, 3, 9, 8), 3, 2, 1, 1, True), {}),
            Call(functional.max_pool2d, (rand(3, 9, 8), (3, 2), (2, 1), 1, 2), {}),
        ],
    ),
    "max_pool1d": (
        "max_pool1d(Tensor input, int[1] kernel_size, int[1] stride=None, int[1] padding=0, "
        "int[1] dilation=1, bool ceil_mode=False, bool return_indices=False) -> Tensor",
        [Call(functional.max_pool1d, (with_nan(), 3, 1, 1), {"return_indices": True})],
    ),
    "avg_pool2d": (
        "avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=None, int[2] padding=0, "
        "bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
        [
            Call(functional.avg_pool2d, (rand(2, 3, 9, 8), 3, 2, 1, True, False), {}),
            Call(functional.avg_pool2d, (rand(3, 9, 8), (3, 2)), {"divisor_override": 5}),
        ],
    ),
    "adaptive_avg_pool2d": (
        "adaptive_avg_pool2d(Tensor input, SymInt[2] output_size) -> Tensor",
        [Call(functional.adaptive_avg_pool2d, (rand(2, 3, 9, 8), (4, 3)), {})],
    ),
    "adaptive_max_pool3d": (
        "adaptive_max_pool3d(Tensor input, int[3] output_size, bool return_indices=False) "
        "-> Tensor",
        [Call(functional.adaptive_max_pool3d, (rand(2, 3, 5, 6, 7), (4, 3, 2), True), {})],
    ),
    "pixel_shuffle": (
        "pixel_shuffle(Tensor self, int upscale_factor) -> Tensor",
        [Call(torch.pixel_shuffle, (rand(2, 18, 3, 4), 3), {})],
    ),
    "pixel_unshuffle": (
        "pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor",
        [Call(torch.pixel_unshuffle, (rand(2, 5, 6, 9), 3), {})],
    ),
    "upsample antialiased": (
        "_upsample_bilinear2d_aa(Tensor self, SymInt[2] output_size, bool align_corners, "
        "float? scales_h=None, float? scales_w=None) -> Tensor",
        [
            Call(torch.ops.aten._upsample_bilinear2d_aa, (rand(1, 2, 13, 9), (5, 4), corners), {})
            for corners in (False, True)
        ],
    ),
    "grid_sample": (
        "grid_sample(Tensor input, Tensor grid, str mode='bilinear', str padding_mode='zeros', "
        "bool? align_corners=None) -> Tensor",
        [
            Call(
                functional.grid_sample, (rand(2, 3, 6, 7, 5), _GRID * 1.5, mode, padding, False), {}
            )
            for mode, padding in (("bilinear", "reflection"), ("nearest", "zeros"))
        ],
    ),
    "batch_norm": (
        f"batch_norm(Tensor input, {_BUFFERS}, bool training=False, float momentum=0.1, "
        "float eps=1e-05) -> Tensor",
        [
            Call(
                functional.batch_norm,
                (rand(4, 3, 5), rand(3), rand(3).abs()),
                {"training": training},
            )
            for training in (False, True)
        ],
    ),
    "instance_norm": (
        "instance_norm(Tensor input, Tensor? running_mean=None, Tensor? running_var=None, "
        "Tensor? weight=None, Tensor? bias=None, bool use_input_stats=True, float momentum=0.1, "
        "float eps=1e-05) -> Tensor",
        [
            Call(functional.instance_norm, (rand(2, 3, 5, 4), None, None, rand(3), rand(3)), {}),
            Call(
                functional.instance_norm,
                (rand(2, 3, 5), rand(3), rand(3).abs()),
                {"use_input_stats": False},
            ),
        ],
    ),
    "embedding": (
        "embedding(Tensor input, Tensor weight, int? padding_idx=None, float? max_norm=None, "
        "float norm_type=2.0, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
        [
            Call(
                functional.embedding,
                (torch.tensor([[4, 1], [4, 0]]), rand(6, 3)),
                {"max_norm": 1.0, "norm_type": kind},
            )
            for kind in (1.0, 2.0)
        ],
    ),
    "cross_entropy": (
        "cross_entropy(Tensor input, Tensor target, Tensor? weight=None, *, "
        "str reduction='mean', float label_smoothing=0.0) -> Tensor",
        [
            Call(
                functional.cross_entropy,
                (rand(4, 5, 3), rand(4, 5, 3).softmax(1), rand(5).exp()),
                {"reduction": kind, "label_smoothing": 0.1},
            )
            for kind in ("none", "mean", "sum")
        ],
    ),
    "embedding_bag": (
        "embedding_bag(Tensor input, Tensor weight, Tensor? offsets=None, float? max_norm=None, "
        "float norm_type=2.0, bool scale_grad_by_freq=False, str mode='mean', "
        "bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False, "
        "int? padding_idx=None) -> Tensor",
        [
            Call(
                functional.embedding_bag,
                (torch.tensor([4, 1, 4, 0, 2]), rand(6, 3), torch.tensor([0, 2, 2, 4])),
                {"mode": mode, "padding_idx": padding},
            )
            for mode in ("sum", "mean", "max")
            for padding in (None, -2)
        ],
    ),
    "pdist": (
        "pdist(Tensor self, float p=2) -> Tensor",
        [Call(functional.pdist, (rand(7, 4), p), {}) for p in (0.0, 1.0, 2.0, 3.5, float("inf"))],
    ),
    "cdist": (
        "cdist(Tensor x1, Tensor x2, float p=2, int? compute_mode=None) -> Tensor",
        [Call(torch.cdist, (rand(3, 5, 4), rand(3, 6, 4), p), {}) for p in (1.0, 2.0, 3.5)],
    ),
    "cov": (
        "cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None) "
        "-> Tensor",
        [
            Call(torch.cov, (rand(3, 8),), {}),
            Call(
                torch.cov,
                (rand(3, 8),),
                {"fweights": torch.arange(1, 9), "aweights": rand(8).abs()},
            ),
        ],
    ),
    "gradient": (
        "gradient(Tensor self, *, Any spacing=None, int? dim=None, int edge_order=1) -> Tensor[]",
        [Call(torch.gradient, (rand(7, 6),), {"dim": 1, "edge_order": order}) for order in (1, 2)],
    ),
    "kron": (
        "kron(Tensor self, Tensor other) -> Tensor",
        [
            Call(torch.kron, (rand(3, 4), rand(2, 5)), {}),
            Call(torch.kron, (rand(3), rand(2, 5)), {}),
        ],
    ),
    "bilinear": (
        "bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
        [Call(functional.bilinear, (rand(4, 3), rand(4, 5), rand(6, 3, 5), rand(6)), {})],
    ),
    "huber_loss": (
        "huber_loss(Tensor input, Tensor target, str reduction='mean', float delta=1.0) -> Tensor",
        [Call(functional.huber_loss, (rand(5, 3), rand(5, 3)), {"delta": 1.7})],
    ),
    "cosine_embedding_loss": (
        "cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0., "
        "str reduction='mean') -> Tensor",
        [
            Call(
                functional.cosine_embedding_loss,
                (rand(5, 4), rand(5, 4), SIGNS[:5]),
                {"margin": 0.2},
            )
        ],
    ),
}
UNSEEN: dict[str, list[Call]] = {
    "max_pool2d": [
        Call(functional.max_pool2d, (rand(2, 3, 21, 17), 5), {"return_indices": True}),
        Call(functional.max_pool2d, (rand(1, 4, 12, 19), 4, 3, 2, 1, True), {}),
    ],
    "avg_pool2d": [Call(functional.avg_pool2d, (rand(2, 3, 20, 11), 4, 3, 2, True, False), {})],
    "adaptive_avg_pool2d": [Call(functional.adaptive_avg_pool2d, (rand(2, 3, 17, 5), (3, 7)), {})],
    "adaptive_max_pool3d": [
        Call(functional.adaptive_max_pool3d, (rand(1, 2, 4, 9, 5), (2, 5, 3), True), {})
    ],
    "pixel_shuffle": [Call(torch.pixel_shuffle, (rand(3, 8, 5, 2), 2), {})],
    "pixel_unshuffle": [Call(torch.pixel_unshuffle, (rand(3, 2, 8, 4), 4), {})],
    "instance_norm": [
        Call(functional.instance_norm, (rand(3, 5, 7, 2), None, None, rand(5), rand(5)), {})
    ],
    "pdist": [Call(functional.pdist, (rand(40, 3), 2.0), {})],
    "kron": [Call(torch.kron, (rand(6, 3), rand(7, 2)), {})],
    "huber_loss": [Call(functional.huber_loss, (rand(4, 9), rand(4, 9)), {"delta": 0.3})],
    "cosine_embedding_loss": [
        Call(
            functional.cosine_embedding_loss, (rand(9, 3), rand(9, 3), SIGNS[:9]), {"margin": -0.4}
        )
    ],
}
"""Numbers, sizes, widths and factors that no program was written from."""
