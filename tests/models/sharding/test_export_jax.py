"""The JAX export: a module that stands alone, places arrays and runs."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from models.errors import ConfigError
from models.sharding import Job, Layout, ModelSpec, Slice, Workload, find_model
from models.sharding.export.jax_mesh import fit, mesh_axes, mesh_spec
from models.sharding.export.jax_module import jax_module, module_name, write_jax_module

TINY = ModelSpec(
    name="Tiny-1.0", layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8, vocab=64
)
JOB = Job(TINY, Workload(seq_len=16, global_batch=8), Slice.parse("v5e:2x4"))
LAYOUT = Layout(fsdp=2, tensor=2, context=2)

# A forward pass written here anew: it knows the module and the names of parameters alone.
FORWARD = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
import sharding_tiny_1_0 as made

rng = np.random.default_rng(0)
params = {
    name: np.float32(rng.normal(size=shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1))
    for name, shape in made.SHAPES.items()
}
tokens = rng.integers(0, 64, (8, 16))

def norm(x, scale):
    return x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * scale

def loss(params, tokens):
    x = params["embed"][tokens]
    for i in range(2):
        p = {name.split("/")[1]: x[i] for name, x in params.items() if "/" in name}
        y = norm(x, p["norm_attention"])
        q = (y @ p["q"]).reshape(8, 16, 4, 8)
        k, v = ((y @ p[n]).reshape(8, 16, 2, 8).repeat(2, axis=2) for n in "kv")
        scores = jnp.einsum("bqnd,bknd->bnqk", q, k) / 8**0.5
        scores = jnp.where(jnp.tril(jnp.ones((16, 16), bool)), scores, -jnp.inf)
        x = x + jnp.einsum("bnqk,bknd->bqnd", jax.nn.softmax(scores), v).reshape(8, 16, 32) @ p["o"]
        y = norm(x, p["norm_mlp"])
        x = x + (jax.nn.silu(y @ p["gate"]) * (y @ p["up"])) @ p["down"]
    logits = jax.nn.log_softmax(norm(x, params["norm"]) @ params["head"])
    return -jnp.take_along_axis(logits[:, :-1], tokens[:, 1:, None], -1).mean()

def step(params, tokens):
    value, grads = jax.value_and_grad(loss)(params, tokens)
    return value, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

found = {"alone": [], "spread": []}
alone = params
for _ in range(2):
    value, alone = jax.jit(step)(alone, tokens)
    found["alone"].append(float(value))
mesh = made.make_mesh()
spread = made.shard(params, mesh)
placed = jax.device_put(tokens, made.sharding(mesh, made.ACTIVATIONS["tokens"][1:]))
found["parts"] = {n: x.size // x.addressable_shards[0].data.size for n, x in spread.items()}
run = jax.jit(step, out_shardings=(None, made.shardings(mesh)))
for _ in range(2):
    value, spread = run(spread, placed)
    found["spread"].append(float(value))
found["devices"] = len({s.device for s in spread["embed"].addressable_shards})
try:
    made.shard({"unknown": tokens}, mesh)
except KeyError as error:
    found["unknown"] = str(error)
print(json.dumps(found))
"""


def _child(code: list[str], folder, devices: int) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return subprocess.run(
        [sys.executable, *code], capture_output=True, text=True, cwd=folder, timeout=300,
        env=environment | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_module_runs_a_step_on_virtual_devices_with_the_loss_of_one_device(tmp_path):
    file = write_jax_module(JOB, LAYOUT, tmp_path)
    assert file.name == "sharding_tiny_1_0.py"
    done = _child(["-c", FORWARD], tmp_path, 8)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["spread"] == pytest.approx(found["alone"], rel=1e-5)
    assert found["alone"][1] < found["alone"][0]
    assert found["devices"] == 8
    # Matrices are split by fsdp x context along one side and by tensor along the other.
    assert found["parts"]["dense/q"] == found["parts"]["dense/down"] == found["parts"]["head"] == 8
    assert found["parts"]["dense/norm_mlp"] == 1
    assert "unknown" in found["unknown"]


def test_the_module_prints_its_specs_and_says_when_devices_are_missing(tmp_path):
    file = write_jax_module(JOB, LAYOUT, tmp_path)
    shown = _child([str(file)], tmp_path, 1)
    assert "mesh: {'fsdp': 2, 'context': 2, 'tensor': 2}" in shown.stdout
    line = next(line for line in shown.stdout.splitlines() if line.startswith("dense/q "))
    assert line.split(maxsplit=1)[1].endswith("P(None, ('fsdp', 'context'), 'tensor')")
    few = _child(["-c", "import sharding_tiny_1_0 as m; m.make_mesh()"], tmp_path, 4)
    assert "needs 8 devices, there are 4" in few.stderr


def test_a_model_name_cannot_break_out_of_the_module():
    evil = TINY.model_copy(update={"name": 'x"""\nimport os; os.system("id")\n"""'})
    source = jax_module(replace(JOB, model=evil), LAYOUT)
    compile(source, "made", "exec")
    assert "os.system(" not in source
    assert module_name(replace(JOB, model=evil)).isidentifier()


def test_an_illegal_layout_is_not_exported():
    with pytest.raises(ConfigError, match="the axes multiply to 16, the slice has 8"):
        jax_module(JOB, Layout(fsdp=16))


def test_tensor_has_the_nearest_devices_and_axes_of_one_are_left_out():
    axes = mesh_axes(Layout(tensor=2, data=2, fsdp=2), JOB)
    assert axes == (("data", 2), ("fsdp", 2), ("tensor", 2))


def test_on_gpus_experts_take_chips_of_heads_first_and_then_of_shards():
    job = Job(find_model("mixtral-8x7b"), Workload(global_batch=64), Slice.parse("h100:32"))
    spec = mesh_spec(job, Layout(fsdp=16, tensor=2, expert=8))
    assert spec.axes == (("fsdp", 4), ("fsdp_expert", 4), ("tensor_expert", 2))
    experts = spec.params["moe/expert_up"]
    assert experts[1] == ("fsdp_expert", "tensor_expert")
    # 8 experts over 8 chips; what is left of the shards splits each.
    assert spec.shards(experts) == 32
    assert spec.shards(spec.params["moe/q"]) == 32


def test_experts_that_no_axes_make_up_are_refused_with_the_axes():
    job = Job(
        find_model("mixtral-8x7b").model_copy(update={"experts": 6}),
        Workload(global_batch=64), Slice.parse("h100:12"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="expert=3 cannot be made of the axes"):
        mesh_spec(job, Layout(fsdp=4, pipeline=3, expert=3))


def test_an_axis_that_divides_not_its_dimension_goes_to_another_or_repeats_the_array():
    sizes = {"a": 4, "b": 3}
    assert fit((6, 8), (("a",), ("b",)), sizes) == ((("b",), ("a",)), ())
    assert fit((5, 7), (("a",), ()), sizes) == (((), ()), ("a",))
    # A dimension that counts layers is no place for what wants another one.
    assert fit((4, 6), ((), ("a",)), sizes, leading=1) == (((), ()), ("a",))
