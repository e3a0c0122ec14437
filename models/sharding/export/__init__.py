"""Layouts written down for the frameworks that run them, and read back from their files.

base.py          Exported, Refused, Imported       registry.py     every target by name
jax_mesh.py      mesh and PartitionSpecs           jax_module.py   the same as a Python module
maxtext.py       YAML over base.yml                maxtext_read.py, maxtext_model.py
megatron_bridge.py  overrides of a recipe          megatron_stages.py  layers over stages
torchtitan.py    TOML job                          vllm.py         flags of `vllm serve`
keys.py          names that targets know           flags.py        command lines as keys
jax_target.py    JAX among the targets
"""
