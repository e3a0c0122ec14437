import math
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.sharding import Job, Layout, LayoutTable, Slice, Workload, find_model, why_illegal
from models.sharding.divisors import divisors, near_divisors
from models.sharding.judge import judge
from models.sharding.layout import AXES, legal, warnings
from models.sharding.profile.analytic import analytic_profile
from models.sharding.space import enumerate_layouts, meshes


def job(model="llama3.1-8b", place="h100:16", batch=64, seq_len=4096, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=seq_len, **work), Slice.parse(place)
    )


def test_reasons_name_the_nearest_legal_sizes():
    def said(layout, **kind):
        return " | ".join(why_illegal(layout, job(**kind)))

    assert "multiply to 8, the slice has 16" in said(Layout(fsdp=8))
    assert "nearest: 4 or 8" in said(Layout(tensor=6, fsdp=2))
    assert "has no experts: use expert=1" in said(Layout(fsdp=16, expert=2))
    mixtral = said(Layout(fsdp=16, expert=3), model="mixtral-8x7b")
    assert "must divide the 8 experts" in mixtral
    assert "nearest: 2 or 4" in mixtral
    assert "nearest product: 10 or 20" in said(Layout(fsdp=16), batch=20)
    assert "needs 15 micro-batches or more" in said(Layout(pipeline=16, micro_batch=8))
    assert "exceeds the 32 layers" in said(Layout(pipeline=16, interleave=4))
    assert "must divide the sequence of 4100" in said(Layout(context=16), seq_len=4100)
    assert not why_illegal(Layout(fsdp=16), job())
    with pytest.raises(ConfigError, match="1 or more: tensor"):
        why_illegal(Layout(tensor=0), job())


def test_sizes_that_multiply_beyond_64_bits_are_no_layout():
    """The product is 2**64 + 64: in columns of 64 bits it is the 64 chips of the slice."""
    sizes = {"data": 7063604, "fsdp": 6605706, "fsdp_transpose": 5139460, "context": 2}
    assert math.prod(sizes.values()) % 2**64 == 64
    wide, one = Layout(**sizes), job(place="h100:64", batch=256)
    assert (LayoutTable.of([wide]).chips(one) == 64).all()
    assert not legal(LayoutTable.of([wide]), one).any()
    judged = judge(one, wide)
    assert judged.fit == "illegal"
    assert f"multiply to {math.prod(sizes.values())}, the slice has 64" in judged.broken[0]
    with pytest.raises(ConfigError, match="no profile of data=7063604"):
        analytic_profile(one, wide)
    said = why_illegal(Layout(data=10**5000), one)
    assert len(said) == 1
    assert "data above" in said[0]


@given(number=st.integers(1, 3000), asked=st.integers(1, 4000))
def test_divisors_are_those_of_trial(number, asked):
    known = [d for d in range(1, number + 1) if number % d == 0]
    assert divisors(number) == known
    near = [*[d for d in known if d < asked][-1:], *[d for d in known if d > asked][:1]]
    assert near_divisors(number, asked) == " or ".join(map(str, near))


def test_divisors_of_the_largest_batch_are_found_at_once():
    began = time.process_time()
    assert near_divisors(67_108_859, 2) == "1 or 67108859"  # the largest prime below 2**26
    assert time.process_time() - began < 0.5


def test_what_is_slow_but_legal_is_a_warning():
    said = warnings(Layout(tensor=16), job())
    assert any("replicated" in one for one in said)
    assert any("leaves the NVLink domain of 8" in one for one in said)


def test_experts_are_an_axis_on_a_torus_and_a_part_of_others_on_gpus():
    assert not why_illegal(Layout(fsdp=16, expert=8), job("mixtral-8x7b"))
    torus = job("mixtral-8x7b", "v5e:4x4")
    assert not why_illegal(Layout(fsdp=2, expert=8), torus)
    assert why_illegal(Layout(fsdp=16, expert=8), torus)


def test_enumeration_finds_every_legal_mesh_and_nothing_else():
    """Held against brute force over all sizes, without the two policies of listing."""
    one = job("mixtral-8x7b", "v5e:2x4", batch=8, seq_len=64)
    sizes = divisors(8)
    wanted = set()
    for data, fsdp, tensor, context, expert in product(sizes, repeat=5):
        layout = Layout(data, fsdp, 1, tensor, context, expert)
        if not why_illegal(layout, one):
            wanted.add((data, fsdp, tensor, context, expert))
    found = LayoutTable.of(meshes(one))
    found = found.take(legal(found, one))
    listed = set(zip(*(getattr(found, axis).tolist() for axis in AXES if axis not in
                       ("fsdp_transpose", "pipeline")), strict=True))  # fmt: skip
    assert listed == wanted


def test_all_enumerated_layouts_are_legal():
    for place, model in (("h100:16", "llama3.1-8b"), ("v5e:4x4", "mixtral-8x7b")):
        one = job(model, place)
        table = enumerate_layouts(one)
        assert table.size > 100
        assert legal(table, one).all()
        assert not why_illegal(table.row(table.size - 1), one)
        assert len({tuple(int(c[i]) for c in table) for i in range(table.size)}) == table.size


def test_splits_over_both_dimensions_are_listed_on_request():
    one = job()
    assert (enumerate_layouts(one).fsdp_transpose == 1).all()
    assert (enumerate_layouts(one, with_transpose=True).fsdp_transpose > 1).any()


def test_ten_thousand_candidates_take_less_than_a_cpu_second():
    one = job("llama3.1-405b", "h100:1024", batch=1536, seq_len=8192)
    began = time.process_time()
    size = enumerate_layouts(one).size
    spent = time.process_time() - began
    assert size > 10_000
    assert spent * 10_000 / size < 1.0


def test_serving_splits_neither_sequences_nor_stages():
    table = enumerate_layouts(job(stage="serve", batch=32, seq_len=1024, place="h100:8"))
    assert (table.pipeline * table.context * table.fsdp == 1).all()
    assert ((table.micro_batch * table.data) == 32).all()


def test_rows_come_back_as_layouts_and_words():
    layout = Layout(2, 4, tensor=2, micro_batch=2, zero=1, remat="selective")
    assert LayoutTable.of([layout]).row(0) == layout
    assert layout.text() == "data=2 fsdp=4 tensor=2 zero=1 micro=2 selective"
