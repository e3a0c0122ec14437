"""Peers: what else writes or holds such kernels, on the samples that our modules are tested on.

minimal.py         the baseline: a trace as one pointwise kernel
flaggems.py        FlagGems' operators by test    flaggems_child.py  its samples, in a fork
flaggems_shim.py   FlagGems without an accelerator
"""
