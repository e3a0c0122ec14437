"""What is exported is read back as the same layout, and what cannot be said is refused."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError
from models.sharding import why_illegal
from models.sharding.export.base import Exported, Refused
from models.sharding.export.registry import EXPORTERS, export, read_layout
from models.sharding.published import read_published
from tests.models.sharding.export.jobs import JOBS, layouts


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_every_layout_comes_back_or_is_refused(data):
    name = data.draw(st.sampled_from(sorted(JOBS)))
    table = layouts(name)
    layout = table.row(data.draw(st.integers(0, table.size - 1)))
    for target, exporter in EXPORTERS.items():
        if exporter.why_not(JOBS[name], layout):
            continue
        exported = exporter.write(JOBS[name], layout)
        assert isinstance(exported, Exported)
        for text in exported.files.values():
            found = read_layout(text, JOBS[name])
            assert (found.target, found.layout) == (target, layout)
            # Nothing else differs from the job but what the export itself says.
            assert not [note for note in found.notes if "the job" in note]


def test_every_target_says_many_layouts_and_refuses_others():
    said = Counter()
    for name, job in JOBS.items():
        table = layouts(name)
        for row in range(0, table.size, max(table.size // 60, 1)):
            for target, exporter in EXPORTERS.items():
                said[target, not exporter.why_not(job, table.row(row))] += 1
    for target in EXPORTERS:
        # Serving has few layouts, training hundreds.
        assert said[target, True] > 10
        # A mesh of JAX says every layout of these.
        assert said[target, False] > 30 or target == "jax"


def test_what_experts_published_can_be_said_in_their_own_trainers():
    rows = read_published().rows
    said = 0
    for row in rows:
        target = "maxtext" if row.job.place.chip.kind == "tpu" else "megatron"
        answer = export(target, row.job, row.layout)
        if isinstance(answer, Refused):
            # Nothing but what breaks a rule of our own.
            assert list(answer.reasons) == why_illegal(row.layout, row.job), row.id
            continue
        said += 1
        for text in answer.files.values():
            assert read_layout(text, row.job).layout == row.layout
    assert said >= 0.98 * len(rows)


WORDS = st.sampled_from(
    ["ici_fsdp_parallelism: ", "[parallelism]\n", "tensor_parallel_degree = ", "vllm serve x ",
     "--tensor-parallel-size ", "model.tensor_model_parallel_size=", "-1", "0", "4", "1e9", "nan",
     "null", "\n", "=", ": ", "'", '"', "{", "[", "(t|)*9", "&a *a", "!!python/name:os.system ",
     "per_device_batch_size: ", "model.pipeline_model_parallel_layout=", "remat_policy: ",
     "\x00", "\ud83d\ude00", "AXES = {}", "import jax\n", "$(touch x)", "`id`"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=12).map("".join)),
    st.sampled_from(sorted(EXPORTERS)), st.sampled_from(sorted(JOBS)),
)  # fmt: skip
def test_any_text_is_a_layout_or_an_error_with_a_way_out(text, target, name):
    layout, said = None, ""
    try:
        layout = EXPORTERS[target].read(text, JOBS[name]).layout
    except ConfigError as error:
        said = str(error)
    # What was asked, and the way out.
    assert layout is not None or "; " in said
    if layout is not None:
        assert min(layout.fsdp, layout.tensor, layout.micro_batch) >= 1


@pytest.mark.parametrize("name", sorted(JOBS))
@pytest.mark.parametrize("target", sorted(EXPORTERS))
def test_a_refusal_names_a_near_layout_that_is_legal_and_can_be_said(target, name):
    job, table = JOBS[name], layouts(name)
    refused = 0
    for row in range(0, table.size, max(table.size // 40, 1)):
        answer = export(target, job, table.row(row))
        if isinstance(answer, Refused):
            refused += 1
            assert answer.reasons
            if answer.nearest is not None:
                assert why_illegal(answer.nearest, job) == []
                assert isinstance(export(target, job, answer.nearest), Exported)
        if refused == 3:
            break
