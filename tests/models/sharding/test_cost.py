from dataclasses import fields, replace

import numpy as np
import pytest

from models.sharding import Job, Layout, LayoutTable, Slice, Workload, find_model
from models.sharding.collectives import Links
from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import step_cost
from models.sharding.serving import serve_cost

FREE = Constants(
    efficiency=0.5, attention_efficiency=1.0, narrow_efficiency=1.0, half_tokens=0.0,
    half_width=0.0, link_latency_s=0.0, network_latency_s=0.0,
    overlap=0.0, tensor_overlap=0.0, stage_latency_s=0.0, layer_latency_s=0.0, step_latency_s=0.0,
    link_share=1.0, network_share=1.0, congestion_chips=1e30,
)  # fmt: skip


def job(model="llama3.1-8b", place="h100:8", batch=64, seq_len=4096, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=seq_len, **work), Slice.parse(place)
    )


def cost(layouts, one, constants=FREE):
    return step_cost(LayoutTable.of(layouts), one, constants)


def test_computing_takes_flops_over_rate():
    one = job()
    model = one.model
    flops = 6 * model.active_params + 3 * model.attention_flops(4096)
    found = cost([Layout(data=8), Layout(data=8, remat="none")], one)
    assert found.compute == pytest.approx([flops * 64 * 4096 / 8 / (989.5e12 * 0.5)] * 2)
    assert found.recompute == pytest.approx([found.compute[0] / 3, 0])


def test_attention_stays_in_16_bits_and_narrow_products_miss_their_peak():
    one = job(compute="fp8")
    shape, tokens = one.model, 64 * 4096 / 8
    found = cost(
        [Layout(data=8)], one, replace(FREE, attention_efficiency=0.5, narrow_efficiency=0.8)
    )
    linear = 6 * shape.active_params * tokens / (1979e12 * 0.5 * 0.8)
    attention = 3 * shape.attention_flops(4096) * tokens / (989.5e12 * 0.5 * 0.5)
    assert found.compute == pytest.approx([linear + attention])


def test_a_chip_without_a_format_computes_in_bf16_at_no_loss():
    narrow, plain = (
        cost([Layout(fsdp=8)], job(place="v4:2x2x2", compute=kind)) for kind in ("fp8", "bf16")
    )
    assert narrow.compute == pytest.approx(plain.compute)


def test_terms_add_up_to_the_step():
    found = cost([Layout(2, 2, tensor=2), Layout(pipeline=8)], job(), DEFAULT)
    assert sum(found.terms().values()) == pytest.approx(found.step_s)
    assert (found.low_s < found.step_s).all()
    assert (found.step_s < found.high_s).all()
    assert len(found.terms()) == len(fields(found)) - 1


def test_gathering_weights_takes_three_passes_over_links():
    one = job()
    found = cost([Layout(fsdp=8, micro_batch=8, remat="none")], one)
    gathered = one.model.params * 2
    assert found.weights[0] == pytest.approx(3 * gathered * 7 / 8 / 450e9)
    often = cost([Layout(fsdp=8, micro_batch=1, remat="none")], one)
    assert often.weights[0] == pytest.approx(8 * found.weights[0])


def test_sums_over_replicas_scatter_and_gather_gradients():
    one = job()
    found = cost([Layout(data=8)], one)
    assert found.gradients[0] == pytest.approx(2 * one.model.params * 4 * 7 / 8 / 450e9)


def test_the_bubble_is_that_of_the_schedule():
    """(stages - 1) / (interleave x micro-batches) of the work (Narayanan et al. 2021)."""
    one = job(batch=16)
    plain, woven = (cost([Layout(pipeline=8, interleave=chunks)], one) for chunks in (1, 4))
    work = plain.compute + plain.recompute
    assert plain.bubble == pytest.approx(work * 7 / 16)
    assert woven.bubble == pytest.approx(work * 7 / 16 / 4)


def test_a_line_is_half_as_fast_as_a_ring():
    ring, line = (
        Links(np.array([16.0]), np.array([rate]), np.array([np.inf]), np.array([8.0]))
        for rate in (180e9, 90e9)
    )
    size = np.array([1e9])
    assert line.gather_s(size, FREE, 16) == pytest.approx(2 * ring.gather_s(size, FREE, 16))


def test_small_collectives_cost_their_hops():
    links = Links(np.array([16.0]), np.array([180e9]), np.array([np.inf]), np.array([8.0]))
    constants = replace(FREE, link_latency_s=1e-6)
    assert links.gather_s(np.array([1.0]), constants, 16)[0] == pytest.approx(8e-6)


def test_tensor_shards_beyond_a_domain_are_slow():
    one = job("llama3.1-70b", "h100:64")
    inside, beyond = (cost([Layout(fsdp=64 // t, tensor=t)], one).tensor[0] for t in (8, 16))
    assert beyond / inside > 1.1


def test_the_slower_of_host_and_device_sets_the_pace():
    one = job(seq_len=512)
    slow = replace(FREE, layer_latency_s=1.0)
    found = cost([Layout(data=8, remat="none")], one, slow)
    assert found.step_s[0] == pytest.approx(8 * 32 * 1.0, rel=0.01)


# Seconds of published steps (tpu-recipes, see published_configs): golden, nothing was fitted.
@pytest.mark.parametrize(
    ("model", "place", "batch", "seq_len", "layout", "measured_s"),
    [
        (
            *("llama3.1-70b", "v6e:16x16", 1280, 8192),
            *(Layout(fsdp=256, micro_batch=5, remat="offload"), 42.656),
        ),
        (
            *("mixtral-8x22b", "v6e:16x16", 2048, 4096),
            *(Layout(fsdp=64, expert=4, micro_batch=8, remat="full"), 24.706),
        ),
        (
            *("llama4-maverick-17b-128e", "v5p:4x4x8", 512, 8192),
            *(Layout(fsdp=32, tensor=4, micro_batch=4, remat="offload"), 24.792),
        ),
    ],
)
def test_published_steps_are_met_within_a_half(model, place, batch, seq_len, layout, measured_s):
    found = cost([layout], job(model, place, batch, seq_len), DEFAULT).step_s[0]
    assert found == pytest.approx(measured_s, rel=0.5)


def test_decoding_reads_weights_and_cache():
    one = job("llama3.1-70b", "h100:8", 8, 1000, stage="serve", output_len=24)
    table = LayoutTable.of([Layout(tensor=8, micro_batch=8, remat="none")])
    found = serve_cost(table, one, FREE)
    weights = one.model.params * 2 / 8
    cache = 8 * 1024 * one.model.cache_bytes_per_token() / 8
    assert found.decode_memory[0] == pytest.approx((weights + cache) / (3350e9 * 0.8))
    assert sum(found.terms().values()) == pytest.approx(found.step_s)
    assert found.ttft_s[0] > found.tpot_s[0]
