"""The program of a job: a transformer in JAX, trained or served under a layout.

tensors.py  every array: shape, and which shards want which dimension (no JAX)
spread.py   stacks of layers and stages; what is compiled in place of what was asked (no JAX)
layers.py   norms, positions, attention, MLP     latent.py   latent attention
experts.py  routing with a capacity              stack.py    layers scanned, recomputed, piped
train.py    loss, gradients, Adam                serve.py    prefill and decode
start.py    arrays to begin with             lower.py    a step lowered from shapes alone
typed.py    functions of JAX with types

The modules below tensors.py and spread.py import jax when they are imported.
"""
