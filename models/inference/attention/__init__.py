"""Attention over a shared prefix and a private tail: torch, C++ kernel, Triton kernels."""
