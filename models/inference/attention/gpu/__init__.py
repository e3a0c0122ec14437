"""Kernels of attention on a graphics processor, and the list of work that the host gives them."""
