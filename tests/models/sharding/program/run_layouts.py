"""Child process: two train steps of tiny models under layouts on 8 virtual devices."""

import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)

import jax
import jax.numpy as jnp
import numpy as np

from models.sharding import Job, Layout, ModelSpec, Slice, Workload
from models.sharding.program.start import program_of, start_params
from models.sharding.program.train import (
    batch_shape,
    data_sharding,
    state_of,
    state_sharding,
    train_step,
)


def losses(job: Job, layout: Layout, is_sharded: bool) -> tuple[list[float], int]:
    """Return the loss of two steps, and into how many parts the largest matrix is split."""
    devices = jax.devices()[: job.place.chips] if is_sharded else None
    program = program_of(job, layout, devices, jnp.float32, capacity=64.0)
    state = state_of(job, start_params(job, layout, seed=3))
    # The same sequences in the same micro-batches: a mean over all is the same anyway.
    rng = np.random.default_rng(0)
    work = job.workload
    tokens = rng.integers(0, job.model.vocab, (work.global_batch, work.seq_len + 1))
    shape = batch_shape(job, layout)
    inputs, targets = tokens[:, :-1].reshape(shape), tokens[:, 1:].reshape(shape)
    parts, same = 1, None
    if is_sharded:
        same = state_sharding(program, state)
        state = jax.device_put(state, same)
        inputs, targets = (
            jax.device_put(x, data_sharding(program, shape)) for x in (inputs, targets)
        )
        name = max(state.params, key=lambda n: state.params[n].size)
        one = state.params[name]
        parts = one.size // one.addressable_shards[0].data.size
    step = jax.jit(lambda *given: train_step(program, *given), out_shardings=(same, None))
    found = []
    for _ in range(2):
        state, loss = step(state, inputs, targets)
        found.append(float(loss))
    return found, parts


def main() -> None:
    found, remembered = [], {}
    for case in json.loads(sys.stdin.read()):
        job = Job(ModelSpec(**case["model"]), Workload(**case["work"]), Slice.parse(case["slice"]))
        layout = Layout(**case["layout"])
        if job not in remembered:
            remembered[job] = losses(job, Layout(), is_sharded=False)[0]
        alone = remembered[job]
        spread, parts = losses(job, layout, is_sharded=True)
        found.append({"alone": alone, "spread": spread, "parts": parts})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
