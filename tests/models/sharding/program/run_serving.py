"""Child process: prompts read at once and token by token, on 8 virtual devices."""

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
from models.sharding.program.layers import Program
from models.sharding.program.serve import cache_shape, decode, prefill
from models.sharding.program.start import program_of, start_params

BATCH, LENGTH = 8, 6


def read(program: Program, params: dict, tokens: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Return the logits behind all tokens, and behind the last after the others were cached."""
    whole = jax.jit(lambda *given: prefill(program, *given))
    step = jax.jit(lambda *given: decode(program, *given))
    at_once, _ = whole(params, tokens)
    logits, cache = whole(params, tokens[:, :4])
    assert cache.keys.shape == cache_shape(program.job, program.layout, BATCH)
    for place in range(4, LENGTH):
        logits, cache = step(params, cache, tokens[:, place], jnp.int32(place))
    return at_once, logits


def main() -> None:
    found = []
    for case in json.loads(sys.stdin.read()):
        work = Workload(stage="serve", seq_len=LENGTH, output_len=2, global_batch=BATCH)
        job = Job(ModelSpec(**case["model"]), work, Slice.parse(case["slice"]))
        tokens = np.random.default_rng(1).integers(0, job.model.vocab, (BATCH, LENGTH))
        shards = Layout(**case["layout"])
        logits = []
        for layout, devices in ((Layout(), None), (shards, jax.devices())):
            program = program_of(job, layout, devices, jnp.float32, capacity=64.0)
            params = start_params(job, layout, seed=5)
            if devices:
                lay = {name: program.sharding(spec) for name, spec in program.spec.params.items()}
                params = jax.device_put(params, lay)
            logits += read(program, params, tokens)
        alone = np.asarray(logits[0])
        found.append(
            {
                "size": float(np.abs(alone).max()),
                "apart": [float(np.abs(np.asarray(one) - alone).max()) for one in logits],
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
