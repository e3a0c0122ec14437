"""Portable device math in plain `tl`: no vendor library, so the same text runs on every target.

elementary.triton   log1p, expm1, hyperbolic and inverse functions, pow, fmod
special.triton      erfc, gamma, Bessel, zeta, inverse normal
single/             what these cannot do in float32, for devices without double precision
integer.triton      powers, gcd, rounding, neighbours
"""

from models.kernels.synth.devlib.library import (
    device_functions,
    library_names,
    single_host,
    single_kernel,
)

__all__ = ["device_functions", "library_names", "single_host", "single_kernel"]
