from dataclasses import replace

import numpy as np
import pytest

from models.sharding import Job, Layout, Slice, Workload, find_model, propose
from models.sharding.conventions import Choice, choice_of, fit_conventions, learn_conventions
from models.sharding.layout import LayoutTable
from models.sharding.meshes import fastest_per_mesh, place_of
from models.sharding.propose import mesh_keys
from models.sharding.published import Published
from models.sharding.space import enumerate_layouts
from models.sharding.traits import traits


def job(model="llama3.1-8b", place="h100:8", batch=64, **work):
    return Job(
        find_model(model), Workload(global_batch=batch, seq_len=4096, **work), Slice.parse(place)
    )


def chose(one: Job, layout: Layout) -> Published:
    return Published("made", one, layout, None, "A")


def choice(values, chosen, group="a", same=None):
    traits_of = np.array(values, dtype=float).reshape(len(values), -1)
    return Choice("gpu", (group, "h100"), traits_of, chosen, same or (group, chosen, id(values)))


def test_weights_are_where_the_likelihood_is_flat():
    """Two meshes that differ by 1 in one trait; 3 of 4 chose the larger: the odds are 3 to 1.

    Without a ridge the weight is ln 3 over the spread of the trait, which is 1/2.
    """
    choices = [choice([[0.0], [1.0]], int(number > 0), same=(number,)) for number in range(4)]
    fit = fit_conventions(choices, ridges=(1e-9,)).fits["gpu"]
    assert fit.scale == pytest.approx([0.5])
    assert fit.weights[0] == pytest.approx([np.log(3) * 0.5], rel=1e-4)
    pulled = fit_conventions(choices, ridges=(1.0,)).fits["gpu"].weights[0]
    assert 0 < pulled[0] < fit.weights[0][0]


def test_rows_that_repeat_a_choice_share_one_vote():
    once = [choice([[0.0], [1.0]], 1, same="x"), choice([[0.0], [1.0]], 0, same="y")]
    often = [once[0]] * 9 + [once[1]]
    first, second = (fit_conventions(one, ridges=(1.0,)).fits["gpu"] for one in (once, often))
    assert second.weights == pytest.approx(first.weights, abs=1e-6)


def test_what_experts_prefer_is_proposed_for_other_jobs():
    """They split tensors over 8 chips, against the time model; a job twice as wide follows."""
    seen = [
        chose(job("llama3.1-8b", f"h100:{chips}", batch=128), Layout(fsdp=chips // 8, tensor=8))
        for chips in (8, 16, 32, 64)
    ]
    usual = learn_conventions(seen)
    asked = job("llama3.1-70b", "h100:64", batch=128)
    assert propose(asked).proposals[0].layout.tensor < 8
    plan = propose(asked, prior=usual.prior)
    assert plan.proposals[0].layout.tensor == 8
    # Of the layouts of that mesh the fastest one is taken.
    mesh = fastest_per_mesh(asked)
    key = mesh_keys(LayoutTable.of([plan.proposals[0].layout]), asked)[0]
    place = place_of(mesh, asked, key)
    assert plan.proposals[0].layout == mesh.table.row(place)
    assert place == usual.order(mesh, asked)[0]


def test_the_prior_of_a_layout_does_not_depend_on_what_else_is_asked_about():
    """Planners ask about single layouts and rank them among all."""
    usual = learn_conventions([chose(job(), Layout(fsdp=8)), chose(job(), Layout(tensor=8))])
    one = job("mistral-7b")
    table = enumerate_layouts(one)
    every = usual.prior(table, one)
    few = np.arange(0, table.size, 97)
    assert usual.prior(table.take(few), one) == pytest.approx(every[few])
    assert usual.prior(table.take(few[:1]), one) == pytest.approx(every[few[:1]])
    # A chip cannot hold 70e9 parameters whole: that mesh is the least usual, be it the fastest.
    heavy = job("llama3.1-70b", "h100:64")
    whole, shards = usual.prior(LayoutTable.of([Layout(context=64), Layout(fsdp=64)]), heavy)
    assert shards < whole == pytest.approx(usual.prior(enumerate_layouts(heavy), heavy).max())


def test_chances_add_up_and_are_none_for_what_was_never_seen():
    usual = learn_conventions([chose(job(), Layout(fsdp=8))])
    one = job("qwen3-30b-a3b")
    meshes = fastest_per_mesh(one)
    assert usual.shares(meshes, one).sum() == pytest.approx(1)
    torus = job(place="v6e:2x4")
    found = fastest_per_mesh(torus)
    assert usual.shares(found, torus) is None
    assert (usual.order(found, torus) == np.arange(found.table.size)).all()
    assert (usual.prior(enumerate_layouts(torus), torus) == 0).all()


def test_a_choice_that_should_not_fit_teaches_nothing():
    one = job("llama3.1-405b", "h100:8")
    meshes = fastest_per_mesh(one)
    assert meshes.table.size == 0
    assert choice_of(chose(one, Layout(fsdp=8)), meshes) is None
    assert traits(meshes, one).shape[0] == 0
    assert learn_conventions([chose(one, Layout(fsdp=8))]).fits == {}


def test_the_fastest_layout_stands_for_its_mesh():
    one = job()
    meshes = fastest_per_mesh(one)
    keys = mesh_keys(meshes.table, one)
    assert len(np.unique(keys, axis=0)) == len(keys)
    assert (np.diff(meshes.log_s) >= 0).all()
    best = propose(one).proposals[0]
    assert meshes.table.row(0) == best.layout
    assert np.exp(meshes.log_s[0]) == pytest.approx(best.step_s.middle)


def test_traits_know_the_domain_of_chips_and_the_experts():
    """16 shards of experts lie in a domain of 72 chips and leave one of 8."""
    layout = LayoutTable.of([Layout(data=64, expert=16)])
    values = []
    for place in ("gb200:64", "h100:64"):
        one = job("qwen3-30b-a3b", place)
        meshes = fastest_per_mesh(one, layout)
        values.append(traits(replace(meshes, table=layout), one)[0])
    away = [abs(row[-6]) for row in values]
    assert away == pytest.approx([np.log2(64 / 16), np.log2(16 / 8)])
