"""The few numbers of the memory and cost models that a site can be calibrated on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Constants:
    """Defaults are rounded values from the literature, not fitted on any row of a benchmark."""

    efficiency: float = 0.68
    """Share of the peak that large matrix products reach inside a training step."""
    attention_efficiency: float = 0.7
    """Efficiency of attention over that of large products; it is computed in 16 bits always. Its
    backward pass takes 2.5 forward ones, not 2, and softmax takes its share (Dao 2023, Shah et
    al. 2024)."""
    narrow_efficiency: float = 0.75
    """Efficiency of products in 8 or 4 bits over those in 16: scaling and casting take time, and
    trainers report 1.3 to 1.5 times the speed of bf16 where the peak is twice as high."""
    half_tokens: float = 300.0
    """Tokens per chip and micro-batch at which half of that is reached."""
    half_width: float = 250.0
    """Inner width of a shard of the MLP at which half of that is reached."""
    link_share: float = 0.8
    """Share of the rate of links (ICI, NVLink) that collectives reach."""
    network_share: float = 0.7
    """Share of the rate of the network that collectives reach."""
    link_latency_s: float = 1e-6
    """Seconds per hop of a collective over links."""
    network_latency_s: float = 8e-6
    """Seconds per hop of a collective over the network."""
    congestion_chips: float = 4096.0
    """Chips at which the network gives half of that rate."""
    congestion_power: float = 1.0
    """How sharply it falls beyond."""
    overlap: float = 0.85
    """Share of the weight and gradient collectives that can hide behind computing."""
    tensor_overlap: float = 0.3
    """Share of the collectives of tensor parallelism that hides."""
    stage_share: float = 0.5
    """Share of the network's rate that transfers between stages reach."""
    stage_latency_s: float = 2e-5
    """Seconds per transfer between stages."""
    layer_latency_s: float = 3e-5
    """Seconds per layer and micro-batch that the host needs to launch its work."""
    tensor_launch: float = 2.0
    """How much longer that takes where collectives of tensor parallelism are launched too."""
    step_latency_s: float = 5e-3
    """Seconds per step beside all this."""
    host_bytes_per_s: float = 16e9
    """Rate of a chip to the memory of its host and back: PCIe 4.0 x16 shared by two chips."""
    expert_imbalance: float = 1.25
    """Tokens of the busiest expert shard over the mean."""
    expert_efficiency: float = 0.6
    """Efficiency of products of experts over that of dense ones."""
    activation_share: float = 1.0
    """Measured activations over counted ones."""
    logit_bytes: float = 4.0
    """Bytes per token and vocabulary entry held around the loss; half of it where XLA fuses it."""
    state_share: float = 1.0
    """Measured weights, gradients and optimizer over counted ones."""
    reserved_bytes: float = 1.5e9
    """Runtime, collective buffers, fragmentation, in bytes."""
    memory_spread: float = 0.12
    """Spread of real over predicted memory, standard deviation of the log."""
    time_spread: float = 0.2
    """Spread of real over predicted step times, standard deviation of the log."""


Z90 = 1.2816
"""90 % quantile of the standard normal: P10 and P90 lie this many spreads from the middle."""
DEFAULT = Constants()
