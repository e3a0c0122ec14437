import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.settings import ROOT
from models.sharding import Job, Layout, Slice, Workload, find_model

SHIPPED = ROOT / "datasets" / "sharding" / "profiles"
LAYERS, ROWS, WIDTH, INNER = 5, 32, 64, 256
PROGRAM = f"""
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

out = sys.argv[1]
mesh = Mesh(np.array(jax.devices()).reshape(2, 2, 2), ("data", "fsdp", "tensor"))
rows = NamedSharding(mesh, P(("data", "fsdp"), None))
wide = NamedSharding(mesh, P(None, "fsdp", "tensor"))
tall = NamedSharding(mesh, P(None, "tensor", "fsdp"))

def step(w1, w2, x):
    def layer(h, w):
        y = jax.nn.gelu(h @ w[0]) @ w[1]
        return h + jax.lax.with_sharding_constraint(y, rows), None
    def loss(ws):
        h, _ = jax.lax.scan(jax.checkpoint(layer), x, ws)
        return (h.astype(jnp.float32) ** 2).mean()
    value, grads = jax.value_and_grad(loss)((w1, w2))
    return value, w1 - 0.1 * grads[0], w2 - 0.1 * grads[1]

def nested(a, b):
    def inner(h, _):
        return jnp.tanh(h @ b), None
    def outer(h, _):
        return jax.lax.scan(inner, h, None, length=4)[0], None
    return jax.lax.scan(outer, a, None, length=3)[0]

def full(shape, sharding):
    return jax.device_put(np.full(shape, 0.01, dtype=jnp.bfloat16), sharding)

arrays = (full(({LAYERS}, {WIDTH}, {INNER}), wide), full(({LAYERS}, {INNER}, {WIDTH}), tall),
          full(({ROWS}, {WIDTH}), rows))
compiled = jax.jit(step, out_shardings=(None, wide, tall)).lower(*arrays).compile()
open(out + "/train.hlo", "w").write(compiled.as_text())
square = jax.ShapeDtypeStruct((16, 16), jnp.float32)
open(out + "/nested.hlo", "w").write(jax.jit(nested).lower(square, square).compile().as_text())
memory = compiled.memory_analysis()
json.dump({{
    "flops": compiled.cost_analysis()["flops"],
    "argument": memory.argument_size_in_bytes, "output": memory.output_size_in_bytes,
    "alias": memory.alias_size_in_bytes, "temp": memory.temp_size_in_bytes,
}}, open(out + "/facts.json", "w"))
jax.block_until_ready(compiled(*arrays))
options = jax.profiler.ProfileOptions()
options.python_tracer_level = 0
options.host_tracer_level = 1
with jax.profiler.trace(out + "/trace", profiler_options=options):
    for number in range(3):
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            jax.block_until_ready(compiled(*arrays))
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A training step compiled, and traced, on eight virtual CPU devices."""
    folder = tmp_path_factory.mktemp("compiled")
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return SimpleNamespace(
        folder=folder,
        train=(folder / "train.hlo").read_text(),
        nested=(folder / "nested.hlo").read_text(),
        facts=json.loads((folder / "facts.json").read_text()),
        trace=next((folder / "trace").rglob("*.xplane.pb")),
        chrome=next((folder / "trace").rglob("*.trace.json.gz")),
    )


@pytest.fixture(scope="session")
def job():
    return Job(
        find_model("llama3.1-8b"), Workload(global_batch=8, seq_len=512), Slice.parse("v5e:2x4")
    )


@pytest.fixture(scope="session")
def layout():
    return Layout(data=2, fsdp=2, tensor=2)


@pytest.fixture(scope="session")
def shipped() -> Path:
    return SHIPPED
