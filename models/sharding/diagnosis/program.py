"""The ops of one layer of a layout, played through the streams of one chip."""

from __future__ import annotations

import math
from collections import defaultdict

from models.sharding.diagnosis.base import Kind
from models.sharding.diagnosis.machine import Machine
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.memory import held_params

EXACT = 6
"""Layers that are played through; more follow from the difference of 6 and 3."""


class Clock:
    """Streams of one chip: products, the host that launches, transfers beside them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now = self.host = 0.0
        # Each axis has links of its own.
        self.side: dict[Kind, float] = {}
        self.spent: defaultdict[str, float] = defaultdict(float)

    def launch(self) -> None:
        """Let the host issue one pass of a layer; the chip waits where it is ahead."""
        self.host += self.machine.launch_s
        if self.host > self.now:
            self.spent["idle"] += self.host - self.now
            self.now = self.host

    def work(self, name: str, seconds: float) -> None:
        """Run something on the chip."""
        self.now += seconds
        self.spent[name] += seconds

    def block(self, kind: Kind, volume: float, hidden: float = 0.0, hidden_s: float = 0.0) -> None:
        """Transfer while products wait, but for what hides."""
        seconds = self.machine.transfer_s(kind, volume)
        seen = max(seconds * (1 - hidden) - hidden_s, 0.0)
        self._note(kind, seconds, seen, volume)
        self.now += seen

    def beside(self, kind: Kind, volume: float) -> float:
        """Transfer on the side stream; return when it ends. Without prefetch: wait for it."""
        seconds = self.machine.transfer_s(kind, volume)
        ends = max(self.side.get(kind, 0.0), self.now) + seconds
        self.side[kind] = ends
        self._note(kind, seconds, 0.0, volume)
        if not self.machine.is_prefetching:
            self.wait(kind, ends)
        return ends

    def wait(self, kind: Kind, until: float) -> None:
        """Wait for a transfer on a side stream."""
        if until > self.now:
            self.spent[f"{kind}.exposed"] += until - self.now
            self.now = until

    def _note(self, kind: Kind, seconds: float, seen: float, volume: float) -> None:
        self.spent[f"{kind}.total"] += seconds
        self.spent[f"{kind}.exposed"] += seen
        if self.machine.axes[kind].size > 1 and volume > 0:
            self.spent[f"{kind}.bytes"] += volume
            self.spent[f"{kind}.count"] += 1


class Program:
    """The sizes of one layer of a layout, and how its passes run."""

    def __init__(self, job: Job, layout: Layout, machine: Machine) -> None:
        model, work = job.model, job.workload
        self.job, self.layout, self.machine = job, layout, machine
        self.tokens = layout.micro_batch * work.seq_len / layout.context
        self.layers = math.ceil(model.layers / layout.pipeline)
        self.moe = model.moe_layers / model.layers
        dense, routed = (float(one[0]) for one in held_params(LayoutTable.of([layout]), job))
        self.held = dense + routed
        self.weight_bytes = self.held / self.layers * work.weight_bytes
        shards = machine.axes["fsdp"].size
        self.grad_bytes = self.held / self.layers / shards * work.grad_bytes
        self.row_bytes = self.tokens * model.hidden * 2.0

    def forward(self, clock: Clock, again: bool = False, half: bool = False) -> None:
        """Play one layer; `again`: repeated, `half`: only its MLP."""
        model, layout, machine = self.job.model, self.layout, self.machine
        name = "repeated" if again else "compute"
        tokens, tensor = self.tokens, layout.tensor
        clock.launch()
        if not half:
            clock.block("tensor", self.row_bytes, machine.tensor_hidden)
            width = model.heads * model.head_dim / tensor
            flops = 2.0 * tokens * model.attention_params / tensor
            clock.work(name, machine.product_s(flops, tokens, width))
            self._flops(clock, flops)
            attention = model.attention_flops(self.job.workload.seq_len) / model.layers
            flops = attention * tokens / tensor
            seconds = machine.product_s(flops, tokens, model.head_dim * 2) * 1.2
            clock.work(name, seconds)
            self._flops(clock, flops)
            keys = 2 * model.kv_heads * model.head_dim / min(tensor, model.kv_heads) * 2.0
            clock.block("context", tokens * layout.context * keys, hidden_s=seconds)
            clock.block("tensor", self.row_bytes, machine.tensor_hidden)
        clock.block("tensor", self.row_bytes, machine.tensor_hidden)
        self._mlp(clock, name)
        clock.block("tensor", self.row_bytes, machine.tensor_hidden)
        clock.work("hbm", machine.memory_s((8 if half else 16) * self.row_bytes / tensor))
        self._relayout(clock)

    def _mlp(self, clock: Clock, name: str, times: float = 1.0) -> None:
        """Play the MLP or the experts; layers of both sorts are mixed by their share."""
        model, layout, machine = self.job.model, self.layout, self.machine
        tokens, tensor = self.tokens, layout.tensor
        plain = (1 - self.moe) * model.mlp_params
        plain += self.moe * model.shared_experts * model.expert_params
        flops = times * 2.0 * tokens * plain / tensor
        clock.work(name, machine.product_s(flops, tokens, model.ffn / tensor))
        self._flops(clock, flops)
        if not model.experts:
            return
        uneven = 1.0 if "imbalance" in machine.without else machine.imbalance
        uneven = uneven if layout.expert > 1 else 1.0
        sent = tokens / tensor * model.experts_per_token * model.hidden * 2.0 * uneven * self.moe
        ring = self.job.place.chip.kind == "tpu"
        volume = sent * (layout.expert / 4 if ring else 1.0)
        clock.block("expert", volume)
        visits = tokens * model.experts_per_token * uneven
        flops = times * 2.0 * visits * model.expert_params * self.moe / tensor
        seconds = machine.product_s(
            flops, max(visits * layout.expert / model.experts, 64.0), model.expert_ffn
        )
        clock.work(name, seconds * 1.3)
        clock.spent["expert.s"] += seconds * 1.3
        clock.spent["expert.flops"] += flops
        self._flops(clock, flops)
        clock.block("expert", volume)

    def backward(self, clock: Clock, with_sums: bool) -> None:
        """Play one layer backward: repeat what was not saved, then twice the products."""
        model, layout, machine = self.job.model, self.layout, self.machine
        if "recompute" not in machine.without:
            if layout.remat == "full":
                self.forward(clock, again=True)
            elif layout.remat == "selective":
                self.forward(clock, again=True, half=True)
        clock.launch()
        clock.launch()
        tokens, tensor = self.tokens, layout.tensor
        for _ in range(4):
            clock.block("tensor", self.row_bytes, machine.tensor_hidden)
        width = model.heads * model.head_dim / tensor
        attention = model.attention_flops(self.job.workload.seq_len) / model.layers
        flops = 4.0 * tokens * model.attention_params / tensor
        clock.work("compute", machine.product_s(flops, tokens, width))
        score = 2.0 * attention * tokens / tensor
        seconds = machine.product_s(score, tokens, model.head_dim * 2) * 1.2
        clock.work("compute", seconds)
        self._flops(clock, flops + score)
        keys = 2 * model.kv_heads * model.head_dim / min(tensor, model.kv_heads) * 2.0
        clock.block("context", 2 * tokens * layout.context * keys, hidden_s=seconds)
        self._mlp(clock, "compute", times=2.0)
        clock.work("hbm", machine.memory_s(24 * self.row_bytes / tensor))
        self._relayout(clock)
        if machine.axes["fsdp"].size > 1:
            clock.beside("fsdp", self.weight_bytes)
        if with_sums and machine.axes["data"].size > 1:
            clock.beside("data", 2.0 * self.grad_bytes)

    def _relayout(self, clock: Clock) -> None:
        machine = self.machine
        if machine.relayout_bytes and "relayout" not in machine.without:
            link = self.job.place.chip.link_bytes_per_s
            seconds = machine.relayout_bytes / link + 2 * machine.relayout_bytes / machine.hbm
            clock.spent["moved"] += machine.relayout_bytes / link
            clock.work("copy", seconds)
            clock.spent["copy.bytes"] += machine.relayout_bytes

    def _flops(self, clock: Clock, flops: float) -> None:
        clock.spent["flops"] += flops

    def play(self, layers: int, direction: str, with_sums: bool = False) -> Clock:
        """Play one pass of one micro-batch over some layers."""
        clock = Clock(self.machine)
        gathers = self.machine.axes["fsdp"].size > 1
        ready = clock.beside("fsdp", self.weight_bytes) if gathers else 0.0
        for layer in range(layers):
            if gathers:
                clock.wait("fsdp", ready)
                if layer + 1 < layers and self.machine.is_prefetching:
                    ready = clock.beside("fsdp", self.weight_bytes)
            if direction == "forward":
                self.forward(clock)
            else:
                self.backward(clock, with_sums)
            if gathers and layer + 1 < layers and not self.machine.is_prefetching:
                ready = clock.beside("fsdp", self.weight_bytes)
        for kind in ("fsdp", "data"):
            clock.wait(kind, clock.side.get(kind, 0.0))
        clock.spent["time"] = clock.now
        return clock

    def passed(self, direction: str, with_sums: bool = False) -> defaultdict[str, float]:
        """Return what one pass over all layers of a stage takes."""
        if self.layers <= EXACT:
            return self.play(self.layers, direction, with_sums).spent
        long = self.play(EXACT, direction, with_sums).spent
        short = self.play(EXACT // 2, direction, with_sums).spent
        more = (self.layers - EXACT) / (EXACT - EXACT // 2)
        return defaultdict(float, {k: long[k] + more * max(long[k] - short[k], 0.0) for k in long})
