"""One step of a layout, op by op: the physics behind injected profiles.

Written apart from `cost.py` on purpose: streams and launches are played through layer by layer,
latency and transfer add up, stages follow 1F1B event by event. Nothing here is imported by
what diagnoses.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from models.sharding.diagnosis.machine import Machine
from models.sharding.diagnosis.program import EXACT, Clock, Program
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable


@dataclass(frozen=True)
class Ran:
    """What one step took, on the chip that is looked at."""

    step_s: float
    spent: defaultdict[str, float]
    """Seconds, FLOPs, bytes and counts by name: `compute`, `repeated`, `expert`, `hbm`, `copy`,
    `idle`, `stall`, `bubble`, `sync`, and per axis `<axis>.total`, `.exposed`, `.bytes`,
    `.count`."""


def one_f_one_b(
    forward_s: float, backward_s: float, send_s: float, stages: int, count: int
) -> float:
    """Return when the last backward of the first stage ends, playing 1F1B event by event.

    Source: Narayanan et al. (2019), "PipeDream".
    """
    orders = []
    for stage in range(stages):
        warm = min(stages - 1 - stage, count)
        order = [("f", i) for i in range(warm)]
        for i in range(count - warm):
            order += [("f", warm + i), ("b", i)]
        order += [("b", i) for i in range(count - warm, count)]
        orders.append(order)
    done: dict[tuple[str, int, int], float] = {}
    at, clock = [0] * stages, [0.0] * stages
    left = sum(len(order) for order in orders)
    while left:
        for stage in range(stages):
            while at[stage] < len(orders[stage]):
                which, i = orders[stage][at[stage]]
                before = (which, stage - 1, i) if which == "f" else (which, stage + 1, i)
                edge = stage == 0 if which == "f" else stage == stages - 1
                if not edge and before not in done:
                    break
                arrived = 0.0 if edge else done[before] + send_s
                length = forward_s if which == "f" else backward_s
                clock[stage] = max(clock[stage], arrived) + length
                done[which, stage, i] = clock[stage]
                at[stage] += 1
                left -= 1
    return max(clock)


def simulate(job: Job, layout: Layout, machine: Machine) -> Ran:
    """Return one training step or one served batch."""
    if not job.workload.is_training:
        return _serve(job, layout, machine)
    program = Program(job, layout, machine)
    count = max(int(LayoutTable.of([layout]).micro_steps(job)[0]), 1)
    ahead, back = program.passed("forward"), program.passed("backward")
    last = program.passed("backward", with_sums=True)
    spent: defaultdict[str, float] = defaultdict(float)
    for name in {*ahead, *back, *last}:
        spent[name] = count * ahead[name] + (count - 1) * back[name] + last[name]
    busy = spent.pop("time")
    if layout.pipeline > 1:
        send = machine.transfer_s("pipeline", program.row_bytes / layout.tensor)
        whole = one_f_one_b(ahead["time"], back["time"], send, layout.pipeline, count)
        # What the last pass sums gradients for comes at its end.
        whole += last["time"] - back["time"]
        alone = one_f_one_b(ahead["time"], back["time"], 0.0, layout.pipeline, count)
        alone += last["time"] - back["time"]
        spent["pipeline.total"] = 2.0 * count * send
        spent["pipeline.exposed"] = whole - alone
        spent["pipeline.bytes"] = 2.0 * count * program.row_bytes / layout.tensor
        spent["pipeline.count"] = 2.0 * count
        spent["bubble"] = alone - busy
        busy = whole - ("bubble" in machine.without) * spent["bubble"]
    return _finish(spent, busy, program, machine, _logits_s(job, layout, machine, count, spent))


def _logits_s(
    job: Job, layout: Layout, machine: Machine, count: int, spent: defaultdict[str, float]
) -> float:
    """Return seconds of the last matrix, forward and backward, of a stage's share."""
    tokens = layout.micro_batch * job.workload.seq_len / layout.context * count
    flops = 6.0 * tokens * job.model.embedding_params / layout.tensor / layout.pipeline
    seconds = machine.product_s(flops, tokens, job.model.vocab / layout.tensor)
    spent["compute"] += seconds
    spent["flops"] += flops
    return seconds


def _finish(
    spent: defaultdict[str, float], busy: float, program: Program, machine: Machine, more: float
) -> Ran:
    """Add what comes once per step: the optimizer, the input, the slowest chip."""
    work = program.job.workload
    owned = program.held / machine.axes["fsdp"].size
    update = 2.0 * owned * (work.optimizer_bytes + work.grad_bytes + work.weight_bytes)
    seconds = machine.memory_s(update) if work.is_training else 0.0
    spent["hbm"] += seconds
    stall = 0.0 if "input" in machine.without else machine.stall_s
    spent["stall"] = stall
    slower = 0.0 if "straggler" in machine.without else machine.straggler - 1
    # Stages behind a slow one wait as long as it computes.
    longer = busy / max(busy - spent["bubble"], 1e-9) if "bubble" not in machine.without else 1.0
    spent["sync"] = slower * (spent["compute"] + spent["repeated"]) * longer
    step = busy + more + seconds + stall + spent["sync"]
    return Ran(step, spent)


def _serve(job: Job, layout: Layout, machine: Machine) -> Ran:
    """Play prefill of a replica's prompts, then a decoded token in the middle of the output."""
    model, work = job.model, job.workload
    program = Program(job, layout, machine)
    clock = Clock(machine)
    for _ in range(min(program.layers, EXACT)):
        program.forward(clock)
    times = program.layers / min(program.layers, EXACT)
    spent = defaultdict(float, {name: value * times for name, value in clock.spent.items()})
    busy = clock.now * times
    sequences = float(layout.micro_batch)
    split = layout.tensor * (layout.expert if job.has_expert_axis else 1)
    visits = sequences * max(model.experts_per_token, 1)
    touched = 1 - (1 - 1 / model.experts) ** visits if model.experts else 1.0
    dense = (model.params - model.routed_params) / model.layers / layout.tensor
    routed = model.routed_params / model.layers / split * touched
    length = work.seq_len + work.output_len / 2
    cache = sequences * length * model.cache_bytes_per_token() / model.layers
    cache /= min(layout.tensor, model.kv_heads) if not model.kv_lora else 1
    reads = (dense + routed) * work.weight_bytes + cache
    flops = 2.0 * model.active_params / model.layers * sequences / layout.tensor

    def decode(layers: int) -> Clock:
        clock = Clock(machine)
        for _ in range(layers):
            clock.launch()
            # Small products wait for their weights: the longer of reading and computing.
            reading = machine.memory_s(reads)
            computing = machine.product_s(flops, max(sequences, 256.0), model.hidden)
            clock.work("hbm", max(reading - computing, 0.0))
            clock.work("compute", computing)
            clock.spent["flops"] += flops
            for _ in range(2):
                clock.block("tensor", 2.0 * sequences * model.hidden * 2.0)
            if model.experts and layout.expert > 1:
                for _ in range(2):
                    clock.block("expert", visits * model.hidden * 2.0 / layout.tensor)
        return clock

    # The host runs ahead: what one more layer takes is what counts.
    long, short = decode(6), decode(3)
    tokens = work.output_len * model.layers / 3.0
    for name, value in long.spent.items():
        spent[name] += (value - short.spent[name]) * tokens
    busy += (long.now - short.now) * tokens
    return _finish(spent, busy, program, machine, 0.0)
