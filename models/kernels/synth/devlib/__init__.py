"""Portable device math in plain `tl`: no vendor library, so the same text runs on every target.

elementary.triton   log1p, expm1, hyperbolic and inverse functions, pow, fmod
special.triton      erfc, gamma, Bessel, zeta, inverse normal
integer.triton      powers, gcd, rounding, neighbours
"""

from models.kernels.synth.devlib.library import device_functions, library_names

__all__ = ["device_functions", "library_names"]
