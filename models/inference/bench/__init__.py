"""Engines side by side on the same prompts, in turn; what `loom bench inference` measures.

contest.py   a workload: prompts, outputs, KV      sets.py      the workloads of a seed or a file
engine.py    what a contestant is and reports      child.py     its process: one job per line
native.py, vllm_peer.py, hf_peer.py, llamacpp_peer.py           the contestants
bout.py      workloads x engines x repeats         ratios.py    medians, geometric means
gates.py     same tokens, gaps, saving             ablation.py  one part at a time
"""
