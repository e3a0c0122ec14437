"""The real TPU compiler, where the extra `tpu` is installed."""

import importlib.util

import pytest

from models.sharding import Job, Layout, ModelSpec, Slice, Workload, find_model
from models.sharding.verify import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu is not installed: python3.11 .ci/install.py --extra tpu",
    ),
]


def test_seventy_billion_parameters_do_not_fit_sixteen_chips_of_v5e(tmp_path):
    job = Job(
        find_model("llama3.1-70b"), Workload(seq_len=4096, global_batch=16), Slice.parse("v5e:4x4")
    )
    found = verify(job, Layout(fsdp=16), level="tpu", cache=tmp_path)
    assert found.verdict == "does not fit"
    assert "CompileTimeHbmOom" in found.reasons[0]
    assert found.compiled.capacity_bytes == 15.75 * 2**30
    assert found.compiled.needed_bytes > 2 * found.compiled.capacity_bytes
    assert found.minimum_chips > 16
    assert verify(job, Layout(fsdp=16), level="tpu", cache=tmp_path).compiled.is_cached


@pytest.mark.parametrize(
    ("place", "devices"),
    [("v5e:2x2", 4), ("v6e:2x2", 4), ("v5p:1x2x2", 4), ("v4:2x2x2", 16), ("tpu7x:1x2x2", 8)],
)
def test_a_small_model_compiles_for_every_generation(place, devices, tmp_path):
    model = ModelSpec(
        name="small", layers=2, hidden=256, ffn=512, heads=4, kv_heads=2, head_dim=64, vocab=1024
    )
    job = Job(model, Workload(seq_len=256, global_batch=16), Slice.parse(place))
    found = verify(job, Layout(fsdp=job.place.chips), level="tpu", cache=tmp_path)
    assert found.verdict == "ok", found.text()
    assert found.is_compiled
    # 12 bytes of each parameter, and norms whole on every device.
    assert found.compiled.devices == devices
    assert found.compiled.argument_bytes == pytest.approx(12 * model.params / devices, rel=0.05)
    assert found.compiled.peak_bytes > found.compiled.argument_bytes
