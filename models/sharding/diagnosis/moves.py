"""What to change against each limit, as far as the layout leaves room for it."""

from __future__ import annotations

from models.sharding.diagnosis.base import Kind
from models.sharding.job import Job
from models.sharding.layout import Layout


def moves(kind: Kind, job: Job, layout: Layout) -> tuple[str, ...]:
    """Return moves against a limit, the best first, in words without numbers.

    Args:
        kind: The limit.
        job: Model, workload, slice.
        layout: What runs now; a move that it leaves no room for is not named.
    """
    training = job.workload.is_training
    is_split = layout.tensor > 1 or layout.context > 1
    wide = [
        ("less tensor, more fsdp", layout.tensor > 1 and training),
        ("less tensor, more replicas", layout.tensor > 1 and not training),
        ("collective matmul: overlap the transfers with products", layout.tensor > 1),
    ]
    table: dict[Kind, list[tuple[str, bool]]] = {
        "compute": [
            ("less context, more data", layout.context > 1 and training),
            ("a narrower number format for products", job.workload.compute == "bf16"),
            ("more chips", True),
        ],
        "hbm": [
            ("more tensor, so that each chip reads fewer weights", not training),
            ("more sequences decoded together", not training),
            ("more tensor, so that each chip touches fewer activations", training),
            ("fused kernels, narrower optimizer state", training),
        ],
        "data": [
            ("gradients in a narrower format", job.workload.grad_bytes > 2),
            ("more micro-steps per optimizer step", training),
            ("less data, more fsdp", layout.data > 1),
        ],
        "fsdp": [
            ("a larger micro-batch: weights are gathered once per micro-batch", training),
            ("less fsdp, more tensor", layout.fsdp > 1),
            ("less fsdp, more data", layout.fsdp > 1),
        ],
        "tensor": wide,
        "context": [("less context, more data", layout.context > 1)],
        "expert": [
            ("less expert, more fsdp", layout.expert > 1 and training),
            ("experts inside the fastest links", layout.expert > 1),
        ],
        "pipeline": [
            ("fewer stages", layout.pipeline > 1),
            ("stages inside the fastest links", layout.pipeline > 1),
        ],
        "network": [
            ("only data over the network, the other axes inside a pod or domain", True),
            ("more micro-steps per optimizer step", training),
        ],
        "bubble": [
            ("a smaller micro-batch: more of them fill the stages", layout.micro_batch > 1),
            ("interleaved chunks", layout.pipeline > 1 and layout.interleave == 1),
            ("fewer stages, more fsdp", layout.pipeline > 1),
        ],
        "recompute": [("recompute less: what is saved instead fits", layout.remat != "none")],
        "launch": [
            ("a larger micro-batch", training),
            ("less tensor, so that each launch does more", is_split),
            ("capture the step (CUDA graph, one compiled program)", True),
        ],
        "input": [("prefetch and decode input on more host threads", True)],
        "host": [("recompute instead of offloading", layout.remat == "offload")],
        "imbalance": [
            ("a balancing loss or a capacity per expert", True),
            ("less expert: fewer shards even out", layout.expert > 1),
        ],
        "overlap": [
            ("asynchronous collectives, prefetch of the next layer's weights", True),
            ("a scheduler with latency hiding", True),
        ],
        "relayout": [("constrain shardings where the pattern is, so that both sides agree", True)],
        "straggler": [
            ("find the chip that computes longest and replace or drain its host", True),
            ("look for throttling and for neighbours on its host", True),
        ],
        "capacity": [
            ("more weight shards, to make room", layout.data > 1 and training),
            ("offload activations", training and layout.remat != "offload"),
            ("a smaller micro-batch with less recomputation", layout.micro_batch > 1),
            ("a chip with more memory, or more chips", True),
        ],
    }
    return tuple(text for text, has_room in table[kind] if has_room)
